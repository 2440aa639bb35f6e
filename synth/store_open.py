"""Shards opened for reading: byte ranges of files, a bounded number of them open, in every process its own."""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from synth.store_record import StoreError

#: Shards kept open in one process; the usual limit of a process is 1024 files.
_MOST_OPEN = 64


class OpenShards:
    """Reads ranges of a store's shards. Threads may share it; pickling and forking leave the open files behind."""

    def __init__(self, store: Path, shards: Sequence[tuple[str, int]]):
        """shards: (path inside the store, bytes); paths have been checked to stay inside."""
        self._store = store
        self._shards = tuple(shards)
        self._start()

    def read(self, shard: int, start: int, end: int) -> bytes:
        """Bytes start..end of a shard, by its number. Raises StoreError naming the shard."""
        opened = self._opened(shard)
        pieces, at = [], start
        while at < end:
            piece = os.pread(opened.descriptor, end - at, at)
            if not piece:
                raise StoreError(f"{self._store / self._shards[shard][0]}: ends at byte {at}")
            pieces.append(piece)
            at += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __getstate__(self) -> dict:
        return {"_store": self._store, "_shards": self._shards}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start()

    def _start(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._open: OrderedDict[int, _Shard] = OrderedDict()

    def _opened(self, shard: int) -> "_Shard":
        if self._process != os.getpid():  # forked, perhaps while another thread held the lock
            self._start()
        with self._lock:
            if shard not in self._open:
                path, size = self._shards[shard]
                self._open[shard] = _Shard(self._store / path, size)
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard]


class _Shard:
    """An open file that closes when the last thread that reads it lets go."""

    def __init__(self, path: Path, size: int):
        self.descriptor = -1
        try:
            # Non-blocking: what a stranger calls a shard may be a pipe, and opening that would wait for ever.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened ({error.strerror})") from error
        found = os.fstat(self.descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            raise StoreError(f"{path}: has {found.st_size} bytes, the dataset says {size}")

    def __del__(self):
        if self.descriptor >= 0:
            os.close(self.descriptor)
