"""The columns of the index: one row per sample, flat enough to filter on in any Parquet reader.

Hashes of single members and arrays stay in the unit records: as columns they would be 180 MB of 500 000 samples'
index. Next: `synth.store_gather` fills the table.
"""

from collections import Counter
from functools import cache
from operator import attrgetter

from synth.codec import MEMBERS
from synth.store_record import Row, ShardRecord, root_line

#: Columns taken from a row as they are, with their Arrow types. 32-bit floats: for filtering, not for geometry.
_TEXT = ("split", "background", "framing", "env_id")
_LISTS = ("scans", "people", "flags")
_FLOATS = (
    "seconds", "focal_px", "camera_distance_m", "camera_yaw_deg", "camera_pitch_deg", "exposure_ev",
    "background_yaw_deg", "magnification", "covered", "border", "depth_p50_m",
)  # fmt: skip
_INTEGERS = ("width", "height", "attempt", "back_faces", "leaning_normals", "unproven_depth")
_HASHES = ("content_sha256", "recipe_sha256", "pixels_sha256")
#: Beginning of the hash over a sample's pictures and labels without its `.json`: it only tells what kind of change one
#: is (`content_sha256` tells whether there is one), and whole it would add 12 MB for 500 000 samples.
PICTURES = "pictures_hash"
_PICTURES_BYTES = 8

#: Rows of a batch: Arrow costs as much for a column of a hundred as for one of thousands.
_BATCH = 2048


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
    fields += [(PICTURES, pa.binary(_PICTURES_BYTES))]
    fields += [(name, pa.string()) for name in _TEXT]
    fields += [(name, pa.list_(pa.string())) for name in (*_LISTS, "refused")]
    fields += [(name, pa.int32()) for name in _INTEGERS]
    fields += [(name, pa.float32()) for name in _FLOATS]
    return pa.schema(fields)


class TableBuilder:
    """Unit records in, in ascending order; a table and what a manifest says of it out."""

    def __init__(self, shard: int):
        """shard: number of the first record's shard."""
        self._shard = shard
        self._columns: dict[str, list] = {name: [] for name in schema().names}  # of rows in no batch yet
        self._batches: list = []
        self.shards: list[dict] = []
        """As the manifest lists them."""
        self.root_lines = bytearray()
        """What the root hashes of the rows."""
        self.environments: Counter[str] = Counter()
        """Samples by env_id."""

    def add(self, record: ShardRecord, first: int, place: str | None = None) -> None:
        """Appends the record's rows from index `first` on. place: of the record, if its shard does not tell."""
        rows = [row for row in record.rows if row.index >= first]
        for name, values in columns_of(rows, self._shard + len(self.shards)).items():
            self._columns[name] += values
        self.root_lines += b"".join(root_line(row.id, row.content_sha256) for row in rows)
        self.shards.append(
            {"path": f"shards/{record.shard}", "bytes": record.bytes, "sha256": record.sha256, "samples": len(rows)}
            | ({"record": place} if place else {})
        )
        self.environments.update(row.env_id for row in rows)
        if len(self._columns["index"]) >= _BATCH:
            self._flush()

    def table(self):
        """All rows so far, ascending by index."""
        import pyarrow as pa

        self._flush()
        return pa.Table.from_batches(self._batches, schema=schema())

    def _flush(self) -> None:
        import pyarrow as pa

        self._batches.append(pa.RecordBatch.from_pydict(self._columns, schema=schema()))
        for values in self._columns.values():
            values.clear()


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


def columns_of(rows: list[Row], shard: int) -> dict[str, list]:
    """What the index says of rows that lie in a shard of this number, column by column."""
    columns: dict[str, list] = {
        "sample_id": [row.id for row in rows],
        "index": [row.index for row in rows],
        "shard": [shard] * len(rows),
        "content_sha256": [bytes.fromhex(row.content_sha256) for row in rows],
        "recipe_sha256": [bytes.fromhex(row.recipe_sha256) for row in rows],
        "pixels_sha256": [bytes.fromhex(row.pixels_hash) for row in rows],
        PICTURES: [bytes.fromhex(row.pictures_hash)[:_PICTURES_BYTES] for row in rows],
        "refused": [[reason for _, reason, _ in row.refused] for row in rows],
    }
    for extension in MEMBERS:
        places = [row.members.get(extension, (None, None, None)) for row in rows]
        columns[offset_column(extension)] = [place[0] for place in places]
        columns[length_column(extension)] = [place[1] for place in places]
    for name in (*_TEXT, *_LISTS, *_INTEGERS, *_FLOATS):
        columns[name] = list(map(attrgetter(name), rows))
    return columns
