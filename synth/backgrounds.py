"""Backgrounds: picture files become a BackgroundLibrary of panoramas and plates, with a verdict for every file.

A panorama lights the scene and may be seen; a plate, a flat photo, is only seen. Every file is read in a child process
(`synth.backgrounds_read`), cleaned or refused with its reason, and stored as a plain array that every engine reads.
Next: `synth.randomize` chooses, `renderers.panorama` and `renderers.plate` look into them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from synth.backgrounds_light import directions, irradiance
from synth.backgrounds_prepare import Outcome, prepare_files
from synth.backgrounds_store import load_panorama, load_plate, read_facts
from synth.errors import UserError

__all__ = [
    "BackgroundEntry", "BackgroundLibrary", "BackgroundVerdict", "BadBackgrounds", "PlateEntry", "background_files",
    "directions", "irradiance", "load_backgrounds", "load_panorama", "load_plate", "with_lights",
]  # fmt: skip

#: Names of pictures; a file's content decides what it is, its name only whether anybody meant it as a picture.
_PICTURES = {
    ".hdr", ".rgbe", ".exr", ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp",
    ".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".dds", ".pfm",
}  # fmt: skip
_Named = TypeVar("_Named", "BackgroundEntry", "PlateEntry")


class BadBackgrounds(UserError):
    """No usable background; the message is one line for the user."""

    def __init__(self, message: str, verdicts: Sequence["BackgroundVerdict"] = ()):
        super().__init__(message)
        self.verdicts = tuple(verdicts)
        """What became of every file, in their order, where that is known."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    background_id: str
    """Name, from the file's stem."""
    sha256: str
    """Hash of the picture file's bytes; the prepared picture lies under it."""
    width_px: int
    height_px: int


class BackgroundEntry(_Entry):
    """One panorama of a library."""

    irradiance_sh: tuple[float, ...]
    """Nine coefficients of luminance irradiance, see `irradiance`."""
    only_lights: bool = False
    """Lent to a library that has only plates: lights scenes, is never seen."""


class PlateEntry(_Entry):
    """One plate of a library; its size is that of the upright picture."""


@dataclass(frozen=True)
class BackgroundVerdict:
    """What became of one file."""

    path: str
    verdict: Literal["accepted", "refused", "ignored"]
    reason: str
    warnings: tuple[str, ...] = ()
    """What a user may want to mend, of an accepted file."""


@dataclass(frozen=True)
class BackgroundLibrary:
    """Usable panoramas, sorted by hash, and what was said of every file."""

    entries: tuple[BackgroundEntry, ...]
    verdicts: tuple[BackgroundVerdict, ...]
    store: Path
    plates: tuple[PlateEntry, ...] = ()
    """Usable plates, sorted by hash. Where these are all there is, `with_lights` lends panoramas."""


def load_backgrounds(
    files: Sequence[Path], cache: Path, progress: Callable[[int, int, str], None] | None = None
) -> BackgroundLibrary:
    """Prepare the panoramas and plates among `files` into `<cache>/backgrounds`.

    Raises BadBackgrounds when none is usable, with the first reasons.
    """
    store = cache / "backgrounds"
    meant = [path for path in files if path.suffix.lower() in _PICTURES]
    outcomes = {outcome.path: outcome for outcome in prepare_files(meant, store, progress)}
    entries: dict[str, BackgroundEntry | PlateEntry] = {}
    verdicts = []
    for path in files:
        if path not in outcomes:
            kinds = "not a picture by its name (.hdr .exr .jpg .png .webp .tif .bmp)"
            verdicts.append(BackgroundVerdict(_shown(path), "ignored", kinds))
        else:
            verdicts.append(_verdict(path, outcomes[path], entries, store))
    if not entries:
        said = "; ".join(f"{v.path}: {v.reason}" for v in verdicts[:3]) or "no files"
        message = f"no usable background ({said}); give a folder of .hdr or .exr panoramas, or of photos"
        raise BadBackgrounds(message, verdicts)
    named = _unique_names([entries[key] for key in sorted(entries)])
    panoramas = tuple(entry for entry in named if isinstance(entry, BackgroundEntry))
    plates = tuple(entry for entry in named if isinstance(entry, PlateEntry))
    return BackgroundLibrary(panoramas, tuple(verdicts), store, plates)


def with_lights(library: BackgroundLibrary, lights: BackgroundLibrary) -> BackgroundLibrary:
    """A library of plates alone, lit by the panoramas of another one, which are never seen."""
    lent = [entry.model_copy(update={"only_lights": True}) for entry in lights.entries]
    named = _unique_names([*lent, *library.plates])
    return replace(library, entries=tuple(named[: len(lent)]), plates=tuple(named[len(lent) :]))


def background_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted; dot-files left out. Raises BadBackgrounds if it is no folder."""
    if not folder.is_dir():
        raise BadBackgrounds(f"{folder}: no such folder of backgrounds")
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def _verdict(
    path: Path, outcome: Outcome, entries: dict[str, BackgroundEntry | PlateEntry], store: Path
) -> BackgroundVerdict:
    """What is said of a file; adds it to `entries` by hash where it is new and usable."""
    if outcome.sha256 is None:
        return BackgroundVerdict(_shown(path), "refused", outcome.refused)
    if outcome.sha256 in entries:
        same = entries[outcome.sha256].background_id
        return BackgroundVerdict(_shown(path), "ignored", f"same content as {same}")
    facts = read_facts(store, outcome.sha256)
    if facts is None:
        return BackgroundVerdict(_shown(path), "refused", "its prepared picture has gone from the cache; run it again")
    kind, notes, warnings = (facts.pop(key) for key in ("kind", "notes", "warnings"))
    facts |= {"background_id": _slug(path.stem), "sha256": outcome.sha256}
    entries[outcome.sha256] = BackgroundEntry(**facts) if kind == "hdri" else PlateEntry(**facts)
    called = "panorama" if kind == "hdri" else "plate"
    reason = ", ".join([f"{called} {facts['width_px']} x {facts['height_px']}", *notes])
    return BackgroundVerdict(_shown(path), "accepted", reason, tuple(warnings))


def _shown(path: Path) -> str:
    """A file's name as it may be printed: a stranger's may hold broken UTF-8 or a terminal's escape sequences."""
    return "".join(letter if letter.isprintable() else "?" for letter in path.name)


def _slug(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[:80] or "background"


def _unique_names(entries: Sequence[_Named]) -> list[_Named]:
    names = [entry.background_id for entry in entries]
    return [
        e.model_copy(update={"background_id": f"{e.background_id}-{e.sha256[:8]}"})
        if names.count(e.background_id) > 1
        else e
        for e in entries
    ]
