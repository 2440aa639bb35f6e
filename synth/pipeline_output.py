"""What a worker's process writes to standard output and error, C code included: kept in a file, errors picked out."""

import os
import sys
from pathlib import Path

#: The file starts anew beyond this: a worker may live for days.
_LARGEST = 2**20
_MOST_ERRORS = 5
_LONGEST_ERROR = 200


class Output:
    """Points this process's standard output and error to a file, for good."""

    def __init__(self, path: Path):
        self.path = path
        sys.stdout.flush()
        sys.stderr.flush()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for descriptor in (1, 2):
            os.dup2(self._file, descriptor)
        self._read = 0

    def new_errors(self) -> tuple[str, ...]:
        """Lines with `Error:` since the last call: the first five, cut to 200 characters."""
        sys.stdout.flush()
        size = os.fstat(self._file).st_size
        text = os.pread(self._file, min(size - self._read, _LARGEST), self._read).decode("utf-8", "replace")
        self._read = size
        if size > _LARGEST:
            os.ftruncate(self._file, 0)
            self._read = 0
        return error_lines(text)


def error_lines(text: str) -> tuple[str, ...]:
    """Lines that name an error, as Blender (`Error: …`) and Python (`ValueError: …`) do."""
    lines = (" ".join(line.split()) for line in text.splitlines() if "Error:" in line)
    return tuple(line[:_LONGEST_ERROR] for line in lines)[:_MOST_ERRORS]


def last_lines(path: Path, count: int = 3) -> str:
    """The end of a log on one line; empty where it cannot be read, e.g. on another machine."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return " | ".join(" ".join(line.split())[:_LONGEST_ERROR] for line in lines[-count:] if line.strip())
