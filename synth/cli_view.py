"""`synth view DATASET`: a self-contained gallery page and a contact sheet."""

import argparse
from pathlib import Path

from synth.cli_library import say
from synth.cli_progress import Progress
from synth.errors import UserError
from synth.report import write_contact_sheet, write_gallery
from synth.store import Dataset

#: Samples on the contact sheet: what fits a screen.
_SHEET = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --out, --limit."""
    parser.add_argument("dataset", metavar="DATASET", help="folder or URL that `synth render` wrote")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the page goes (default: DATASET/report)")
    parser.add_argument(
        "--limit", type=int, default=200, metavar="N", help="most samples on the page, evenly spaced (default: 200)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes index.html and contact_sheet.png and says where."""
    dataset = Dataset(args.dataset)
    if args.out is None and isinstance(dataset.path, str):
        raise UserError(f"{dataset.path}: the page is a local file; --out DIR says where it goes")
    out = args.out or dataset.path / "report"
    out.mkdir(parents=True, exist_ok=True)
    page, sheet = out / "index.html", out / "contact_sheet.png"
    with Progress("view", min(args.limit, len(dataset)), "image") as progress:
        write_gallery(dataset, page, args.limit, lambda done, total: progress.to(done))
    step = max(1, len(dataset) // _SHEET)
    write_contact_sheet((dataset[i] for i in range(0, min(len(dataset), step * _SHEET), step)), sheet)
    say(f"gallery: {page.absolute()}")
    say(f"contact sheet: {sheet.absolute()}")
    return 0
