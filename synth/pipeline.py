"""render_dataset(): what is missing, who renders it, what was refused.

In this process with `--workers 0`, on Ray actors otherwise (`synth.pipeline_ray`). Stopping at any moment loses the
samples in hand and nothing else; the same command goes on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from synth.errors import UserError
from synth.pipeline_env import OTHER_VERSIONS, why_refused
from synth.pipeline_stop import stop_requests
from synth.pipeline_tally import Tally
from synth.pipeline_work import Task, deal_tasks
from synth.pipeline_worker import LIMITS, Fate, Job, Limits, OnEvent, Places, Worker
from synth.store import StoreError
from synth.store_write import Run, Unit

#: What is not sealed after a round (a torn disk, a file system that lists late) is seen to in a further one.
_ROUNDS = 3
#: Workers that work is dealt for where a cluster says how many there are.
_MANY = 64


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
    on_fate: Callable[[Fate, Tally], None],
    limits: Limits = LIMITS,
    on_event: OnEvent = lambda kind, facts: None,
) -> Tally:
    """Render and seal all that the plan says is missing. `on_fate` is called after every image.

    places: where workers run; None renders in this process. limits: when a worker is
    ended or replaced; they do not hold in this process. on_event: see `synth.pipeline_ray.render_on_ray`.
    Raises TooManyRefused; a KeyboardInterrupt passes through with everything staged kept.
    """
    tally = Tally(scans=len(job.library.scans))
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
                tally.add(fate)
                on_fate(fate, tally)
                tally.stop_if_refused(fate, max_refused)
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
        if refused := why_refused(run.environments(), worker.facts.values(), one_class=False):
            raise UserError(f"{refused}; {OTHER_VERSIONS}")
        with stop_requests() as asked_to_stop:
            while task is not None:
                for fate in worker.render(task):
                    yield fate
                    if stop := asked_to_stop():
                        raise stop
                task = next(tasks, None)
    finally:
        worker.close()
