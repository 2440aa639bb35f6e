"""Sealing: samples one behind the other become a shard under its content's name, and then a record is created.

The record is the only commit point. A shard without a record is an orphan for `synth.version_gc`.
"""

from collections.abc import Iterable, Iterator

from synth.recipe import canonical_json
from synth.store_folder import Folder
from synth.store_record import Row, ShardRecord, shard_name
from synth.store_shard import END_OF_ARCHIVE


def seal_samples(
    folder: Folder,
    record: str,
    model: type[ShardRecord],
    first: int,
    last: int,
    samples: Iterable[tuple[Row, bytes]],
) -> None:
    """Writes a shard of (row, fragment), ascending, and creates its record unless another has.

    record: its name. first, last: ids that shard and record are named by.
    """
    rows: list[Row] = []
    name, size, sha256 = folder.publish_hashed(
        _chunks(samples, rows), lambda sha256: f"shards/{shard_name(first, last, sha256)}"
    )
    shard = name.removeprefix("shards/")
    sealed = model(first=first, last=last, shard=shard, bytes=size, sha256=sha256, rows=tuple(rows))
    folder.create(record, [canonical_json(sealed).encode()])


def _chunks(samples: Iterable[tuple[Row, bytes]], rows: list[Row]) -> Iterator[bytes]:
    """The shard's bytes, piece by piece; `rows` receives the samples' rows with offsets in the shard."""
    start = 0
    for row, fragment in samples:
        rows.append(row.at(start))
        start += len(fragment)
        yield fragment
    yield END_OF_ARCHIVE
