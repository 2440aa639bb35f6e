"""Samples rendered again in the place of stored ones: by the closed-form engine, interrupted, damaged, refused."""

import shutil
import tarfile
from dataclasses import replace as altered
from pathlib import Path

import numpy as np
import pytest
import test_pipeline
from test_pipeline import job, render
from test_store_revision import findings
from test_version_rerender import Changed, darker, machine

from renderers import base
from renderers.base import make_renderer
from synth import version_replace
from synth.cli import main
from synth.config import load_config
from synth.errors import UserError
from synth.pipeline_worker import Job
from synth.randomize import Library
from synth.recipe import sample_id
from synth.sample import BadSample
from synth.store import Dataset, StoreError, open_version
from synth.store_folder import open_folder
from synth.store_index import commit
from synth.store_revision import open_revision
from synth.store_write import only_run, open_run
from synth.version import diff_manifests, make_tag
from synth.version_replace import finish, finish_interrupted, replace

__all__ = ["job"]

IDS = [0, 5, 11]


def spec_of(job: Job) -> dict:
    return {"config": job.config.model_dump(mode="json"), "seed": job.seed}


@pytest.fixture(scope="module")
def rendered(balls, skies, tmp_path_factory) -> Path:
    """12 samples, tagged 1.0.0; not to be changed."""
    made = Job(
        load_config(None, test_pipeline.SMALL),
        Library(balls.entries, skies.entries),
        0,
        balls.store,
        skies.store,
    )
    out = tmp_path_factory.mktemp("rendered") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_pipeline, "SPEC", spec_of(made))
        render(made, out, 12)
    make_tag(open_folder(out), "", "2026-01-01T00:00:00+00:00")
    return out


@pytest.fixture
def out(rendered, tmp_path) -> Path:
    return shutil.copytree(rendered, tmp_path / "set")


@pytest.fixture
def optix(monkeypatch):
    """Renderers of another device, whose colours are half as bright."""
    change_renderers(monkeypatch, darker)


def change_renderers(monkeypatch, change) -> None:
    monkeypatch.setattr(base, "make_renderer", lambda *args: Changed(make_renderer(*args), change))


def again(out, job, ids=IDS, workers=0, library=None):
    """The answers, and the new manifest."""
    dataset = Dataset(out)
    revision = open_revision(only_run(open_folder(out)), "rerender", ids)
    answers = list(replace(dataset, revision, machine(job), library, workers))
    return answers, finish(dataset, revision, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_environment_makes_no_new_version_with_any_workers(out, job, workers):
    before = Dataset(out).manifest
    answers, manifest = again(out, job, workers=workers)
    assert [answer.index for answer in answers] == IDS and manifest is None
    assert all(str(answer).endswith("every byte IDENTICAL") and answer.staged for answer in answers)
    assert Dataset(out).manifest == before
    assert not [path for path in out.glob("runs/*/revisions/**/*") if path.is_file()]


def test_other_pixels_from_another_device_become_a_version(out, job, optix):
    before = Dataset(out)
    answers, manifest = again(out, job)
    assert [answer.verdict for answer in answers] == ["DIFFERENT"] * 3
    after = Dataset(out)
    assert after.manifest == manifest and manifest["root"] != before.root
    for index in range(12):
        if index in IDS:
            assert np.array_equal(after[index].rgb, before[index].rgb // 2)
            assert after.environment_of(index)["device"] == "optix"
        else:
            assert after.members(index) == before.members(index) and after.row(index) == before.row(index)
    diff = diff_manifests(open_folder(out), before.manifest, manifest)
    assert diff.changed.tolist() == IDS and diff.counts["pixels"] == diff.counts["environment"] == 3
    assert diff.counts["recipe"] == diff.counts["metadata"] == 0
    assert make_tag(open_folder(out), "", "2026-01-01T00:00:00+00:00").number == "2.0.0"
    assert findings(after) == findings(open_version(f"{out}@1.0.0")) == []


def test_interrupted_it_goes_on_and_renders_nothing_twice(out, job, optix, monkeypatch):
    dataset = Dataset(out)
    rendered = []
    real = version_replace.Replacing.answer

    def told(self, position):
        if len(rendered) == 2:
            raise KeyboardInterrupt
        rendered.append(position)
        return real(self, position)

    monkeypatch.setattr(version_replace.Replacing, "answer", told)
    revision = open_revision(only_run(open_folder(out)), "rerender", IDS)
    with pytest.raises(KeyboardInterrupt):
        list(replace(dataset, revision, machine(job), None, 0))
    assert Dataset(out).manifest == dataset.manifest and rendered == [0, 5]
    monkeypatch.setattr(version_replace.Replacing, "answer", real)
    answers, manifest = again(out, job)
    assert [answer.index for answer in answers] == [11]
    calm = shutil.copytree(dataset.path, out.parent / "calm", ignore=shutil.ignore_patterns("revisions", "refs"))
    commit(open_run(calm, dataset.spec), lineage={})
    assert again(calm, job)[1]["root"] == manifest["root"]


def test_killed_before_the_version_it_is_committed_not_made_again(out, job, optix):
    run = only_run(open_folder(out))
    revision = open_revision(run, "rerender", IDS)
    list(replace(Dataset(out), revision, machine(job), None, 0))
    revision.put_in_effect()
    assert not Dataset(out).complete
    assert finish_interrupted(run, "rerender", 1) == tuple(IDS) and Dataset(out).complete
    assert finish_interrupted(run, "rerender", 1) is None


def test_a_damaged_sample_is_mended(out, job):
    """The stored bytes are damaged, in a label, in the recipe, or the whole shard is gone."""
    dataset = Dataset(out)
    shard = out / dataset.manifest["shards"][0]["path"]
    whole = shard.read_bytes()
    start, _ = dataset._places.ranges(5)["depth.exr"]
    shard.write_bytes(whole[: start + 99] + bytes([whole[start + 99] ^ 1]) + whole[start + 100 :])
    (answer,), manifest = again(out, job, [5])
    assert answer.verdict == "DIFFERENT" and "depth.exr does not match its hash" in answer.figures
    assert manifest["root"] == dataset.root and Dataset(out).read(5, verify=True).recipe.index == 5
    (left,) = findings(Dataset(out))
    assert "every sample in it is whole" in left  # the damaged bytes are nobody's, and still there
    assert main(["dataset", "compact", str(out), "--below", "1"]) == 0
    assert findings(Dataset(out)) == [] and Dataset(out).root == dataset.root


@pytest.mark.parametrize("damage", ["edited", "unreadable", "missing"])
def test_a_lost_recipe_is_drawn_again_from_the_library_alone(out, job, damage):
    dataset = Dataset(out)
    shard = out / dataset.manifest["shards"][0]["path"]
    whole = shard.read_bytes()
    data = bytearray(whole)
    start, end = dataset._places.ranges(5)["json"]
    if damage == "edited":
        at = data.index(b"exposure_ev", start)
        digit = next(i for i in range(at, end) if chr(data[i]) in "12345678")
        data[digit] += 1
    elif damage == "unreadable":
        data[start] = ord("x")
    shard.write_bytes(data)
    if damage == "missing":
        shard.unlink()
    with pytest.raises(StoreError, match=r"sample 00000005: its recipe .* with --scans and --backgrounds"):
        again(out, job, [5])
    seen = dataset.column("scans")[5][0]
    other = altered(job.library, scans=tuple(scan for scan in job.library.scans if scan.scan_id != seen))
    with pytest.raises(StoreError, match="are not what it was drawn from"):
        again(out, job, [5], library=other)
    if damage == "missing":  # all of it is the same shard, which is back where it was: no version changes
        assert again(out, job, list(range(12)), library=job.library)[1] is None and shard.read_bytes() == whole
        assert findings(open_version(f"{out}@1.0.0")) == []
    else:
        assert again(out, job, [5], library=job.library)[1]["root"] == dataset.root
    assert Dataset(out).read(5, verify=True).recipe.index == 5


def test_a_sample_that_is_refused_now_stays_and_is_named(out, job, monkeypatch):
    def refusing(sample):
        if sample.recipe.index == 5:
            raise BadSample("black", "mean brightness 0.00")
        return darker(sample)

    change_renderers(monkeypatch, refusing)
    before = Dataset(out)
    answers, _ = again(out, job)
    assert [answer.staged for answer in answers] == [True, False, True]
    assert str(answers[1]).startswith("00000005: refused as black: mean brightness 0.00; the stored one stays")
    after = Dataset(out)
    assert after.members(5) == before.members(5) and after.members(11) != before.members(11)
    assert findings(after) == []


def test_one_revision_is_made_by_one_set_of_versions(out, job):
    revision = open_revision(only_run(open_folder(out)), "rerender", IDS)
    revision.add_environment({"synth": "0.0.1"})
    with pytest.raises(UserError, match=r"synth .*, not 0\.0\.1.*finish this re-render with the versions"):
        list(replace(Dataset(out), revision, machine(job), None, 0))


def test_an_export_holds_every_sample_once_and_the_new_ones(out, job, monkeypatch, tmp_path):
    change_renderers(monkeypatch, darker)
    again(out, job)
    dataset = Dataset(out)
    assert main(["export", str(out), "--to", "webdataset", "--dest", str(tmp_path / "shards"), "--workers", "1"]) == 0
    (shard,) = (tmp_path / "shards" / "shards").iterdir()
    with tarfile.open(shard) as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    members = {(sample_id(int(i)), p): dataset.members(p) for p, i in enumerate(dataset.ids)}
    assert held == {f"{name}.{end}": data for (name, _), those in members.items() for end, data in those.items()}
