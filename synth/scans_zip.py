"""A zip of one scan: unpacked once into the cache, where nothing in it leads out, and treated as a folder.

Only files that a scan can use are unpacked; names that lead out, links, encrypted and over-large members are not.
"""

import os
import re
import shutil
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path

from synth.scans_files import MESH_SUFFIXES, PICTURE_SUFFIXES, new_sibling, printable
from synth.scans_raw import BadScan
from synth.scans_zipfile import check_member, open_zip

#: What a scan can use.
_USEFUL = {*MESH_SUFFIXES, *PICTURE_SUFFIXES, ".mtl", ".bin", ".txt", ".md", ".html", ".pdf"}
_MOST_MEMBERS = 4096
_MOST_BYTES = 16 * 2**30
#: What is above 64 MiB, as a member or as a whole, and has shrunk more than this, is a bomb; meshes and pictures shrink
#: to a tenth at most.
_SMALL, _MOST_RATIO = 64 * 2**20, 100
_LONGEST_NAME = 200
#: A drive, a stream of NTFS, or what a terminal would take for a command.
_ODD = re.compile(r"[\0-\x1f\x7f-\x9f:]")
_DONE = ".unpacked"


def unpack_zip(path: Path, sha256: str, cache: Path) -> Path:
    """The folder with a zip's useful files, `<cache>/zips/<sha256>`. Raises BadScan with one line; OSError."""
    folder = cache / "zips" / sha256[:32]
    if (folder / _DONE).is_file():
        return folder
    with open_zip(path) as archive:
        members = _useful(archive)
        _check_total(members.values(), path.stat().st_size, cache)
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
    if not any(name.suffix.lower() in MESH_SUFFIXES for name in found):
        raise BadScan("no mesh in the zip")
    return found


def _parts(name: str) -> list[str]:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    odd = any(part == ".." or _ODD.search(part) or len(os.fsencode(part)) > _LONGEST_NAME for part in parts)
    if not parts or odd or name.startswith(("/", "\\")):
        raise BadScan(f"the zip holds the name {printable(name)[:60]!r}, which leads out of it or cannot be")
    return parts


def _check(info: zipfile.ZipInfo) -> None:
    check_member(info)
    if info.file_size > _SMALL and info.file_size > _MOST_RATIO * max(info.compress_size, 1):
        times = info.file_size // max(info.compress_size, 1)
        raise BadScan(f"{printable(info.filename)[:60]!r} in the zip grows {times} times: a bomb")


def _check_total(infos: Iterable[zipfile.ZipInfo], zip_bytes: int, cache: Path) -> None:
    """Raises BadScan where all members together are a bomb, or more than there is room for."""
    total = sum(info.file_size for info in infos)
    if total > _MOST_BYTES:
        raise BadScan(f"the zip would unpack to more than {_MOST_BYTES // 2**30} GiB")
    if total > _SMALL and total > _MOST_RATIO * zip_bytes:  # each of them may be small, and some share their bytes
        raise BadScan(f"the zip grows {total // zip_bytes} times: a bomb")
    cache.mkdir(parents=True, exist_ok=True)
    if total > (free := shutil.disk_usage(cache).free):
        raise BadScan(f"the zip would unpack to {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free in the cache")


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
