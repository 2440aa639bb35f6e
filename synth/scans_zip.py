"""A zip of one scan: unpacked once into the cache, where nothing in it leads out, and treated as a folder.

Only files that a scan can use are unpacked; names that lead out, links, encrypted and over-large members are not.
"""

import os
import re
import stat
import unicodedata
import zipfile
import zlib
from pathlib import Path

from synth.scans_files import MESH_SUFFIXES, PICTURE_SUFFIXES, new_sibling, printable
from synth.scans_raw import BadScan

#: What a scan can use.
_USEFUL = {*MESH_SUFFIXES, *PICTURE_SUFFIXES, ".mtl", ".bin", ".txt", ".md", ".html", ".pdf"}
_MOST_MEMBERS = 4096
_MOST_BYTES = 16 * 2**30
#: A member above 64 MiB that shrinks more than this is a bomb; meshes and pictures shrink to a tenth at most.
_SMALL, _MOST_RATIO = 64 * 2**20, 100
_LONGEST_NAME = 200
_DONE = ".unpacked"


def unpack_zip(path: Path, sha256: str, cache: Path) -> Path:
    """The folder with a zip's useful files, `<cache>/zips/<sha256>`. Raises BadScan with one line; OSError."""
    folder = cache / "zips" / sha256[:32]
    if (folder / _DONE).is_file():
        return folder
    try:
        with zipfile.ZipFile(path) as archive:
            members = _useful(archive)
            with new_sibling(folder) as new:
                new.mkdir()
                for name, member in members.items():
                    _extract(archive, member, new / name)
                (new / _DONE).touch()
                try:
                    os.rename(new, folder)
                except OSError:
                    if not (folder / _DONE).is_file():
                        raise  # else another process was first
    except BadScan:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BadScan(f"the zip cannot be read ({' '.join(str(error).split())[:100]})") from error
    return folder


def _useful(archive: zipfile.ZipFile) -> dict[Path, zipfile.ZipInfo]:
    """Members to be unpacked, by their path below the new folder."""
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise BadScan(f"the zip has {len(infos)} members; unpack it yourself")
    found: dict[Path, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    for info in infos:
        parts = _parts(info.filename)
        if info.is_dir() or any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if Path(parts[-1]).suffix.lower() not in _USEFUL:
            continue
        _check(info)
        # Two names that differ in case or composition only would be one file on other machines.
        key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        if key not in taken:
            taken.add(key)
            found[Path(*parts)] = info
    if sum(info.file_size for info in found.values()) > _MOST_BYTES:
        raise BadScan(f"the zip would unpack to more than {_MOST_BYTES // 2**30} GiB")
    if not any(name.suffix.lower() in MESH_SUFFIXES for name in found):
        raise BadScan("no mesh in the zip")
    return found


def _parts(name: str) -> list[str]:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    odd = any(
        part == ".." or re.search(r"[\0-\x1f:]", part) or len(os.fsencode(part)) > _LONGEST_NAME for part in parts
    )
    if not parts or odd or name.startswith(("/", "\\")):
        raise BadScan(f"the zip holds the name {printable(name)[:60]!r}, which leads out of it or cannot be")
    return parts


def _check(info: zipfile.ZipInfo) -> None:
    shown = printable(info.filename)[:60]
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BadScan(f"the zip holds a link or device: {shown!r}")
    if info.flag_bits & 1:
        raise BadScan("the zip is encrypted; unpack it yourself")
    if info.file_size > _SMALL and info.file_size > _MOST_RATIO * max(info.compress_size, 1):
        raise BadScan(f"{shown!r} in the zip grows {info.file_size // max(info.compress_size, 1)} times: a bomb")


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Writes a member; never more than it says it has."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as read, target.open("xb") as write:
        left = info.file_size
        while block := read.read(min(2**20, left + 1)):
            left -= len(block)
            if left < 0:
                raise BadScan(f"{printable(info.filename)[:60]!r} in the zip is larger than it says")
            write.write(block)
        if left:
            raise BadScan(f"{printable(info.filename)[:60]!r} in the zip is cut short")
