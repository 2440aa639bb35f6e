"""Workers that die, stop or wear out: nothing is lost, no sample is blamed for a killer, bytes stay the same."""

import os
import signal
from collections import Counter
from types import SimpleNamespace

import pytest
from test_pipeline import SPEC, job, render, shards

from synth import pipeline_ray
from synth.pipeline import plan_work
from synth.pipeline_ray import _Farm, render_on_ray
from synth.pipeline_work import Task, deal_tasks
from synth.pipeline_worker import LIMITS, MAX_ATTEMPTS, Fate, Limits
from synth.store_index import commit
from synth.store_write import Unit, open_run

__all__ = ["job"]
UNIT = Unit(0, 127)


class FakeRay:
    """Ray of one process: actors run when they are asked for a fate; `deadly(index, attempt, worker)` kills them."""

    def __init__(self, deadly, hangs=lambda index: False):
        self.deadly, self.hangs = deadly, hangs
        self.started = self.clock = self.deaths = 0
        self.alive, self.rendered = set(), []

    def put(self, value):
        return value

    def get(self, value, timeout=None):
        return value() if callable(value) else value

    def wait(self, streams, num_returns, timeout):
        self.clock += 1
        ready = [stream for stream in streams if not stream.hung]
        return ready[:num_returns], []

    def kill(self, actor):
        self.alive.discard(actor.number)

    def remote(self, job, run):
        self.started += 1
        actor = FakeActor(self.started)
        self.alive.add(actor.number)
        actor.render = SimpleNamespace(
            options=lambda num_returns: SimpleNamespace(remote=lambda task: FakeStream(self, actor, task))
        )
        return actor


class FakeActor:
    def __init__(self, number: int):
        self.number, self.close = number, SimpleNamespace(remote=lambda: None)


class FakeStream:
    def __init__(self, ray, actor, task):
        self.ray, self.actor, self.task, self.at, self.hung = ray, actor, task, -1, False

    def __next__(self):
        self.at += 1
        if self.at == 0:
            return os.getpid()
        if self.at > len(self.task.ids):
            raise StopIteration
        index = self.task.ids[self.at - 1]
        refused = self.task.refused if self.at == 1 else ()
        if self.ray.hangs(index):
            self.hung = True
            return os.getpid()
        if self.ray.deadly(index, len(refused), self.actor.number):
            self.ray.deaths += 1
            raise pipeline_ray.RayActorError()
        self.ray.rendered.append(index)
        return Fate(index, True, refused, (), 0.0, 100.0)


def farm(monkeypatch, fake: FakeRay, ids=range(20), workers=2, limits=LIMITS) -> dict[int, Fate]:
    monkeypatch.setattr(pipeline_ray, "ray", fake)
    monkeypatch.setattr(pipeline_ray, "_Actor", fake)
    monkeypatch.setattr(pipeline_ray, "time", SimpleNamespace(monotonic=lambda: float(fake.clock)))
    tasks = iter([Task(tuple(ids[k : k + 5]), (UNIT,) * len(ids[k : k + 5])) for k in range(0, len(ids), 5)])
    first = next(tasks)
    fates = list(_Farm(None, None, first, tasks, limits, lambda kind, facts: None).run(workers, lambda: None))
    assert len({fate.index for fate in fates}) == len(fates)
    assert not fake.alive
    return {fate.index: fate for fate in fates}


def test_a_worker_killed_from_outside_is_nobodys_fault(monkeypatch):
    killed = Counter()

    def deadly(index, attempt, worker):
        killed[index] += 1
        return index in (3, 12) and killed[index] <= 3  # in its task, and twice more alone

    fake = FakeRay(deadly)
    fates = farm(monkeypatch, fake)
    assert sorted(fates) == list(range(20))
    assert all(fate.staged and not fate.refused for fate in fates.values())
    assert sorted(fake.rendered) == list(range(20))  # nothing else was made again


def test_a_sample_that_takes_its_workers_down_is_refused_and_drawn_again(monkeypatch):
    fake = FakeRay(lambda index, attempt, worker: index == 7 and attempt < 2)
    fates = farm(monkeypatch, fake)
    assert [(a, r) for a, r, _ in fates[7].refused] == [(0, "crashed"), (1, "crashed")]
    assert all(not fate.refused for index, fate in fates.items() if index != 7)
    assert fake.deaths == 1 + 3 + 3  # in its task, then alone, three for each attempt


def test_one_that_always_does_ends_with_a_fate_that_says_so(monkeypatch):
    fates = farm(monkeypatch, FakeRay(lambda index, attempt, worker: index == 7))
    assert not fates[7].staged and len(fates[7].refused) == MAX_ATTEMPTS
    assert sorted(fates) == list(range(20))


def test_a_worker_that_hangs_is_ended_and_the_attempt_refused_as_timeout(monkeypatch):
    seen = Counter()

    def hangs(index):
        seen[index] += 1
        return index == 4 and seen[index] <= 4

    fates = farm(monkeypatch, FakeRay(lambda *_: False, hangs), limits=Limits(sample_s=20))
    assert [reason for _, reason, _ in fates[4].refused] == ["timeout"]
    assert sorted(fates) == list(range(20))


def test_workers_are_replaced_when_they_are_worn(monkeypatch):
    fresh = FakeRay(lambda *_: False)
    farm(monkeypatch, fresh, ids=range(40), workers=1)
    assert fresh.started == 1
    worn = FakeRay(lambda *_: False)
    farm(monkeypatch, worn, ids=range(40), workers=1, limits=Limits(images=10))
    assert worn.started == 4  # after every second task of five
    fat = FakeRay(lambda *_: False)
    farm(monkeypatch, fat, ids=range(40), workers=1, limits=Limits(rss_mb=50))
    assert fat.started == 8


@pytest.mark.ray
def test_real_workers_killed_and_stopped_give_the_same_bytes(job, tmp_path):
    alone = render(job, tmp_path / "alone", 60)
    run = open_run(tmp_path / "farm", SPEC)
    plan = plan_work(run, 60)
    tasks = deal_tasks(plan.units, plan.staged, len(job.library.scans), job.seed, 2)
    struck = []
    for number, fate in enumerate(render_on_ray(job, run, tasks, 2, None, Limits(sample_s=4, images=25))):
        assert fate.staged and not fate.refused
        if number in (5, 20, 35):
            victim = _actors()[-1]
            os.kill(victim, signal.SIGSTOP if number == 20 else signal.SIGKILL)
            struck.append(victim)
    assert len(struck) == 3
    assert plan_work(run, 60).units == ()
    assert (shards(tmp_path / "farm"), commit(run, lineage={})["root"]) == alone


def _actors() -> list[int]:
    """Processes of our actors, oldest first."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if b"ray::_Actor" in file.read():
                        found.append(int(entry))
            except OSError:
                continue
    return sorted(found)
