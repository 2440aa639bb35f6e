"""Dataset and versions: what was written is read back, and a folder that lies is refused by name."""

import gc
import hashlib
import json
import os
import pickle
import shutil
import tarfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from test_store_write import SPEC, finished, in_child, write

from synth import store_gather, store_open
from synth.codec import MEMBERS, decode_sample
from synth.recipe import canonical_json, canonical_sha256
from synth.store import Dataset, StoreError
from synth.store_index import commit, gather
from synth.store_record import Row, content_hash, root_hash
from synth.store_write import Unit, open_run


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """140 samples in two shards, committed; not to be changed."""
    out = tmp_path_factory.mktemp("committed") / "set"
    commit(write(out, 140), lineage={})
    return out


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    """Five samples, sealed but not committed; not to be changed."""
    out = tmp_path_factory.mktemp("five") / "set"
    write(out, 5)
    return out


@pytest.fixture
def small(five, tmp_path) -> Path:
    """A copy of `five` to be changed."""
    return shutil.copytree(five, tmp_path / "set")


def same(a, b) -> bool:
    arrays = ("rgb", "alpha", "instance", "depth_m", "normal")
    return a.recipe == b.recipe and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


def test_samples_come_back_by_position(committed):
    dataset = Dataset(committed)
    assert len(dataset) == 140 and dataset.complete and dataset.ids.tolist() == list(range(140))
    for position in (0, 1, 127, 128, 139, -1, -140, np.int64(5)):
        expected = finished(int(position) % 140)
        assert same(dataset[position], decode_sample(expected[0]))
        assert dataset.members(position, verify=True) == expected[0]
        assert list(dataset.members(position)) == [name for name in MEMBERS if name in expected[0]]
        assert dataset.recipe(position).index == int(position) % 140
    assert [sample.recipe.index for sample in dataset] == list(range(140))
    for position in (140, -141):
        with pytest.raises(IndexError, match="140 samples"):
            dataset[position]
    with pytest.raises(TypeError):
        dataset["rgb"]


def test_rows_hold_what_was_recorded_and_where_the_bytes_lie(committed):
    dataset = Dataset(committed)
    for position in (0, 3, 128, 139):
        row, expected = dataset.row(position), finished(position)[1]
        assert {**row, "members": 0} == {**expected, "members": 0}
        shard = next((committed / "shards").glob(f"{'00000000' if position < 128 else '00000128'}-*")).read_bytes()
        for name, (offset, length, sha256) in row["members"].items():
            data = shard[offset : offset + length]
            assert data == finished(position)[0][name] and hashlib.sha256(data).hexdigest() == sha256
    assert dataset.row(3)["refused"] == [[0, "black", "mean brightness 0.01"]]


def test_figures_of_a_row_are_those_of_the_picture():
    members, row = finished(0)
    sample, camera = decode_sample(members), decode_sample(members).recipe.camera
    assert row["covered"] == np.isfinite(sample.depth_m).mean()
    assert row["depth_p50_m"] == np.median(sample.depth_m[np.isfinite(sample.depth_m)])
    assert row["focal_px"] == camera.focal_px and (row["width"], row["height"]) == (24, 32)
    eye, target = np.array([2.5, 0.6, 1.2]), np.array([0, 0, 0.5])  # of worlds.make_camera
    assert row["camera_distance_m"] == pytest.approx(np.sqrt(np.sum(eye**2)))
    assert row["camera_yaw_deg"] == pytest.approx(np.degrees(np.arctan(0.6 / 2.5)))
    assert row["camera_pitch_deg"] == pytest.approx(np.degrees(np.arctan(0.7 / np.hypot(*(eye - target)[:2]))))
    assert row["pixels_sha256"]["depth"] == hashlib.sha256(sample.depth_m.astype("<f4").tobytes()).hexdigest()
    assert set(row["pixels_sha256"]) == {"rgb", "depth", "normal", "instance", "alpha"}


def test_shards_open_with_tarfile_and_hold_whole_samples(committed):
    for path in sorted((committed / "shards").iterdir()):
        first, last, sha12 = path.stem.split("-")
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:12] == sha12
        with tarfile.open(path, "r:") as tar:
            names = tar.getnames()
        assert names == [f"{i:08d}.{name}" for i in range(int(first), int(last) + 1) for name in finished(i)[0]]


def test_columns_filter_without_reading_pictures(committed):
    dataset = Dataset(committed)
    assert dataset.column("index") == list(range(140))
    assert dataset.column("refused") == [["black"] if i % 10 == 3 else [] for i in range(140)]
    assert dataset.column("depth_p50_m") == pytest.approx([finished(i)[1]["depth_p50_m"] for i in range(140)])
    assert dataset.column("scans") == [["ball"]] * 140
    with pytest.raises(StoreError, match=r"no column 'shoe_size'; there are sample_id, index"):
        dataset.column("shoe_size")


def test_the_index_is_a_plain_parquet_table(committed):
    manifest = Dataset(committed).manifest
    table = parquet.read_table(committed / manifest["index"]["path"])
    for row in table.to_pylist()[::20]:
        shard = committed / manifest["shards"][row["shard"]]["path"]
        start = row["rgb_off"]
        assert shard.read_bytes()[start : start + row["rgb_len"]] == finished(row["index"])[0]["rgb.png"]
        assert row["content_sha256"].hex() == finished(row["index"])[1]["content_sha256"]
        assert row["albedo_off"] is None and row["albedo_len"] is None


def test_the_root_is_over_ids_and_contents_alone(committed):
    rows = [finished(i)[1] for i in range(140)]
    lines = "".join(f"{row['id']} {row['content_sha256']}\n" for row in rows)
    assert Dataset(committed).root == hashlib.sha256(lines.encode()).hexdigest()
    assert Dataset(committed).root == root_hash((row["id"], row["content_sha256"]) for row in rows)


def test_a_manifest_says_what_the_dataset_is(committed):
    manifest = Dataset(committed).manifest
    assert manifest["format"] == "synth-manifest/1" and manifest["parents"] == []
    assert manifest["version"] is manifest["name"] is None
    assert manifest["index"]["rows"] == sum(shard["samples"] for shard in manifest["shards"]) == 140
    assert manifest["members"]["depth.exr"]["unit"] == "metre"
    assert manifest["assets"] == {"scans": SPEC["scans"], "backgrounds": []}
    assert manifest["environments"] == [{"env_id": "0123456789ab", "samples": 140, "facts": None}]
    assert Dataset(committed).spec == SPEC
    text = json.dumps(manifest)
    assert str(committed) not in text and os.uname().nodename not in text


def files(out: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p.relative_to(out)): (p.stat().st_mtime_ns, p.read_bytes()) for p in out.rglob("*") if p.is_file()}


def test_committing_again_writes_nothing(small):
    run = open_run(small, SPEC)
    manifest = commit(run, lineage={"host": "here"})
    before = files(small)
    assert commit(run, lineage={"host": "here"}) == manifest and files(small) == before
    assert commit(run, lineage={}) == manifest and files(small) == before
    assert commit(run, lineage={"revision": "abc"}) == manifest
    assert {name for name, value in files(small).items() if before[name] != value} == {f"runs/{run.run_id}/run.json"}
    assert json.loads((run.out / run.file).read_text())["lineage"] == {"host": "here", "revision": "abc"}


def test_the_same_units_make_the_same_manifest(small, tmp_path):
    commit(open_run(small, SPEC), lineage={"host": "here"})
    write(tmp_path / "other", 5, [4, 2, 0, 1, 3])
    commit(open_run(tmp_path / "other", SPEC), lineage={"host": "there"})
    assert Dataset(small).manifest == Dataset(tmp_path / "other").manifest


def test_a_dataset_is_read_while_it_grows(tmp_path):
    out = tmp_path / "set"
    with pytest.raises(StoreError, match="set does not exist"):
        Dataset(out)
    run = open_run(out, SPEC)
    run.stage(*finished(0))
    with pytest.raises(StoreError, match="no shard is sealed yet"):
        Dataset(out)
    with pytest.raises(StoreError, match="no shard is sealed yet"):
        commit(run, lineage={})
    run.seal_if_complete(Unit(0, 0))
    assert len(Dataset(out)) == 1 and not Dataset(out).complete
    assert same(Dataset(out).read(0, verify=True), decode_sample(finished(0)[0]))
    assert Dataset(out).column("index") == [0] and Dataset(out).row(0)["id"] == "00000000"
    commit(run, lineage={})
    reader = Dataset(out)
    assert reader.complete
    run.stage(*finished(1))
    assert not Dataset(out).complete and not reader.complete and len(Dataset(out)) == 1
    run.seal_if_complete(Unit(1, 1))
    assert len(Dataset(out)) == 2 and not Dataset(out).complete
    assert len(reader) == 1 and same(reader[0], decode_sample(finished(0)[0]))
    root = Dataset(out).root
    commit(run, lineage={})
    assert Dataset(out).complete and Dataset(out).root == root


def test_a_version_reads_without_its_runs(small):
    commit(open_run(small, SPEC), lineage={})
    shutil.rmtree(small / "runs")
    dataset = Dataset(small)
    assert len([dataset.read(i, verify=True) for i in range(5)]) == 5
    with pytest.raises(StoreError, match="00000002: has no row"):
        dataset.row(2)


def test_forks_pickles_and_threads_read_the_same(committed, monkeypatch):
    monkeypatch.setattr(store_open, "_MOST_OPEN", 1)  # two shards: every change of shard closes one
    dataset = Dataset(committed)
    dataset[0]

    def read_all():
        for position in (139, 0, 128, 127):
            assert dataset.read(position, verify=True).recipe.index == position

    assert os.waitpid(in_child(read_all), 0)[1] == 0
    again = pickle.loads(pickle.dumps(dataset))
    assert same(again[130], dataset[130])
    faults = []

    def hammer(seed):
        try:
            for position in np.random.default_rng(seed).integers(0, 140, 100):
                dataset.members(position, verify=True)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert not faults
    assert len(dataset._shards._open) == 1


def test_open_files_do_not_add_up(committed):
    def opened() -> int:
        paths = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
        return sum(path.startswith(str(committed / "shards")) for path in paths)

    gc.collect()
    before = opened()
    for _ in range(5):
        dataset = Dataset(committed)
        dataset[0], dataset[139]
        assert opened() == before + 2
        del dataset
    assert opened() == before


def test_a_flipped_byte_is_named_by_sample_and_member(small):
    commit(open_run(small, SPEC), lineage={})
    for name in finished(2)[0]:
        offset, length, _ = Dataset(small).row(2)["members"][name]
        shard = next((small / "shards").iterdir())
        data = bytearray(shard.read_bytes())
        data[offset + length // 2] ^= 4
        shard.write_bytes(data)
        with pytest.raises(StoreError, match=f"sample 00000002: {name} does not match its hash"):
            Dataset(small).members(2, verify=True)
        assert Dataset(small).members(1, verify=True) == finished(1)[0]
        data[offset + length // 2] ^= 4
        shard.write_bytes(data)
    assert Dataset(small).members(2, verify=True) == finished(2)[0]


def test_samples_in_each_others_place_are_named(small):
    """Bytes of sample 3 where sample 2 should be, the record made to fit: only the recipe inside tells."""
    run = open_run(small, SPEC)
    change_record(run, lambda record: record["rows"][2].update(id="00000003", index=3))
    with pytest.raises(StoreError, match=r"rows are not the samples 0\.\.4"):
        Dataset(small)
    shutil.rmtree(small)
    run = open_run(small, SPEC)
    members, row = finished(1)[0], finished(1)[1]
    run.stage(members, {**row, "id": "00000000", "index": 0})
    run.seal_if_complete(Unit(0, 0))
    for read in (Dataset(small).read, Dataset(small).recipe):
        with pytest.raises(StoreError, match="sample 00000000: its recipe is of image 1"):
            read(0)


@pytest.mark.parametrize("change", ["missing", "short", "long", "pipe", "folder"])
def test_a_shard_that_is_not_what_it_was_is_named(small, change):
    commit(open_run(small, SPEC), lineage={})
    shard = next((small / "shards").iterdir())
    data = shard.read_bytes()
    shard.unlink()
    if change in ("short", "long"):
        shard.write_bytes(data[:-512] if change == "short" else data + bytes(512))
    elif change == "pipe":
        os.mkfifo(shard)
    elif change == "folder":
        shard.mkdir()
    with pytest.raises(StoreError, match=shard.name):
        Dataset(small)[0]
    shutil.rmtree(small / "refs")
    with pytest.raises(StoreError, match=f"{shard.name}.*delete its unit record"):
        commit(open_run(small, SPEC), lineage={})


def test_a_lost_shard_is_rendered_again_after_its_record_is_deleted(small):
    root = commit(open_run(small, SPEC), lineage={})["root"]
    next((small / "shards").iterdir()).unlink()
    next(small.glob("runs/*/units/*")).unlink()
    assert commit(write(small, 5), lineage={})["root"] == root
    assert len([Dataset(small).read(i, verify=True) for i in range(5)]) == 5


def change_record(run, change) -> None:
    path = next((run.out / run.name("units")).iterdir())
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _set(value, *keys):
    def change(record):
        place = record
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


RGB = ("rows", 1, "members", "rgb.png")
HOSTILE_RECORDS = {
    "shard outside": _set("../../../etc/passwd", "shard"),
    "shard absolute": _set("/etc/passwd", "shard"),
    "shard in a folder": _set("a/00000000-00000004-0123456789ab.tar", "shard"),
    "shard of other ids": _set("00000000-00000009-0123456789ab.tar", "shard"),
    "shard with a newline": lambda r: r.update(shard=r["shard"] + "\n"),
    "other shard hash": _set("0" * 64, "sha256"),
    "offset outside": _set(10**9, *RGB, 0),
    "offset negative": _set(-512, *RGB, 0),
    "offset huge": _set(2**70, *RGB, 0),
    "offset of another": _set(512, *RGB, 0),
    "offset true": _set("512", *RGB, 0),
    "length huge": _set(2**62, *RGB, 1),
    "length one more": lambda r: r["rows"][1]["members"]["rgb.png"].__setitem__(1, 10**5),
    "length negative": _set(-1, *RGB, 1),
    "hash of another member": _set("0" * 64, *RGB, 2),
    "hash no hash": _set("xyz", *RGB, 2),
    "shard bytes": _set(10**12, "bytes"),
    "ids out of order": lambda r: r["rows"].reverse(),
    "a row less": lambda r: r["rows"].pop(),
    "a row twice": lambda r: r["rows"].__setitem__(1, r["rows"][0]),
    "other id": _set("../../x", "rows", 1, "id"),
    "a member of its own": _set([512, 1, "0" * 64], "rows", 1, "members", "run.sh"),
    "no depth": lambda r: r["rows"][1]["members"].pop("depth.exr"),
    "other last": _set(10**9, "last"),
    "nan": _set(float("nan"), "rows", 0, "seconds"),
    "unknown key": _set(1, "surprise"),
    "other format": _set("synth-unit/2", "format"),
}


@pytest.mark.parametrize("name", HOSTILE_RECORDS)
def test_a_hostile_record_is_refused(small, name):
    assert len(Dataset(small)) == 5
    run = open_run(small, SPEC)
    change_record(run, HOSTILE_RECORDS[name])
    for use in (Dataset, lambda _: commit(run, lineage={})):
        with pytest.raises(StoreError, match=r"units/00000000-00000004\.json"):
            use(small)


def test_records_read_by_several_processes_make_the_same_version(tmp_path, monkeypatch):
    """Pieces of two units: their shards count on, the root goes on, the first hostile record stops it all."""
    out = tmp_path / "set"
    for n in (3, 5, 8, 9, 12):
        run = write(out, n)
    monkeypatch.setattr(store_gather, "_PIECE", 2)
    table, manifest = gather(run)
    assert len(manifest["shards"]) == 5 and table["shard"].to_pylist() == [0] * 3 + [1] * 2 + [2] * 3 + [3] + [4] * 3
    monkeypatch.setattr(store_gather, "_FEW", 0)
    both = gather(run, processes=2)
    assert both[0].equals(table) and both[1] == manifest
    record = out / run.record_name(Unit(5, 7))
    record.write_text(record.read_text().replace('"width":24', '"width":0'))
    for processes in (1, 2):
        with pytest.raises(StoreError, match=r"00000005-00000007\.json: rows\.0\.width"):
            gather(run, processes)


@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_threads_ask_for_rows_of_different_shards(committed, turn):
    """Before the `turn`-th look at the record that was read last, another thread has read another."""

    class Interrupted(Dataset):
        looks = 0

        @property
        def _last_record(self):
            self.looks += 1
            return theirs if self.looks == turn else self.slot

        @_last_record.setter
        def _last_record(self, record):
            self.slot = record

    plain = Dataset(committed)
    plain.row(139)
    theirs = plain._last_record
    plain.row(0)
    dataset = Interrupted(committed)
    dataset.slot, dataset.looks = plain._last_record, 0
    assert dataset.row(0)["index"] == 0


def test_hashes_of_a_row_are_those_of_canonical_json(committed):
    for position in (0, 3, 139):
        row = Row.model_validate(finished(position)[1])
        pairs = sorted([name, entry[2]] for name, entry in row.members.items())
        assert row.content_sha256 == canonical_sha256(pairs) == content_hash(dict(pairs))
        assert row.pixels_hash == canonical_sha256(row.pixels_sha256)
    odd = {'q"\\\n\t\x01\x7f é 𝄞': "0" * 64, "/a": "1" * 64}
    assert content_hash(odd) == canonical_sha256(sorted(map(list, odd.items())))
    assert row.model_copy(update={"pixels_sha256": odd}).pixels_hash == canonical_sha256(odd)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"null", b"[" * 100000, b"\xff\xfe", b'{"format":"synth-unit/1"}'])
def test_a_record_that_is_no_record_is_refused(small, text):
    next(small.glob("runs/*/units/*")).write_bytes(text)
    with pytest.raises(StoreError, match=r"units/00000000-00000004\.json"):
        Dataset(small)


def test_a_record_under_another_name_is_refused(small):
    path = next(small.glob("runs/*/units/*"))
    path.rename(path.with_name("00000000-00000007.json"))
    with pytest.raises(StoreError, match=r"00000000-00000007.json: holds the record of samples 0\.\.4"):
        Dataset(small)


@pytest.mark.parametrize("env_id", ["../../../../../etc/passwd", "../run", ".."])
def test_an_env_id_opens_no_file(small, env_id):
    change_record(open_run(small, SPEC), lambda r: [row.update(env_id=env_id) for row in r["rows"]])
    assert Dataset(small).manifest["environments"] == [{"env_id": env_id, "samples": 5, "facts": None}]


def forge(out: Path, change_table=lambda t: t, change_manifest=lambda m: None) -> None:
    """Rewrites index and manifest with every hash right again: what a stranger can do."""
    manifest = Dataset(out).manifest
    sink = pa.BufferOutputStream()
    parquet.write_table(change_table(parquet.read_table(out / manifest["index"]["path"])), sink)
    data = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()
    (out / "indexes" / f"{digest}.parquet").write_bytes(data)
    manifest["index"].update(path=f"indexes/{digest}.parquet", sha256=digest)
    change_manifest(manifest)
    text = canonical_json(manifest)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (out / "manifests" / f"{digest}.json").write_text(text)
    (out / "refs" / "latest.json").write_text(json.dumps({"manifest": f"sha256:{digest}"}))


def _column(name, change):
    def apply(table):
        values = table[name].to_pylist()
        change(values)
        k = table.column_names.index(name)
        return table.set_column(k, table.schema.field(name), pa.array(values, table.schema.field(name).type))

    return apply


def _put(value, at=1):
    return lambda values: values.__setitem__(at, value)


HOSTILE_INDEXES = {
    "offset outside": _column("rgb_off", _put(10**9)),
    "offset negative": _column("rgb_off", _put(-512)),
    "offset wraps": _column("json_off", _put(2**63 - 10)),
    "offset of another": _column("rgb_off", _put(512)),
    "offset shifted": _column("alpha_off", lambda v: v.__setitem__(1, v[1] + 512)),
    "length huge": _column("json_len", _put(2**31 - 1)),
    "length over the end": _column("json_len", lambda v: v.__setitem__(4, v[4] + 2048)),
    "length negative": _column("rgb_len", _put(-5)),
    "length without offset": _column("albedo_len", _put(5)),
    "rgb missing": _column("rgb_off", _put(None)),
    "shard out of range": _column("shard", _put(7)),
    "shard negative": _column("shard", _put(-1)),
    "an id twice": _column("index", _put(0)),
    "an id negative": _column("index", _put(-3, 0)),
    "hash missing": _column("content_sha256", _put(None)),
    "a column less": lambda t: t.drop_columns(["depth_off"]),
    "a column of another type": lambda t: t.set_column(1, "index", t["index"].cast(pa.float64())),
    "a row less": lambda t: t.slice(0, 4),
}


@pytest.mark.parametrize("name", HOSTILE_INDEXES)
def test_a_hostile_index_is_refused(small, name):
    commit(open_run(small, SPEC), lineage={})
    forge(small)
    assert len([Dataset(small).read(i, verify=True) for i in range(5)]) == 5
    forge(small, HOSTILE_INDEXES[name])
    with pytest.raises(StoreError, match=str(small)):
        Dataset(small)


HOSTILE_MANIFESTS = {
    "index outside": lambda m: m["index"].update(path="../../etc/passwd"),
    "index elsewhere": lambda m: m["index"].update(path="indexes/../store.json"),
    "index hash": lambda m: m["index"].update(sha256="0" * 64),
    "shard outside": lambda m: m["shards"][0].update(path="shards/../../secret.tar"),
    "shard absolute": lambda m: m["shards"][0].update(path="/etc/passwd"),
    "shard bytes": lambda m: m["shards"][0].update(bytes=2**60),
    "record outside": lambda m: m["shards"][0].update(record="runs/0123456789ab/revisions/../../../x.json"),
    "revisions": lambda m: m.update(revisions=7),
    "root": lambda m: m.update(root="no hash"),
    "spec": lambda m: m.update(spec_sha256="../../../x"),
    "format": lambda m: m.update(format="synth-manifest/2"),
    "no shards": lambda m: m.update(shards=[]),
}


@pytest.mark.parametrize("name", HOSTILE_MANIFESTS)
def test_a_hostile_manifest_is_refused(small, name):
    commit(open_run(small, SPEC), lineage={})
    forge(small, change_manifest=HOSTILE_MANIFESTS[name])
    with pytest.raises(StoreError, match=str(small)):
        Dataset(small)


@pytest.mark.parametrize("kind", ["indexes/*", "manifests/*", "refs/*"])
def test_a_changed_or_missing_version_file_is_noticed(small, kind):
    commit(open_run(small, SPEC), lineage={})
    path = next(small.glob(kind))
    data = path.read_bytes()
    path.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
    with pytest.raises(StoreError, match=path.name):
        Dataset(small)
    path.unlink()
    if kind == "manifests/*":
        with pytest.raises(StoreError, match=f"{path.name}: is missing"):
            Dataset(small)
    else:  # the unit records still say everything
        assert len(Dataset(small)) == 5 and not Dataset(small).complete
        path.write_bytes(data)
        assert Dataset(small).complete


def test_an_index_that_disagrees_with_the_records_is_noticed(small):
    """A hash swapped in the index: reading with verification fails, and the row is not believed either."""
    commit(open_run(small, SPEC), lineage={})
    forge(small, _column("content_sha256", _put(bytes(32))))
    dataset = Dataset(small)
    with pytest.raises(StoreError, match="00000001: its bytes match their unit record, but not the index"):
        dataset.read(1, verify=True)
    with pytest.raises(StoreError, match="00000001: its unit record speaks of other bytes"):
        dataset.row(1)
    dataset.read(0, verify=True)
