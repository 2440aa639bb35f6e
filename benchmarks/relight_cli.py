"""What a sample costs through the command line, and a run of thousands through Ray on two cores.

CPU time is that of the whole tree of processes (`relight_tree`): driver, workers, and Ray's own apart.
"""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from relight_tree import Used, run_measured
from render_cases import say

from synth.errors import UserError

_SYNTH = [sys.executable, "-c", "import sys; from synth.cli import main; sys.exit(main())"]
#: Images of the two runs whose difference is measured, and of one before that finds transport and compiles.
_FEW, _MORE, _FIRST = 100, 200, 24
#: What a rate is carried on to.
_MANY = 500_000


@dataclass(frozen=True)
class Further:
    """Core-seconds of a further sample, from the difference of two runs."""

    ours: float
    ray: float
    """Ray's own processes: they look about them by the clock, so that on a busy machine more falls to a sample."""

    @property
    def all(self) -> float:
        """Of the whole tree."""
        return self.ours + self.ray


def measure_further(scans: list[Path], folder: Path, size: tuple[int, int], engine: str) -> Further:
    """Renders 24, 100 and 200 samples into new datasets, one worker."""
    runs = {}
    for n in (_FIRST, _FEW, _MORE):
        runs[n] = _render(scans, folder / f"{engine}-{n}", n, 1, size, engine)
        used = runs[n]
        say(f"{n} samples: driver {used.driver:.1f}, worker {used.workers:.1f}, Ray's own {used.ray:.1f} core-s")
    few, more = runs[_FEW], runs[_MORE]
    count = _MORE - _FEW
    return Further((more.ours - few.ours) / count, (more.ray - few.ray) / count)


def report_further(further: Further, engine: str) -> None:
    """Prints it."""
    print(f"\nThrough `synth render --engine {engine} --workers 1`: {_MORE} samples less {_FEW}, over {_MORE - _FEW}")
    print(f"{'driver and worker':<34}{further.ours:>8.3f} core-s a sample")
    print(f"{'processes of Ray itself':<34}{further.ray:>8.3f} core-s a sample")
    print(f"{'samples per core-hour, all of it':<34}{3600 / further.all:>8.0f}", flush=True)


def run_long(scans: list[Path], out: Path, n: int, workers: int, size: tuple[int, int], engine: str) -> bool:
    """Renders n samples with Ray, checks them, prints rates; True if all went well. The same `out` goes on."""
    started = time.monotonic()
    used = _render(scans, out, n, workers, size, engine)
    wall_s = time.monotonic() - started
    print(used.output.strip())
    checked = run_measured([*_SYNTH, "check", str(out)])
    print(checked.output.strip())
    print(f"\n{n} samples of {size[0]} x {size[1]}, engine {engine}, {workers} workers: {wall_s:.0f} s by the clock")
    print(f"core-seconds: {used.ours:.0f} driver and workers, {used.ray:.0f} Ray's own; {used.all / n:.3f} a sample")
    print(f"samples per core-hour: {3600 * n / used.all:.0f}; by the clock {3600 * n / wall_s:.0f} an hour")
    print(f"{_MANY} samples at this rate: {used.all / n * _MANY / 3600:.0f} core-hours", flush=True)
    return checked.code == 0


def _render(scans: list[Path], out: Path, n: int, workers: int, size: tuple[int, int], engine: str) -> Used:
    command = [*_SYNTH, "render", "--engine", engine, "--n", str(n), "--out", str(out), "--workers", str(workers)]
    command += ["--width", str(size[0]), "--height", str(size[1])]
    for folder in scans:
        command += ["--scans", str(folder)]
    used = run_measured(command)
    if used.code != 0:
        raise UserError(f"{' '.join(command)}: exit code {used.code}: {used.output[-2000:]}")
    found = re.search(r"rendered (\d+) images", used.output)
    if found is None and "nothing to do" not in used.output:
        raise UserError(f"{' '.join(command)}: said nothing of images: {used.output[-2000:]}")
    return used
