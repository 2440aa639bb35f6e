"""A core of its own for a renderer of one thread.

Told to use one thread, Blender still builds its light map on every core it may, and lets a second thread spin while the
first one traces paths: measured, twice the core-seconds for the same wall time. Bound to one core it takes one. Who has
which is settled by file locks, which end with their process; where every core is taken, nobody is bound.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


class Core:
    """Binds this process, all its threads and those to come, to a core that no other renderer here holds."""

    def __init__(self):
        self._allowed = _allowed()
        self._lock = _lock_one(self._allowed)
        if self._lock is not None:
            _bind({self._lock[0]})

    @property
    def number(self) -> int | None:
        """Which core; None where none was free or this system binds no process."""
        return None if self._lock is None else self._lock[0]

    def close(self) -> None:
        """Gives the core back."""
        if self._lock is not None:
            _bind(self._allowed)
            os.close(self._lock[1])
            self._lock = None


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _lock_one(cores: Iterable[int]) -> tuple[int, int] | None:
    """The first core whose lock is free, and the lock's open file."""
    for core in sorted(cores):
        path = Path(tempfile.gettempdir() if not Path("/dev/shm").is_dir() else "/dev/shm") / f"synth-core-{core}"
        try:
            import fcntl

            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except (ImportError, OSError):  # another user's lock, or no such thing here
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            continue
        return core, file
    return None


def _bind(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            os.sched_setaffinity(int(thread.name), cores)
