"""Versions at scale: what the index of 500 000 samples weighs, and what diff, log, a revision and verify cost.

    python -m benchmarks.dataset [--rows 500000] [--megabytes 1024]

Rows are fabricated with the columns, types and spread of real ones; hashes are random, as real ones are. Costs are
core-seconds, for wall time says what else a machine was doing.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from synth.codec import MEMBERS, OPTIONAL
from synth.recipe import canonical_json, sample_id
from synth.store_table import PICTURES, length_column, offset_column, parquet_bytes, schema

#: Every so many samples have other pixels, or other words in their `.json`.
_PIXELS, _WORDS = 101, 103


def main() -> int:
    """Prints the table; exit 1 on any FAIL."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--megabytes", type=int, default=1024, help="bytes hashed for `verify`")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="synth-bench-dataset-"))
    try:
        results = measure(folder, args.rows, args.megabytes)
    finally:
        shutil.rmtree(folder)
    for what, figure, unit, limit, passed in results:
        print(f"{what:<46} {figure:>9.3f} {unit:<8} {limit:<22} {'PASS' if passed else 'FAIL'}")
    return 0 if all(passed for *_, passed in results) else 1


def measure(folder: Path, rows: int, megabytes: int) -> list[tuple[str, float, str, str, bool]]:
    """(what, figure, unit, limit, passed) of everything."""
    before = fabricate(rows, seed=0)
    seconds, data = timed(lambda: parquet_bytes(before))
    results = [("index as Parquet", len(data) / 1e6, "MB", "< 100", len(data) < 100e6)]
    results.append(("  to write", seconds, "core-s", "", True))
    after = changed(before)
    results.append(_measure_diff(before, after))
    results.append(_measure_overlay(before))
    results += _measure_tags(folder, before, after)
    results.append(_measure_hash(folder, megabytes))
    return results


def _measure_diff(before, after) -> tuple[str, float, str, str, bool]:
    """Every change found, and called what it is."""
    from synth.version_diff import diff_tables

    left = after.num_rows
    pixels, words = set(range(0, left, _PIXELS)), set(range(0, left, _WORDS))
    changed_rows = len(pixels | words)
    counts = {
        "added": 0, "removed": before.num_rows - left, "changed": changed_rows, "same": left - changed_rows,
        "recipe": 0, "environment": 0, "pixels": len(pixels), "encoding": 0, "metadata": len(words - pixels),
    }  # fmt: skip
    seconds, diff = timed(lambda: diff_tables(before, after))
    what = f"diff, {counts['changed']} changed, {counts['removed']} removed"
    return what, seconds, "core-s", "< 1, all found", seconds < 1 and diff.counts == counts


def _measure_overlay(before) -> tuple[str, float, str, str, bool]:
    """A hundredth of the samples rendered again, in shards of their own."""
    from types import SimpleNamespace

    import pyarrow as pa

    from synth.store_overlay import overlay

    old = [{"path": str(number), "samples": 128} for number in range(-(-before.num_rows // 128))]
    again = before.take(np.arange(0, before.num_rows, 100))
    number = before.schema.get_field_index("shard")
    again = again.set_column(number, "shard", pa.array(len(old) + np.arange(len(again)) // 128, pa.int32()))
    new = [{"path": f"new-{k}", "samples": 128} for k in range(-(-len(again) // 128))]
    patches = SimpleNamespace(table=lambda: again, shards=new)
    seconds, (table, shards) = timed(lambda: overlay(before, old, patches, "benchmark"))
    right = table["index"].equals(before["index"]) and sum(s["samples"] for s in shards) == before.num_rows
    right = right and sum(s["samples"] for s in shards[len(old) :]) == len(again)
    return f"{len(again)} samples of a revision laid over", seconds, "core-s", "< 3, none lost", seconds < 3 and right


def _measure_tags(folder: Path, before, after) -> list[tuple[str, float, str, str, bool]]:
    """Two committed versions, tagged through the product's own code; then the log."""
    from synth.store_folder import open_folder
    from synth.store_tag import read_tags
    from synth.version import make_tag

    store = open_folder(folder)
    (folder / "tmp").mkdir()
    for name in ("refs", "manifests", "indexes"):
        (folder / name).mkdir()
    tagging = 0.0
    for number, table in enumerate((before, after)):
        _commit(folder, table)
        seconds, _ = timed(lambda number=number: make_tag(store, f"version {number}", "2026-01-01T00:00:00+00:00"))
        tagging = max(tagging, seconds)
    seconds, tags = timed(lambda: read_tags(store))
    instant = seconds < 0.1 and [tag.number for tag in tags] == ["1.0.0", "2.0.0"]
    return [
        ("tag (diff against the one before)", tagging, "core-s", "< 3", tagging < 3),
        ("log", seconds, "core-s", "< 0.1", instant),
    ]


def _commit(folder: Path, table) -> None:
    """A manifest as `synth.store_index.commit` writes it, for rows that have no shards."""
    data = bytes(parquet_bytes(table))
    digest = hashlib.sha256(data).hexdigest()
    (folder / "indexes" / f"{digest}.parquet").write_bytes(data)
    entry = {"path": f"indexes/{digest}.parquet", "sha256": digest, "rows": table.num_rows}
    shard = {"path": f"shards/00000000-00000127-{'0' * 12}.tar", "bytes": 1, "sha256": "0" * 64, "samples": 128}
    manifest = {
        "format": "synth-manifest/1",
        "root": digest,
        "spec_sha256": "0" * 64,
        "index": entry,
        "shards": [shard],
    }
    data = canonical_json(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (folder / "manifests" / f"{digest}.json").write_bytes(data)
    (folder / "refs" / "latest.json").write_text(f'{{"manifest":"sha256:{digest}"}}')


def _measure_hash(folder: Path, megabytes: int) -> tuple[str, float, str, str, bool]:
    """Level `hash` of one shard against plain sha256 of the same file, both with the file in memory."""
    from types import SimpleNamespace

    from synth.store_folder import open_folder
    from synth.version_verify import verify_shard

    data = np.random.default_rng(0).bytes(megabytes * 2**20)
    digest = hashlib.sha256(data).hexdigest()
    (folder / "shard").write_bytes(data)
    entry = {"path": "shard", "bytes": len(data), "sha256": digest}
    dataset = SimpleNamespace(manifest={"shards": [entry]}, folder=open_folder(folder))
    plain, ours = [], []
    for _ in range(3):
        with (folder / "shard").open("rb") as file:
            plain.append(timed(partial(hashlib.file_digest, file, "sha256"))[0])
        seconds, findings = timed(lambda: list(verify_shard(dataset, 0)))
        ours.append(seconds if not findings else float("inf"))
    ratio = min(ours) / min(plain)
    return ("verify --level hash against plain sha256", ratio, "x", "< 1.25", ratio < 1.25)


def timed(action: Callable[[], object]) -> tuple[float, object]:
    """(core-seconds of all threads, result)."""
    started = time.process_time()
    result = action()
    return time.process_time() - started, result


def fabricate(rows: int, seed: int):
    """An index of `rows` samples: 600 scans, 100 backgrounds, 128 samples a shard."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {}
    offset = np.zeros(rows, np.int64)
    for field in schema():
        columns[field.name] = _column(field, rows, rng)
    for extension in MEMBERS:
        length = rng.integers(1_000, 600_000, rows)
        if extension in OPTIONAL:
            columns[offset_column(extension)] = pa.nulls(rows, pa.int64())
            columns[length_column(extension)] = pa.nulls(rows, pa.int32())
            continue
        offset = offset + 512
        columns[offset_column(extension)] = pa.array(offset + np.arange(rows) % 128 * 2_200_000, pa.int64())
        columns[length_column(extension)] = pa.array(length, pa.int32())
        offset = offset + length + -length % 512
    return pa.table(columns, schema=schema())


def _column(field, rows: int, rng: np.random.Generator):
    import pyarrow as pa

    index = np.arange(rows)
    if field.name == "sample_id":
        return pa.array([sample_id(i) for i in range(rows)])
    if field.name in ("index", "shard"):
        return pa.array(index if field.name == "index" else index // 128, pa.int32())
    if pa.types.is_fixed_size_binary(field.type):
        data = rng.bytes(field.type.byte_width * rows)
        return pa.FixedSizeBinaryArray.from_buffers(field.type, rows, [None, pa.py_buffer(data)])
    if pa.types.is_floating(field.type):
        return pa.array(rng.random(rows), field.type)
    if pa.types.is_integer(field.type):
        return pa.array(rng.integers(0, 50, rows), field.type)
    names = pa.array([f"{field.name}-{i:03d}" for i in range(3 if field.name in ("split", "framing") else 600)])
    taken = names.take(pa.array(rng.integers(0, len(names), rows)))
    if pa.types.is_string(field.type):
        return taken
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1), pa.int32()), taken)


def changed(table):
    """The table with other pixels in some samples, other words about others, and the last 0.2 % gone."""
    import pyarrow as pa

    table = table.slice(0, table.num_rows - table.num_rows // 500)
    for name, flips in {"content_sha256": (_PIXELS, _WORDS), "pixels_sha256": (_PIXELS,), PICTURES: (_PIXELS,)}.items():
        kind = table.schema.field(name).type
        data = np.frombuffer(table[name].combine_chunks().buffers()[1], np.uint8).copy().reshape(-1, kind.byte_width)
        data = data[: table.num_rows]
        for bit, every in enumerate(flips):
            data[::every, 0] ^= 1 << bit
        column = pa.FixedSizeBinaryArray.from_buffers(kind, table.num_rows, [None, pa.py_buffer(data.tobytes())])
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table


if __name__ == "__main__":
    sys.exit(main())
