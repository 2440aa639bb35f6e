"""The machinery of a farm without its renderers: can one driver keep up with 2 000 samples a second of 500 000?

`python benchmarks/farm.py` prints the table behind docs/farm.md; some minutes and 6 GB of disk. What is real: the plan,
Ray and its actors, the driver's loop, the store with every hash, and every fsync where it says `staged and sealed`.
What is not: pixels. Workers recast one small sample of the analytic engine for every id (`farm_mold`), for two cores
could never render so fast. Every stage has a process of its own. Fails when an aim is missed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import patch

from farm_mold import SCANS, make_job, make_mold, seal_directly

from synth import pipeline_ray
from synth.pipeline import plan_work, render_dataset
from synth.pipeline_actor import Actor
from synth.pipeline_tally import Tally
from synth.pipeline_work import BLOCK, Refusal, Task, deal_tasks
from synth.pipeline_worker import Fate, Job, Places, Worker
from synth.sandbox import resident_mb
from synth.store_index import commit
from synth.store_write import Run, open_run

_SPEC = {"benchmark": "farm"}
#: Aims: least samples a second, longest resume in seconds, largest driver in MiB.
_RATE, _RESUME_S, _RSS_MB = 2000, 15.0, 1024.0
#: Processes of actors: far more than the cores of the machine this is usually run on.
_WORKERS = 8
#: Samples that are staged and sealed with all their fsyncs.
_KEPT = 20_000
#: Samples of the usual size that are staged to see how fast they are verified, and that size: 1024 x 768 pixels.
_STAGED, _IMAGE_BYTES = 512, 2_200_000


class Keeper(Worker):
    """A worker that recasts one sample instead of rendering; all else is the real one."""

    def __init__(self, job: Job, run: Run):
        super().__init__(job, run)
        self._mold = make_mold(job, run)

    def _make(self, index: int, before: tuple[Refusal, ...]) -> Fate:
        members, row = self._mold.cast(index)
        self._run.stage(members, row)
        return _fate(index, row["flags"])


class Teller(Worker):
    """A worker that says it had made its samples, as fast as it can."""

    def render(self, task: Task) -> Iterator[Fate]:
        """Fates of samples that nobody made."""
        yield from (_fate(index, ()) for index in task.ids)


class KeepingActor(Actor):
    """The real actor with a `Keeper`."""

    def __init__(self, job: Job, run: Run):
        super().__init__(job, run)
        self._worker = Keeper(job, run)


class TellingActor(Actor):
    """The real actor with a `Teller`."""

    def __init__(self, job: Job, run: Run):
        super().__init__(job, run)
        self._worker = Teller(job, run)


def _fate(index: int, flags: tuple[str, ...]) -> Fate:
    return Fate(index, True, (), tuple(flags), 1.0, 100.0, ("ball000",), 10_000)


def measure_half(folder: Path, n: int) -> dict:
    """Makes a set as a killed driver leaves it: the first half sealed, half of the next block staged."""
    job, run = make_job(folder), open_run(folder / "set", _SPEC)
    mold = make_mold(job, run)
    units = plan_work(run, n).units
    half = len(units) // 2
    for name in (run.out / "shards", run.out / run.name("units")):
        name.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(seal_directly, run, mold), units[:half], chunksize=16))
    in_hand = [index for unit in units[half : half + BLOCK // 128] for index in unit.ids][::2]
    for index in in_hand:
        run.stage(*mold.cast(index))
    os.sync()
    return {"sealed": units[half - 1].last + 1, "staged": len(in_hand), "bytes": sum(map(len, mold.members.values()))}


def measure_resume(folder: Path, n: int) -> dict:
    """What a driver does before it starts workers."""
    began = time.monotonic()
    run = open_run(folder / "set", _SPEC)
    plan = plan_work(run, n)
    first = next(deal_tasks(plan.units, plan.staged, SCANS, 0, _WORKERS))
    return {"s": time.monotonic() - began, "rss_mb": _most_mb(), "missing": plan.missing, "first": first.ids[0]}


def measure_staged(folder: Path, n: int) -> dict:
    """Resume where much is staged: every byte of it is read and hashed, here from the page cache."""
    job, run = make_job(folder), open_run(folder / "staged", _SPEC)
    mold = make_mold(job, run).padded(_IMAGE_BYTES)
    for index in range(0, 2 * _STAGED, 2):  # no unit is complete: sealing is another matter
        run.stage(*mold.cast(index))
    os.sync()  # what other stages wrote must not be waited for here
    began = time.monotonic()
    staged = len(plan_work(open_run(run.out, _SPEC), n).staged)
    return {"s": (time.monotonic() - began) * BLOCK / staged}


def measure_commit(folder: Path, n: int) -> dict:
    """Seals the other half untimed; then what a driver does after the last unit."""
    run = open_run(folder / "set", _SPEC)
    run.sweep_staging()
    mold = make_mold(make_job(folder), run)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(seal_directly, run, mold), run.plan_units(n), chunksize=16))
    before = resident_mb()
    began = time.monotonic()
    rows = commit(run, lineage={}, processes=len(os.sched_getaffinity(0)))["index"]["rows"]
    return {"s": time.monotonic() - began, "rss_mb": _most_mb(), "before_mb": before, "rows": rows}


def measure_told(folder: Path, n: int) -> dict:
    """A fresh run of n samples whose workers only tell: what the driver alone costs."""
    job, run = make_job(folder), open_run(folder / "told", _SPEC)
    began = time.monotonic()
    plan = plan_work(run, n)
    planned = time.monotonic() - began
    tasks = deal_tasks(plan.units, plan.staged, SCANS, 0, _WORKERS)
    tally, rss = Tally(), []
    with patch.object(pipeline_ray, "Actor", TellingActor):
        for fate in pipeline_ray.render_on_ray(job, run, tasks, Places(_WORKERS)):
            if not tally.made:
                first, cpu = time.monotonic(), time.process_time()
            tally.add(fate)
            if tally.made % (n // 10) == 0:
                rss.append(round(resident_mb()))
    seconds, cpu = time.monotonic() - first, time.process_time() - cpu
    return {"plan_s": planned, "first_s": first - began, "rate": n / seconds, "cpu": 1000 * cpu / n, "rss": rss,
            "rss_mb": _most_mb()}  # fmt: skip


def measure_kept(folder: Path, n: int) -> dict:
    """A fresh run whose workers stage and seal: the whole of `render_dataset`, and the commit."""
    job, run = make_job(folder), open_run(folder / "kept", _SPEC)
    n = min(n, _KEPT)
    plan, times = plan_work(run, n), []
    with patch.object(pipeline_ray, "Actor", KeepingActor):
        render_dataset(job, run, plan, Places(_WORKERS), 0.2, lambda fate, tally: times.append(_now()))
    (first, cpu), (last, cpu_last) = times[0], times[-1]
    rows = commit(run, lineage={})["index"]["rows"]
    return {"n": rows, "rate": n / (last - first), "cpu": 1000 * (cpu_last - cpu) / n, "rss_mb": _most_mb()}


_STAGES: dict[str, Callable[[Path, int], dict]] = {
    "half": measure_half,
    "resume": measure_resume,
    "staged": measure_staged,
    "commit": measure_commit,
    "told": measure_told,
    "kept": measure_kept,
}


def main() -> int:
    """Exit status 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=500_000, help="samples of the set (default: 500000)")
    parser.add_argument("--stage", choices=_STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where the sets are made (default: a temporary folder)")
    args = parser.parse_args()
    if args.stage:
        print(json.dumps(_STAGES[args.stage](args.folder, args.n)))
        return 0
    with tempfile.TemporaryDirectory(prefix="synth-farm-", dir=args.folder) as folder:
        found = {}
        for stage in _STAGES:
            began = time.monotonic()
            found[stage] = _run(stage, Path(folder), args.n)
            print(f"{stage}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return _report(found, args.n)


def _run(stage: str, folder: Path, n: int) -> dict:
    command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder), "--n", str(n)]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _report(found: dict[str, dict], n: int) -> int:
    half, resume, told, kept, last = (found[stage] for stage in ("half", "resume", "told", "kept", "commit"))
    peak = max(stage["rss_mb"] for stage in (resume, told, kept, last))
    rows = [
        (f"plan of {n} fresh ids", f"{told['plan_s']:.2f} s", None),
        (f"the same to the first sample of {_WORKERS} workers, Ray's start included", f"{told['first_s']:.1f} s", None),
        (f"resume: {half['sealed']} sealed, {half['staged']} staged, {n} asked for",
         f"{resume['s']:.1f} s, {resume['rss_mb']:.0f} MiB", resume["s"] < _RESUME_S),
        (f"resume verifies a whole block of {BLOCK} staged images of {_IMAGE_BYTES / 1e6:.1f} MB, by {_STAGED} of them",
         f"{found['staged']['s']:.1f} s", None),
        (f"driver alone: {n} samples told by {_WORKERS} workers", f"{told['rate']:.0f} samples/s",
         told["rate"] >= _RATE),
        ("its processor time for 1 000 samples", f"{told['cpu']:.3f} s", told["cpu"] < 1000 / _RATE),
        ("its memory at every tenth, MiB", " ".join(map(str, told["rss"])), None),
        (f"staged and sealed: {kept['n']} samples by {_WORKERS} workers on {len(os.sched_getaffinity(0))} cores",
         f"{kept['rate']:.0f} samples/s", None),
        ("the driver's processor time for 1 000 of them", f"{kept['cpu']:.3f} s", kept["cpu"] < 1000 / _RATE),
        (f"commit of {last['rows']} samples", f"{last['s']:.1f} s", None),
        ("largest driver of all these", f"{peak:.0f} MiB", peak < _RSS_MB),
    ]  # fmt: skip
    print("| | | |\n|---|---:|---|")
    for what, figure, good in rows:
        print(f"| {what} | {figure} | {'' if good is None else 'PASS' if good else 'FAIL'} |")
    print(f"\naims: at least {_RATE} samples/s, resume below {_RESUME_S:g} s, driver below {_RSS_MB:g} MiB")
    return 1 if any(good is False for _, _, good in rows) else 0


def _now() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _most_mb() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
