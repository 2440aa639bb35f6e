"""Names: of the place where a dataset lies, and of what lies in it.

A place is a local folder (or one that is mounted), or the URL of a prefix in an object store. Inside, names are
relative and '/'-separated everywhere; no name leaves its place.
"""

import re
from pathlib import Path

from synth.errors import UserError

#: Where a dataset lies: an absolute path, or a URL.
Place = Path | str

#: URLs that `synth.store_bucket` serves. `memory` is one process's own: for trying things out.
SCHEMES = ("s3", "gs", "az", "memory")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


class StoreError(UserError):
    """A dataset folder that cannot be written or believed; one line that names what, where and the way out."""


def place_of(text: Path | str) -> Place:
    """The place that a user names: an absolute path, or the URL without a slash at its end. Raises StoreError."""
    url = _URL.fullmatch(text) if isinstance(text, str) else None
    if url is None:
        path = Path(text)
        if path.parts and path.parts[0].removesuffix(":") in SCHEMES and path.parts[0].endswith(":"):
            raise StoreError(f"{text}: a URL became a path and lost a slash; give it as text, like s3://bucket/dataset")
        return path.absolute()
    scheme, rest = url[1].lower(), url[2].rstrip("/")
    if scheme not in SCHEMES:
        raise StoreError(f"{text}: no store for {scheme}://; give a folder, or {', '.join(f'{s}://' for s in SCHEMES)}")
    if not rest or not _is_inside(rest) or any(character in rest for character in "?#"):
        raise StoreError(f"{text}: is no place in an object store; give it like s3://bucket/dataset")
    return f"{scheme}://{rest}"


def is_shared(place: Place) -> bool:
    """Whether other processes see it, too."""
    return not (isinstance(place, str) and place.startswith("memory://"))


def check_name(place: Place, name: str) -> str:
    """The name, if it is one inside of a place: relative, no empty part, no `.` or `..`. Raises StoreError."""
    if not _is_inside(name):
        raise StoreError(f"{place}: {name!r:.200} is no name inside of a dataset")
    return name


def _is_inside(name: str) -> bool:
    return all(part not in ("", ".", "..") for part in name.split("/")) and not any(c in name for c in "\\\0\n\r")
