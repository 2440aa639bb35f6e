"""A stranger's zip, opened so that its directory and its members cost no more than they may.

Python's zipfile reads the whole directory into memory, however long the file says it is, and knows ways of packing
whose dictionaries may take 4 GB. Used for scans in zips (`synth.scans_zip`) and for .npz (`synth.scans_arrays`).
"""

import contextlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from synth.scans_files import printable
from synth.scans_raw import BadScan

#: 4096 members with names of 200 bytes take 1 MB; unpacking reads blocks of 1 MiB at most.
_MOST_AT_ONCE = 4 * 2**20
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError)


class _Careful:
    """A file that gives no more than 4 MiB at a time: what zipfile wants at once is its directory."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.seek, self.tell, self.seekable, self.close = stream.seek, stream.tell, stream.seekable, stream.close

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_AT_ONCE:
            raise BadScan("the zip's directory is larger than any scan needs; unpack it yourself")
        return self._stream.read(_MOST_AT_ONCE if size < 0 else size)


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip to be read. Whatever is wrong with it, now or while it is read, becomes BadScan with one line."""
    try:
        with path.open("rb") as stream, zipfile.ZipFile(_Careful(stream)) as archive:
            yield archive
    except BadScan:
        raise
    except _BROKEN as error:
        raise BadScan(f"the zip cannot be read ({' '.join(str(error).split())[:100]})") from error


def check_member(info: zipfile.ZipInfo) -> None:
    """Raises BadScan for links, devices, encrypted members and ways of packing that need memory of their own."""
    shown = printable(info.filename)[:60]
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BadScan(f"the zip holds a link or device: {shown!r}")
    if info.flag_bits & 1:
        raise BadScan("the zip is encrypted; unpack it yourself")
    if info.compress_type not in _PACKED:
        raise BadScan(f"{shown!r} is packed in a way that is not read here; unpack it yourself")
