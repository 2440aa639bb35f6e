"""Compaction: what still lives in shards that are mostly dead moves to new shards, byte for byte.

A version's root does not change by it. The old shards stay for as long as a tag's version lies in them; what nothing
reaches any more is for `synth.version_gc`.
"""

from collections.abc import Iterator

import numpy as np

from synth.store import Dataset
from synth.store_record import Row
from synth.store_revision import Revision
from synth.store_shard import END_OF_ARCHIVE, fragment


def sparse_shards(dataset: Dataset, below: float) -> np.ndarray:
    """Numbers of the shards of which less than a share `below` of the bytes belongs to this version's samples."""
    whole = np.array([shard["bytes"] for shard in dataset.manifest["shards"]], np.int64) - len(END_OF_ARCHIVE)
    return np.flatnonzero(dataset.live_bytes < below * whole)


def compact(dataset: Dataset, revision: Revision) -> Iterator[int]:
    """Seals the revision's samples as they are stored, every byte verified; yields how many are done."""
    sealed, done = set(revision.sealed()), 0
    for chunk in revision.chunks:
        if chunk not in sealed:
            revision.seal(chunk, chunk, lambda index: _take(dataset, index))
        done += len(chunk)
        yield done


def _take(dataset: Dataset, index: int) -> tuple[Row, bytes]:
    position = int(np.searchsorted(dataset.ids, index))
    row = dataset.recorded(position)
    return row, fragment(row.id, dataset.members(position, verify=True))
