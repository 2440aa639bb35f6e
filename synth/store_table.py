"""The columns of the index: one row per sample, flat enough to filter on in any Parquet reader.

Hashes of single members and arrays stay in the unit records: as columns they would be 180 MB of 500 000 samples'
index. Next: `synth.store_index` makes a version of the table.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache

from synth.codec import MEMBERS
from synth.recipe import canonical_sha256
from synth.store_record import Row, UnitRecord

#: Columns taken from a row as they are, with their Arrow types. 32-bit floats: for filtering, not for geometry.
_TEXT = ("split", "background", "framing", "env_id")
_LISTS = ("scans", "people", "flags")
_FLOATS = (
    "seconds", "focal_px", "camera_distance_m", "camera_yaw_deg", "camera_pitch_deg", "exposure_ev",
    "background_yaw_deg", "magnification", "covered", "border", "depth_p50_m",
)  # fmt: skip
_INTEGERS = ("width", "height", "attempt", "back_faces", "leaning_normals", "unproven_depth")
_HASHES = ("content_sha256", "recipe_sha256", "pixels_sha256")


def offset_column(extension: str) -> str:
    """Name of the column with a member's offset in its shard, e.g. `rgb_off`."""
    return f"{extension.split('.')[0]}_off"


def length_column(extension: str) -> str:
    """Name of the column with a member's length; null where the sample lacks the member."""
    return f"{extension.split('.')[0]}_len"


@cache
def schema():
    """The Arrow schema of the index."""
    import pyarrow as pa

    fields = [("sample_id", pa.string()), ("index", pa.int32()), ("shard", pa.int32())]
    for extension in MEMBERS:
        fields += [(offset_column(extension), pa.int64()), (length_column(extension), pa.int32())]
    fields += [(name, pa.binary(32)) for name in _HASHES]
    fields += [(name, pa.string()) for name in _TEXT]
    fields += [(name, pa.list_(pa.string())) for name in (*_LISTS, "refused")]
    fields += [(name, pa.int32()) for name in _INTEGERS]
    fields += [(name, pa.float32()) for name in _FLOATS]
    return pa.schema(fields)


class TableBuilder:
    """Unit records in, in ascending order; a table and what a manifest says of it out."""

    def __init__(self):
        self._batches: list = []
        self.shards: list[dict] = []
        """As the manifest lists them; column `shard` counts in it."""
        self.environments: Counter[str] = Counter()
        """Samples by env_id."""

    def add(self, record: UnitRecord, first: int) -> None:
        """Appends the record's rows from index `first` on."""
        import pyarrow as pa

        rows = [row for row in record.rows if row.index >= first]
        columns = _columns(rows, len(self.shards))
        self._batches.append(pa.RecordBatch.from_pydict(columns, schema=schema()))
        self.shards.append(
            {"path": f"shards/{record.shard}", "bytes": record.bytes, "sha256": record.sha256, "samples": len(rows)}
        )
        self.environments.update(row.env_id for row in rows)

    def table(self):
        """All rows so far, ascending by index."""
        import pyarrow as pa

        return pa.Table.from_batches(self._batches, schema=schema())

    def contents(self) -> Iterator[tuple[str, str]]:
        """(sample_id, content_sha256) of all rows so far."""
        for batch in self._batches:
            for name, content in zip(batch["sample_id"], batch["content_sha256"], strict=True):
                yield name.as_py(), content.as_py().hex()


def parquet_bytes(table) -> memoryview:
    """The table as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    places = [name for name in table.column_names if name.endswith(("_off", "_len"))]
    encodings = {
        **{name: "DELTA_BINARY_PACKED" for name in ("index", "shard", *places)},
        **{name: "BYTE_STREAM_SPLIT" for name in _FLOATS},
        "sample_id": "DELTA_BYTE_ARRAY",
    }
    repeating = [*_TEXT, *_INTEGERS, *(f"{name}.list.element" for name in (*_LISTS, "refused"))]
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd", use_dictionary=repeating, column_encoding=encodings)
    return memoryview(sink.getvalue()).cast("B")  # unsigned bytes, as everybody expects


def _columns(rows: list[Row], shard: int) -> dict[str, list]:
    columns: dict[str, list] = {
        "sample_id": [row.id for row in rows],
        "index": [row.index for row in rows],
        "shard": [shard] * len(rows),
        "content_sha256": [bytes.fromhex(row.content_sha256) for row in rows],
        "recipe_sha256": [bytes.fromhex(row.recipe_sha256) for row in rows],
        "pixels_sha256": [bytes.fromhex(canonical_sha256(row.pixels_sha256)) for row in rows],
        "refused": [[reason for _, reason, _ in row.refused] for row in rows],
    }
    for extension in MEMBERS:
        places = [row.members.get(extension, (None, None, None)) for row in rows]
        columns[offset_column(extension)] = [place[0] for place in places]
        columns[length_column(extension)] = [place[1] for place in places]
    for name in (*_TEXT, *_LISTS, *_INTEGERS, *_FLOATS):
        columns[name] = [getattr(row, name) for row in rows]
    return columns
