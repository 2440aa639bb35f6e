"""The Hub's folder as datasets, the Hub's own code and mlcroissant read it."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import OpenEXR
import pyarrow.parquet as parquet
import pytest
from exports import COUNT, NASTY, SPLITS, export_sample, write_set

from synth import export_hf
from synth.cli import main
from synth.codec import decode_sample
from synth.export_hf import COLUMNS
from synth.recipe import SceneRecipe
from synth.store import Dataset
from synth.store_folder import open_folder
from synth.version import make_tag

HUB = {"train": "train", "val": "validation", "test": "test"}


def expected(split: str) -> list[int]:
    return [index for index in range(COUNT) if SPLITS[index % 11] == split]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Dataset, Path]:
    root = tmp_path_factory.mktemp("hf")
    make_tag(open_folder(write_set(root / "people")), "", "2026-01-02T03:04:05+00:00")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_hf, "_FILE", 10)  # so that a split has several files
        patch.setattr(export_hf, "_ROW_GROUP", 4)
        assert main(["export", str(root / "people"), "--to", "hf", "--dest", str(root / "out"), "--workers", "1"]) == 0
    return Dataset(root / "people"), root / "out"


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_the_folder_with_its_splits(made, streaming, tmp_path):
    datasets = pytest.importorskip("datasets", reason="no datasets: pip install 'synth[test]'")
    dataset, root = made
    loaded = datasets.load_dataset(str(root), streaming=streaming, cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "validation", "test"}
    for split, name in HUB.items():
        rows = list(loaded[name])
        assert [int(row["sample_id"]) for row in rows] == expected(split)
        for row in rows[:3]:
            sample, stored = dataset[int(row["sample_id"])], dataset.row(int(row["sample_id"]))
            assert np.array_equal(np.asarray(row["image"]), sample.rgb) and row["albedo"] is None
            assert np.array_equal(np.asarray(row["instance"]), sample.instance)
            assert row["preview"].size == (720, 320)
            depth = OpenEXR.File(io.BytesIO(row["depth_exr"])).channels()["Y"].pixels
            normal = OpenEXR.File(io.BytesIO(row["normal_exr"])).channels()["RGB"].pixels
            assert np.array_equal(depth, sample.depth_m) and np.array_equal(normal, sample.normal)
            assert SceneRecipe.model_validate_json(row["recipe"]) == sample.recipe
            assert np.array_equal(row["world_from_camera"], sample.recipe.camera.world_from_camera)
            assert (row["flags"], row["scans"]) == (stored["flags"], stored["scans"])
    assert loaded["train"].features["image"] == datasets.Image()


def test_every_file_has_one_schema_though_flags_come_late(made):
    _, root = made
    schemas = [parquet.read_schema(path) for path in sorted((root / "data").iterdir())]
    assert len(schemas) == 5 and all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    assert schemas[0].names == list(COLUMNS)
    assert parquet.read_table(root / "data" / "train-00000-of-00003.parquet")["flags"].to_pylist()[:6] == [[]] * 6
    groups = parquet.ParquetFile(root / "data" / "train-00000-of-00003.parquet").metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [4, 4, 2]


def test_rows_name_the_file_of_every_sample(made):
    _, root = made
    rows = parquet.read_table(root / "samples.parquet").to_pylist()
    assert len(rows) == COUNT == len({row["sample_id"] for row in rows})
    for name in {row["name"] for row in rows}:
        there = parquet.read_table(root / name, columns=["sample_id"])["sample_id"].to_pylist()
        assert there == [row["sample_id"] for row in rows if row["name"] == name]
        assert {HUB[row["split"]] for row in rows if row["name"] == name} == {name[5:].split("-")[0]}


def test_the_hubs_own_code_reads_the_cards_head(made):
    hub = pytest.importorskip("huggingface_hub", reason="no huggingface_hub: pip install 'synth[test]'")
    _, root = made
    card = hub.DatasetCard((root / "README.md").read_text())
    head = card.data.to_dict()
    assert head["configs"][0]["data_files"] == [
        {"split": name, "path": f"data/{name}-*.parquet"} for name in HUB.values()
    ]
    assert head["license"] == "other" and "# people 1.0.0" in card.text
    assert "shards/" not in card.text and "`depth_exr`" in card.text and "RenderPeople terms" in card.text


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # rdflib's own
def test_mlcroissant_finds_no_fault_and_reads_the_rows(made):
    mlcroissant = pytest.importorskip("mlcroissant", reason="no mlcroissant: pip install 'synth[test]'")
    dataset, root = made
    croissant = mlcroissant.Dataset(str(root / "croissant.json"))
    assert not croissant.metadata.ctx.issues.errors and not croissant.metadata.ctx.issues.warnings
    records = list(croissant.records("samples"))
    assert len(records) == COUNT
    for record in records:
        row = dataset.row(int(record["samples/sample_id"].decode()))
        assert record["samples/split"].decode() == row["split"]
    about = json.loads((root / "croissant.json").read_text())
    named = {file["contentUrl"]: file["sha256"] for file in about["distribution"]}
    assert {url: hashlib.sha256((root / url).read_bytes()).hexdigest() for url in named} == named
    assert set(named) == {f"data/{path.name}" for path in (root / "data").iterdir()} | {"samples.parquet"}


def test_a_part_has_the_card_of_that_part(made, tmp_path):
    dataset, _ = made
    dest = tmp_path / "part"
    where = f"'{NASTY}' in scans and split == 'val'"
    args = ["--to", "hf", "--dest", str(dest), "--where", where, "--workers", "1"]
    assert main(["export", str(dataset.path), *args]) == 0
    count = sum(NASTY in dataset.row(index)["scans"] for index in expected("val"))
    text = (dest / "README.md").read_text()
    assert f"{count} synthetic images" in text and "RenderPeople terms" in text and "CC-BY" not in text
    assert [path.name for path in (dest / "data").iterdir()] == ["validation-00000-of-00001.parquet"]
    assert "path: data/validation-*.parquet" in text and "path: data/train" not in text


def test_further_labels_are_pictures_too(tmp_path):
    dataset = Dataset(write_set(tmp_path / "set", [export_sample(index, ("albedo",)) for index in range(3)]))
    assert main(["export", str(dataset.path), "--to", "hf", "--dest", str(tmp_path / "x"), "--workers", "1"]) == 0
    rows = parquet.read_table(tmp_path / "x" / "data" / "train-00000-of-00001.parquet").to_pylist()
    members = dataset.members(1)
    assert rows[1]["albedo"] == {"bytes": members["albedo.png"], "path": "00000001.albedo.png"}
    assert rows[1]["trust"] is None and np.array_equal(decode_sample(members).albedo, dataset[1].albedo)
