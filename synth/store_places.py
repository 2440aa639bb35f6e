"""Where every sample's bytes lie, as numpy arrays: no Python object per row, so that forked readers share the pages."""

from pathlib import Path

import numpy as np

from synth.codec import MEMBERS, OPTIONAL
from synth.store_record import MOST_SAMPLES, StoreError
from synth.store_shard import BLOCK, END_OF_ARCHIVE, LARGEST_MEMBER
from synth.store_table import length_column, offset_column, schema

#: The columns of the index that a reader needs.
PLACE_COLUMNS = ["index", "shard", "content_sha256"] + [
    column(extension) for extension in MEMBERS for column in (offset_column, length_column)
]


class Places:
    """The index in memory, checked: every range lies in its shard, where the lengths before it put it."""

    def __init__(self, table, shard_bytes: np.ndarray, path: Path):
        """table: pyarrow, with PLACE_COLUMNS. shard_bytes: (S,) int64. path: named in errors."""
        for name in PLACE_COLUMNS:
            if name not in table.column_names or table.schema.field(name).type != schema().field(name).type:
                raise StoreError(f"{path}: its index has no column {name!r} of type {schema().field(name).type}")
            if table[name].null_count and not _may_lack(name):
                raise StoreError(f"{path}: its index has gaps in column {name!r}")
        self.index = table["index"].to_numpy()
        """(N,) int32, ascending."""
        self.shard = table["shard"].to_numpy()
        """(N,) int32, counts in the manifest's shards."""
        self._offsets, self._lengths = (
            np.stack([table[column(name)].fill_null(-1).to_numpy() for name in MEMBERS], axis=1)
            for column in (offset_column, length_column)
        )  # (N, len(MEMBERS)), -1 where a sample lacks a member
        self.contents = fixed_bytes(table["content_sha256"])
        """(N, 32) uint8: content_sha256."""
        self._check(shard_bytes, path)

    def ranges(self, i: int) -> dict[str, tuple[int, int]]:
        """First byte and end of each member of the i-th sample, in its shard."""
        return {
            name: (int(offset), int(offset) + int(length))
            for name, offset, length in zip(MEMBERS, self._offsets[i], self._lengths[i], strict=True)
            if length >= 0
        }

    def fragment_bytes(self) -> np.ndarray:
        """(N,) int64: bytes from each sample's first header to the end of its last member's padding."""
        last = self._offsets[:, -1] + self._lengths[:, -1]  # every sample has a `.json`, behind all others
        return last + -last % BLOCK - (self._offsets[:, 0] - BLOCK)

    def content(self, i: int) -> str:
        """content_sha256 of the i-th sample."""
        return self.contents[i].tobytes().hex()

    def _check(self, shard_bytes: np.ndarray, path: Path) -> None:
        offsets, lengths = self._offsets, self._lengths
        bad = (self.index < 0) | (self.index >= MOST_SAMPLES) | (self.shard < 0) | (self.shard >= len(shard_bytes))
        bad[1:] |= np.diff(self.index) <= 0
        end_of_shard = shard_bytes[np.where(bad, 0, self.shard)] - len(END_OF_ARCHIVE)
        present = lengths >= 0
        bad |= (present != (offsets >= 0)).any(axis=1) | (lengths > LARGEST_MEMBER).any(axis=1)
        bad |= (offsets > end_of_shard[:, None]).any(axis=1)  # before any sum: int64 must not wrap
        end = offsets[:, 0] - BLOCK
        bad |= end < 0
        for k in range(len(MEMBERS)):
            bad |= present[:, k] & (offsets[:, k] != end + BLOCK)
            data_end = offsets[:, k] + lengths[:, k]
            end = np.where(present[:, k], data_end + -data_end % BLOCK, end)
        bad |= end > end_of_shard
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise StoreError(f"{path}: the index says of sample {int(self.index[i])} what no shard can hold")


def _may_lack(column: str) -> bool:
    return column in {name(extension) for extension in OPTIONAL for name in (offset_column, length_column)}


def fixed_bytes(column) -> np.ndarray:
    """A pyarrow column of binary(W) without nulls as (N, W) uint8."""
    width = column.type.byte_width
    chunks = [
        np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, width)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate(chunks) if chunks else np.zeros((0, width), np.uint8)
