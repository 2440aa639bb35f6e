"""What a second worker brings: the same images by one Ray worker and by two, one thread each.

Speed-up is not taken from a count of images in a time, for images differ in cost and there are few of them. Every image
weighs what it took in the run of one worker, wall time; a worker's speed is the weight of what it made over the time it
took for it; the speeds add up. A worker's first image, with the start of Ray and Blender, is left out, and so is what
was made after the first worker had nothing left to do.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from render_cases import Stage, say

from synth.pipeline import plan_work
from synth.pipeline_ray import render_on_ray
from synth.pipeline_work import Task, deal_tasks
from synth.pipeline_worker import Job, Places
from synth.randomize import Library
from synth.store_write import open_run

#: (index, wall time) of every image as it was staged.
Arrivals = list[tuple[int, float]]


def measure_second_worker(stage: Stage, library: Library, images: int, folder: Path) -> float:
    """Speed of two workers over that of one."""
    job = Job(stage.config(), library, 0, stage.scan_store, stage.background_store, threads=1)
    runs = {}
    for workers in (1, 2):
        started = time.monotonic()
        runs[workers] = _run(job, images, workers, folder / f"workers{workers}")
        say(f"{images} images with {workers} worker(s): {time.monotonic() - started:.0f} s with start-up")
    arrivals, _ = runs[1]
    weight = {index: at - before for (_, before), (index, at) in pairwise(arrivals)}
    return speed(*runs[2], 2, weight)


def speed(arrivals: Arrivals, tasks: Sequence[Task], workers: int, weight: dict[int, float]) -> float:
    """Weight of images per wall second while all workers had work, summed over the workers: 1 for the run of one."""
    by_worker, ends = _deal_again(arrivals, tasks, workers)
    until = sorted(ends)[-workers]  # from then on a worker had nothing left to do
    total = 0.0
    for made in by_worker:
        made = [(index, at) for index, at in made if at <= until]
        if len(made) < 2:
            raise RuntimeError("a worker made fewer than two images; measure with more --images")
        total += sum(weight[index] for index, _ in made[1:]) / (made[-1][1] - made[0][1])
    return total


def _run(job: Job, images: int, workers: int, out: Path) -> tuple[Arrivals, list[Task]]:
    run = open_run(out, {"format": "benchmark"})
    plan = plan_work(run, images)
    # As for two workers in both runs, so that scans change at the same images.
    tasks = list(deal_tasks(plan.units, plan.staged, len(job.library.scans), job.seed, workers=2))
    return [(fate.index, time.monotonic()) for fate in render_on_ray(job, run, iter(tasks), Places(workers))], tasks


def _deal_again(arrivals: Arrivals, tasks: Sequence[Task], workers: int) -> tuple[list[Arrivals], list[float]]:
    """Who made what, for a fate does not say: a worker that has ended its task takes the next. And when tasks ended."""
    queue = list(tasks)
    holding = [queue.pop(0) if queue else None for _ in range(workers)]
    made: list[Arrivals] = [[] for _ in range(workers)]
    ends = []
    for index, at in arrivals:
        worker = next(k for k, task in enumerate(holding) if task is not None and index in task.ids)
        made[worker].append((index, at))
        if index == holding[worker].ids[-1]:
            ends.append(at)
            holding[worker] = queue.pop(0) if queue else None
    return made, ends
