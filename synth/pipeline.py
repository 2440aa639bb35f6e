"""render_dataset(): what is missing, who renders it, what was refused.

In this process with `--workers 0`, on Ray actors otherwise (`synth.pipeline_ray`). Stopping at any moment loses the
samples in hand and nothing else; the same command goes on.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from synth.errors import UserError
from synth.pipeline_stop import stop_requests
from synth.pipeline_work import Task, deal_tasks
from synth.pipeline_worker import LIMITS, Fate, Job, Limits, OnEvent, Places, Worker
from synth.store import StoreError
from synth.store_write import Run, Unit

#: The share of refusals is taken over this many latest indices.
_WINDOW = 500
#: What is not sealed after a round (a torn disk, a file system that lists late) is seen to in a further one.
_ROUNDS = 3
#: Workers that work is dealt for where a cluster says how many there are.
_MANY = 64
#: No share is believed before so many indices.
_FEWEST = 50


class TooManyRefused(UserError):
    """The run stopped because samples were refused too often; the message holds the histogram."""


@dataclass
class Tally:
    """What a run has made so far."""

    made: int = 0
    core_seconds: float = 0.0
    refused: Counter = field(default_factory=Counter)
    flags: Counter = field(default_factory=Counter)
    _recent: deque = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def add(self, fate: Fate, max_refused: float) -> None:
        """Counts a fate. Raises TooManyRefused when an index ran out of attempts or refusals are too frequent."""
        self.refused.update(reason for _, reason, _ in fate.refused)
        self.flags.update(fate.flags)
        self.core_seconds += fate.seconds
        self._recent.append(bool(fate.refused))
        if not fate.staged:
            _, reason, detail = fate.refused[-1]
            raise TooManyRefused(
                f"image {fate.index}: all {len(fate.refused)} attempts refused, the last as {reason} ({detail}); "
                f"refused so far: {self.histogram()}"
            )
        self.made += 1
        share = sum(self._recent) / max(len(self._recent), _FEWEST)
        if share > max_refused:
            raise TooManyRefused(
                f"{share:.0%} of the last {len(self._recent)} images had refusals (--max-refused {max_refused}): "
                f"{self.histogram()}"
            )

    def histogram(self) -> str:
        """Refusals by reason, most first, on one line."""
        return ", ".join(f"{reason} {count}" for reason, count in self.refused.most_common()) or "none"


@dataclass(frozen=True)
class Plan:
    """What images 0..n-1 still lack."""

    n: int
    units: tuple[Unit, ...]
    staged: frozenset[int]

    @property
    def missing(self) -> int:
        """How many images are neither sealed nor staged."""
        return sum(index not in self.staged for unit in self.units for index in unit.ids)


def plan_work(run: Run, n: int) -> Plan:
    """Reads what there is, and seals what a stopped run had finished but not sealed."""
    staged = run.staged_ids()
    for unit in run.plan_units(n):
        if all(index in staged for index in unit.ids):
            run.seal_if_complete(unit)
    return Plan(n, tuple(run.plan_units(n)), frozenset(staged))


def render_dataset(
    job: Job,
    run: Run,
    plan: Plan,
    places: Places | None,
    max_refused: float,
    on_progress: Callable[[Tally], None],
    limits: Limits = LIMITS,
    on_event: OnEvent = lambda kind, facts: None,
) -> Tally:
    """Render and seal all that the plan says is missing. `on_progress` is called after every image.

    places: where workers run; None renders in this process. limits: when a worker is
    ended or replaced; they do not hold in this process. on_event: see `synth.pipeline_ray.render_on_ray`.
    Raises TooManyRefused; a KeyboardInterrupt passes through with everything staged kept.
    """
    tally = Tally()
    for _ in range(_ROUNDS):
        workers = (places.workers or _MANY) if places else 0
        tasks = deal_tasks(plan.units, plan.staged, len(job.library.scans), job.seed, workers)
        if places is None:
            fates = _render_here(job, run, tasks)
        else:
            from synth.pipeline_ray import render_on_ray

            fates = render_on_ray(job, run, tasks, places, limits, on_event)
        try:
            for fate in fates:
                tally.add(fate, max_refused)
                on_progress(tally)
        finally:
            fates.close()
        plan = plan_work(run, plan.n)
        if not plan.units:
            return tally
    raise StoreError(f"{run.out}: finished images vanish or are damaged again and again; is the disk sound?")


def _render_here(job: Job, run: Run, tasks: Iterator[Task]) -> Iterator[Fate]:
    task = next(tasks, None)
    if task is None:  # nothing to do: do not start a renderer to find out
        return
    worker = Worker(job, run)
    try:
        with stop_requests() as asked_to_stop:
            while task is not None:
                for fate in worker.render(task):
                    yield fate
                    if stop := asked_to_stop():
                        raise stop
                task = next(tasks, None)
    finally:
        worker.close()
