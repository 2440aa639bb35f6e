"""Shards opened for reading: byte ranges of files, a bounded number of them open, in every process its own."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

from synth.store_folder import Folder, OpenFile

#: Shards kept open in one process; the usual limit of a process is 1024 files.
_MOST_OPEN = 64


class OpenShards:
    """Reads ranges of a store's shards. Threads may share it; pickling and forking leave the open files behind."""

    def __init__(self, folder: Folder, shards: Sequence[tuple[str, int]]):
        """shards: (name, bytes)."""
        self._folder = folder
        self._shards = tuple(shards)
        self._start()

    def read(self, shard: int, start: int, end: int) -> bytes:
        """Bytes start..end of a shard, by its number. Raises StoreError naming the shard."""
        return self._opened(shard).read(start, end)

    def __getstate__(self) -> dict:
        return {"_folder": self._folder, "_shards": self._shards}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start()

    def _start(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._open: OrderedDict[int, OpenFile] = OrderedDict()

    def _opened(self, shard: int) -> OpenFile:
        if self._process != os.getpid():  # forked, perhaps while another thread held the lock
            self._start()
        with self._lock:
            if shard not in self._open:
                self._open[shard] = self._folder.open(*self._shards[shard])
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard]
