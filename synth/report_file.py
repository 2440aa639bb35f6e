"""How a report reaches its final name: written beside it in full, then renamed, so that no half page is ever seen."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: A folder of pictures beside a page, and one that is being made or was left by a killed process.
_FOLDER = re.compile(r"data-[0-9a-f]{12}|\.data-[0-9a-f]{12}\.\d+\.tmp")
_CHUNK_FILE = re.compile(r"\d{6}\.(js|jpg)")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the name `path` once the block is left without an error, and is gone otherwise."""
    temporary = _beside(path)
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the name `path` once the block is left without an error, and is gone otherwise.

    One of that name already there stays whole until then.
    """
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folders(parent: Path, keep: Path | None) -> None:
    """Removes the folders of pictures of earlier pages, if they hold nothing else; `keep` stays."""
    for folder in parent.iterdir():
        if folder == keep or not _FOLDER.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        if all(_CHUNK_FILE.fullmatch(file.name) for file in folder.iterdir()):
            shutil.rmtree(folder)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
