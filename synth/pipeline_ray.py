"""Tasks on Ray actors: a local Ray, or a cluster whose nodes come and go.

What the workers do: `synth.pipeline_actor`. Who gets which task, and what happens when one is lost:
`synth.pipeline_farm`.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from synth.errors import UserError
from synth.pipeline_actor import Actor
from synth.pipeline_farm import Farm, WorkerLost
from synth.pipeline_stop import stop_requests
from synth.pipeline_work import Task
from synth.pipeline_worker import LIMITS, Fate, Job, Limits, OnEvent, Places
from synth.store_write import Run

__all__ = ["WorkerLost", "render_on_ray"]


def render_on_ray(
    job: Job,
    run: Run,
    tasks: Iterator[Task],
    places: Places,
    limits: Limits = LIMITS,
    on_event: OnEvent = lambda kind, facts: None,
) -> Iterator[Fate]:
    """Fates of all tasks, in the order they end. Closing the iterator kills the workers at once.

    on_event: hears what `synth.pipeline_farm` lists. Raises Stopped after a signal, once what was in hand is staged.
    """
    first = next(tasks, None)
    if first is None:
        return
    # Ray puts the driver's folder first on its workers' path: a user's ./train.py would be imported for ours.
    here = Path.cwd()
    cores = max(1, job.threads)
    with tempfile.TemporaryDirectory(prefix="synth-driver-") as empty:
        os.chdir(empty)
        try:
            _connect(places, cores)
            job_ref = ray.put(job)
            remote = ray.remote(num_cpus=cores, num_gpus=places.gpus, max_restarts=0)(Actor)
            todo = chain([first], tasks)
            farm = Farm(lambda: remote.remote(job_ref, run), run, todo, limits, on_event, places.one_class)
            with stop_requests() as asked_to_stop:
                yield from farm.work(lambda: _capacity(places, cores), asked_to_stop)
        finally:
            ray.shutdown()
            os.chdir(here)


def _connect(places: Places, cores: int) -> None:
    try:
        ray.init(
            address=places.address or "local",
            num_cpus=None if places.address else cores * (places.workers or 1),
            include_dashboard=None if places.address else False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--address {places.address}: no Ray cluster answers there ({reason})") from error


def _capacity(places: Places, cores: int) -> int:
    if places.workers is not None:
        return places.workers
    resources = ray.cluster_resources()
    room = resources.get("CPU", 0) / cores
    if places.gpus:
        room = min(room, resources.get("GPU", 0) / places.gpus)
    return max(1, math.floor(room))
