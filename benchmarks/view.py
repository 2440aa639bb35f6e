"""What a page of `synth view` costs: milliseconds and bytes a sample, and how a browser bears 100 000 of them.

    python benchmarks/view.py DATASET [--samples 128] [--workers 2]

Makes the pictures of `--samples` samples of a real dataset (again and again, if it has fewer) in one process and in
several, then the page of 100 000 samples out of their facts, whose pictures are those few, and asks headless Chromium
through chromedriver how long it takes to open, to filter, to sort and to draw its statistics.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from synth.report import MOST
from synth.report_chunks import Layout, make_shown
from synth.report_facts import measure_dataset
from synth.report_page import Head, page_end, page_start
from synth.store import Dataset

_TIMED = """
  const told = {};
  for (const [name, act] of Object.entries({
    'filter by a word': () => writeState({filter: 'full', page: 0}),
    'filter by a range': () => writeState({filter: 'yaw=30..60', page: 0}),
    'sort by distance': () => writeState({filter: '', sort: 'distance'}),
    'turn a page': () => turnPage(1),
    'draw statistics': () => { byId('plots').open = true; drawPlots(''); },
    'filter with statistics': () => writeState({filter: 'framing=face', page: 0}),
  })) { const start = performance.now(); act(); told[name] = performance.now() - start; }
  return told;
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    dataset = Dataset(args.dataset)
    positions = np.resize(np.arange(len(dataset)), args.samples)
    h, w = dataset[0].recipe.camera.shape
    print(f"{args.dataset}: {args.samples} samples of {w} x {h}")
    with tempfile.TemporaryDirectory() as scratch:
        facts = _time_pictures(dataset, positions, args.workers, Path(scratch))
        _time_page(dataset, [facts[k % len(facts)] | {"index": k} for k in range(MOST)], Path(scratch))


def _time_pictures(dataset: Dataset, positions: np.ndarray, workers: int, scratch: Path) -> list[dict]:
    for count in (1, workers):
        folder = scratch / f"{count}"
        folder.mkdir()
        started, cpu, facts = time.perf_counter(), time.process_time(), []
        for shown in make_shown(dataset, positions, Layout(384, folder, (108, 144)), count):
            facts += shown.facts
        milliseconds = (time.perf_counter() - started) * 1000 / len(positions)
        here = (time.process_time() - cpu) * 1000 / len(positions)
        told = f", {here:.0f} ms of a core" if count == 1 else ""
        print(f"pictures, {count} process{'es' if count > 1 else ''}: {milliseconds:.0f} ms a sample{told}")
    for ending, what in (("js", "large"), ("jpg", "thumbnails")):
        size = sum(file.stat().st_size for file in folder.glob(f"*.{ending}")) / len(positions)
        print(f"{what}: {size / 1000:.1f} kB a sample, {size * MOST / 1e9:.2f} GB of {MOST:,}")
    return facts


def _time_page(dataset: Dataset, facts: list[dict], scratch: Path) -> None:
    page = scratch / "index.html"
    started = time.perf_counter()
    head = Head("benchmark", len(facts), measure_dataset(dataset))
    page.write_bytes(page_start(head, "1") + page_end(facts, "1", (108, 144)))
    print(f"page of {len(facts):,}: {page.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - started:.1f} s")
    from test_report_browser import driving

    with driving() as browser:
        browser.open(page)
        told = browser.run("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        print(f"opened after {told / 1000:.2f} s")
        for what, milliseconds in browser.run(_TIMED).items():
            print(f"{what}: {milliseconds:.0f} ms")


if __name__ == "__main__":
    main()
