"""Each way to harm a dataset is found by the level of `verify` that promises to, named, and by no lower one.

A forger here has our own code: everything that follows from the bytes he changes is made consistent again, from the
hash of a member up to the manifest. `thorough`: the recorded hashes of recipe and pixels, too.
"""

import hashlib
import json
import shutil
from dataclasses import replace as altered
from pathlib import Path

import pyarrow as pa
import pytest
from test_pipeline import job
from test_version import said
from test_version_replace import rendered

from synth.codec import decode_sample, with_flags
from synth.recipe import canonical_json, canonical_sha256
from synth.store import Dataset
from synth.store_folder import open_folder
from synth.store_index import commit, read_index, read_manifest
from synth.store_record import content_hash
from synth.store_row import pixel_hashes
from synth.store_shard import locate
from synth.store_table import parquet_bytes
from synth.store_write import Unit, only_run, open_run
from synth.version_verify import LEVELS

__all__ = ["job", "rendered"]

A, B = 5, 8
LABELS = ("instance.png", "depth.exr", "normal.exr", "alpha.png")


@pytest.fixture
def out(rendered, tmp_path, job) -> Path:
    """12 samples of the closed-form engine; the prepared scans and backgrounds in `cache` beside them."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "scans").symlink_to(job.scan_store)
    (tmp_path / "cache" / "backgrounds").symlink_to(job.background_store)
    return shutil.copytree(rendered, tmp_path / "set")


def members_of(out: Path) -> dict[int, dict[str, bytes]]:
    dataset = Dataset(out)
    return {index: dataset.members(index) for index in (A, B)}


def forge(out: Path, changed: dict[int, dict[str, bytes]], thorough: bool) -> None:
    """A dataset of the same samples, but for those, in the place of `out`."""
    dataset = Dataset(out)
    spec, samples = dataset.spec, []
    for index in range(len(dataset)):
        row, members = dataset.row(index), changed.get(index, dataset.members(index))
        if index in changed:
            digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
            row["content_sha256"] = content_hash(digests)
            if thorough:
                sample = decode_sample(members)
                row |= {"recipe_sha256": canonical_sha256(sample.recipe), "pixels_sha256": pixel_hashes(sample)}
        offsets, _ = locate({name: len(data) for name, data in members.items()})
        row["members"] = {
            name: (offsets[name], len(data), hashlib.sha256(data).hexdigest()) for name, data in members.items()
        }
        samples.append((members, row))
    environments = next(out.glob("runs/*/environments"))
    shutil.copytree(environments, out.parent / "environments")
    shutil.rmtree(out)
    run = open_run(out, spec)
    shutil.copytree(out.parent / "environments", out / run.name("environments"))
    for members, row in samples:
        run.stage(members, row)
    assert run.seal_if_complete(Unit(0, len(samples) - 1))
    commit(run, lineage={})


def flipped_byte(out):
    dataset = Dataset(out)
    shard = out / dataset.manifest["shards"][0]["path"]
    start, end = dataset._places.ranges(A)["depth.exr"]
    data = bytearray(shard.read_bytes())
    data[(start + end) // 2] ^= 1
    shard.write_bytes(data)


def missing_shard(out):
    next((out / "shards").iterdir()).unlink()


def shortened_shard(out):
    shard = next((out / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-512])


def swapped(names, thorough):
    def harm(out):
        of = members_of(out)
        forge(
            out,
            {a: {name: of[b if name in names else a][name] for name in of[a]} for a, b in ((A, B), (B, A))},
            thorough,
        )

    return harm


def edited_recipe_in_place(out):
    """The digits of the exposure, in the shard itself."""
    dataset = Dataset(out)
    shard = out / dataset.manifest["shards"][0]["path"]
    data = bytearray(shard.read_bytes())
    start, end = dataset._places.ranges(A)["json"]
    at = data.index(b"exposure_ev", start)
    data[next(i for i in range(at, end) if chr(data[i]) in "12345678")] += 1
    shard.write_bytes(data)


def edited_recipe(thorough):
    """Another sky behind, spelled as we would."""

    def harm(out):
        members = members_of(out)[A]
        sample = decode_sample(members)
        sky = sample.recipe.background
        sky = sky.model_copy(update={"sha256": sky.sha256[::-1]})
        edited = altered(sample, recipe=sample.recipe.model_copy(update={"background": sky}))
        forge(out, {A: with_flags(members, edited, tuple(json.loads(members["json"])["flags"]))}, thorough)

    return harm


def edited_json(key, value):
    """What readers without synth take from the json, beside the recipe."""

    def harm(out):
        members = members_of(out)[A]
        told = json.loads(members["json"]) | {key: value}
        forge(out, {A: {**members, "json": canonical_json(told).encode()}}, True)

    return harm


def edited_index(column, value):
    """A row of the index, and all that names the index by its hash."""

    def harm(out):
        folder = open_folder(out)
        manifest = read_manifest(folder)
        table = read_index(folder, manifest)
        values = table[column].to_pylist()
        values[A] = value
        field = table.schema.get_field_index(column)
        table = table.set_column(field, table.schema.field(field), pa.array(values, table.schema.field(field).type))
        data = parquet_bytes(table)
        digest = hashlib.sha256(data).hexdigest()
        manifest["index"] |= {"path": f"indexes/{digest}.parquet", "sha256": digest}
        folder.publish(manifest["index"]["path"], [data])
        name_as_latest(folder, manifest)

    return harm


def name_as_latest(folder, manifest) -> None:
    folder.publish(f"manifests/{canonical_sha256(manifest)}.json", [canonical_json(manifest).encode()])
    folder.publish("refs/latest.json", [canonical_json({"manifest": f"sha256:{canonical_sha256(manifest)}"}).encode()])


def stale_index(out):
    """Sample A was made anew and sealed; the version is the one from before."""
    folder, before = open_folder(out), read_manifest(open_folder(out))
    index = folder.read(before["index"]["path"])
    members = members_of(out)[A]
    sample = decode_sample(members)
    forge(out, {A: with_flags(members, sample, ("leaning_normals",))}, False)
    after = read_manifest(folder)
    folder.publish(before["index"]["path"], [index])
    name_as_latest(folder, {**before, "shards": after["shards"]})


HARMS = {
    "flipped byte": (flipped_byte, "hash", ["00000005", "depth.exr does not match its hash"]),
    "missing shard": (missing_shard, "index", ["shards/00000000-00000011-", "is missing"]),
    "shortened shard": (shortened_shard, "index", ["shards/00000000-00000011-", "bytes, the manifest says"]),
    "swapped depth": (swapped(["depth.exr"], False), "decode", ["00000005", "00000008"]),
    "swapped depth, thorough": (swapped(["depth.exr"], True), "decode", ["00000005", "00000008", "mask_depth"]),
    "swapped labels": (swapped(LABELS, False), "decode", ["00000005", "00000008"]),
    "swapped labels, thorough": (swapped(LABELS, True), "decode", ["00000005", "00000008", "normal"]),
    "swapped colour, thorough": (swapped(["rgb.png"], True), "render", ["00000005", "00000008", "DIFFERENT"]),
    "recipe edited in place": (edited_recipe_in_place, "hash", ["00000005", "json does not match its hash"]),
    "recipe edited": (edited_recipe(False), "decode", ["00000005", "its recipe is not the one that was recorded"]),
    "recipe edited, thorough": (edited_recipe(True), "render", ["00000005", "colour", "DIFFERENT"]),
    "json's lens": (edited_json("focal_px", 50.0), "decode", ["00000005", "otherwise of focal_px"]),
    "json's split": (edited_json("split", "test"), "decode", ["00000005", "otherwise of split"]),
    "json's flags": (edited_json("flags", ["leaning_normals"]), "decode", ["00000005", "otherwise of flags"]),
    "stale index": (stale_index, "index", ["00000005", "speaks of other bytes than the index"]),
    "index's split": (edited_index("split", "test"), "index", ["00000005", "does not have its record's split"]),
    "index's figure": (edited_index("depth_p50_m", 9.0), "index", ["00000005", "its record's depth_p50_m"]),
    "index's recipe": (edited_index("recipe_sha256", b"\0" * 32), "index", ["00000005", "its record's recipe_sha256"]),
    "index's root": (edited_index("content_sha256", b"\0" * 32), "index", ["root: is not that of the index's rows"]),
}


def verify(out, level, capsys) -> tuple[int, str]:
    return said(capsys, "verify", out, "--level", level, "--workers", 0, "--cache", out.parent / "cache")


@pytest.mark.parametrize("name", HARMS)
def test_a_harm_is_found_by_its_level_and_by_no_lower_one(out, capsys, name):
    harm, level, named = HARMS[name]
    harm(out)
    depth = LEVELS.index(level)
    for lower in LEVELS[:depth]:
        code, text = verify(out, lower, capsys)
        assert code == 0 and "no findings" in text, text
    code, text = verify(out, level, capsys)
    assert code == 1 and all(word in text for word in named), text
    untouched = {f"{i:08d}" for i in range(12)} - {"00000000", "00000011", "00000005", "00000008"}
    assert not any(word in text for word in untouched), text


def test_what_is_whole_has_no_findings_at_any_level(out, capsys):
    for level in LEVELS:
        code, text = verify(out, level, capsys)
        assert code == 0 and f"12 of 12 samples, level {level}: no findings" in text
    forge(out, {}, True)  # the forger's own tools leave no trace
    assert verify(out, "render", capsys)[0] == 0


@pytest.mark.parametrize("kind", ["indexes", "manifests"])
def test_an_edited_index_or_manifest_is_not_even_opened(out, capsys, kind):
    (path,) = (out / kind).iterdir()
    data = path.read_bytes()
    edited = data.replace(b'"samples":12', b'"samples":13') if kind == "manifests" else data[:200] + data[201:]
    path.write_bytes(edited)
    for level in LEVELS:
        code, text = verify(out, level, capsys)
        assert code == 1 and path.name in text and "was changed" in text


def test_old_versions_are_verified_by_the_records_of_their_time(out, capsys):
    run = only_run(open_folder(out))
    assert verify(out, "index", capsys)[0] == 0
    next((out / run.name("units")).iterdir()).unlink()
    code, text = said(capsys, "verify", f"{out}@1.0.0", "--level", "index")
    assert code == 1 and "00000005" in text and "has no row in" in text
