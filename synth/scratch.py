"""Folders that die with their process: what `kill -9` leaves behind, the next process sweeps up."""

import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"synth-(\d+)-[A-Za-z0-9_]+")


def scratch_folder(in_memory: bool) -> Path:
    """A new folder of this process's own, in shared memory where there is some and it is asked for."""
    shm = Path("/dev/shm")
    parent = shm if in_memory and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())
    _sweep(parent)
    return Path(tempfile.mkdtemp(prefix=f"synth-{os.getpid()}-", dir=parent))


def _sweep(parent: Path) -> None:
    for folder in parent.iterdir():
        match = _NAME.fullmatch(folder.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
