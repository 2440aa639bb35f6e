"""How bytes reach their final name: written in full under `tmp/`, made durable, then published in one step.

Whatever kills a writer at whatever point, a final name holds a whole file or none.
"""

import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synth.store_record import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

#: Temporary files older than this belong to dead writers: sealing the largest shard takes minutes.
_STALE_SECONDS = 3600
_TRIES = 5


@contextmanager
def clear_errors(store: Path) -> Iterator[None]:
    """Turns an OSError into a StoreError of one line: a full disk, a folder that may not be written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"{store}: no room left ({error.strerror}); nothing is lost, free some and run the same command again"
            ) from error
        raise StoreError(f"{error.filename or store}: {error.strerror or error}") from error


def write_temporary(store: Path, chunks: Iterable[bytes]) -> Path:
    """A new durable file in the store's `tmp/` with these bytes; none is left behind on an error."""
    path = store / "tmp" / uuid.uuid4().hex
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
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


def publish(temporary: Path, final: Path) -> None:
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


def create_if_absent(temporary: Path, final: Path) -> None:
    """Gives a temporary file its final name unless that is taken; either way `final` is whole afterwards.

    The first of many racing writers wins. The temporary name is gone afterwards.
    """
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


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sweep_temporary(store: Path) -> None:
    """Removes temporary files of dead writers."""
    probe = write_temporary(store, ())
    now = probe.stat().st_mtime  # the file server's clock, which need not be ours
    probe.unlink()
    for path in (store / "tmp").iterdir():
        try:
            if now - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # its writer, or another sweeper, was quicker


def listing(folder: Path) -> list[str]:
    """Names in a folder, in no order; none if it is not there."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
