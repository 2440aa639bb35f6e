"""The card of 500 000 samples: how long it takes, how large it is, and whether Croissant's own code reads it.

    python -m benchmarks.card [--rows 500000]

Rows are those of benchmarks/dataset.py: 600 scans, 100 backgrounds.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.dataset import fabricate, timed
from synth.assets_manifest import load_manifest
from synth.card_croissant import croissant_json
from synth.card_front import front_matter
from synth.card_manifest import BackgroundUsed, Made, Origin, ScanUsed
from synth.card_measure import COLUMNS, Figures, measure_table
from synth.card_readme import readme_text, warnings_of
from synth.card_rights import rights_of_backgrounds, rights_of_scans
from synth.card_subject import Subject
from synth.codec import MEMBER_FACTS
from synth.config import RenderConfig
from synth.store_index import CONVENTIONS
from synth.store_record import SHARD_SIZE, shard_name


def main() -> int:
    """Prints the table; exit 1 on any FAIL."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    args = parser.parse_args()
    results = measure(args.rows)
    for what, figure, unit, limit, passed in results:
        print(f"{what:<44} {figure:>9.3f} {unit:<8} {limit:<10} {'PASS' if passed else 'FAIL'}")
    return 0 if all(passed for *_, passed in results) else 1


def measure(rows: int) -> list[tuple[str, float, str, str, bool]]:
    """(what, figure, unit, limit, passed) of everything."""
    table = fabricate(rows, seed=0).select(COLUMNS)
    measuring, figures = timed(lambda: measure_table(table, "benchmark"))
    subject = _subject(rows, figures)
    writing, readme = timed(lambda: front_matter(subject) + readme_text(subject, warnings_of(subject.rights)))
    about = croissant_json(subject)
    size = len(readme.encode()) / 1e6
    counted = sum(split.samples for split in figures.splits) == rows
    return [
        ("figures from columns", measuring, "s", "< 10", measuring < 10 and counted),
        ("README written", writing, "s", "< 5", writing < 5),
        ("README", size, "MB", "< 1", size < 1),
        ("croissant.json", len(about.encode()) / 1e6, "MB", "< 5", len(about.encode()) < 5e6),
        _measure_croissant(about),
    ]


def _measure_croissant(about: str) -> tuple[str, float, str, str, bool]:
    import mlcroissant

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "croissant.json"
        path.write_text(about)
        seconds, dataset = timed(lambda: mlcroissant.Dataset(str(path)))
    return ("mlcroissant checks it", seconds, "s", "< 30", seconds < 30 and not dataset.metadata.ctx.issues.errors)


def _subject(rows: int, figures: Figures) -> Subject:
    scans = [ScanUsed(scan_id=name, key=name, licence="CC-BY-4.0") for name in figures.counts["scans"]]
    backgrounds = [BackgroundUsed(background_id=name, sha256="0" * 64) for name in figures.counts["background"]]
    facts = {"renderer": "benchmark"}
    made = Made(
        root="0" * 64,
        spec_sha256="0" * 64,
        assets={"scans": [scan.model_dump() for scan in scans], "backgrounds": [b.model_dump() for b in backgrounds]},
        environments=[{"env_id": e, "samples": n, "facts": facts} for e, n in sorted(figures.counts["env_id"].items())],
        members=MEMBER_FACTS,
        conventions=CONVENTIONS,
    )
    shards = [
        {"path": f"shards/{shard_name(first, last, f'{first:064x}')}", "bytes": 1, "sha256": f"{first:064x}"}
        | {"samples": last - first + 1}
        for first in range(0, rows, SHARD_SIZE)
        for last in [min(first + SHARD_SIZE, rows) - 1]
    ]
    rights = rights_of_scans(scans, {}, figures.counts["scans"])
    rights += rights_of_backgrounds(backgrounds, load_manifest(), figures.counts["background"])
    return Subject(
        name="benchmark",
        manifest={
            "index": {"path": f"indexes/{'0' * 64}.parquet", "sha256": "0" * 64, "rows": rows},
            "shards": shards,
        },
        origin=Origin(
            made=made,
            spec={"config": RenderConfig().model_dump(mode="json"), "seed": 0},
            recorded={},
            tag=None,
        ),
        figures=figures,
        rights=tuple(rights),
        all_shards=True,
    )


if __name__ == "__main__":
    sys.exit(main())
