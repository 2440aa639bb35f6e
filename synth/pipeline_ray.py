"""Tasks on Ray actors: one renderer each, fates streamed back as samples are staged.

A worker that dies loses the sample in its hands; the rest of its task goes to a fresh one. An index that was in hand
at three deaths ends the run.
"""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayActorError, RayTaskError

from synth.errors import UserError
from synth.pipeline_stop import stop_requests
from synth.pipeline_work import Task
from synth.pipeline_worker import Fate, Job, Worker
from synth.scratch import scratch_folder
from synth.store_write import Run

_MAX_DEATHS = 3


class WorkerLost(UserError):
    """A worker process died again and again on the same image."""


@ray.remote(num_cpus=1, max_restarts=0)
class _Actor:
    def __init__(self, job: Job, run: Run):
        # Ray's own handler waits for the render to end, and driver and worker then hang: let the signal kill.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._folder = scratch_folder(in_memory=False)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder)  # bpy leaves an empty folder per process
        self._worker = Worker(job, run)

    def render(self, task: Task) -> Iterator[Fate]:
        yield from self._worker.render(task)

    def close(self) -> None:
        self._worker.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def render_on_ray(job: Job, run: Run, tasks: Iterator[Task], workers: int, address: str | None) -> Iterator[Fate]:
    """Fates of all tasks, in the order they end. Closing the iterator kills the workers at once."""
    first = next(tasks, None)
    if first is None:
        return
    # Ray puts the driver's folder first on its workers' path: a user's ./train.py would be imported for ours.
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="synth-driver-") as empty:
        os.chdir(empty)
        try:
            ray.init(
                address=address or "local",
                num_cpus=None if address else workers,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="error",
            )
            with stop_requests() as stop_if_asked:
                yield from _drive(job, run, first, tasks, workers, stop_if_asked)
        finally:
            ray.shutdown()
            os.chdir(here)


def _drive(
    job: Job, run: Run, first: Task, tasks: Iterator[Task], workers: int, stop_if_asked: Callable[[], None]
) -> Iterator[Fate]:
    waiting = [first]
    job_ref, deaths = ray.put(job), Counter()
    busy: dict = {}  # stream of fates -> (actor, its task)
    heard: Counter = Counter()  # fates received, by stream

    def start(actor) -> bool:
        task = waiting.pop() if waiting else next(tasks, None)
        if task is None:
            return False
        stream = actor.render.options(num_returns="streaming").remote(task)
        busy[stream] = (actor, task)
        return True

    for _ in range(workers):
        if not start(_Actor.remote(job_ref, run)):
            break
    while busy:
        ready, _ = ray.wait(list(busy), num_returns=1, timeout=1.0)
        stop_if_asked()
        for stream in ready:
            actor, _ = busy[stream]
            try:
                fate = ray.get(next(stream))
            except StopIteration:
                del busy[stream]
                if not start(actor):
                    ray.get(actor.close.remote())
                    ray.kill(actor)
            except RayTaskError as error:  # what the worker itself raised: its own line, not Ray's page of it
                raise error.cause from error
            except RayActorError as error:
                if "creation task" in str(error):  # it never came to life, so the next one would not either
                    raise WorkerLost(f"a worker could not start: {_last_line(error)}; try `synth doctor`") from error
                rest = _rest(busy.pop(stream)[1], heard.pop(stream, 0))
                if rest is not None:
                    _count_death(deaths, rest.ids[0])
                    waiting.append(rest)
                start(_Actor.remote(job_ref, run))
            else:
                heard[stream] += 1
                yield fate


def _rest(task: Task, heard: int) -> Task | None:
    """What is left of a task after its first `heard` fates."""
    return Task(task.ids[heard:], task.units[heard:]) if heard < len(task.ids) else None


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _count_death(deaths: Counter, index: int) -> None:
    deaths[index] += 1
    if deaths[index] >= _MAX_DEATHS:
        raise WorkerLost(f"image {index}: {deaths[index]} workers died on it; `synth render --index {index}` shows why")
