"""Where an export goes: one folder, one export. `export.json` says which, and is the last thing to be finished.

Files reach their final names whole (`synth.store_files`), so that an export goes on after any death by writing what is
not there. Next: `synth.export` fills the folder.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from synth.errors import UserError
from synth.recipe import canonical_json
from synth.store import Dataset
from synth.store_files import LocalFolder, clear_errors
from synth.store_record import Sha256, read_model

Layout = Literal["sapiens", "synthhuman", "webdataset", "hf"]
Encoding = Literal["archive", "train"]

EXPORT_FILE = "export.json"
_Text = Annotated[str, StringConstraints(max_length=4096)]

#: What decides an export's bytes besides the dataset's.
_TOOLS = ("synth", "numpy", "OpenEXR", "pillow", "pyarrow", "zlib-ng")


class Asked(BaseModel):
    """What is exported, from what. Another one is another export; no host, path or time is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    layout: Layout
    encoding: Encoding = "archive"
    root: Sha256
    """Identity of the dataset's content."""
    spec_sha256: Sha256
    """Of what the dataset was asked to be."""
    where: _Text | None = None
    """Which of its samples: an expression, see `synth.export_where`."""
    fraction: float = Field(1.0, gt=0, le=1)
    """Which share of them."""
    samples: int = Field(gt=0)
    """How many were chosen."""
    tools: dict[_Text, _Text]
    """Versions of the programs that write."""


class LeftOut(BaseModel):
    """A sample that was chosen, and would do harm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: _Text
    reasons: dict[_Text, _Text]
    """Rule: what was found."""


class ExportFile(BaseModel):
    """`export.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal["synth-export/1"] = "synth-export/1"
    asked: Asked
    version: _Text | None = None
    """Number of the dataset's version, if it had one."""
    finished: bool = False
    exported: int | None = None
    """Samples that are there, once it is finished."""
    left_out: tuple[LeftOut, ...] = ()
    licences: tuple[_Text, ...] = ()
    """Of scans and backgrounds, as the dataset states them; LICENCES.md or README.md says more."""


def asked_of(
    dataset: Dataset, layout: Layout, encoding: Encoding, where: str | None, fraction: float, samples: int
) -> Asked:
    """What is asked for, of a committed version."""
    return Asked(
        layout=layout,
        encoding=encoding,
        root=dataset.root,
        spec_sha256=dataset.manifest["spec_sha256"],
        where=where,
        fraction=fraction,
        samples=samples,
        tools={name: version(name) for name in _TOOLS},
    )


@contextmanager
def opened(dest: Path, begin: ExportFile) -> Iterator[ExportFile]:
    """The folder's export, this process's own until the block is left; begun if the folder is new or empty.

    Raises UserError when it holds another export (naming the difference), anything else, or is being written to.
    """
    with clear_errors(dest):
        dest.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(dest, descriptor)
        found = read_export(dest)
        if found is None:
            _refuse_others(dest)
            write_export(dest, begin)
        elif difference := _difference(found.asked, begin.asked):
            raise UserError(f"{dest}: holds an export of another kind: {difference}; give another --dest")
        shutil.rmtree(dest / "tmp", ignore_errors=True)  # of a process that was killed
        yield found or begin
        shutil.rmtree(dest / "tmp", ignore_errors=True)
    finally:
        os.close(descriptor)


def read_export(dest: Path) -> ExportFile | None:
    """The `export.json` of a folder; None if it has none. Raises StoreError for one that is none."""
    try:
        return read_model(ExportFile, LocalFolder(dest), EXPORT_FILE)
    except FileNotFoundError:
        return None


def write_export(dest: Path, export: ExportFile) -> None:
    """Writes it, replacing what was there."""
    publish(dest, EXPORT_FILE, (canonical_json(export) + "\n").encode())


def publish(dest: Path, name: str, chunks: bytes | Iterable[bytes]) -> None:
    """A file of these bytes, at once. Raises StoreError in one line."""
    LocalFolder(dest).publish(name, [chunks] if isinstance(chunks, bytes) else chunks)


def is_there(dest: Path, name: str) -> bool:
    """Whether a file is finished."""
    return LocalFolder(dest).size(name) is not None


def _lock(dest: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise UserError(f"{dest}: another `synth export` is writing here; let it finish, or stop it") from error
        # A file server without locks: the files themselves do not mind two writers of the same export.


def _refuse_others(dest: Path) -> None:
    others = {name for name in os.listdir(dest) if name not in ("tmp", "lost+found")}
    if others:
        raise UserError(f"{dest}: holds {min(others)!r:.80} and is no export; give a new or empty folder")


def _difference(old: Asked, new: Asked) -> str | None:
    a, b = ({**asked.model_dump(exclude={"tools"}), **asked.tools} for asked in (old, new))
    lines = [f"{key} {a.get(key)!s:.80} there, {b[key]!s:.80} asked for" for key in b if a.get(key) != b[key]]
    return "; ".join(lines) or None
