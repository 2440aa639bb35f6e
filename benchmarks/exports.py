"""Exports of a rendered dataset: what a sample costs and weighs in each layout, and whether poison is noticed.

    python -m benchmarks.exports [demo/dataset] [--rows 500000]

Times are CPU time of one process. Sizes and ratios hold for the pictures given: rendered ones, or they mean nothing.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image

from benchmarks.dataset import fabricate
from synth.camera import distance_from_z
from synth.export import LAYOUTS, export_dataset
from synth.export_rules import Labelled, find_faults
from synth.export_sapiens import labelled_of
from synth.export_webdataset import train_members
from synth.export_where import choose
from synth.store import Dataset

#: Samples that are looked at, at most.
_MOST = 64
_FLIPS = [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)][1:]
_WHERE = "split == 'train' and framing == 'face' and depth_p50_m < 3"


def main() -> int:
    """Prints the table; exit 1 on any FAIL."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", nargs="?", default="demo/dataset")
    parser.add_argument("--rows", type=int, default=500_000)
    args = parser.parse_args()
    dataset = Dataset(args.dataset)
    positions = np.arange(min(_MOST, len(dataset)))
    passed = True
    for what, figure, unit, limit, good in [
        *_measure_layouts(dataset, positions),
        *_measure_decoding(dataset, positions),
        *_measure_rules(dataset, positions),
        _measure_where(args.rows),
    ]:
        passed &= good
        print(f"{what:<52} {figure:>9.2f} {unit:<10} {limit:<10} {'PASS' if good else 'FAIL'}")
    return 0 if passed else 1


def _measure_layouts(dataset: Dataset, positions: np.ndarray) -> list[tuple[str, float, str, str, bool]]:
    """Each layout, and webdataset with either encoding."""
    found, archive = [], 0.0
    for layout, encoding in [*((layout, "archive") for layout in LAYOUTS), ("webdataset", "train")]:
        with tempfile.TemporaryDirectory() as folder:
            dest = Path(folder) / "x"
            seconds = _cpu(
                lambda dest=dest, layout=layout, encoding=encoding: export_dataset(
                    dataset, positions, dest, layout, encoding=encoding, copy=True
                )
            )
            size = sum(path.stat().st_size for path in dest.rglob("*") if path.is_file() and not path.is_symlink())
        name = f"{layout}, {encoding}" if layout == "webdataset" else layout
        found.append((f"{name}: a sample", size / len(positions) / 1e3, "kB", "", True))
        found.append((f"{name}: writing it", 1e3 * seconds / len(positions), "core-ms", "", True))
        if (layout, encoding) == ("webdataset", "archive"):
            archive = size
        if encoding == "train":
            found.append(("train: bytes of the archive's", size / archive, "", "< 0.85", size / archive < 0.85))
    return found


def _measure_decoding(dataset: Dataset, positions: np.ndarray) -> list[tuple[str, float, str, str, bool]]:
    """Colour, depth and normals of one sample, as a trainer needs them."""
    stored = [dataset.read_stored(int(position)) for position in positions]
    seconds = {}
    for name, members in (
        ("archive", [members for members, _ in stored]),
        ("train", [train_members(*pair) for pair in stored]),
    ):
        _decode(members[0])
        seconds[name] = _cpu(lambda members=members: [_decode(one) for one in members]) / len(members)
    ratio = seconds["archive"] / seconds["train"]
    worst = min(_psnr_db(sample.rgb, train_members(members, sample)["rgb.jpg"]) for members, sample in stored)
    times = [(f"decoding, {name}", 1e3 * value, "core-ms", "", True) for name, value in seconds.items()]
    return [
        *times,
        ("decoding, archive against train", ratio, "x", "> 1.3", ratio > 1.3),
        ("train: PSNR of the worst picture", worst, "dB", "> 40", worst > 40),
    ]


def _psnr_db(rgb: np.ndarray, jpeg: bytes) -> float:
    error = np.asarray(Image.open(io.BytesIO(jpeg))).astype(np.float32) - rgb
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def _decode(members: dict[str, bytes]) -> None:
    picture = members.get("rgb.jpg") or members["rgb.png"]
    np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    for name in ("depth.exr", "normal.exr"):
        OpenEXR.File(io.BytesIO(members[name])).channels()


def _measure_rules(dataset: Dataset, positions: np.ndarray) -> list[tuple[str, float, str, str, bool]]:
    """Sound samples, and the same with wrong labels."""
    sound = [labelled_of(dataset[int(position)]) for position in positions]
    seconds = _cpu(lambda: [find_faults(it) for it in sound])
    clean = sum(not find_faults(it) for it in sound)
    turned = (replace(it, normal=it.normal * np.float32(flip)) for it in sound for flip in _FLIPS)
    flipped = sum(_has(it, "normal_frame") for it in turned)
    longer = (replace(it, depth=distance_from_z(it.camera(), it.depth).astype(np.float32)) for it in sound)
    distant = sum(_has(it, "distance") for it in longer)
    count = len(sound)
    return [
        ("rules: looking at a sample", 1e3 * seconds / count, "core-ms", "", True),
        ("rules: sound samples without a fault", clean, f"of {count}", "all", clean == count),
        ("rules: flipped normals noticed", flipped, f"of {7 * count}", "all", flipped == 7 * count),
        ("rules: distance for depth noticed", distant, f"of {count}", "> 90 %", distant > 0.9 * count),
    ]


def _has(it: Labelled, rule: str) -> bool:
    return any(fault.rule == rule for fault in find_faults(it))


def _measure_where(rows: int) -> tuple[str, float, str, str, bool]:
    table = fabricate(rows, seed=0)

    class Index:
        """Stands for a dataset: its index is all that a filter reads."""

        def table(self):
            return table

        def __len__(self) -> int:
            return rows

    seconds = _cpu(lambda: choose(Index(), _WHERE))
    return f"--where over {rows} rows", seconds, "core-s", "< 2", seconds < 2


def _cpu(run: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads."""
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())
