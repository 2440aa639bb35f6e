"""A dataset in a local folder, or one that is mounted (NFS).

Bytes reach their final name in one step: they are written in full under `tmp/`, made durable, then published. Whatever
kills a writer at whatever point, a final name holds a whole file or none.
"""

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from synth.store_names import StoreError, check_name

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

#: Temporary files older than this belong to dead writers: sealing the largest shard takes minutes.
_STALE_SECONDS = 3600
_TRIES = 5


@dataclass(frozen=True)
class LocalFolder:
    """See `synth.store_folder.Folder`."""

    place: Path

    def where(self, name: str) -> str:
        """The path."""
        return str(self._path(name))

    def read(self, name: str, most: int | None = None) -> bytes:
        """A whole file; what is no plain file is refused, for opening a pipe would wait for ever."""
        with clear_errors(self.place, FileNotFoundError):
            file = _OpenFile(self._path(name))
            if most is not None and file.size > most:
                raise StoreError(f"{self.where(name)}: more than {most} bytes")
            return file.read_up_to(0, file.size)

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Some bytes of a file."""
        with clear_errors(self.place, FileNotFoundError):
            return _OpenFile(self._path(name)).read_up_to(start, end)

    def open(self, name: str, size: int) -> "_OpenFile":
        """One descriptor, for as long as somebody holds what is returned."""
        with clear_errors(self.place):
            file = _OpenFile(self._path(name))
        if file.size != size:
            raise StoreError(f"{self.where(name)}: has {file.size} bytes, the dataset says {size}")
        return file

    def size(self, name: str) -> int | None:
        """None also for what is no plain file."""
        with clear_errors(self.place):
            try:
                found = self._path(name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def listing(self, name: str) -> list[str]:
        """As the folder has them."""
        with clear_errors(self.place):
            try:
                return os.listdir(self._path(name) if name else self.place)
            except FileNotFoundError:
                return []

    def sizes(self, name: str) -> dict[str, int]:
        """Plain files alone."""
        with clear_errors(self.place):
            try:
                with os.scandir(self._path(name) if name else self.place) as entries:
                    return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
            except FileNotFoundError:
                return {}

    def ages(self, name: str) -> dict[str, float]:
        """By the file server's clock, which need not be ours."""
        with clear_errors(self.place):
            now = self._now()
            try:
                with os.scandir(self._path(name)) as entries:
                    return {entry.name: now - entry.stat().st_mtime for entry in entries if entry.is_file()}
            except FileNotFoundError:
                return {}

    def publish(self, name: str, chunks: Iterable[bytes]) -> None:
        """By renaming."""
        with clear_errors(self.place):
            _rename(_write_temporary(self.place, chunks), self._path(name))

    def publish_hashed(self, chunks: Iterable[bytes], name_of: Callable[[str], str]) -> tuple[str, int, str]:
        """Hashed while it is written."""
        digest = hashlib.sha256()
        with clear_errors(self.place):
            temporary = _write_temporary(self.place, _hashed(chunks, digest))
            size, sha256 = temporary.stat().st_size, digest.hexdigest()
            name = name_of(sha256)
            path = self._path(name)
            _rename(temporary, path)
            _sync_folder(path.parent)
        return name, size, sha256

    def create(self, name: str, chunks: Iterable[bytes]) -> bool:
        """By a hard link."""
        with clear_errors(self.place):
            path = self._path(name)
            ours = _create_if_absent(_write_temporary(self.place, chunks), path)
            _sync_folder(path.parent)
        return ours

    def remove(self, names: Iterable[str]) -> None:
        """In the order given."""
        folders = set()
        with clear_errors(self.place):
            for path in map(self._path, names):
                path.unlink(missing_ok=True)
                folders.add(path.parent)
            for folder in folders:
                with suppress(OSError):  # not empty
                    folder.rmdir()

    def sweep(self) -> None:
        """Temporary files that are old by the file server's clock, which need not be ours."""
        with clear_errors(self.place):
            now = self._now()
            for path in (self.place / "tmp").iterdir():
                try:
                    if now - path.stat().st_mtime > _STALE_SECONDS:
                        path.unlink()
                except FileNotFoundError:
                    continue  # its writer, or another sweeper, was quicker

    def open_log(self, name: str) -> "_LocalLog":
        """Every line is there once it is written."""
        with clear_errors(self.place):
            path = self._path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            return _LocalLog(self.place, path.open("a", encoding="utf-8"))

    def _now(self) -> float:
        probe = _write_temporary(self.place, ())
        now = probe.stat().st_mtime
        probe.unlink()
        return now

    def _path(self, name: str) -> Path:
        return self.place / check_name(self.place, name)


@contextmanager
def clear_errors(place: Path, *answers: type[OSError]) -> Iterator[None]:
    """Turns an OSError into a StoreError of one line: a full disk, a folder that may not be written.

    answers: errors that the caller is told as they are.
    """
    try:
        yield
    except answers:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"{place}: no room left ({error.strerror}); nothing is lost, free some and run the same command again"
            ) from error
        raise StoreError(f"{error.filename or place}: {error.strerror or error}") from error


class _OpenFile:
    """An open file that closes when the last thread that reads it lets go."""

    def __init__(self, path: Path):
        self._path, self._descriptor = path, -1
        # Non-blocking: what a stranger calls a shard may be a pipe, and opening that would wait for ever.
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except NotADirectoryError as error:  # no file can be there, whatever else is
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path}: is no plain file")
        self.size = found.st_size

    def read(self, start: int, end: int) -> bytes:
        """All of start..end."""
        with clear_errors(self._path):
            data = self.read_up_to(start, end)
        if len(data) < end - start:
            raise StoreError(f"{self._path}: ends at byte {start + len(data)}")
        return data

    def read_up_to(self, start: int, end: int) -> bytes:
        """What there is of start..end."""
        pieces, at = [], start
        while at < end and (piece := os.pread(self._descriptor, end - at, at)):
            pieces.append(piece)
            at += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __del__(self):
        if self._descriptor >= 0:
            os.close(self._descriptor)


class _LocalLog:
    def __init__(self, place: Path, file: TextIO):
        self._place, self._file = place, file

    def write(self, line: str) -> None:
        with clear_errors(self._place):
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        with clear_errors(self._place):
            self._file.close()


def _hashed(chunks: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _write_temporary(place: Path, chunks: Iterable[bytes]) -> Path:
    """A new durable file in `tmp/` with these bytes; none is left behind on an error."""
    path = place / "tmp" / uuid.uuid4().hex
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:  # the first file of a dataset
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    try:
        try:
            for chunk in chunks:
                _write_all(descriptor, chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _rename(temporary: Path, final: Path) -> None:
    """Moves a temporary file to its final name, replacing what was there."""
    try:
        for _ in range(_TRIES):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(temporary, final)
            except FileNotFoundError:
                if temporary.exists():  # whoever emptied the folder removed it after our mkdir: once more
                    continue
                if not final.exists():
                    raise
            # Without a temporary but with the final file it worked: NFS may lose the reply and ask twice.
            return
        raise StoreError(f"{final.parent}: the folder vanishes again and again while it is written to")
    finally:
        temporary.unlink(missing_ok=True)


def _create_if_absent(temporary: Path, final: Path) -> bool:
    """Gives a temporary file its final name unless that is taken; either way `final` is whole afterwards.

    The first of many racing writers wins; whether it is this one. The temporary name is gone afterwards.
    """
    ours = temporary.stat().st_ino
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        os.link(temporary, final)
    except FileExistsError:
        pass  # another writer's, or our own by an NFS reply that was lost
    except OSError as error:
        if final.exists() and final.read_bytes() == temporary.read_bytes():
            pass  # NFS reported a failure though it worked
        elif error.errno not in _NO_HARD_LINKS:
            raise
        elif not final.exists():
            # Without hard links no step is both exclusive and whole. Whole matters: of two racing writers the last
            # then wins, and both records are right.
            os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    return final.stat().st_ino == ours


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
