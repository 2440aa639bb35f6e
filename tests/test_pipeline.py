"""Work: dealt so that workers stay on a scan, refused samples are drawn again, and the bytes never depend on who,
in which order, or how often interrupted."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from synth import pipeline_worker
from synth.config import load_config
from synth.errors import UserError
from synth.pipeline import plan_work, render_dataset
from synth.pipeline_tally import Tally, TooManyRefused
from synth.pipeline_work import LARGEST_TASK, deal_tasks
from synth.pipeline_worker import MAX_ATTEMPTS, Fate, Job, Places
from synth.randomize import Library, scan_of_index
from synth.sample import BadSample
from synth.store import Dataset
from synth.store_index import commit
from synth.store_write import Unit, open_run

SMALL = {"film.engine": "analytic", "width": 48, "height": 64}
SPEC = {"test": 1}


@pytest.fixture
def job(balls, skies) -> Job:
    return Job(load_config(None, SMALL), Library(balls.entries, skies.entries), 0, balls.store, skies.store)


def shards(out: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((out / "shards").iterdir())}


def render(job: Job, out: Path, n: int, workers: int = 0, on_fate=lambda fate, tally: None) -> tuple[dict, str]:
    run = open_run(out, SPEC)
    render_dataset(job, run, plan_work(run, n), Places(workers) if workers else None, 0.2, on_fate)
    return shards(out), commit(run, lineage={})["root"]


def units(n: int) -> list[Unit]:
    return [Unit(first, min(first + 127, n - 1)) for first in range(0, n, 128)]


@pytest.mark.parametrize(
    ("n", "scans", "workers"), [(24, 4, 2), (1, 9, 8), (300, 7, 2), (20000, 600, 16), (5000, 1, 3)]
)
def test_every_id_is_dealt_once_in_tasks_of_one_scan(n, scans, workers):
    tasks = list(deal_tasks(units(n), set(), scans, 0, workers))
    assert sorted(i for task in tasks for i in task.ids) == list(range(n))
    for task in tasks:
        assert len(task.ids) <= LARGEST_TASK
        assert len({scan_of_index(scans, 0, i) for i in task.ids}) == 1
        assert all(unit.first <= i <= unit.last for i, unit in zip(task.ids, task.units, strict=True))


def test_24_images_keep_two_workers_busy_and_blocks_come_in_order():
    tasks = list(deal_tasks(units(24), set(), 4, 0, 2))
    assert len(tasks) >= 4 and max(len(t.ids) for t in tasks) <= 12
    big = [min(t.ids) // 8192 for t in deal_tasks(units(20000), set(), 50, 0, 4)]
    assert big == sorted(big)


def test_staged_ids_are_not_dealt_again():
    left = [i for task in deal_tasks(units(50), {3, 4, 49}, 5, 0, 2) for i in task.ids]
    assert sorted(left) == [i for i in range(50) if i not in {3, 4, 49}]


def test_interrupted_and_continued_gives_the_same_bytes(job, tmp_path):
    whole = render(job, tmp_path / "whole", 140)
    rng = np.random.default_rng(0)
    stop_after = 0

    def stop(fate: Fate, tally: Tally) -> None:
        if tally.made >= stop_after:
            raise KeyboardInterrupt

    out = tmp_path / "pieces"
    for _ in range(4):
        stop_after = int(rng.integers(5, 40))
        with pytest.raises(KeyboardInterrupt):
            render(job, out, 140, on_fate=stop)
    before = plan_work(open_run(out, SPEC), 140).missing
    assert 0 < before < 140
    assert render(job, out, 140) == whole


def test_a_larger_n_goes_on_and_a_smaller_one_is_nothing_to_do(job, tmp_path):
    first, _ = render(job, tmp_path / "grown", 48)
    grown, root = render(job, tmp_path / "grown", 140)
    assert set(first) <= set(grown)
    assert root == render(job, tmp_path / "whole", 140)[1]
    assert plan_work(open_run(tmp_path / "grown", SPEC), 20).missing == 0
    assert [sample.recipe.index for sample in Dataset(tmp_path / "grown")] == list(range(140))


def test_refused_samples_are_drawn_again_counted_and_listed(job, tmp_path, monkeypatch):
    def refuse_some(sample, limits):
        if sample.recipe.index % 10 == 3 and sample.recipe.attempt < 2:
            raise BadSample("black", "for the test")
        return ()

    monkeypatch.setattr(pipeline_worker, "check", refuse_some)
    run = open_run(tmp_path / "out", SPEC)
    tally = render_dataset(job, run, plan_work(run, 20), None, 0.2, lambda fate, tally: None)
    commit(run, lineage={})
    assert tally.refused == {"black": 4} and tally.made == 20
    dataset = Dataset(tmp_path / "out")
    assert [dataset[i].recipe.attempt for i in (2, 3, 13)] == [0, 2, 2]
    assert [tuple(r)[:2] for r in dataset.row(3)["refused"]] == [(0, "black"), (1, "black")]


def test_an_index_that_is_always_refused_stops_the_run(job, tmp_path, monkeypatch):
    def refuse(sample, limits):
        raise BadSample("flat", "for the test")

    monkeypatch.setattr(pipeline_worker, "check", refuse)
    with pytest.raises(TooManyRefused, match=f"all {MAX_ATTEMPTS} attempts refused.*flat {MAX_ATTEMPTS}"):
        run = open_run(tmp_path / "out", SPEC)
        render_dataset(job, run, plan_work(run, 5), None, 0.2, lambda fate, tally: None)


def test_a_dataset_is_not_continued_by_other_versions(job, tmp_path):
    run = open_run(tmp_path / "out", SPEC)
    run.add_environment({"synth": "0.0.1", "renderer": "analytic"})
    with pytest.raises(UserError, match=r"synth .*, not 0\.0\.1.*one set of versions"):
        render_dataset(job, run, plan_work(run, 5), None, 0.2, lambda fate, tally: None)
    assert plan_work(run, 5).missing == 5


def test_too_large_a_share_of_refusals_stops_the_run():
    tally = Tally()
    refused = Fate(0, True, ((0, "black", "x"),), (), 1.0)
    good = dataclasses.replace(refused, refused=())
    with pytest.raises(TooManyRefused, match="black"):
        for k in range(500):
            fate = refused if k % 4 == 0 else good
            tally.add(fate)
            tally.stop_if_refused(fate, 0.2)
    calm = Tally()
    for k in range(2000):
        fate = refused if k % 6 == 0 else good
        calm.add(fate)
        calm.stop_if_refused(fate, 0.2)
    assert calm.made == 2000


def test_one_scan_that_is_refused_often_stops_no_run_of_several_but_two_do():
    def tally_of(scans: int, *often: str) -> None:
        tally = Tally(scans=scans)
        for index in range(400):
            scan = ("open", "cut", "whole", "other")[index // 100]
            refused = ((0, "back_faces", ""),) if scan in often and index % 2 else ()
            fate = Fate(index, True, refused, (), 1.0, scans=(scan,))
            tally.add(fate)
            tally.stop_if_refused(fate, 0.2)

    tally_of(4, "open")
    with pytest.raises(TooManyRefused, match="back_faces"):
        tally_of(4, "open", "cut")
    with pytest.raises(TooManyRefused, match="back_faces"):
        tally_of(1, "open")


@pytest.mark.ray
def test_ray_workers_give_the_same_bytes_as_none(job, tmp_path, monkeypatch):
    """In a folder that holds modules of our packages' names, which Ray would put first on its workers' path."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("train.py", "renderers.py", "synth.py"):
        (trap / name).write_text("raise RuntimeError('a user file was imported for ours')\n")
    monkeypatch.chdir(trap)
    alone = render(job, tmp_path / "alone", 140)
    seen = []
    assert render(job, tmp_path / "two", 140, workers=2, on_fate=lambda fate, tally: seen.append(tally.made)) == alone
    assert seen == list(range(1, 141))
    assert Path.cwd() == trap
