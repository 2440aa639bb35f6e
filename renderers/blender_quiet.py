"""Keeping what Blender says in C out of the user's way."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def stdout_to(log: Path) -> Iterator[None]:
    """Blender reports every frame on C's standard output, past sys.stdout: kept in a file instead.

    Lines that name an error are passed on to standard error.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    with open(log, "wb") as file:  # the last frame's report is enough
        os.dup2(file.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            for line in log.read_bytes().splitlines():
                if b"Error:" in line:
                    os.write(2, line + b"\n")
