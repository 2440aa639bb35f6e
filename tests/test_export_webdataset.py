"""Shards as webdataset and tar take them: linked, copied, cut, and with the colour that trains faster."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from exports import COUNT, FIRST_SHARD, write_set
from PIL import Image

from synth.cli import main
from synth.store import Dataset

webdataset = pytest.importorskip("webdataset", reason="no webdataset: pip install 'synth[test]'")
# webdataset leaves the files it has read to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return Dataset(write_set(tmp_path_factory.mktemp("webdataset") / "set"))


def export(dataset: Dataset, dest: Path, *args: str) -> list[Path]:
    """Shards of an export."""
    assert main(["export", str(dataset.path), "--to", "webdataset", "--dest", str(dest), "--workers", "1", *args]) == 0
    return sorted((dest / "shards").iterdir())


def loaded(shards: list[Path]) -> list[dict]:
    """What webdataset gives, undecoded."""
    return list(webdataset.WebDataset([str(path) for path in shards], shardshuffle=False))


def test_whole_shards_are_the_datasets_own(dataset, tmp_path):
    linked, copied = export(dataset, tmp_path / "a"), export(dataset, tmp_path / "b", "--copy")
    own = sorted((dataset.path / "shards").iterdir())
    assert [p.name for p in linked] == [p.name for p in own] == [p.name for p in copied] and len(own) == 2
    assert all(a.samefile(b) for a, b in zip(linked, own, strict=True))
    for path, mine in zip(copied, own, strict=True):
        assert not path.samefile(mine) and path.read_bytes() == mine.read_bytes()
    samples = loaded(linked)
    assert [sample["__key__"] for sample in samples] == [f"{index:08d}" for index in range(COUNT)]
    assert samples[5]["depth.exr"] == dataset.members(5)["depth.exr"]


def test_a_filter_cuts_shards_and_keeps_every_byte_of_a_sample(dataset, tmp_path):
    shards = export(dataset, tmp_path / "cut", "--where", "split == 'train' or index >= 20")
    whole = sorted((dataset.path / "shards").iterdir())[1].name
    assert [path.name for path in shards] == ["00000000-00000017.tar", whole]
    samples = loaded(shards)
    kept = [i for i in range(COUNT) if i >= FIRST_SHARD or dataset.column("split")[i] == "train"]
    assert [int(sample["__key__"]) for sample in samples] == kept
    for sample in samples:
        members = dataset.members(int(sample["__key__"]))
        assert {name: sample[name] for name in members} == members
    with tarfile.open(shards[0]) as tar:
        assert all((m.mtime, m.uid, m.mode) == (0, 0, 0o644) for m in tar.getmembers())


def test_the_train_encoding_changes_the_colour_alone(dataset, tmp_path):
    shards = export(dataset, tmp_path / "train", "--encoding", "train")
    assert [path.name for path in shards] == ["00000000-00000043.tar"]
    for sample in loaded(shards):
        members, stored = dataset.members(int(sample["__key__"])), dataset[int(sample["__key__"])]
        rest = {name: data for name, data in members.items() if name != "rgb.png"}
        assert {name: sample[name] for name in rest} == rest and "rgb.png" not in sample
        with Image.open(io.BytesIO(sample["rgb.jpg"])) as image:
            assert image.format == "JPEG" and image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # 4:4:4
            error = np.asarray(image).astype(float) - stored.rgb
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 35
    decoded = next(iter(webdataset.WebDataset(str(shards[0]), shardshuffle=False).decode("rgb8")))
    assert decoded["rgb.jpg"].shape == (64, 48, 3) and decoded["json"]["index"] == 0
    depth = OpenEXR.File(io.BytesIO(decoded["depth.exr"])).channels()["Y"].pixels
    assert np.array_equal(depth, dataset[0].depth_m)


def test_a_damaged_shard_is_not_copied(dataset, tmp_path, capsys):
    spoilt = write_set(tmp_path / "spoilt")
    shard = sorted((spoilt / "shards").iterdir())[0]
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    for args in (["--copy"], ["--encoding", "train"], ["--where", "index != 3"]):
        dest = tmp_path / args[0]
        code = main(["export", str(spoilt), "--to", "webdataset", "--dest", str(dest), "--workers", "1", *args])
        said = capsys.readouterr().err
        assert code == 1 and said.count("\n") == 1 and "00000000" in said
        assert not list(dest.glob("shards/*")) and not json.loads((dest / "export.json").read_text())["finished"]


def test_rows_name_the_shard_of_every_sample(dataset, tmp_path):
    import pyarrow.parquet as parquet

    shards = export(dataset, tmp_path / "rows", "--where", "index > 2", "--fraction", "0.7")
    table = parquet.read_table(tmp_path / "rows" / "samples.parquet")
    of = {path.name: {sample["__key__"] for sample in loaded([path])} for path in shards}
    for row in table.to_pylist():
        assert row["sample_id"] in of[row["name"].removeprefix("shards/")]
        sha256 = dataset.row(row["index"])["content_sha256"]
        assert row["content_sha256"].hex() == sha256
    assert table.num_rows == sum(map(len, of.values())) == len(set(table["index"].to_pylist()))
    about = json.loads((tmp_path / "rows" / "export.json").read_text())
    assert about["asked"]["where"] == "index > 2" and about["asked"]["fraction"] == 0.7
    assert about["exported"] == table.num_rows
    assert hashlib.sha256(b"").hexdigest() != about["asked"]["root"] == dataset.root
