"""Revisions: samples sealed anew become a version, all others stay; in a folder and in a bucket, whoever dies."""

import functools
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from test_store_write import SPEC, check_whole_files, finished, killed_in_call, write
from worlds import ball_sample, make_camera, make_recipe

from synth.codec import decode_sample, stored, with_flags
from synth.store import Dataset, StoreError, open_version
from synth.store_folder import open_folder
from synth.store_index import commit, read_manifest
from synth.store_record import root_hash
from synth.store_revision import open_revision, revision_count
from synth.store_write import Run, make_row, only_run, open_run
from synth.version import diff_manifests, make_tag
from synth.version_verify import verify_index, verify_rows, verify_shard

NOW = "2026-01-02T03:04:05+00:00"
FACTS = {"synth": "9.9.9", "device": "cpu"}


@functools.cache
def again(index: int, lift: float = 0.01) -> tuple[dict[str, bytes], dict]:
    """Members and row of a sample as another software would render it: the ball is `lift` metres higher."""
    recipe = make_recipe(make_camera(width=24, height=32, focal_px=37.5), index=index)
    members, sample = stored(ball_sample(recipe, (0, 0, 0.5 + lift)))
    members = with_flags(members, sample, ())
    return members, make_row(sample, members, flags=(), env_id="0" * 12, seconds=2.5, refused=[])


def revise(out, ids, make=again) -> dict:
    """The samples `ids` made by `make` in the place of what is there, through the store's own protocol."""
    run = only_run(open_folder(out))
    revision = open_revision(run, "rerender", ids)
    staged, sealed = revision.staging.sound_ids(), revision.sealed()
    for chunk in revision.chunks:
        if chunk in sealed:
            continue
        for index in chunk:
            if index not in staged:
                members, row = make(index)
                revision.staging.write(members, {**row, "env_id": revision.add_environment(FACTS)})
        revision.seal(chunk, chunk, revision.staging.take)
    revision.put_in_effect()
    return commit(run, lineage={})


def findings(dataset: Dataset) -> list[str]:
    """All that the levels index and hash find."""
    found = [*verify_index(dataset), *verify_rows(dataset, range(len(dataset)))]
    for shard in range(len(dataset.manifest["shards"])):
        found += verify_shard(dataset, shard)
    return [str(finding) for finding in found]


@pytest.fixture(scope="module")
def folder_140(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("base") / "set"
    commit(write(out, 140), lineage={})
    make_tag(open_folder(out), "", NOW)
    return out


@pytest.fixture(scope="module", params=["folder", "bucket"])
def base(request, folder_140) -> str | Path:
    """140 samples in two shards, tagged 1.0.0; not to be changed."""
    if request.param == "folder":
        return folder_140
    place = f"{request.getfixturevalue('s3')}/revision-base"
    copy_objects(folder_140, place)
    return place


@pytest.fixture
def out(base, tmp_path, request) -> str | Path:
    """A copy of `base`."""
    if isinstance(base, Path):
        return shutil.copytree(base, tmp_path / "set")
    place = f"{base}-{hashlib.sha256(request.node.name.encode()).hexdigest()[:16]}"
    copy_objects(base, place)
    return place


def names(folder, under: str = "") -> list[str]:
    """All that lies in a place."""
    found = []
    for name in (f"{under}/{name}".lstrip("/") for name in folder.listing(under)):
        found += names(folder, name) if folder.size(name) is None else [name]
    return found


def copy_objects(source, place) -> None:
    there, here = open_folder(source), open_folder(place)
    for name in names(there):
        here.publish(name, [there.read(name)])


def test_some_samples_are_new_and_everything_else_is_what_it_was(out):
    before = Dataset(out)
    manifest = revise(out, [3, 7, 130])
    after, old = Dataset(out), open_version(f"{out}@1.0.0")
    assert after.complete and after.manifest == manifest and len(after) == 140
    for index in range(140):
        made = again if index in (3, 7, 130) else finished
        assert after.members(index, verify=True) == made(index)[0]
        assert old.members(index, verify=True) == finished(index)[0]
    assert manifest["shards"][:2] == [
        {**shard, "samples": shard["samples"] - gone}
        for shard, gone in zip(before.manifest["shards"], (2, 1), strict=True)
    ]
    assert len(manifest["shards"]) == 3 and manifest["shards"][2]["samples"] == 3
    assert (after.row(7)["seconds"], after.row(8)["seconds"], old.row(7)["seconds"]) == (2.5, 1.5, 1.5)
    assert after.environment_of(7) == FACTS and old.environment_of(7) is None
    assert findings(after) == findings(old) == []


def test_the_root_is_that_of_the_rows_and_the_number_follows(out):
    manifest = revise(out, [3, 7, 130])
    rows = [(again if i in (3, 7, 130) else finished)(i)[1] for i in range(140)]
    assert manifest["root"] == root_hash((row["id"], row["content_sha256"]) for row in rows)
    folder = open_folder(out)
    tag = make_tag(folder, "again", NOW)
    assert tag.number == "2.0.0" and tag.counts["pixels"] == tag.counts["environment"] == tag.counts["changed"] == 3
    assert tag.counts["recipe"] == tag.counts["metadata"] == tag.counts["encoding"] == tag.counts["added"] == 0


def test_words_alone_make_a_patch(out):
    """The same pictures with other flags."""

    def said(index):
        sample, flags = decode_sample(finished(index)[0]), ("truncated", "leaning_normals")
        members = with_flags(finished(index)[0], sample, flags)
        return members, make_row(sample, members, flags=flags, env_id="", seconds=1, refused=[])

    before = read_manifest(open_folder(out))
    manifest = revise(out, [5], said)
    diff = diff_manifests(open_folder(out), before, manifest)
    assert diff.changed.tolist() == [5] and diff.counts["metadata"] == 1
    assert diff.counts["encoding"] == diff.counts["pixels"] == diff.counts["recipe"] == 0
    assert make_tag(open_folder(out), "", NOW).number == "1.0.1"


def test_a_later_revision_wins_and_appending_keeps_both(out):
    revise(out, [3, 7, 130])
    revise(out, [7, 8], functools.partial(again, lift=0.02))
    grown = commit(write(out, 150), lineage={})
    dataset = Dataset(out)
    assert len(dataset) == 150 and dataset.manifest == grown and len(grown["revisions"]) == 2
    expected = {3: again(3), 130: again(130), 7: again(7, 0.02), 8: again(8, 0.02)}
    for index in range(150):
        assert dataset.members(index, verify=True) == expected.get(index, finished(index))[0]
    tag = make_tag(open_folder(out), "", NOW)
    assert tag.number == "2.0.0" and (tag.counts["changed"], tag.counts["added"]) == (4, 10)
    assert findings(dataset) == findings(open_version(f"{out}@1.0.0")) == []


def test_a_whole_shard_again_with_the_same_bytes_takes_no_room(out):
    shards = sorted(open_folder(out).listing("shards"))
    manifest = revise(out, range(128), finished)
    assert sorted(open_folder(out).listing("shards")) == shards
    assert manifest["root"] == open_version(f"{out}@1.0.0").root
    assert make_tag(open_folder(out), "", NOW).number == "1.0.1"  # the environment
    assert findings(Dataset(out)) == findings(open_version(f"{out}@1.0.0")) == []


def test_until_it_is_in_effect_nobody_sees_it(out):
    run, root = only_run(open_folder(out)), Dataset(out).root
    revision = open_revision(run, "rerender", [1, 2])
    for index in (1, 2):
        revision.staging.write(*again(index))
    assert Dataset(out).complete and Dataset(out).root == root
    revision.seal((1, 2), (1, 2), revision.staging.take)
    assert commit(run, lineage={})["root"] == root and not list(revision.staging.ids())
    revision.put_in_effect()
    assert Dataset(out).root != root  # from the records, not committed yet
    assert Dataset(out).members(1) == again(1)[0] and not Dataset(out).complete
    assert commit(run, lineage={})["root"] == Dataset(out).root and Dataset(out).complete


def test_of_two_plans_at_the_same_time_one_is_refused_and_goes_on_later(out):
    run = only_run(open_folder(out))
    first, second = open_revision(run, "rerender", [1]), open_revision(run, "compact", [1, 2])
    for revision in (first, second):
        for index in revision.plan.ids:
            revision.staging.write(*again(index))
        revision.seal(revision.plan.ids, revision.plan.ids, revision.staging.take)
    first.put_in_effect()
    first.put_in_effect()  # by a command that died behind it and came back
    with pytest.raises(StoreError, match="another revision was put in effect meanwhile; run the same command again"):
        second.put_in_effect()
    assert open_revision(run, "compact", [1, 2]).plan.number == 2


def test_what_was_refused_stays_as_it_was(out):
    run = only_run(open_folder(out))
    revision = open_revision(run, "rerender", [1, 2, 9])
    for index in (1, 9):
        revision.staging.write(*again(index))
    revision.seal((1, 2, 9), (1, 9), revision.staging.take)
    revision.put_in_effect()
    commit(run, lineage={})
    dataset = Dataset(out)
    assert [dataset.members(i)["rgb.png"] for i in (1, 2, 9)] == [
        make(i)[0]["rgb.png"] for i, make in ((1, again), (2, finished), (9, again))
    ]
    assert findings(dataset) == []


def _patched(out: Path) -> Path:
    return next(out.glob("runs/*/revisions/*/units/*.json"))


def _effect(out: Path) -> Path:
    return next(out.glob("runs/*/revisions/000001.json"))


def _rewrite(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda out: _rewrite(_patched(out), lambda r: r.update(shard="../../x")), "00000003-00000130.json: shard"),
        (lambda out: _rewrite(_patched(out), lambda r: r["rows"].reverse()), "units/00000003-00000130.json"),
        (lambda out: _rewrite(_patched(out), lambda r: r.update(rows=[])), "units/00000003-00000130.json"),
        (lambda out: _rewrite(_patched(out), lambda r: r.update(format="synth-unit/1")), "format"),
        (lambda out: _patched(out).unlink(), "a patch of a revision is missing"),
        (lambda out: _rewrite(_effect(out), lambda r: r.update(plan="../x")), "plan"),
        (lambda out: _rewrite(_effect(out), lambda r: r.update(units=["x"])), "units"),
        (lambda out: _effect(out).rename(_effect(out).with_name("000002.json")), r"revisions \[2\], one is missing"),
    ],
)
def test_hostile_revisions_are_refused(folder_140, tmp_path, change, match):
    out = shutil.copytree(folder_140, tmp_path / "set")
    revise(out, [3, 7, 130])
    (out / "refs" / "latest.json").unlink()  # read from the records
    assert len(Dataset(out)) == 140
    change(out)
    with pytest.raises(StoreError, match=match):
        Dataset(out)


def test_a_patch_of_samples_that_no_unit_holds_is_refused(folder_140, tmp_path):
    out = shutil.copytree(folder_140, tmp_path / "set")
    with pytest.raises(StoreError, match="revises sample 140, which no unit holds"):
        revise(out, [139, 140])


def test_a_folder_and_a_bucket_hold_the_same_bytes(folder_140, s3, tmp_path):
    here, there = shutil.copytree(folder_140, tmp_path / "set"), f"{s3}/revision-same"
    copy_objects(folder_140, there)
    assert revise(here, [3, 7, 130]) == revise(there, [3, 7, 130])
    a, b = open_folder(here), open_folder(there)
    assert sorted(names(a)) == sorted(names(b)) and all(a.read(name) == b.read(name) for name in names(a))


def test_killed_in_every_single_system_call(tmp_path):
    """Four samples, two of them again: old versions are whole at any moment, and the end is the same."""
    base = tmp_path / "base"
    commit(write(base, 4), lineage={})
    make_tag(open_folder(base), "", NOW)
    again(1), again(3)
    calm = revise(shutil.copytree(base, tmp_path / "calm"), [1, 3])
    k, killed = 0, True
    while killed:
        k += 1
        out = shutil.copytree(base, tmp_path / f"killed{k}")
        killed = killed_in_call(k, functools.partial(revise, out, [1, 3]))
        check_whole_files(out)
        for version in ("@1.0.0", ""):
            assert findings(open_version(f"{out}{version}")) == [], f"call {k}"
        run = Run(out, calm["spec_sha256"][:12])
        if revision_count(run):  # as the command does: the interrupted one is committed, not made again
            assert commit(run, lineage={}) == calm
        else:
            assert revise(out, [1, 3]) == calm
        assert open_run(out, SPEC).staged_count() == 0
        assert findings(Dataset(out)) == [] and Dataset(out).manifest == calm
        shutil.rmtree(out)
    assert k > 40
