"""scans.yaml: what a user knows better than any measurement, per glob of file names.

    - match: "rp_*"            # glob over the path below the scans folder; ** crosses folders, case does not matter
      height_m: 1.74
    - match: "lying/*.ply"
      up: x
      person: anna

Later entries win, field by field. A file `scans.yaml` in the top of a scans folder is read; nothing else.
"""

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth.errors import UserError

OVERRIDES_NAME = "scans.yaml"
_MAX_BYTES = 2**20


class BadOverrides(UserError):
    """A scans.yaml that cannot be used; the message is one line for the user."""


class Override(BaseModel):
    """What is said about one scan; None: decide by measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    up: Literal["x", "-x", "y", "-y", "z", "-z"] | None = None
    """The axis that points up, in the file's own coordinates (for glTF and FBX: z is up as imported)."""
    unit: Literal["m", "dm", "cm", "mm", "in"] | None = None
    """Unit of the file's coordinates; not together with height_m."""
    height_m: float | None = Field(None, gt=0, le=10)
    """From the lowest point to the highest, metres: scales the scan to it."""
    kind: Literal["full", "bust", "head"] | None = None
    """Whole body, head and shoulders, or head."""
    parts: Literal["person", "all"] | None = None
    """`person`: floating fragments and turntable discs go; `all`: everything stays."""
    person: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,80}$")
    """Who is seen: splits are by person."""
    licence: str | None = Field(None, max_length=300)
    attribution: str | None = Field(None, max_length=300)
    exclude: bool = False
    """Leave the file out; false takes it in though its name says that it is no scan."""


class _Entry(Override):
    match: str = Field(min_length=1)


def load_overrides(root: Path) -> tuple[tuple[str, Override], ...]:
    """(glob, override) of a folder's scans.yaml, in order; nothing where there is no such file. Raises BadOverrides."""
    path = root / OVERRIDES_NAME
    if not path.is_file() or path.is_symlink():
        return ()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadOverrides(f"{path}: larger than {_MAX_BYTES} bytes")
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise BadOverrides(f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(entries, list):
        raise BadOverrides(f"{path}: expected a list of entries, each with `match`; got {type(entries).__name__}")
    return tuple(_entry(path, number, entry) for number, entry in enumerate(entries, start=1))


def find_override(overrides: Sequence[tuple[str, Override]], name: str) -> Override:
    """What is said about the file of a name (relative, forward slashes): all entries that match, later ones winning.

    A later unit takes the place of an earlier height_m, and the other way round.
    """
    said: dict[str, object] = {}
    for glob, override in overrides:
        if _pattern(glob).fullmatch(name):
            new = override.model_dump(exclude_unset=True)
            for one, other in (("unit", "height_m"), ("height_m", "unit")):
                if new.get(one) is not None:
                    said.pop(other, None)
            said |= new
    return Override(**said)


def _entry(path: Path, number: int, entry: object) -> tuple[str, Override]:
    try:
        parsed = _Entry.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        # Not repr(): aliases of aliases make 300 bytes of YAML unfold to more than there is memory.
        got = reprlib.repr(first["input"])[:80]
        raise BadOverrides(f"{path}: entry {number}: {where}: {first['msg']} (got {got})") from error
    if parsed.unit is not None and parsed.height_m is not None:
        raise BadOverrides(f"{path}: entry {number}: give unit or height_m, not both")
    said = parsed.model_dump(exclude_unset=True, exclude={"match"})
    return parsed.match, Override(**said)


def _pattern(glob: str) -> re.Pattern[str]:
    """`*` and `?` stay within a folder, `**/` is any number of folders; without a slash a glob fits in any folder."""
    if "/" not in glob:
        glob = f"**/{glob}"
    glob = re.sub(r"(\*\*/)+", "**/", glob)  # the same, but in a row they take exponential time
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts), re.IGNORECASE | re.DOTALL)
