"""WebDataset shards: ours as they are, or written anew where a filter or a version takes a part of one.

`archive` keeps every byte of a sample; `train` puts a JPEG of quality 98 in the place of the PNG (`rgb.jpg`), which
decodes faster, and keeps all other members. A whole shard of the archive encoding is a hard link to the dataset's own
file where the file system can, and keeps its name; others are called by their first and last id.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synth.export_dest import is_there, publish
from synth.export_job import Job, Made
from synth.export_pictures import TRAIN_QUALITY, jpeg_bytes
from synth.recipe import sample_id
from synth.sample import Sample
from synth.store import Dataset
from synth.store_files import LocalFolder
from synth.store_record import SHARD_SIZE, StoreError, unit_name
from synth.store_shard import END_OF_ARCHIVE, fragment, tar_entry

#: Bytes of a shard that are copied at a time.
_PIECE = 8 * 2**20


@dataclass(frozen=True)
class ShardTask:
    """One shard of the export, and which samples it takes."""

    name: str
    first: int
    """Rank of the first sample."""
    positions: tuple[int, ...]
    whole: int | None
    """The number, in the dataset's manifest, of the shard that it is byte by byte; None if it is written anew."""


def arrange(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """As they are: by id, and so by shard."""
    return positions


def plan(job: Job, arranged: np.ndarray) -> list[ShardTask]:
    """A shard each; parts of several shards, as samples rendered again leave them, become one of the usual size."""
    ids, numbers = job.dataset.ids[arranged], job.dataset.shard_numbers[arranged]
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    tasks, part = [], 0

    def write_anew(begin: int, end: int) -> None:
        for first in range(begin, end, SHARD_SIZE):
            last = min(first + SHARD_SIZE, end)
            name = f"shards/{unit_name(int(ids[first]), int(ids[last - 1]))}.tar"
            tasks.append(ShardTask(name, first, tuple(arranged[first:last].tolist()), None))

    for start, stop in zip(starts, [*starts[1:], len(arranged)], strict=True):
        path = job.dataset.manifest["shards"][numbers[start]]["path"]
        first, last, _ = path.removeprefix("shards/").split("-")
        if job.encoding == "archive" and stop - start == int(last) - int(first) + 1:
            write_anew(part, start)
            tasks.append(ShardTask(path, int(start), tuple(arranged[start:stop].tolist()), int(numbers[start])))
            part = stop
    write_anew(part, len(arranged))
    return tasks


def make(job: Job, task: ShardTask) -> list[Made]:
    """Writes the shard, unless it is there."""
    if not is_there(job.dest, task.name):
        if task.whole is None:
            publish(job.dest, task.name, _written(job, task.positions))
        elif job.copy or not _link(job, task):
            _copy(job, task)
    return [Made(rank, task.name) for rank in range(task.first, task.first + len(task.positions))]


def finish(job: Job, arranged: np.ndarray, made: list[Made]) -> None:
    """Nothing is written of all samples together."""


def train_members(members: dict[str, bytes], sample: Sample) -> dict[str, bytes]:
    """A sample's members with a JPEG in the PNG's place."""
    rest = {name: data for name, data in members.items() if name != "rgb.png"}
    return {"rgb.jpg": jpeg_bytes(sample.rgb, TRAIN_QUALITY), **rest}


def _written(job: Job, positions: tuple[int, ...]) -> Iterator[bytes]:
    for position in positions:
        name = sample_id(int(job.dataset.ids[position]))
        if job.encoding == "archive":
            yield fragment(name, job.dataset.members(position, verify=True))
            continue
        members = train_members(*job.dataset.read_stored(position, verify=True))
        yield b"".join(tar_entry(f"{name}.{extension}", data) for extension, data in members.items())
    yield END_OF_ARCHIVE


def _link(job: Job, task: ShardTask) -> bool:
    """Whether the shard is now another name of the dataset's file: bytes that nobody writes to again."""
    folder = job.dataset.folder
    entry = job.dataset.manifest["shards"][task.whole]
    if not isinstance(folder, LocalFolder) or folder.size(entry["path"]) != entry["bytes"]:
        return False
    target = job.dest / task.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(folder.where(entry["path"])), target)
    except FileExistsError:
        pass
    except OSError:  # another file system, or one without links
        return False
    return True


def _copy(job: Job, task: ShardTask) -> None:
    """Raises StoreError when the bytes are not those of the manifest."""
    folder, entry = job.dataset.folder, job.dataset.manifest["shards"][task.whole]
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        shard = folder.open(entry["path"], entry["bytes"])
        for start in range(0, entry["bytes"], _PIECE):
            piece = shard.read(start, min(start + _PIECE, entry["bytes"]))
            digest.update(piece)
            yield piece
        if digest.hexdigest() != entry["sha256"]:
            where = folder.where(entry["path"])
            raise StoreError(f"{where}: is not what its manifest says; `synth dataset verify` tells what is wrong")

    publish(job.dest, task.name, pieces())
