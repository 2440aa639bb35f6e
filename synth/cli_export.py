"""`synth export DATASET --to LAYOUT --dest DIR`: a version, or a part of it, as the files of other programs."""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from synth.cli_library import core_count, say
from synth.cli_progress import Progress
from synth.cli_proof import pick
from synth.errors import UserError
from synth.store import open_version

_LAYOUTS = ("sapiens", "synthhuman", "webdataset", "hf")
#: Samples left out that are named one by one.
_NAMED = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --to, --dest, --where, --fraction, --workers, --encoding, --copy."""
    parser.add_argument("dataset", metavar="DATASET[@VERSION]", help="folder or URL that `synth render` wrote")
    parser.add_argument("--to", required=True, choices=_LAYOUTS, help="whose files, see docs/exports.md")
    parser.add_argument("--dest", required=True, type=Path, metavar="DIR", help="a new folder, or this export's own")
    parser.add_argument(
        "--where", metavar="EXPR", help="only samples for which this holds: \"split == 'train' and depth_p50_m < 3\""
    )
    parser.add_argument(
        "--fraction", type=float, default=1.0, metavar="F", help="share of the samples, always the same (default: 1)"
    )
    parser.add_argument("--workers", type=int, metavar="K", help="processes (default: one a core)")
    parser.add_argument(
        "--encoding",
        choices=["archive", "train"],
        default="archive",
        help="webdataset: the stored bytes, or colour as JPEG of quality 98, faster to decode (default: archive)",
    )
    parser.add_argument("--copy", action="store_true", help="webdataset: copy whole shards instead of linking to them")


def run(args: argparse.Namespace) -> int:
    """Writes the export and says what is in it; exit 1 if samples were left out."""
    from synth.export import LAYOUTS, export_dataset
    from synth.export_where import choose

    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers}: expected at least 1")
    dataset = open_version(args.dataset)
    positions = pick(dataset.ids, args.fraction)
    if args.where is not None:
        positions = positions[choose(dataset, args.where)[positions]]
        if not positions.size:
            raise UserError(f"--where {args.where!r}: holds for no sample of {args.dataset}")
    with Progress("export", len(positions), "image") as progress:
        export, was_new = export_dataset(
            dataset,
            positions,
            args.dest,
            args.to,
            encoding=args.encoding,
            copy=args.copy,
            where=args.where,
            fraction=args.fraction,
            workers=args.workers or core_count(),
            progress=lambda done: progress.to(done),
        )
    _say_left_out(export)
    what = "exported" if was_new else "there since an earlier run, nothing to do"
    say(f"{args.dest}: {export.exported} of {export.asked.samples} images {what}, for {LAYOUTS[args.to][1]}")
    if args.to in ("sapiens", "synthhuman"):
        _say_splits(dataset, positions)
    return 1 if export.left_out else 0


def _say_left_out(export) -> None:
    for left_out in export.left_out[:_NAMED]:
        say(f"  left out {left_out.id} {'; '.join(f'{rule}: {detail}' for rule, detail in left_out.reasons.items())}")
    if len(export.left_out) > _NAMED:
        say(f"  and {len(export.left_out) - _NAMED} more, all in export.json")
    for rule, count in Counter(rule for one in export.left_out for rule in one.reasons).most_common():
        say(f"left out, {rule}: {count} of {export.asked.samples}")


def _say_splits(dataset, positions: np.ndarray) -> None:
    """Readers of these layouts take all files of a folder, whoever is in them."""
    splits = Counter(dataset.table(["split"])["split"].take(positions).to_pylist())
    if len(splits) > 1:
        names = ", ".join(f"{name} {count}" for name, count in sorted(splits.items()))
        say(f"  warning: holds people of several splits ({names}); --where \"split == 'train'\" keeps them apart")
