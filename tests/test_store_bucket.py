"""A dataset in a bucket: the same shards and root as in a folder, whoever races, dies or lies."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from test_cli import COMMAND, common, place, synth
from test_store import HOSTILE_MANIFESTS, HOSTILE_RECORDS
from test_store_write import SPEC, finished, in_child, write

from synth.pipeline_status import read_status
from synth.recipe import canonical_json
from synth.store import Dataset, StoreError
from synth.store_folder import Folder, open_folder
from synth.store_index import commit
from synth.store_kept import read_kept
from synth.store_write import Unit, open_run
from synth.version import make_tag
from synth.version_verify import verify_index, verify_shard

__all__ = ["place"]


@pytest.fixture(scope="module")
def five(s3, tmp_path_factory) -> tuple[str, Path]:
    """Five committed samples in a bucket and in a folder; not to be changed."""
    places = f"{s3}/five", tmp_path_factory.mktemp("five") / "set"
    for out in places:
        commit(write(out, 5), lineage={})
    return places


@pytest.fixture
def small(s3, five, request) -> Folder:
    """A copy of `five` in a bucket, to be changed."""
    copy = open_folder(f"{s3}/copies/{hashlib.sha256(request.node.name.encode()).hexdigest()}")
    for name, data in objects(open_folder(five[0])).items():
        copy.publish(name, [data])
    return copy


def objects(folder: Folder, under: str = "") -> dict[str, bytes]:
    """All that lies in a folder, by name."""
    found = {}
    for name in (f"{under}/{name}".lstrip("/") for name in folder.listing(under)):
        found |= objects(folder, name) if folder.size(name) is None else {name: folder.read(name)}
    return found


def test_bucket_and_folder_hold_the_same_bytes_under_the_same_names(five):
    in_bucket, in_folder = (objects(open_folder(out)) for out in five)
    assert in_bucket == in_folder and len(in_bucket) == 7
    assert Dataset(five[0]).manifest == Dataset(five[1]).manifest


def test_a_bucket_is_read_like_a_folder(five):
    there, here = map(Dataset, five)
    assert there.root == here.root and there.complete and there.spec == SPEC and there.path == five[0]
    for position in range(5):
        assert there.members(position, verify=True) == finished(position)[0]
        assert there.row(position) == here.row(position) and there.recipe(position) == here.recipe(position)
    assert there.column("scans") == here.column("scans")
    assert not [*verify_index(there), *verify_shard(there, 0)]


def test_a_run_in_a_bucket_goes_on_where_it_stopped(s3, five):
    out = f"{s3}/stopped"
    run = open_run(out, SPEC)
    for index in (0, 1, 3):
        run.stage(*finished(index))
    run = open_run(out, SPEC)
    assert run.staged_ids() == {0, 1, 3} and run.is_staged(3) and not run.is_staged(2)
    assert read_kept(run, 3).recipe.index == 3 and run.kept_row(3, Unit(0, 4)).index == 3
    run.folder.publish(run.name("staging", "000000", "00000001.tar"), [b"damaged"])
    assert run.staged_ids() == {0, 3} and not run.seal_if_complete(Unit(0, 4))
    write(out, 5)
    assert commit(run, lineage={})["root"] == Dataset(five[1]).root
    assert run.staged_count() == 0 and read_kept(run, 3).recipe.index == 3
    assert read_status(out).facts["sealed"] == 5
    assert run.plan_units(7) == [Unit(5, 6)]


def test_another_spec_or_anything_else_in_a_bucket_is_refused(s3, five):
    with pytest.raises(StoreError, match=r"^s3://bucket/five: holds a dataset of another spec: seed is 0 there, 1"):
        open_run(five[0], {**SPEC, "seed": 1})
    open_folder(f"{s3}/photos").publish("cat.jpg", [b"x"])
    with pytest.raises(StoreError, match=r"photos: holds 'cat.jpg' and is no dataset"):
        open_run(f"{s3}/photos", SPEC)
    with pytest.raises(StoreError, match="s3://bucket/none does not exist or is empty"):
        Dataset(f"{s3}/none")
    with pytest.raises(StoreError, match=r"^s3://no-such-bucket/set/.*NoSuchBucket"):
        open_run("s3://no-such-bucket/set", SPEC)


def test_tags_in_a_bucket_are_created_once(small):
    tag = make_tag(small, "first", "2026-01-01T00:00:00+00:00")
    assert tag.number == "1.0.0" and Dataset(f"{small.place}", "1.0.0").root == tag.root
    assert not small.create("refs/1.0.0.json", [b"{}"]) and json.loads(small.read("refs/1.0.0.json"))["samples"] == 5


_KILLED = """
import io, sys, tempfile, time
from synth.store_folder import open_folder
class Stuck(io.BytesIO):
    def read(self, size=-1):
        if self.tell() >= 20_000_000:
            print("sending", flush=True)
            time.sleep(100)
        return super().read(size)
tempfile.TemporaryFile = Stuck
open_folder(sys.argv[1]).publish_hashed([bytes(40_000_000)], lambda sha256: "shards/a.tar")
"""


def test_a_writer_killed_in_mid_put_leaves_no_name(s3):
    folder = open_folder(f"{s3}/killed")
    writer = subprocess.Popen([sys.executable, "-c", _KILLED, folder.place], stdout=-1, text=True)
    assert writer.stdout.readline() == "sending\n"
    writer.kill()
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    assert objects(folder) == {}
    with urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/bucket?uploads") as answer:
        assert b"killed/shards/a.tar" in answer.read()  # what the bucket's lifecycle rule has to end
    assert folder.publish_hashed([b"whole"], lambda sha256: "shards/a.tar")[1] == 5 == folder.size("shards/a.tar")


def test_a_forked_process_is_told_what_it_cannot_do(five):
    Dataset(five[0])

    def read():
        signal.alarm(20)  # without the check it waits for ever
        with pytest.raises(StoreError, match="multiprocessing's 'spawn'"):
            Dataset(five[0])

    assert os.waitpid(in_child(read), 0)[1] == 0


@pytest.mark.parametrize("name", [name for name in HOSTILE_RECORDS if name.startswith("shard")])
def test_a_hostile_record_in_a_bucket_opens_nothing_else(small, name):
    small.remove(["refs/latest.json"])
    (record,) = (name for name in objects(small, "runs") if "/units/" in name)
    changed = json.loads(small.read(record))
    HOSTILE_RECORDS[name](changed)
    small.publish(record, [json.dumps(changed).encode()])
    with pytest.raises(StoreError, match=r"units/00000000-00000004\.json"):
        Dataset(small.place)


@pytest.mark.parametrize("name", HOSTILE_MANIFESTS)
def test_a_hostile_manifest_in_a_bucket_opens_nothing_else(small, name):
    manifest = Dataset(small.place).manifest
    HOSTILE_MANIFESTS[name](manifest)
    text = canonical_json(manifest).encode()
    digest = hashlib.sha256(text).hexdigest()
    small.publish(f"manifests/{digest}.json", [text])
    small.publish("refs/latest.json", [canonical_json({"manifest": f"sha256:{digest}"}).encode()])
    with pytest.raises(StoreError, match=small.place):
        Dataset(small.place)


@pytest.mark.parametrize("change", ["missing", "short", "long"])
def test_a_shard_in_a_bucket_that_is_not_what_it_was_is_named(small, change):
    (shard,) = small.listing("shards")
    data = small.read(f"shards/{shard}")
    if change == "missing":
        small.remove([f"shards/{shard}"])
    else:
        small.publish(f"shards/{shard}", [data[:-512] if change == "short" else data + bytes(512)])
    with pytest.raises(StoreError, match=shard):
        Dataset(small.place)[0]
    assert [finding.what for finding in verify_index(Dataset(small.place))] == [f"shards/{shard}"]


def test_a_flipped_byte_in_a_bucket_is_named(small):
    (shard,) = small.listing("shards")
    data = bytearray(small.read(f"shards/{shard}"))
    offset, length, _ = Dataset(small.place).row(2)["members"]["depth.exr"]
    data[offset + length // 2] ^= 4
    small.publish(f"shards/{shard}", [bytes(data)])
    with pytest.raises(StoreError, match=r"sample 00000002: depth\.exr does not match its hash"):
        Dataset(small.place).read(2, verify=True)


@pytest.mark.blender
def test_two_runs_race_in_a_bucket_and_end_as_one_in_a_folder(place, s3, tmp_path):
    """The real command, three times; in the bucket twice at once."""
    flags = common(place, "--width", 48, "--height", 64, "--set", "film.engine=analytic", "--n", 130, "--workers", 0)
    done = synth("render", *flags, "--out", tmp_path / "alone")
    assert done.returncode == 0, done.stderr
    command = [*COMMAND, "render", *map(str, flags), "--out", f"{s3}/raced"]
    racers = [subprocess.Popen(command, stdout=-1, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [racer.communicate(timeout=600)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], said
    there, alone = objects(open_folder(f"{s3}/raced")), objects(open_folder(tmp_path / "alone"))
    shards = {name: data for name, data in alone.items() if name.startswith("shards/")}
    assert shards == {name: data for name, data in there.items() if name.startswith("shards/")} and len(shards) == 2
    assert Dataset(f"{s3}/raced").root == Dataset(tmp_path / "alone").root
    assert not [name for name in there if "/staging/" in name] and "report/first.png" in there
    checked = synth("check", f"{s3}/raced")
    assert checked.returncode == 0 and "s3://bucket/raced: 130 images" in checked.stdout, checked.stderr
    assert "finished; 130 of 130 images" in synth("status", f"{s3}/raced").stdout
    assert "--out DIR" in synth("view", f"{s3}/raced").stderr
