"""Tags, their order and their refusals; the verbs through the command line, on hand-made datasets."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_store_revision import revise
from test_store_write import finished, write

from synth.cli import main
from synth.codec import decode_sample, stored
from synth.store import Dataset, StoreError, open_version, split_version
from synth.store_folder import open_folder
from synth.store_index import commit
from synth.store_row import make_row
from synth.store_tag import find_manifest, read_tags
from synth.version import make_tag

NOW = "2026-01-02T03:04:05+00:00"


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """130 samples tagged, then 140 committed; not to be changed."""
    out = tmp_path_factory.mktemp("grown") / "set"
    commit(write(out, 130), lineage={})
    make_tag(open_folder(out), "the first", NOW)
    commit(write(out, 140), lineage={})
    return out


@pytest.fixture
def copy(grown, tmp_path) -> Path:
    return shutil.copytree(grown, tmp_path / "set")


def said(capsys, *argv) -> tuple[int, str]:
    code = main(["dataset", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", ("a/b", "latest")),
        ("a/b@1.2.0", ("a/b", "1.2.0")),
        ("s3://bucket/set@latest", ("s3://bucket/set", "latest")),
        ("me@home/set", ("me@home/set", "latest")),
    ],
)
def test_a_version_is_named_behind_an_at(text, expected):
    assert split_version(text) == expected


def test_tags_follow_from_what_changed(copy):
    folder = open_folder(copy)
    second = make_tag(folder, "ten more", NOW)
    assert (second.number, second.previous, second.samples) == ("1.1.0", "1.0.0", 140)
    assert second.counts["added"] == 10 and second.counts["changed"] == 0 and second.counts["same"] == 130
    assert [tag.number for tag in read_tags(folder)] == ["1.0.0", "1.1.0"]
    with pytest.raises(StoreError, match=r"nothing changed since 1\.1\.0"):
        make_tag(folder, "again", NOW)
    for number in ("1.0.0", "1.1.0"):
        assert main(["dataset", "verify", f"{copy}@{number}", "--level", "decode", "--workers", "1"]) == 0


def test_an_old_version_is_read_as_it_was(grown):
    old, new = open_version(f"{grown}@1.0.0"), Dataset(grown)
    assert (len(old), len(new)) == (130, 140) and old.root != new.root
    assert old.members(129, verify=True) == new.members(129, verify=True)
    with pytest.raises(IndexError):
        old.read(130)
    digest = read_tags(open_folder(grown))[0].manifest.removeprefix("sha256:")
    assert open_version(f"{grown}@{digest[:8]}").root == old.root


@pytest.mark.parametrize("version", ["9.9.9", "abc", "../1.0.0", "0000000", "1.0"])
def test_a_version_that_is_not_there_is_named(grown, version):
    with pytest.raises(StoreError, match=r"no version"):
        find_manifest(open_folder(grown), version)


def test_a_tag_that_was_edited_is_refused(copy):
    path = copy / "refs" / "1.0.0.json"
    tag = json.loads(path.read_text())
    for change in ({"number": "1.0.1"}, {"manifest": "sha256:../../x"}, {"samples": -1}, {"more": 1}):
        path.write_text(json.dumps({**tag, **change}))
        with pytest.raises(StoreError, match=r"refs/1\.0\.0\.json: is no tag"):
            read_tags(open_folder(copy))


def test_log_show_diff_and_tag(copy, capsys):
    code, text = said(capsys, "log", copy)
    assert code == 0
    assert re.search(r"latest  140 samples .* \+10 -0 ~0  not tagged\n1\.0\.0  130 samples .* the first\n", text)
    assert "+10 -0 ~0" in said(capsys, "diff", copy, "1.0.0")[1]
    assert "removed: 00000130" in said(capsys, "diff", copy, "latest", "1.0.0", "--ids")[1]
    assert "@1.1.0: 140 samples" in said(capsys, "tag", copy, "--message", "more")[1]
    assert said(capsys, "log", copy)[1].startswith("1.1.0  140 samples")
    code, text = said(capsys, "show", f"{copy}@1.0.0")
    assert code == 0 and "130 samples" in text and "environment" in text
    assert said(capsys, "tag", f"{copy}@1.0.0")[0] == 1


def test_get_and_pixels(copy, capsys, tmp_path):
    assert said(capsys, "get", copy, 7, "--out", tmp_path / "got")[0] == 0
    assert (tmp_path / "got" / "00000007.depth.exr").read_bytes() == Dataset(copy).members(7)["depth.exr"]
    code, text = said(capsys, "diff", copy, "1.0.0", "--pixels", 7, "--out", tmp_path / "pair.png")
    assert code == 0 and "IDENTICAL" in text and (tmp_path / "pair.png").stat().st_size > 500
    assert "no sample 139" in said(capsys, "diff", copy, "1.0.0", "--pixels", 139)[1]


def test_changed_pixels_are_measured(copy, capsys, tmp_path):
    """A sample rendered again: half as bright, its surface 3 mm per metre further away, nothing else."""

    def other(index):
        members, row = finished(index)
        sample = decode_sample(members)
        changed = replace(sample, rgb=sample.rgb // 2, depth_m=sample.depth_m * np.float32(1.003))
        members, sample = stored(changed)
        return members, make_row(sample, members, flags=(), env_id=row["env_id"], seconds=1.0, refused=[])

    revise(copy, [7, 9], other)
    assert "+10 -0 ~2 (environment 2, pixels 2)" in said(capsys, "diff", copy, "1.0.0")[1]
    text = said(capsys, "diff", copy, "1.0.0", "latest", "--ids")[1]
    assert (
        "added: 00000130 00000131" in text and "changed pixels: 00000007 00000009\n" in text and "removed" not in text
    )
    code, text = said(capsys, "diff", copy, "1.0.0", "--pixels", 7, "--out", tmp_path / "pair.png")
    rgb = Dataset(copy, "1.0.0").read(7).rgb.astype(float)
    decibels = 20 * np.log10(255) - 10 * np.log10(((rgb - rgb // 2) ** 2).mean())
    figures = re.search(r"colour ([\d.]+) dB, alpha 0/255, mask 0 px, depth ([\d.]+) mm/m, normals 0\.0000 deg", text)
    assert code == 0 and text.splitlines()[0].endswith("DIFFERENT") and figures, text
    assert float(figures[1]) == pytest.approx(decibels, abs=0.051) and float(figures[2]) == pytest.approx(3.0, abs=0.05)


def edit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_each_level_finds_what_it_promises(copy, capsys):
    assert said(capsys, "verify", copy, "--level", "decode")[0] == 0
    dataset = Dataset(copy)
    shard = copy / dataset.manifest["shards"][0]["path"]
    start, end = dataset._places.ranges(3)["depth.exr"]
    edit(shard, (start + end) // 2)
    assert said(capsys, "verify", copy, "--level", "index")[0] == 0
    code, text = said(capsys, "verify", copy)
    assert code == 1 and "00000003" in text and "depth.exr" in text and "00000004" not in text
    shard.unlink()
    code, text = said(capsys, "verify", copy, "--level", "index")
    assert code == 1 and shard.name in text and "missing" in text


def test_a_fraction_is_the_same_ids_in_every_version(grown):
    from synth.cli_proof import pick

    small, large = np.arange(1000), np.arange(4000)
    chosen = pick(large, 0.1)
    assert 300 < len(chosen) < 500
    assert np.array_equal(chosen[chosen < 1000], pick(small, 0.1)) and len(pick(np.arange(3), 0.001)) == 1
