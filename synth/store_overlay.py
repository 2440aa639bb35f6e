"""What a run holds with its revisions in effect: the last patch of a sample wins, all other rows stay as they are."""

from collections import Counter
from typing import Any

import numpy as np

from synth.store_places import fixed_bytes
from synth.store_record import StoreError, root_hash
from synth.store_table import TableBuilder


def overlay(table: Any, shards: list[dict], patches: TableBuilder, where: str) -> tuple[Any, list[dict]]:
    """(table, shards) of units with patches laid over them, in the order they were added.

    table: ascending by index, without doubles. patches: their shards count on from `shards`. where: named in errors.
    Shards that no row lies in any more go, the others keep their order. Raises StoreError when a patch speaks of a
    sample that the units lack.
    """
    import pyarrow as pa

    over = patches.table()
    unknown = np.setdiff1d(over["index"].to_numpy(), table["index"].to_numpy())
    if len(unknown):
        raise StoreError(f"{where}: revises sample {unknown[0]}, which no unit holds")
    both = pa.concat_tables([table, over])
    index = both["index"].to_numpy()
    order = np.argsort(index, kind="stable")
    last = np.append(index[order][1:] != index[order][:-1], True)
    both = both.take(order[last])
    numbers, renumbered, counts = np.unique(both["shard"].to_numpy(), return_inverse=True, return_counts=True)
    column = both.schema.get_field_index("shard")
    both = both.set_column(column, both.schema.field(column), pa.array(renumbered, pa.int32()))
    listed = [*shards, *patches.shards]
    return both, [{**listed[number], "samples": int(count)} for number, count in zip(numbers, counts, strict=True)]


def environments_of(table: Any) -> Counter[str]:
    """Samples by env_id."""
    counted = table["env_id"].value_counts()
    return Counter(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)))


def root_of(table: Any) -> str:
    """The root of a table's rows, see `synth.store_record.root_hash`."""
    contents = (content.tobytes().hex() for content in fixed_bytes(table["content_sha256"]))
    return root_hash(zip(table["sample_id"].to_pylist(), contents, strict=True))
