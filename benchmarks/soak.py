"""Does a worker leak? Thousands of small renders in one worker that is never replaced, its memory every 250.

`python benchmarks/soak.py --scans DIR` prints the table behind docs/farm.md; a quarter of an hour on a free core. The
worker is the real one: recipe, Cycles, labels, check, staging, sealing; scans take turns as in a run of 600 of them.
Fails when the resident memory grew by 5 % or more after the warm-up.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from synth import cli_library
from synth.cli_library import say
from synth.pipeline import plan_work
from synth.pipeline_work import Task
from synth.pipeline_worker import Fate, Job, Worker
from synth.randomize import scan_of_index
from synth.store_write import Unit, open_run

#: Growth of resident memory that is still no leak, percent.
_AIM = 5.0
_EVERY = 250
#: Images of a scan before the next: what a block of 8192 ids holds of each of 600 scans.
_PER_SCAN = 14


def main() -> int:
    """Renders, prints memory, and whether it stays."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli_library.add_scan_arguments(parser)
    cli_library.add_scene_arguments(parser)
    parser.add_argument("--n", type=int, default=3000, help="renders (default: 3000)")
    parser.set_defaults(width=96, height=128, spp=1)
    args = parser.parse_args()
    if args.n < 3 * _EVERY:
        parser.error(f"--n {args.n}: less than {3 * _EVERY} renders say nothing")
    config = cli_library.config_of(args)
    scans, skies = cli_library.load_scans(args.scans, args), cli_library.load_backgrounds_of(args)
    job = Job(config, cli_library.library_of(config, scans, skies), args.seed, scans.store, skies.store, threads=1)
    with tempfile.TemporaryDirectory(prefix="synth-soak-") as folder:
        run = open_run(Path(folder, "set"), {"benchmark": "soak"})
        tasks = deal_in_turn(plan_work(run, args.n).units, len(scans.entries), args.seed)
        say(f"{args.n} renders of {args.width} x {args.height} in one worker; {len(scans.entries)} scans take turns")
        worker = Worker(job, run)
        try:
            return _watch(chain.from_iterable(map(worker.render, tasks)))
        finally:
            worker.close()


def deal_in_turn(units: Sequence[Unit], scan_count: int, seed: int) -> Iterator[Task]:
    """All ids of `units` in tasks of one scan, which take turns."""
    waiting: list[list[tuple[int, Unit]]] = [[] for _ in range(scan_count)]
    for unit in units:
        for index in unit.ids:
            waiting[scan_of_index(scan_count, seed, index)].append((index, unit))
    while any(waiting):
        for pairs in filter(None, waiting):
            ids, of = zip(*pairs[:_PER_SCAN], strict=True)
            del pairs[:_PER_SCAN]
            yield Task(ids, of)


def _watch(fates: Iterator[Fate]) -> int:
    """Prints what every 250 renders leave behind. Growth is what the worker holds at the end over the warm-up's end."""
    began, rss_mb, refused = time.monotonic(), [], 0
    say("\n| renders | RSS MiB | refused attempts | s |\n|---:|---:|---:|---:|")
    for number, fate in enumerate(fates, 1):
        rss_mb.append(fate.rss_mb)
        refused += len(fate.refused)
        if number % _EVERY == 0:
            say(f"| {number} | {fate.rss_mb:.1f} | {refused} | {time.monotonic() - began:.0f} |")
    warm, last = max(rss_mb[:_EVERY]), max(rss_mb[-_EVERY:])
    growth = 100 * (last / warm - 1)
    verdict = "PASS" if growth < _AIM else "FAIL"
    say(f"\nmost in the first {_EVERY} renders {warm:.1f} MiB, in the last {_EVERY} {last:.1f} MiB:")
    say(f"{growth:+.1f} % (aim: below {_AIM:g} %) {verdict}")
    return 0 if verdict == "PASS" else 1


if __name__ == "__main__":
    sys.exit(main())
