"""What gc removes and what it must not, and what compaction rewrites: by hand, in a folder and in a bucket, killed in
every step."""

import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_store_revision import NOW, again, base, copy_objects, findings, folder_140, names, out, revise
from test_store_write import finished, killed_in_call, write
from test_version import said

from synth.cli import main
from synth.store import Dataset, StoreError, open_version
from synth.store_folder import open_folder
from synth.store_index import commit
from synth.store_revision import open_revision
from synth.store_write import Unit, only_run
from synth.version import make_tag
from synth.version_compact import compact, sparse_shards
from synth.version_gc import find_garbage, remove_garbage

__all__ = ["base", "folder_140", "out"]


def garbage(out, young_s=0.0) -> dict[str, str]:
    """Kind by name. In a bucket, ages have whole seconds: what was written just now is 0 s old."""
    return {item.name: item.kind for item in find_garbage(open_folder(out), young_s)}


def rewrite(out, below=0.5) -> dict:
    """Compaction as the command does it."""
    dataset, run = Dataset(out), only_run(open_folder(out))
    ids = dataset.ids[np.isin(dataset.shard_numbers, sparse_shards(dataset, below))].tolist()
    revision = open_revision(run, "compact", ids)
    assert list(compact(dataset, revision))[-1] == len(ids)
    revision.put_in_effect()
    return commit(run, lineage={})


def untagged(out) -> None:
    open_folder(out).remove(["refs/1.0.0.json"])


def test_a_finished_dataset_holds_no_garbage(out):
    assert garbage(out) == {}
    revise(out, [3, 7])
    assert garbage(out) == {}, "the tag keeps what the latest version replaced"


def test_what_nothing_reaches_is_found_and_all_else_stays(out):
    folder, run = open_folder(out), only_run(open_folder(out))
    orphan = "shards/00000128-00000139-0123456789ab.tar"
    litter = {
        orphan: "shard",
        f"indexes/{'1' * 64}.parquet": "index",
        f"manifests/{'2' * 64}.json": "manifest",
        "tmp/left": "temporary",
        run.name("staging", "000000", "00000005.tar"): "staged",
        run.name("staging", "000000", "00000005.json"): "staged",
    }
    for name in litter:
        folder.publish(name, [b"x" * 10])
    run.stage(*finished(200))  # waits for its unit
    folder.publish("shards/notes.txt", [b"mine"])  # not ours to judge
    before = {name for name in names(folder) if name not in litter}
    assert garbage(out) == litter
    assert list(garbage(out, young_s=3600)) == [name for name in litter if "staging" in name]
    assert remove_garbage(folder, list(find_garbage(folder, 0)), 0) == 60
    assert set(names(folder)) == before and garbage(out) == {}
    assert findings(Dataset(out)) == findings(open_version(f"{out}@1.0.0")) == [] and run.staged_ids() == {200}


def test_what_a_running_writer_may_need_stays(out):
    """A unit that is sealed and not committed, and a re-render that is not finished."""
    run = only_run(open_folder(out))
    for index in range(140, 145):
        run.stage(*finished(index))
    run.seal_if_complete(Unit(140, 144))
    revision = open_revision(run, "rerender", [1, 2, *range(3, 140)])
    for index in revision.chunks[0]:
        revision.staging.write(*again(index))
    revision.seal(revision.chunks[0], revision.chunks[0], revision.staging.take)
    revision.staging.write(*again(revision.chunks[1][0]))
    assert garbage(out) == {}
    assert commit(run, lineage={})["index"]["rows"] == 145


def test_a_shard_that_is_published_again_in_time_stays(folder_140, tmp_path):
    """An old orphan is found; its writer comes back before it is removed."""
    out = shutil.copytree(folder_140, tmp_path / "set")
    orphan = out / "shards" / "00000140-00000144-0123456789ab.tar"
    orphan.write_bytes(b"shard")
    os.utime(orphan, (1, 1))
    found = list(find_garbage(open_folder(out)))
    assert [item.name for item in found] == [f"shards/{orphan.name}"]
    os.utime(orphan)
    assert remove_garbage(open_folder(out), found) == 0 and orphan.exists()
    os.utime(orphan, (1, 1))
    assert remove_garbage(open_folder(out), found) == 5 and not orphan.exists()


def test_replaced_shards_go_when_no_tag_holds_them(out):
    untagged(out)
    before = Dataset(out).manifest
    revise(out, [*range(128)])
    gone = garbage(out)
    assert {name for name, kind in gone.items() if kind == "shard"} == {before["shards"][0]["path"]}
    assert sorted(gone.values()) == ["index", "manifest", "shard"]
    folder = open_folder(out)
    remove_garbage(folder, list(find_garbage(folder, 0)), 0)
    dataset = Dataset(out)
    assert findings(dataset) == [] and dataset.members(5, verify=True) == again(5)[0] and dataset.complete
    write(out, 150)  # the run goes on, its records are all there
    commit(only_run(folder), lineage={})
    assert len(Dataset(out)) == 150 and findings(Dataset(out)) == []


def test_a_plan_that_came_too_late_goes_when_it_is_old(out):
    run = only_run(open_folder(out))
    late = open_revision(run, "rerender", [9])
    late.staging.write(*again(9))
    revise(out, [3])
    found = garbage(out)
    assert set(found.values()) == {"revision"} and len(found) == 3 and all(late.plan.name in name for name in found)
    assert garbage(out, young_s=3600) == {}


def test_nothing_is_removed_on_a_guess(folder_140, tmp_path):
    out = shutil.copytree(folder_140, tmp_path / "set")
    (out / "refs" / "1.0.0.json").write_text("{}")
    with pytest.raises(StoreError, match=r"1\.0\.0\.json: is no tag"):
        list(find_garbage(open_folder(out), 0))


def test_the_live_share_is_that_of_the_bytes(out):
    revise(out, range(100))
    dataset = Dataset(out)
    lengths = [sum(512 + len(data) + -len(data) % 512 for data in finished(i)[0].values()) for i in range(140)]
    assert dataset.live_bytes[:2].tolist() == [sum(lengths[100:128]), sum(lengths[128:])]
    share = sum(lengths[100:128]) / sum(lengths[:128])
    assert sparse_shards(dataset, share * 1.001).tolist() == [0] and sparse_shards(dataset, share * 0.999).size == 0
    assert sparse_shards(dataset, 1.0).tolist() == [0]


def test_compaction_moves_what_lives_byte_for_byte(out):
    revise(out, range(100))
    before = Dataset(out)
    manifest = rewrite(out)
    after = Dataset(out)
    assert manifest["root"] == before.root and manifest != before.manifest and after.complete
    assert [shard["samples"] for shard in manifest["shards"]] == [12, 100, 28]
    for index in range(140):
        assert after.members(index, verify=True) == before.members(index)
        old, new = before.row(index), after.row(index)
        old.pop("members"), new.pop("members")
        assert old == new
    assert findings(after) == findings(open_version(f"{out}@1.0.0")) == []
    assert garbage(out).keys() == {
        f"manifests/{name}" for name in open_folder(out).listing("manifests")
        if name.removesuffix(".json") not in (_latest(out), _tagged(out))
    } | {before.manifest["index"]["path"]}  # fmt: skip
    untagged(out)
    first = before.manifest["shards"][0]["path"]
    assert garbage(out)[first] == "shard"
    folder = open_folder(out)
    assert remove_garbage(folder, list(find_garbage(folder, 0)), 0) > before.manifest["shards"][0]["bytes"]
    assert folder.size(first) is None and findings(Dataset(out)) == []
    assert sparse_shards(Dataset(out), 1.0).size == 0


def _latest(out) -> str:
    return json.loads(open_folder(out).read("refs/latest.json"))["manifest"].removeprefix("sha256:")


def _tagged(out) -> str:
    return json.loads(open_folder(out).read("refs/1.0.0.json"))["manifest"].removeprefix("sha256:")


def test_a_damaged_sample_is_not_carried_on(folder_140, tmp_path):
    out = shutil.copytree(folder_140, tmp_path / "set")
    revise(out, range(100))
    dataset = Dataset(out)
    shard = out / dataset.manifest["shards"][0]["path"]
    start, end = dataset._places.ranges(110)["depth.exr"]
    data = bytearray(shard.read_bytes())
    data[(start + end) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=r"sample 00000110: depth\.exr does not match its hash"):
        rewrite(out)
    assert Dataset(out).complete and Dataset(out).root == dataset.root


def test_a_bucket_is_compacted_to_the_same_bytes(folder_140, s3, tmp_path):
    here, there = shutil.copytree(folder_140, tmp_path / "set"), f"{s3}/compact-same"
    copy_objects(folder_140, there)
    for place in (here, there):
        revise(place, range(100))
        rewrite(place)
    a, b = open_folder(here), open_folder(there)
    assert sorted(names(a)) == sorted(names(b)) and all(a.read(name) == b.read(name) for name in names(a))


@pytest.fixture
def little(tmp_path) -> Path:
    """Four samples, tagged; three of them again, so that their shard is mostly dead."""
    out = tmp_path / "little"
    commit(write(out, 4), lineage={})
    make_tag(open_folder(out), "", NOW)
    revise(out, [0, 1, 2])
    return out


@pytest.mark.parametrize("work", ["compact", "gc"])
def test_killed_in_every_single_system_call(little, tmp_path, work):
    if work == "gc":
        rewrite(little)
        (little / "refs" / "1.0.0.json").unlink()
        folder = open_folder(little)
        folder.publish("tmp/left", [b"x"])
        only_run(folder).stage(*finished(1))

    def act(out):
        if work == "compact":
            rewrite(out)
        else:
            folder = open_folder(out)
            remove_garbage(folder, list(find_garbage(folder, 0)), 0)

    def state(out):
        return {name: open_folder(out).read(name) for name in names(open_folder(out)) if not name.startswith("tmp/")}

    calm = shutil.copytree(little, tmp_path / "calm")
    versions = [""] if work == "gc" else ["", "@1.0.0"]
    root = Dataset(calm).root
    act(calm)
    k, killed = 0, True
    while killed:
        k += 1
        out = shutil.copytree(little, tmp_path / f"killed{k}")
        killed = killed_in_call(k, partial(act, out))
        for version in versions:
            dataset = open_version(f"{out}{version}")
            assert findings(dataset) == [] and (version or dataset.root == root), f"call {k}"
        if work == "gc":
            act(out)
        else:  # the command itself, as it is run again after a kill
            assert main(["dataset", "compact", str(out)]) == 0
        assert state(out) == state(calm), f"call {k}"
        shutil.rmtree(out)
    assert k > (25 if work == "compact" else 10)


def test_the_commands_say_what_they_do(little, capsys):
    code, text = said(capsys, "compact", little)
    assert code == 0 and "1 samples of 1 shards rewritten" in text and Dataset(little).root[:12] in text
    code, text = said(capsys, "compact", little)
    assert code == 0 and "nothing to do" in text
    stray = little / "shards" / "00000000-00000003-0123456789ab.tar"
    stray.write_bytes(bytes(1000))
    code, text = said(capsys, "gc", little, "--dry-run")
    assert code == 0 and "0 files, 0 bytes would go" in text  # all is younger than an hour
    code, text = said(capsys, "gc", little, "--dry-run", "--older-than", 0)
    assert code == 0 and f"shards/{stray.name}" in text and stray.exists()
    size = sum(path.stat().st_size for path in little.rglob("*") if path.is_file())
    code, text = said(capsys, "gc", little, "--older-than", 0)
    left = sum(path.stat().st_size for path in little.rglob("*") if path.is_file())
    assert code == 0 and f"{size - left} bytes removed" in text and not stray.exists() and size - left > 1000
    assert "0 files, 0 bytes removed" in said(capsys, "gc", little, "--older-than", 0)[1]
    assert findings(open_version(f"{little}@1.0.0")) == findings(Dataset(little)) == []


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["gc", "{}@1.0.0"], "a version cannot be changed"),
        (["gc", "{}", "--older-than", "-1"], "--older-than -1.0"),
        (["compact", "{}", "--below", "0"], "--below 0.0: expected more than 0"),
        (["compact", "{}", "--below", "nan"], "--below nan"),
        (["gc", "{}/nothing"], "is no dataset|does not exist"),
        (["compact", "{}/nothing"], "is no dataset|does not exist"),
    ],
)
def test_wrong_words_are_refused_in_one_line(little, capsys, words, match):
    code, text = said(capsys, *(word.format(little) for word in words))
    assert code == 1 and re.search(match, text) and text.count("\n") == 1
