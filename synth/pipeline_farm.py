"""Workers, the tasks that wait, and what became of samples that took a worker down.

A worker that dies, or takes too long over a sample, loses at most the sample in its hands; what it had staged is kept
and the rest of its task goes to another. That sample is rendered again alone, in a fresh process: a worker killed from
outside is nobody's fault. Only when it has taken three such processes down is the attempt refused, as `crashed` or
`timeout`, and drawn again.

What else happens is told to `on_event`:

    worker_started    node, pid, environment (class)
    worker_drained    node, pid              it was asked to end by SIGTERM
    worker_replaced   node, pid, images, rss_mb
    worker_lost       node, pid, reason, detail, index, alone
    node_refused      node, reason           other versions, or another class under --one-class
    renderer_error    node, pid, index, lines
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from synth.errors import UserError
from synth.pipeline_actor import Batch, Hello
from synth.pipeline_env import OTHER_VERSIONS, environment_class, why_refused
from synth.pipeline_output import last_lines
from synth.pipeline_stop import Stopped
from synth.pipeline_work import Task
from synth.pipeline_worker import MAX_ATTEMPTS, Fate, Limits, OnEvent, fate_of_row
from synth.store_write import Run

#: Processes that an attempt may take down when it is rendered alone.
_MOST_LOST = 3
#: Seconds between looks at workers that say nothing.
_POLL_S = 1.0
#: Longest wait for a worker to tidy up.
_CLOSE_S = 10.0
#: Seconds before a worker is started again after several could not start.
_AGAIN_S = 30.0


class WorkerLost(UserError):
    """Workers cannot be started here."""


@dataclass
class _Hand:
    """A worker and what it holds."""

    actor: object
    task: Task | None = None
    heard: int = 0
    """Fates of the task so far."""
    since: float | None = None
    """When it was last asked for work; None before it is ready, for it may wait for a place in the cluster."""
    hello: Hello | None = None
    images: int = 0
    rss_mb: float = 0.0

    @property
    def who(self) -> dict:
        """For events."""
        return {"node": self.hello.node, "pid": self.hello.pid} if self.hello else {"node": None, "pid": None}


class Farm:
    """Drives workers until no task is left."""

    def __init__(
        self,
        start: Callable[[], object],
        run: Run,
        tasks: Iterator[Task],
        limits: Limits,
        on_event: OnEvent,
        one_class: bool = False,
    ):
        """start: makes an actor of `pipeline_actor.Actor`."""
        self._start, self._run, self._limits, self._on_event = start, run, limits, on_event
        self._one_class, self._known = one_class, run.environments()
        self._waiting: deque[Task] = deque()
        self._tasks = tasks
        self._busy: dict[object, _Hand] = {}  # by the answer that is awaited
        self._parked: list[object] = []  # refused workers: they hold their place, so that no further one starts there
        self._lost: Counter = Counter()  # processes, by (index, attempt)
        self._made_any = False
        self._stillbirths = 0  # in a row
        self._not_before = 0.0

    def work(self, capacity: Callable[[], int], asked_to_stop: Callable[[], Stopped | None]) -> Iterator[Fate]:
        """Fates in the order they come. Raises Stopped once asked to, after what is in hand has been staged.

        capacity: how many workers there may be at this moment; nodes come and go.
        """
        self._staff(capacity())
        while any(hand.task for hand in self._busy.values()) or self._has_more(0):
            ready, _ = ray.wait(list(self._busy), num_returns=1, timeout=_POLL_S)
            if len(ready) and len(self._busy) > 1:
                ready, _ = ray.wait(list(self._busy), num_returns=len(self._busy), timeout=0)
            if stop := asked_to_stop():
                yield from self._drain()
                raise stop
            for answer in ready:
                yield from self._hear(answer)
            for answer in self._overdue():
                yield from self._lose(self._busy.pop(answer), "timeout", f"longer than {self._limits.sample_s:g} s")
            self._staff(capacity())
        for actor in [hand.actor for hand in self._busy.values()] + self._parked:
            ray.kill(actor)

    def _has_more(self, beyond: int) -> bool:
        """Whether more than so many tasks wait."""
        while len(self._waiting) <= beyond:
            task = next(self._tasks, None)
            if task is None:
                return False
            self._waiting.append(task)
        return True

    def _staff(self, capacity: int) -> None:
        """Starts workers while there is room and work for them."""
        while len(self._busy) < capacity and time.monotonic() >= self._not_before:
            if not self._has_more(sum(hand.task is None for hand in self._busy.values())):
                return
            actor = self._start()
            self._busy[actor.hello.remote()] = _Hand(actor)

    def _hear(self, answer: object) -> Iterator[Fate]:
        hand = self._busy.pop(answer)
        try:
            said = ray.get(answer)
        except RayTaskError as error:  # what the worker itself raised: its own line, not Ray's page of it
            raise error.cause from error
        except RayActorError as error:
            if hand.hello is None:
                self._stillborn(error)
            else:
                yield from self._lose(hand, "crashed", "the worker's process ended")
            return
        if isinstance(said, Hello):
            self._admit(hand, said)
        else:
            yield from self._take(hand, said)

    def _stillborn(self, error: Exception) -> None:
        """A worker died before it could say hello: killed, or unable to start, and then the next one would be too."""
        line = str(error).strip().splitlines()[-1].strip()
        unable = "creation task" in str(error)
        self._stillbirths += 1
        if not self._made_any and (unable or self._stillbirths > _MOST_LOST):
            raise WorkerLost(f"a worker could not start: {line}; try `synth doctor`") from error
        self._on_event("worker_lost", _lost(_Hand(None), "not started", line))
        if self._stillbirths > _MOST_LOST:
            self._not_before = time.monotonic() + _AGAIN_S

    def _admit(self, hand: _Hand, hello: Hello) -> None:
        hand.hello, self._stillbirths = hello, 0
        environments = list(hello.facts.values())
        refused = why_refused(self._known, environments, self._one_class)
        if refused is None:
            self._known = self._known or environments
            self._on_event("worker_started", {**hand.who, "environment": environment_class(environments)})
            self._give(hand)
            return
        self._on_event("node_refused", {"node": hello.node, "reason": refused})
        if not self._made_any and not any(other.task for other in self._busy.values()):
            raise WorkerLost(f"{hello.node}: {refused}; {OTHER_VERSIONS}")
        self._parked.append(hand.actor)

    def _give(self, hand: _Hand) -> None:
        """The next task for a worker that has none; it is dismissed when there is none it may have."""
        fresh = not hand.images
        hand.task = self._next_task(fresh)
        if hand.task is None:
            self._dismiss(hand)
            return
        hand.heard = 0
        self._ask(hand, hand.task)

    def _next_task(self, fresh: bool) -> Task | None:
        """Tasks of one lost sample are for fresh workers."""
        self._has_more(len([task for task in self._waiting if task.alone]))
        for task in self._waiting:
            if fresh or not task.alone:
                self._waiting.remove(task)
                return task
        return None

    def _ask(self, hand: _Hand, task: Task | None) -> None:
        hand.since = time.monotonic()
        self._busy[hand.actor.work.remote(task)] = hand

    def _take(self, hand: _Hand, batch: Batch) -> Iterator[Fate]:
        alone = hand.task.alone
        yield from self._fates_of(hand, batch)
        if batch.drained:
            self._on_event("worker_drained", hand.who)
            if (rest := hand.task.after(hand.heard)) is not None:
                self._waiting.appendleft(rest)
            self._dismiss(hand)
        elif not batch.done:
            self._ask(hand, None)
        elif alone or self._worn(hand):
            if not alone:
                self._on_event("worker_replaced", {**hand.who, "images": hand.images, "rss_mb": round(hand.rss_mb)})
            self._dismiss(hand)
        else:
            self._give(hand)

    def _fates_of(self, hand: _Hand, batch: Batch) -> Iterator[Fate]:
        for fate in batch.fates:
            hand.heard, hand.images, hand.rss_mb = hand.heard + 1, hand.images + 1, fate.rss_mb
            self._made_any = True
            if fate.errors:
                self._on_event("renderer_error", {**hand.who, "index": fate.index, "lines": list(fate.errors)})
            yield fate

    def _worn(self, hand: _Hand) -> bool:
        return hand.images >= self._limits.images or hand.rss_mb > self._limits.rss_mb

    def _overdue(self) -> list[object]:
        """Answers that are late, but for those that came while the driver was at something else."""
        before = time.monotonic() - self._limits.sample_s
        late = [answer for answer, hand in self._busy.items() if hand.since is not None and hand.since < before]
        came = ray.wait(late, num_returns=len(late), timeout=0)[0] if late else []
        return [answer for answer in late if answer not in came]

    def _lose(self, hand: _Hand, reason: str, detail: str) -> Iterator[Fate]:
        """A worker is gone, or has to go: its sample is tried again alone, the rest of its task waits."""
        ray.kill(hand.actor)
        if said := last_lines(hand.hello.log):
            detail = f"{detail}; it said: {said}"
        yield from self._staged_unheard(hand)
        index = next(iter(hand.task.ids[hand.heard :]), None)
        self._on_event("worker_lost", _lost(hand, reason, detail, index))
        if index is None:  # it died between its last sample and its answer
            return
        first, rest = hand.task.after(hand.heard).split()
        if rest is not None:
            self._waiting.append(rest)
        if hand.task.alone:
            attempt = len(first.refused)
            self._lost[index, attempt] += 1
            if self._lost[index, attempt] >= _MOST_LOST:
                first = replace(first, refused=(*first.refused, (attempt, reason, detail)))
        if len(first.refused) < MAX_ATTEMPTS:
            self._waiting.append(first)
        else:
            yield Fate(index, False, first.refused, (), 0.0)

    def _staged_unheard(self, hand: _Hand) -> Iterator[Fate]:
        """Fates of samples that a lost worker had staged and not told of."""
        while hand.heard < len(hand.task.ids):
            index, unit = hand.task.ids[hand.heard], hand.task.units[hand.heard]
            row = self._run.kept_row(index, unit)
            if row is None:
                return
            hand.heard += 1
            self._run.seal_if_complete(unit)
            yield fate_of_row(row)

    def _drain(self) -> Iterator[Fate]:
        """What is in hand is finished and staged, nothing more is begun."""
        until = time.monotonic() + self._limits.sample_s
        held = {answer: hand for answer, hand in self._busy.items() if hand.task is not None}
        while held and time.monotonic() < until:
            ready, _ = ray.wait(list(held), num_returns=1, timeout=_POLL_S)
            for answer in ready:
                hand = held.pop(answer)
                with contextlib.suppress(RayActorError):
                    yield from self._fates_of(hand, ray.get(answer))

    def _dismiss(self, hand: _Hand) -> None:
        """Ends a worker that holds no task."""
        with contextlib.suppress(RayActorError, GetTimeoutError):
            ray.get(hand.actor.leave.remote(), timeout=_CLOSE_S)
        ray.kill(hand.actor)


def _lost(hand: _Hand, reason: str, detail: str, index: int | None = None) -> dict:
    alone = hand.task is not None and hand.task.alone
    return {**hand.who, "reason": reason, "detail": detail, "index": index, "alone": alone}
