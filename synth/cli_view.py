"""`synth view DATASET`: a gallery page and a contact sheet; `--rerun` writes a recording for the Rerun viewer."""

import argparse
import os
from pathlib import Path

import numpy as np

from synth.cli_library import say
from synth.cli_progress import Progress
from synth.cli_proof import pick
from synth.errors import UserError
from synth.report import write_contact_sheet, write_gallery
from synth.report_rerun import load_rerun, write_recording
from synth.store import Dataset, open_version, split_version

#: Samples on the contact sheet: what fits a screen.
_SHEET = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --out, --fraction, --workers, --rerun."""
    parser.add_argument(
        "dataset", metavar="DATASET[@VERSION]", help="folder or URL that `synth render` wrote, finished or not"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the page goes (default: DATASET/report)")
    parser.add_argument(
        "--fraction", type=float, default=1.0, metavar="F", help="share of the samples, always the same (default: 1)"
    )
    parser.add_argument("--workers", type=int, metavar="K", help="processes (default: one a core)")
    parser.add_argument("--rerun", type=Path, metavar="FILE.rrd", help="also a recording for the Rerun viewer")


def run(args: argparse.Namespace) -> int:
    """Writes index.html (and pictures beside it) and contact_sheet.png and says where."""
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers}: expected at least 1")
    if args.rerun is not None:
        load_rerun()  # before the page is made, which may take long
    dataset = open_version(args.dataset)
    positions = pick(dataset.ids, args.fraction)
    out = args.out or _default_out(dataset, args.dataset)
    page, sheet = out / "index.html", out / "contact_sheet.png"
    with Progress("view", len(positions), "image") as progress:
        write_gallery(
            dataset,
            page,
            positions,
            name=_name(args.dataset),
            workers=args.workers or os.cpu_count() or 1,
            progress=lambda done, total: progress.to(done),
        )
    few = positions[np.linspace(0, len(positions) - 1, min(_SHEET, len(positions))).astype(int)]
    write_contact_sheet((dataset[int(position)] for position in few), sheet)
    say(f"gallery: {page.absolute()}")
    say(f"contact sheet: {sheet.absolute()}")
    if args.rerun is not None:
        _record(dataset, positions, args.rerun)
    return 0


def _default_out(dataset: Dataset, text: str) -> Path:
    if isinstance(dataset.path, str):
        raise UserError(f"{dataset.path}: the page is a local file; --out DIR says where it goes")
    version = split_version(text)[1]
    return dataset.path / ("report" if version == "latest" else f"report-{version.removeprefix('sha256:')}")


def _name(text: str) -> str:
    """The last part of the dataset's place, and the version; never the path, which is nobody's business on a page."""
    place, version = split_version(text)
    if "://" not in place:
        place = str(Path(place).resolve())
    name = place.rstrip("/").rpartition("/")[2]
    return name if version == "latest" else f"{name} {version}"


def _record(dataset: Dataset, positions: np.ndarray, path: Path) -> None:
    with Progress("rerun", len(positions), "image") as progress:
        write_recording(dataset, positions, path, lambda done: progress.to(done))
    say(f"recording: {path.absolute()}; open it with `rerun {path}`")
