"""What lies beside the samples of an export: one row for each, and under which licences they are.

`samples.parquet` has the columns of the dataset's index and the sample's name in the export. LICENCES.md names every
scan and background used; a folder for the Hub has the whole card in its stead. No path, host or time is in them.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from synth.card import card_of
from synth.card_croissant import Packing, croissant_json
from synth.card_front import front_matter
from synth.card_markdown import fenced, table
from synth.card_readme import licences_text, readme_text, warnings_of
from synth.card_subject import Subject, read_subject
from synth.export_dest import publish
from synth.export_hf import COLUMNS, HUB_SPLITS
from synth.export_job import Job, Made
from synth.pool import run_tasks
from synth.store_files import LocalFolder

SAMPLES_FILE = "samples.parquet"

#: Bytes hashed at a time.
_PIECE = 8 * 2**20


def write_papers(job: Job, layout: str, arranged: np.ndarray, kept: Sequence[Made], workers: int) -> None:
    """Writes all of it. arranged: positions in the export's order; kept: what is in it."""
    rows = arranged[[made.rank for made in kept]]
    data = _rows(job, rows, [made.name for made in kept])
    publish(job.dest, SAMPLES_FILE, [data])
    subject = read_subject(job.dataset, np.sort(rows))
    warnings = tuple(warnings_of(subject.rights))
    if layout != "hf":
        publish(job.dest, "LICENCES.md", licences_text(subject, warnings).encode())
        return
    index = {"path": SAMPLES_FILE, "sha256": hashlib.sha256(data).hexdigest(), "rows": len(rows)}
    subject = _described(job, subject, index, kept, workers)
    packing = Packing("application/x-parquet", "one row each", "columns of the other files, by sample_id")
    card = card_of(
        front_matter(subject, _data_files(subject)),
        readme_text(subject, warnings, {"Reading it": _reading(subject), "What a sample holds": _columns()}),
        croissant_json(subject, packing),
        warnings,
    )
    for name, page in card.files.items():
        publish(job.dest, name, page)


def _rows(job: Job, positions: np.ndarray, names: list[str]) -> memoryview:
    """The bytes of `samples.parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    index = job.dataset.table().take(positions)
    kept = [name for name in index.column_names if name != "shard" and not name.endswith(("_off", "_len"))]
    rows = index.select(kept).append_column("name", pa.array(names, pa.string()))
    sink = pa.BufferOutputStream()
    parquet.write_table(rows, sink, compression="zstd")
    return memoryview(sink.getvalue()).cast("B")


def _described(job: Job, subject: Subject, index: dict, kept: Sequence[Made], workers: int) -> Subject:
    """The subject with the files of the export in the place of the dataset's."""
    counts = Counter(made.name for made in kept)
    names = sorted(counts)
    files = [
        {"path": name, "bytes": size, "sha256": sha256, "samples": counts[name]}
        for name, (size, sha256) in zip(names, run_tasks(_hash_file, job.dest, names, workers), strict=True)
    ]
    return replace(subject, manifest={**subject.manifest, "shards": files, "index": index})


def _hash_file(dest, name: str) -> tuple[int, str]:
    """(bytes, sha256)."""
    folder, digest = LocalFolder(dest), hashlib.sha256()
    size = folder.size(name)
    file = folder.open(name, size)
    for start in range(0, size, _PIECE):
        digest.update(file.read(start, min(start + _PIECE, size)))
    return size, digest.hexdigest()


def _data_files(subject: Subject) -> list[dict[str, str]]:
    """Of the splits that have files."""
    there = {file["path"].removeprefix("data/").rsplit("-", 3)[0] for file in subject.manifest["shards"]}
    return [{"split": name, "path": f"data/{name}-*.parquet"} for name in HUB_SPLITS.values() if name in there]


def _reading(subject: Subject) -> str:
    splits = [entry["split"] for entry in _data_files(subject)]
    return "\n".join(
        [
            f"Splits: {', '.join(splits)}, by person and by background. `{SAMPLES_FILE}` has the figures of every "
            "sample without its pictures.\n",
            fenced(
                "from io import BytesIO\n"
                "import OpenEXR\n"
                "from datasets import load_dataset\n"
                f'samples = load_dataset("{subject.name}", split="{splits[0]}", streaming=True)\n'
                "sample = next(iter(samples))\n"
                'depth_m = OpenEXR.File(BytesIO(sample["depth_exr"])).channels()["Y"].pixels',
                "python",
            ),
        ]
    )


def _columns() -> str:
    return table(("column", "what it is"), [(f"`{name}`", means) for name, means in COLUMNS.items()])
