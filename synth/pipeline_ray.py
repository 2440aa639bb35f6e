"""Tasks on Ray actors: one renderer each, fates streamed back as samples are staged.

A worker that dies, or takes too long over a sample, loses the sample in its hands; the rest of its task goes to
another. That sample is rendered again alone, in a fresh process: a worker killed from outside is nobody's fault. Only
when it has taken three such processes down is the attempt refused, as `crashed` or `timeout`, and drawn again.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from synth.errors import UserError
from synth.pipeline_stop import stop_requests
from synth.pipeline_work import Task
from synth.pipeline_worker import LIMITS, MAX_ATTEMPTS, Fate, Job, Limits, OnEvent, Worker
from synth.scratch import scratch_folder
from synth.store_write import Run

#: Processes that an attempt may take down when it is rendered alone.
_MOST_LOST = 3
#: Seconds between looks at workers that say nothing.
_POLL_S = 1.0
#: Longest wait for a worker to tidy up.
_CLOSE_S = 10.0


class WorkerLost(UserError):
    """Workers cannot be started here."""


@ray.remote(num_cpus=1, max_restarts=0)
class _Actor:
    def __init__(self, job: Job, run: Run):
        # Ray's own handler waits for the render to end, and driver and worker then hang: let the signal kill.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._folder = scratch_folder(in_memory=False)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder)  # bpy leaves an empty folder per process
        self._worker = Worker(job, run)

    def render(self, task: Task) -> Iterator[Fate | int]:
        """The process's number, once it begins, then fates."""
        yield os.getpid()
        yield from self._worker.render(task)

    def close(self) -> None:
        self._worker.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def render_on_ray(
    job: Job,
    run: Run,
    tasks: Iterator[Task],
    workers: int,
    address: str | None,
    limits: Limits = LIMITS,
    on_event: OnEvent = lambda kind, facts: None,
) -> Iterator[Fate]:
    """Fates of all tasks, in the order they end. Closing the iterator kills the workers at once.

    on_event: hears `worker_lost`.
    """
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
                yield from _Farm(job, run, first, tasks, limits, on_event).run(workers, stop_if_asked)
        finally:
            ray.shutdown()
            os.chdir(here)


@dataclass
class _Hand:
    """A worker at a task."""

    actor: object
    task: Task
    since: float | None = None
    """When it was last heard of; None before it has begun, for it may wait for a place in the cluster."""
    heard: int = 0
    rss_mb: float = 0.0


class _Farm:
    """Workers, the tasks that wait, and what became of samples that took a worker down."""

    def __init__(self, job: Job, run: Run, first: Task, tasks: Iterator[Task], limits: Limits, on_event: OnEvent):
        self._job, self._run, self._limits, self._on_event = ray.put(job), run, limits, on_event
        self._waiting, self._tasks = deque([first]), tasks
        self._busy: dict[object, _Hand] = {}  # by stream of fates
        self._made: Counter = Counter()  # images, by actor
        self._lost: Counter = Counter()  # processes, by (index, attempt)

    def run(self, workers: int, stop_if_asked: Callable[[], None]) -> Iterator[Fate]:
        """Fates until no task is left."""
        for _ in range(workers):
            if not self._start(None):
                break
        while self._busy:
            ready, _ = ray.wait(list(self._busy), num_returns=1, timeout=_POLL_S)
            stop_if_asked()
            for stream in ready:
                yield from self._hear(stream)
            for stream in [s for s, hand in self._busy.items() if self._overdue(hand)]:
                yield from self._lose(stream, "timeout", f"longer than {self._limits.sample_s:g} s")

    def _start(self, actor: object | None) -> bool:
        """Gives the next task to an actor, a fresh one if None or if the task is alone; whether there was a task."""
        task = self._waiting.popleft() if self._waiting else next(self._tasks, None)
        if actor is not None and (task is None or task.alone):
            self._dismiss(actor)
            actor = None
        if task is None:
            return False
        actor = actor or _Actor.remote(self._job, self._run)
        self._busy[actor.render.options(num_returns="streaming").remote(task)] = _Hand(actor, task)
        return True

    def _hear(self, stream: object) -> Iterator[Fate]:
        """What a ready stream says."""
        hand = self._busy[stream]
        try:
            said = ray.get(next(stream))
        except StopIteration:
            del self._busy[stream]
            self._start(self._kept(hand))
        except RayTaskError as error:  # what the worker itself raised: its own line, not Ray's page of it
            raise error.cause from error
        except RayActorError as error:
            if "creation task" in str(error):  # it never came to life, so the next one would not either
                raise WorkerLost(f"a worker could not start: {_last_line(error)}; try `synth doctor`") from error
            yield from self._lose(stream, "crashed", "the worker's process ended")
        else:
            hand.since = time.monotonic()
            if isinstance(said, Fate):
                hand.heard, hand.rss_mb = hand.heard + 1, said.rss_mb
                yield said

    def _kept(self, hand: _Hand) -> object | None:
        """The worker of an ended task, for another one; None where a fresh one is due."""
        self._made[hand.actor] += hand.heard
        worn = self._made[hand.actor] >= self._limits.images or hand.rss_mb > self._limits.rss_mb
        if not (hand.task.alone or worn):
            return hand.actor
        self._dismiss(hand.actor)
        return None

    def _overdue(self, hand: _Hand) -> bool:
        return hand.since is not None and time.monotonic() - hand.since > self._limits.sample_s

    def _lose(self, stream: object, reason: str, detail: str) -> Iterator[Fate]:
        """A worker is gone, or has to go: its sample is tried again alone, the rest of its task waits."""
        hand = self._busy.pop(stream)
        ray.kill(hand.actor)
        index = next(iter(hand.task.ids[hand.heard :]), None)
        self._on_event("worker_lost", {"reason": reason, "detail": detail, "index": index, "alone": hand.task.alone})
        if hand.heard == len(hand.task.ids):  # it died between its last sample and the end of its task
            self._start(None)
            return
        first, rest = hand.task.split(hand.heard)
        if rest is not None:
            self._waiting.append(rest)
        if hand.task.alone:
            attempt = len(first.refused)
            self._lost[first.ids[0], attempt] += 1
            if self._lost[first.ids[0], attempt] >= _MOST_LOST:
                first = replace(first, refused=(*first.refused, (attempt, reason, detail)))
        if len(first.refused) < MAX_ATTEMPTS:
            self._waiting.append(first)
        else:
            yield Fate(first.ids[0], False, first.refused, (), 0.0)
        self._start(None)

    def _dismiss(self, actor: object) -> None:
        """Ends a worker that holds no task."""
        with contextlib.suppress(RayActorError, GetTimeoutError):
            ray.get(actor.close.remote(), timeout=_CLOSE_S)
        ray.kill(actor)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
