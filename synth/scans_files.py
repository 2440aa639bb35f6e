"""Which files a scans folder holds, where a name inside a file may lead, and what each file's bytes hash to.

Nothing outside the folder that the user gave is ever opened: not by `..`, not by an absolute path, not through a
link. What the files refer to is read by `synth.scans_formats` and `synth.scans_gltf`.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

MESH_SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".fbx", ".pkl", ".npz")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".tga")
#: Where exporters put pictures beside a mesh, without case.
_PICTURE_FOLDERS = re.compile(r"tex|textures?|sourceimages|materials?.*", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)  # two letters at least: C: is a drive
_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: A file this young may change again within its time stamp's resolution: its hash is not remembered yet.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class FoundFile:
    """A file of a scans folder."""

    root: Path
    """The scans folder, resolved."""
    path: Path
    """Below root."""
    refusal: str | None = None
    """Why it must not be opened at all (a link that leads out, a device), or None."""
    archive: "FoundFile | None" = None
    """The zip it was unpacked from; root is then the folder it was unpacked to."""

    @property
    def name(self) -> str:
        """Path relative to the scans folder, with forward slashes; characters that are no text are replaced."""
        own = printable(self.path.relative_to(self.root).as_posix())
        return f"{self.archive.name}/{own}" if self.archive else own

    @property
    def home(self) -> Path:
        """The scans folder that the user gave."""
        return self.archive.root if self.archive else self.root


def list_files(root: Path, archive: FoundFile | None = None) -> list[FoundFile]:
    """Every file below a folder, sorted by path; links to folders are listed, not entered.

    archive: the zip that was unpacked to that folder.
    """
    root = root.resolve()
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*files, *links]:
            path = Path(folder, name)
            found.append(FoundFile(root, path, _why_not_opened(root, path), archive))
    return sorted(found, key=lambda file: file.name)


def printable(text: str) -> str:
    """A stranger's text as one line that can be printed and stored.

    Replaced are bytes that are no UTF-8, what a terminal takes for a command, and what turns the direction of writing.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def resolve_reference(name: str, folder: Path, root: Path) -> Path | None:
    """The file that `name`, written in a file of `folder`, means; None if there is none inside `root`.

    Tried in this order, without case: the relative path, then the base name (of Windows paths too) in `folder` and
    in the picture folders beside it. Addresses (http:, file:, data:) mean nothing.
    """
    name = name.strip().strip('"').replace("\\", "/")
    if not name or "\0" in name or _SCHEME.match(name):
        return None
    absolute = name.startswith("/") or name[1:2] == ":"
    base = name.rsplit("/", 1)[-1]
    wanted = [] if absolute else [(folder, name.split("/"))]
    wanted += [(place, [base]) for place in (folder, *picture_folders(folder))]
    for place, parts in wanted:
        path = _walk(place, parts, root)
        if path is not None and _why_not_opened(root, path) is None and path.is_file():
            return path
    return None


def resolve_uri(uri: str, folder: Path, root: Path) -> Path | None:
    """As `resolve_reference`, for a percent-encoded URI."""
    if _SCHEME.match(uri):
        return None
    return resolve_reference(unquote(uri), folder, root) or resolve_reference(uri, folder, root)


def leaves_folder(name: str, folder: Path, root: Path) -> bool:
    """Whether a reference is an attempt to reach outside of `root`: by an address, `..` or an absolute path."""
    name = unquote(name).strip().replace("\\", "/")
    if _SCHEME.match(name) or name.startswith("/"):
        return True
    return not Path(os.path.normpath(folder / name)).is_relative_to(root)


def picture_folders(folder: Path) -> list[Path]:
    """Folders beside a mesh that by their name hold its pictures, sorted."""
    with contextlib.suppress(OSError):
        entries = sorted(folder.iterdir())
        return [e for e in entries if is_picture_folder(e.name) and e.is_dir() and not e.is_symlink()]
    return []


def is_picture_folder(name: str) -> bool:
    """Whether a folder's name says that it holds a mesh's pictures."""
    return _PICTURE_FOLDERS.fullmatch(name) is not None


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def _why_not_opened(root: Path, path: Path) -> str | None:
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if not target.exists():
            return "a link to nothing"
        if target.is_dir():
            return "a link to a folder is not followed; pass that folder as a further --scans"
    if not Path(os.path.realpath(path)).is_relative_to(root):
        return "a link that leads out of the scans folder; pass its target's folder as a further --scans"
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if regular else "not a regular file"


def _walk(place: Path, parts: list[str], root: Path) -> Path | None:
    """Follows path parts without case, never leaving root, exact spelling first."""
    for part in parts:
        if part in ("", "."):
            continue
        if part == "..":
            place = place.parent
        else:
            match = _entry(place, part)
            if match is None:
                return None
            place = match
        if not place.is_relative_to(root):
            return None
    return place


def _entry(place: Path, name: str) -> Path | None:
    try:
        if (place / name).exists():
            return place / name
        return next((e for e in sorted(place.iterdir()) if e.name.casefold() == name.casefold()), None)
    except OSError:  # a name too long, a folder that cannot be listed
        return None


class HashMemory:
    """What the bytes of files hash to and say, remembered in a cache by (path, size, mtime, inode): big scans are read
    once.

    Several threads and processes may share it: the file is replaced as a whole, and an entry lost in a race
    is only computed again.
    """

    def __init__(self, file: Path):
        self._file = file
        self._known = self._load()
        self._new: dict[str, list] = {}
        self._lock = threading.Lock()

    def sha256(self, path: Path) -> str:
        """Hash of a file's bytes, hex. Raises OSError."""
        return self._remembered(path, str(path), _sha256)

    def says(self, path: Path, what: str, read: Callable[[Path], dict]) -> dict:
        """What `read` finds in a file's bytes: a dict that JSON can hold. what: names the reader and its version."""
        return self._remembered(path, f"{path}\0{what}", read)

    def _remembered(self, path: Path, name: str, read: Callable[[Path], str | dict]) -> str | dict:
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns, state.st_ino]
        entry = self._known.get(name)
        if entry is not None and entry[:3] == stamp:
            return entry[3]
        value = read(path)
        if time.time_ns() - state.st_mtime_ns > _SETTLED_NS:
            with self._lock:
                self._new[name] = [*stamp, value]
        return value

    def save(self) -> None:
        """Merges what is new into the cache's file."""
        if self._new:
            merged = {**self._load(), **self._new}
            write_atomically(self._file, json.dumps(merged, sort_keys=True).encode())

    def _load(self) -> dict[str, list]:
        try:
            entries = json.loads(self._file.read_bytes())
            return {name: entry for name, entry in entries.items() if _is_entry(name, entry)}
        except (OSError, ValueError, AttributeError):
            return {}  # a cache: whatever is wrong with it, the files themselves are the truth


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_entry(name: str, entry) -> bool:
    return isinstance(entry, list) and len(entry) == 4 and isinstance(entry[3], dict if "\0" in name else str)


def write_atomically(path: Path, data: bytes) -> None:
    """A file that is either not there or whole, also with several writers."""
    with new_sibling(path) as temporary:
        temporary.write_bytes(data)
        os.replace(temporary, path)


@contextlib.contextmanager
def new_sibling(path: Path) -> Iterator[Path]:
    """A path of its own in a fresh hidden folder beside `path`, on the same disk; what is left there is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder, path.name)
