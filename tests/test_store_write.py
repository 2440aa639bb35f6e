"""Staging and sealing: the same bytes in any order, whoever races, is killed, or meets a full disk."""

import errno
import functools
import hashlib
import json
import os
import pickle
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from worlds import ball_sample, make_camera, make_recipe

from synth import store_files
from synth.codec import stored, with_flags
from synth.store_folder import open_folder
from synth.store_index import commit
from synth.store_record import read_record
from synth.store_write import Run, StoreError, Unit, make_row, open_run

SPEC = {"seed": 0, "config": {"film": {"spp": 8}}, "scans": [{"scan_id": "ball", "key": "ab"}]}


@functools.cache
def finished(index: int) -> tuple[dict[str, bytes], dict]:
    """Members and row of a small sample; every index has a ball of its own."""
    recipe = make_recipe(make_camera(width=24, height=32, focal_px=37.5), index=index)
    center = (0, 0.001 * (index % 97), 0.5 + 0.001 * (index % 89))
    members, sample = stored(ball_sample(recipe, center))
    members = with_flags(members, sample, ("truncated",))
    refused = [(0, "black", "mean brightness 0.01")] if index % 10 == 3 else []
    row = make_row(sample, members, flags=("truncated",), env_id="0123456789ab", seconds=1.5, refused=refused)
    return members, row


def write(out: Path, n: int, order=None) -> Run:
    """A run of n samples, staged in `order`, each unit sealed by whoever stages its last sample."""
    run = open_run(out, SPEC)
    units = {index: unit for unit in run.plan_units(n) for index in unit.ids}
    staged = run.staged_ids()
    for unit in set(units.values()):
        run.seal_if_complete(unit)
    for index in order if order is not None else range(n):
        if index in units and index not in staged:
            run.stage(*finished(index))
            run.seal_if_complete(units[index])
    return run


def shards(out: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((out / "shards").iterdir())}


def result(out: Path) -> tuple[dict[str, str], str]:
    """Shards and root of a finished dataset that has nothing left over."""
    run = open_run(out, SPEC)
    manifest = commit(run, lineage={})
    assert not run.staged_ids() and not list((out / "tmp").iterdir())
    assert {path.split("/")[1] for path in (s["path"] for s in manifest["shards"])} == set(shards(out))
    return shards(out), manifest["root"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[dict[str, str], str]:
    """140 samples written in order, undisturbed."""
    out = tmp_path_factory.mktemp("whole") / "set"
    write(out, 140)
    return result(out)


def in_child(work) -> int:
    """Starts `work` in a forked process that exits with 0, or 3 on an exception; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        os._exit(3)
    os._exit(0)


def test_units_are_cut_at_every_128th_id_and_follow_what_is_sealed(tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    assert [unit.name for unit in run.plan_units(300)] == [
        "00000000-00000127", "00000128-00000255", "00000256-00000299",
    ]  # fmt: skip
    write(tmp_path / "set", 48)
    assert run.sealed_ids() == (range(48),)
    assert run.plan_units(48) == run.plan_units(20) == []
    assert run.plan_units(300) == [Unit(48, 127), Unit(128, 255), Unit(256, 299)]
    assert run.plan_units(50) == [Unit(48, 49)]
    for index in range(128, 131):
        run.stage(*finished(index))
    assert run.seal_if_complete(Unit(128, 130))
    assert run.plan_units(140) == [Unit(48, 127), Unit(131, 139)]
    assert Unit(48, 49).ids == range(48, 50)


def test_any_order_gives_the_same_bytes(whole, tmp_path):
    write(tmp_path / "set", 140, np.random.default_rng(0).permutation(140).tolist())
    assert result(tmp_path / "set") == whole


def test_a_larger_n_goes_on_and_has_the_root_of_one_run(whole, tmp_path):
    write(tmp_path / "set", 48)
    first = shards(tmp_path / "set")
    write(tmp_path / "set", 140)
    grown, root = result(tmp_path / "set")
    assert first.items() <= grown.items() and len(grown) == 3 and len(whole[0]) == 2
    assert root == whole[1]


def test_what_was_staged_for_one_n_is_good_for_another(whole, tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    for index in range(10):
        run.stage(*finished(index))
    assert not run.seal_if_complete(Unit(0, 127))
    assert open_run(tmp_path / "set", SPEC).staged_ids() == set(range(10))
    write(tmp_path / "set", 140)
    assert result(tmp_path / "set") == whole


def test_nothing_stored_tells_where_when_or_how_long(tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    members, row = finished(0)
    run.stage(members, {**row, "seconds": 77.25, "env_id": "ffffffffffff"})
    run.seal_if_complete(Unit(0, 0))
    write(tmp_path / "other", 1)
    assert shards(tmp_path / "set") == shards(tmp_path / "other")
    record = json.loads((run.out / run.record_name(Unit(0, 0))).read_text())
    assert record["rows"][0]["seconds"] == 77.25


def test_a_run_is_sent_to_other_processes(tmp_path):
    run = pickle.loads(pickle.dumps(open_run(tmp_path / "set", SPEC)))
    run.stage(*finished(0))
    assert run.seal_if_complete(Unit(0, 0)) and open_run(tmp_path / "set", SPEC) == run


class Crash:
    """Counts the system calls that change a disk, and kills this process in the k-th; a write stops half-way."""

    CALLS = ("write", "fsync", "replace", "link", "unlink", "rmdir", "mkdir")

    def __init__(self, k: int):
        self.k, self.count = k, 0
        for name in self.CALLS:
            setattr(os, name, functools.partial(self._call, name, getattr(os, name)))

    def _call(self, name, real, *args, **kwargs):
        self.count += 1
        if self.count == self.k:
            if name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)


def killed_in_call(k: int, work) -> bool:
    """Does `work` in a process that is killed in its k-th system call; False if it ended before."""

    def dying():
        Crash(k)
        work()

    status = os.waitpid(in_child(dying), 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def check_whole_files(out: Path) -> None:
    """No final name holds half a file, and no fragment is there without its row."""
    for fragment in out.glob("runs/*/staging/*/*.tar"):
        assert fragment.with_suffix(".json").exists()
    for shard in (out / "shards").glob("*"):
        assert hashlib.sha256(shard.read_bytes()).hexdigest()[:12] == shard.stem[-12:]
    for path in out.glob("runs/*/units/*"):
        record = read_record(open_folder(out), path.relative_to(out).as_posix())
        assert (out / "shards" / record.shard).stat().st_size == record.bytes
    for path in [*out.glob("*.json"), *out.glob("runs/*/*.json"), *out.glob("runs/*/staging/*/*.json")]:
        json.loads(path.read_bytes())


def test_killed_in_every_single_system_call(tmp_path):
    """Two samples, one unit: whichever call is the last, nothing that was staged is lost and the end is the same."""
    write(tmp_path / "calm", 2)
    calm, k, killed = result(tmp_path / "calm"), 0, True
    while killed:
        k += 1
        out = tmp_path / f"killed{k}"
        reader, writer = os.pipe()
        real_write = os.write

        def work(out=out, k=k, writer=writer, real_write=real_write):
            Crash(k)
            run = open_run(out, SPEC)
            for index in range(2):
                run.stage(*finished(index))
                real_write(writer, b".")
            run.seal_if_complete(Unit(0, 1))

        status = os.waitpid(in_child(work), 0)[1]
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) == 0
        os.close(writer)
        returned = len(os.read(reader, 10))
        os.close(reader)
        check_whole_files(out)
        run = open_run(out, SPEC)
        assert len(run.staged_ids()) >= returned or run.sealed_ids()
        for left in (out / "tmp").iterdir():
            os.utime(left, (1, 1))  # so that the next start takes it for a dead writer's
        write(out, 2)
        shard_files = shards(out)
        assert shard_files == calm[0], f"call {k}"
        assert result(out) == calm
    assert k > 30


def test_racing_writers_killed_at_random_lose_nothing(whole, tmp_path):
    out, rng, killed = tmp_path / "set", np.random.default_rng(7), 0
    for index in range(140):
        finished(index)  # before the forks
    for enough in (5, 30, 55, 80, 105):
        orders = [rng.permutation(140).tolist() for _ in range(2)]
        pids = [in_child(functools.partial(write, out, 140, order)) for order in orders]
        for pid, more in zip(pids, rng.integers(0, 10, 2), strict=True):
            while len(list(out.glob("runs/*/staging/*/*.tar"))) < enough + more:
                assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a writer ended before it was killed"
                time.sleep(0.001)
            os.kill(pid, signal.SIGKILL)
        killed += sum(os.WIFSIGNALED(os.waitpid(pid, 0)[1]) for pid in pids)
        check_whole_files(out)
    assert killed == 10
    for left in (out / "tmp").iterdir():
        os.utime(left, (1, 1))
    write(out, 140)
    assert result(out) == whole


def test_sealing_at_the_same_time_makes_one_record(tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    for index in range(20):
        run.stage(*finished(index))
    reader, writer = os.pipe()

    def seal():
        os.read(reader, 1)
        assert run.seal_if_complete(Unit(0, 19))

    pids = [in_child(seal) for _ in range(4)]
    os.write(writer, b"gogo")
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    os.close(reader), os.close(writer)
    assert len(list((run.out / run.name("units")).iterdir())) == 1
    write(tmp_path / "calm", 20)
    assert result(tmp_path / "set") == result(tmp_path / "calm")


def test_a_late_writer_leaves_nothing_behind(tmp_path):
    run = write(tmp_path / "set", 3)
    run.stage(*finished(1))
    assert run.seal_if_complete(Unit(0, 2)) and not run.staged_ids()
    run.stage(*finished(1))
    assert not open_run(tmp_path / "set", SPEC).staged_ids()


def test_units_sealed_for_two_sizes_at_once_count_their_common_samples_once(tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    for unit in (Unit(0, 4), Unit(0, 6), Unit(3, 5)):
        for index in unit.ids:
            run.stage(*finished(index))
        assert run.seal_if_complete(unit)
    write(tmp_path / "calm", 7)
    manifest = commit(run, lineage={})
    assert manifest["root"] == result(tmp_path / "calm")[1]
    assert [shard["samples"] for shard in manifest["shards"]] == [5, 2]


def test_only_what_is_sealed_is_swept(tmp_path):
    """Staged ids before, between, inside and behind sealed ranges."""
    run = open_run(tmp_path / "set", SPEC)
    for unit in (Unit(2, 3), Unit(6, 6)):
        for index in unit.ids:
            run.stage(*finished(index))
        run.seal_if_complete(unit)
    for index in range(9):
        run.stage(*finished(index))
    run.sweep_staging()
    assert run.staged_ids() == {0, 1, 4, 5, 7, 8} and run.sealed_ids() == (range(2, 4), range(6, 7))


DAMAGE = {
    "a flipped byte of a picture": ("tar", lambda data: data[:700] + bytes([data[700] ^ 1]) + data[701:]),
    "a flipped byte of a header": ("tar", lambda data: bytes([data[0] ^ 1]) + data[1:]),
    "cut short": ("tar", lambda data: data[:1000]),
    "empty": ("tar", lambda data: b""),
    "zeros": ("tar", lambda data: bytes(len(data))),
    "no row": ("json", lambda data: None),
    "half a row": ("json", lambda data: data[: len(data) // 2]),
    "row of another": ("json", lambda data: json.dumps(finished(2)[1]).encode()),
    "row is a list": ("json", lambda data: b"[1]"),
}


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> tuple[Path, tuple]:
    """Three staged samples, not to be changed, and what becomes of them."""
    folder = tmp_path_factory.mktemp("three")
    run = open_run(folder / "set", SPEC)
    for index in range(3):
        run.stage(*finished(index))
    write(folder / "calm", 3)
    return folder / "set", result(folder / "calm")


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_staged_sample_is_not_staged(name, three, tmp_path):
    kind, change = DAMAGE[name]
    for at_start in (True, False):
        out = shutil.copytree(three[0], tmp_path / str(at_start))
        run = open_run(out, SPEC)
        path = next(run.out.glob(f"runs/*/staging/*/00000001.{kind}"))
        data = change(path.read_bytes())
        path.unlink() if data is None else path.write_bytes(data)
        if at_start:
            assert run.staged_ids() == {0, 2}
        else:
            with pytest.raises(StoreError, match=f"{out}.*00000001.*the same command"):
                run.seal_if_complete(Unit(0, 2))
        assert not run.seal_if_complete(Unit(0, 2))
        write(out, 3)
        assert result(out) == three[1]


@pytest.mark.parametrize(
    ("call", "number"),
    [("write", errno.EDQUOT), *((call, errno.ENOSPC) for call in ("write", "fsync", "replace", "link"))],
)
def test_a_full_disk_names_the_folder_and_loses_nothing(tmp_path, monkeypatch, call, number):
    out, real, room, failures = tmp_path / "set", getattr(os, call), 0, 0

    def full(*args, **kwargs):
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    for room_there in (0, 2, 3, 7, 14):
        room = room_there
        with monkeypatch.context() as patch:
            patch.setattr(store_files.os, call, full)
            try:
                write(out, 8)
            except StoreError as error:
                failures += 1
                assert str(error).startswith(f"{out}: no room left")
        assert not list((out / "tmp").iterdir()), "a failed write left its file"
        check_whole_files(out)
    assert failures >= 2
    write(out, 8)
    write(tmp_path / "calm", 8)
    assert result(out) == result(tmp_path / "calm")


def test_a_shard_that_does_not_fit_keeps_its_staged_samples(tmp_path):
    """A limit on file size stands in for a full disk: the same error from a real system call."""
    run = open_run(tmp_path / "set", SPEC)
    for index in range(20):
        run.stage(*finished(index))

    def seal():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
        with pytest.raises(StoreError, match="no room left"):
            run.seal_if_complete(Unit(0, 19))

    assert os.waitpid(in_child(seal), 0)[1] == 0
    assert run.staged_ids() == set(range(20)) and not list((tmp_path / "set" / "tmp").iterdir())
    assert run.seal_if_complete(Unit(0, 19))


def _no_hard_links(source, target):
    raise OSError(errno.EPERM, "no hard links here")


def _reply_lost(real, number):
    def call(source, target):
        real(source, target)
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("link", _no_hard_links),
        ("link", _reply_lost(os.link, errno.EEXIST)),
        ("link", _reply_lost(os.link, errno.EIO)),
        ("replace", _reply_lost(os.replace, errno.ENOENT)),
    ],
)
def test_file_systems_without_links_and_with_lost_replies(tmp_path, monkeypatch, name, fault):
    write(tmp_path / "calm", 5)
    with monkeypatch.context() as patch:
        patch.setattr(store_files.os, name, fault)
        write(tmp_path / "set", 5)
        assert result(tmp_path / "set") == result(tmp_path / "calm")


def test_the_first_record_stays_also_without_hard_links(tmp_path):
    folder = open_folder(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_files.os, "link", _no_hard_links)
        assert [folder.create("record", [text]) for text in (b"a", b"b")] == [True, False]
    assert folder.read("record") == b"a" and folder.listing("tmp") == []


def test_temporary_files_of_the_dead_go_and_of_the_living_stay(tmp_path):
    out = tmp_path / "set"
    open_run(out, SPEC)
    dead, living = out / "tmp" / "dead", out / "tmp" / "living"
    dead.touch(), living.touch()
    os.utime(dead, (time.time() - 2 * 3600,) * 2)
    open_run(out, SPEC)
    assert list((out / "tmp").iterdir()) == [living]


def test_another_spec_is_refused_with_the_difference(tmp_path):
    out = tmp_path / "set"
    write(out, 1)
    other = {"seed": 0, "config": {"film": {"spp": 16}}, "scans": [{"scan_id": "cube", "key": "cd"}]}
    with pytest.raises(StoreError) as refusal:
        open_run(out, other)
    assert str(refusal.value) == (
        f"{out}: holds a dataset of another spec: config.film.spp is 8 there, 16 here; "
        "scans: came 'cube', went 'ball'; give another --out"
    )
    assert pickle.loads(pickle.dumps(refusal.value)).args == refusal.value.args
    assert len(list((out / "runs").iterdir())) == 1


def test_a_spec_changed_by_hand_is_noticed(tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    file = run.out / run.file
    file.write_text(file.read_text().replace('"spp":8', '"spp":9'))
    with pytest.raises(StoreError, match=r"changed by hand \(config.film.spp is 9 there, 8 here\)"):
        open_run(tmp_path / "set", SPEC)


def test_a_folder_that_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(StoreError, match=r"photos: holds 'cat.jpg' and is no dataset"):
        open_run(tmp_path / "photos", SPEC)
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        open_run(tmp_path / "file", SPEC)
    (tmp_path / "future").mkdir()
    (tmp_path / "future" / "store.json").write_text('{"format":"synth-store/9"}')
    with pytest.raises(StoreError, match="synth-store/9"):
        open_run(tmp_path / "future", SPEC)


def test_environments_are_remembered_by_their_hash(tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    env_id = run.add_environment({"bpy": "4.5", "device": "cpu"})
    assert env_id == run.add_environment({"device": "cpu", "bpy": "4.5"}) != run.add_environment({"bpy": "4.6"})
    run.stage(finished(0)[0], {**finished(0)[1], "env_id": env_id})
    run.seal_if_complete(Unit(0, 0))
    assert commit(run, lineage={})["environments"] == [
        {"env_id": env_id, "samples": 1, "facts": {"bpy": "4.5", "device": "cpu"}}
    ]
