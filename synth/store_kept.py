"""A finished sample wherever it is at the moment: staged, or sealed in a shard that no version holds yet."""

from synth.codec import decode_sample
from synth.sample import Sample
from synth.store_record import Row, StoreError, read_record
from synth.store_shard import split
from synth.store_stage import NotStaged
from synth.store_write import Run


def read_kept(run: Run, index: int) -> Sample:
    """The sample. Raises StoreError when it is neither staged nor sealed, or is not what its row says."""
    for _ in range(2):  # it may be sealed between the two looks
        try:
            row, fragment = run.read_staged(index)
        except NotStaged:
            found = _read_sealed(run, index)
        else:
            found = split(row.id, row.lengths, fragment)
        if found is not None:
            return decode_sample(found)
    raise StoreError(f"{run.out}: sample {index} is neither staged nor sealed")


def _read_sealed(run: Run, index: int) -> dict[str, bytes] | None:
    unit = next((unit for unit in run.units() if index in unit.ids), None)
    if unit is None:
        return None
    record = read_record(run.folder, run.record_name(unit))
    row: Row = record.row(index)
    shard = run.folder.open(f"shards/{record.shard}", record.bytes)
    members = {name: shard.read(start, start + length) for name, (start, length, _) in row.members.items()}
    row.verify(members)
    return members
