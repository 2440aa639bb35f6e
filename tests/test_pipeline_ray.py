"""Workers that die, stop or wear out: nothing is lost, no sample is blamed for a killer, bytes stay the same."""

import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from strikes import descendants
from test_pipeline import SPEC, job, render, shards

from synth import pipeline_farm
from synth.pipeline import plan_work
from synth.pipeline_actor import Batch, Hello
from synth.pipeline_farm import Farm, WorkerLost
from synth.pipeline_ray import render_on_ray
from synth.pipeline_stop import Stopped
from synth.pipeline_work import Task, deal_tasks
from synth.pipeline_worker import LIMITS, MAX_ATTEMPTS, Fate, Limits, Places
from synth.store_index import commit
from synth.store_write import Unit, open_run

__all__ = ["job"]
UNIT = Unit(0, 127)


class FakeRay:
    """Ray of one process: actors work when asked for an answer; `deadly(index, attempt, worker)` kills them."""

    def __init__(self, deadly=lambda *_: False, hangs=lambda index: False, staged=(), batch=1):
        self.deadly, self.hangs, self.batch = deadly, hangs, batch
        self.started = self.clock = self.deaths = 0
        self.alive, self.rendered, self.staged = set(), [], set(staged)
        self.facts, self.drains = {"bpy": "4.5", "cpu": "avx2"}, lambda worker, index: False

    def get(self, answer, timeout=None):
        return answer.value() if isinstance(answer, FakeAnswer) else answer

    def wait(self, answers, num_returns, timeout):
        self.clock += timeout
        ready = [answer for answer in answers if not answer.hung()]
        return ready[:num_returns], []

    def kill(self, actor):
        self.alive.discard(actor.number)

    def start(self):
        self.started += 1
        self.alive.add(self.started)
        return FakeActor(self, self.started)


class FakeActor:
    def __init__(self, ray: FakeRay, number: int):
        self.ray, self.number, self.left = ray, number, []
        self.hello = SimpleNamespace(remote=lambda: FakeAnswer(self, lambda: self.say_hello()))
        self.work = SimpleNamespace(remote=self.begin)
        self.leave = SimpleNamespace(remote=lambda: None)

    def say_hello(self):
        facts = self.ray.facts(self.number) if callable(self.ray.facts) else self.ray.facts
        return Hello(f"node{self.number}", 100 + self.number, {"any": facts}, Path())

    def begin(self, task):
        if task is not None:
            refused = task.refused
            self.left = [(index, refused if k == 0 else ()) for k, index in enumerate(task.ids)]
        return FakeAnswer(self, self.render)

    def render(self):
        fates = []
        while self.left and len(fates) < self.ray.batch:
            index, refused = self.left.pop(0)
            if self.ray.deadly(index, len(refused), self.number):
                self.ray.deaths += 1
                raise pipeline_farm.RayActorError()
            self.ray.rendered.append(index)
            self.ray.staged.add(index)
            fates.append(Fate(index, True, refused, (), 0.0, 100.0))
            if self.ray.drains(self.number, index):
                return Batch(tuple(fates), not self.left, True)
        return Batch(tuple(fates), not self.left, False)


class FakeAnswer:
    def __init__(self, actor, value):
        self.actor, self.value, self._hung = actor, value, None

    def hung(self):
        if self._hung is None:
            self._hung = bool(self.actor.left) and self.actor.ray.hangs(self.actor.left[0][0])
        return self._hung


class FakeRun:
    """Remembers which samples were staged; as a Run, for the farm."""

    def __init__(self, fake: FakeRay, known=()):
        self.fake, self.known = fake, list(known)

    def environments(self):
        return self.known

    def kept_row(self, index, unit):
        return index if index in self.fake.staged else None

    def seal_if_complete(self, unit):
        return False


def farm(
    monkeypatch, fake: FakeRay, ids=range(20), workers=2, limits=LIMITS, events=None, known=(), one_class=False,
    stop=lambda: None, on_fate=lambda fate: None,
) -> dict[int, Fate]:  # fmt: skip
    monkeypatch.setattr(pipeline_farm, "ray", fake)
    monkeypatch.setattr(pipeline_farm, "fate_of_row", lambda index: Fate(index, True, (), (), 0.0))
    monkeypatch.setattr(pipeline_farm, "time", SimpleNamespace(monotonic=lambda: float(fake.clock)))
    tasks = iter([Task(tuple(ids[k : k + 5]), (UNIT,) * len(ids[k : k + 5])) for k in range(0, len(ids), 5)])
    hear = (lambda kind, facts: events.append((kind, facts))) if events is not None else (lambda kind, facts: None)
    fates = []
    made = Farm(fake.start, FakeRun(fake, known), tasks, limits, hear, one_class).work(lambda: workers, stop)
    try:
        for fate in made:
            fates.append(fate)
            on_fate(fate)
    finally:
        farm.fates = {fate.index: fate for fate in fates}
    assert len({fate.index for fate in fates}) == len(fates)
    assert not fake.alive
    return farm.fates


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


def test_who_answered_while_the_driver_was_busy_is_not_late(monkeypatch):
    fake = FakeRay()

    def slow_disk(fate):
        fake.clock += 30

    fates = farm(monkeypatch, fake, limits=Limits(sample_s=20), on_fate=slow_disk)
    assert sorted(fates) == sorted(fake.rendered) == list(range(20)) and fake.started == 2


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


def test_what_a_dead_worker_had_staged_and_not_told_is_not_made_again(monkeypatch):
    """Fates come in batches: it dies with three samples staged that nobody heard of."""
    deaths = Counter()

    def deadly(index, attempt, worker):
        deaths[index] += 1
        return index == 8 and deaths[index] == 1

    fake = FakeRay(deadly, batch=5)
    fates = farm(monkeypatch, fake)
    assert sorted(fates) == sorted(fake.rendered) == list(range(20))
    assert not any(fate.refused for fate in fates.values())


def test_a_drained_worker_gives_its_task_back_and_is_followed_by_a_fresh_one(monkeypatch):
    fake, events = FakeRay(), []
    fake.drains = lambda worker, index: worker == 1 and index == 2
    fates = farm(monkeypatch, fake, events=events)
    assert sorted(fates) == sorted(fake.rendered) == list(range(20))
    assert [kind for kind, _ in events].count("worker_drained") == 1 and fake.started == 3
    assert not any(fate.refused for fate in fates.values())


def test_a_stop_waits_for_what_is_in_hand_and_begins_nothing_more(monkeypatch):
    fake, asked = FakeRay(), []

    def stop():
        asked.append(1)
        return Stopped(signal.SIGTERM) if len(asked) > 4 else None

    with pytest.raises(Stopped):
        farm(monkeypatch, fake, stop=stop)
    assert sorted(farm.fates) == sorted(fake.rendered) and 0 < len(fake.rendered) < 20


@pytest.mark.parametrize(
    ("known", "facts", "one_class", "named"),
    [
        ([{"bpy": "4.4", "cpu": "avx2"}], {"bpy": "4.5", "cpu": "avx2"}, False, "bpy 4.5, not 4.4"),
        ([{"bpy": "4.5", "cpu": "arm64"}], {"bpy": "4.5", "cpu": "avx2"}, True, "class avx2, not arm64"),
        ([{"bpy": "4.5"}], {"bpy": "4.5", "oidn": "2"}, False, "oidn 2, not none"),
    ],
)
def test_other_versions_are_refused_before_the_first_render(monkeypatch, known, facts, one_class, named):
    fake = FakeRay()
    fake.facts = facts
    with pytest.raises(WorkerLost, match=named):
        farm(monkeypatch, fake, known=known, one_class=one_class)
    assert not fake.rendered


def test_another_class_is_welcome_unless_only_one_is_wanted(monkeypatch):
    fake, events = FakeRay(), []
    fake.facts = lambda worker: {"bpy": "4.5", "cpu": "avx2" if worker % 2 else "sse4.2"}
    farm(monkeypatch, fake, events=events)
    assert {facts["environment"] for kind, facts in events if kind == "worker_started"} == {"avx2", "sse4.2"}


def test_a_node_of_other_versions_that_joins_later_is_not_used(monkeypatch):
    fake, events = FakeRay(), []
    fake.facts = lambda worker: {"bpy": "4.5" if worker < 3 else "4.6", "cpu": "avx2"}
    fake.drains = lambda worker, index: worker == 2 and index == 6
    fates = farm(monkeypatch, fake, events=events)
    assert sorted(fates) == list(range(20))
    assert ("node_refused", {"node": "node3", "reason": "bpy 4.6, not 4.5"}) in events


@pytest.mark.ray
def test_real_workers_killed_and_stopped_give_the_same_bytes(job, tmp_path):
    alone = render(job, tmp_path / "alone", 60)
    run = open_run(tmp_path / "farm", SPEC)
    plan = plan_work(run, 60)
    tasks = deal_tasks(plan.units, plan.staged, len(job.library.scans), job.seed, 2)
    struck, events = [], []
    strikes = {5: signal.SIGKILL, 20: signal.SIGSTOP, 35: signal.SIGKILL, 45: signal.SIGTERM}

    def hear(kind: str, facts: dict) -> None:
        events.append((kind, facts.get("pid")))

    fates = render_on_ray(job, run, tasks, Places(2), Limits(sample_s=10, images=25), hear)
    for number, fate in enumerate(fates):
        assert fate.staged and not fate.refused
        if number in strikes:
            struck.append(_actors()[-1])
            os.kill(struck[-1], strikes[number])
    # A worker struck before it had told its process has none to name.
    lost = [pid for kind, pid in events if kind == "worker_lost"]
    drained = [pid for kind, pid in events if kind == "worker_drained"]
    assert len(struck) == 4 and len(lost) <= 3 and len(drained) <= 1
    assert set(lost) <= {None, *struck[:3]} and set(drained) <= {struck[3]}
    assert plan_work(run, 60).units == ()
    assert (shards(tmp_path / "farm"), commit(run, lineage={})["root"]) == alone


def _actors() -> list[int]:
    """Our actors, oldest first; others may have a Ray of their own on this machine."""
    said = {}
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            said[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
    return sorted(pid for pid, words in said.items() if b"ray::Actor" in words)
