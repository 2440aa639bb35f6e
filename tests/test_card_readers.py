"""A card as others read it: the Hub, mlcroissant, datasets."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import pytest
from test_card import NOW, build

from synth.card import make_card
from synth.store import Dataset
from synth.store_folder import open_folder
from synth.version import make_tag


@pytest.fixture(scope="module")
def described(tmp_path_factory) -> Path:
    """The dataset with its card."""
    out = build(tmp_path_factory.mktemp("described") / "people")
    make_tag(open_folder(out), "", NOW)
    for name, data in make_card(Dataset(out)).files.items():
        (out / name).write_bytes(data)
    return out


def test_the_hubs_own_code_reads_its_head(described):
    from huggingface_hub import DatasetCard

    card = DatasetCard((described / "README.md").read_text())
    head = card.data.to_dict()
    assert (head["license"], head["size_categories"], head["pretty_name"]) == ("other", ["n<1K"], "people")
    assert head["configs"][0]["data_files"] == [{"split": "samples", "path": "shards/*.tar"}]
    assert "# people 1.0.0" in card.text


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # rdflib's own
def test_mlcroissant_finds_no_fault_and_streams_the_rows(described):
    import mlcroissant

    croissant = mlcroissant.Dataset(str(described / "croissant.json"))
    issues = croissant.metadata.ctx.issues
    assert not issues.errors and not issues.warnings
    dataset = Dataset(described)
    records = list(croissant.records("samples"))
    assert len(records) == len(dataset)
    for position, record in enumerate(records):
        row = dataset.row(position)
        assert record["samples/sample_id"].decode() == row["id"]
        assert record["samples/split"].decode() == row["split"]
        assert [name.decode() for name in record["samples/scans"]] == row["scans"]
        assert record["samples/focal_px"] == pytest.approx(row["focal_px"], rel=1e-6)


def test_croissants_checksums_are_those_of_the_files(described):
    about = json.loads((described / "croissant.json").read_text())
    named = {file["contentUrl"]: file["sha256"] for file in about["distribution"]}
    assert {url: hashlib.sha256((described / url).read_bytes()).hexdigest() for url in named} == named
    fields = about["recordSet"][0]["field"]
    assert {field["name"] for field in fields if field.get("repeated")} == {"scans", "people", "flags", "refused"}
    assert set(named) == {f"{p.parent.name}/{p.name}" for d in ("indexes", "shards") for p in (described / d).iterdir()}
    assert "https://spdx.org/licenses/CC-BY-4.0.html" in about["license"] and "unknown" in about["license"]


def test_datasets_loads_the_folder_by_the_card(described, tmp_path, monkeypatch):
    from datasets import load_dataset

    samples = load_dataset(str(described), split="samples", streaming=True, cache_dir=str(tmp_path))
    found = [(sample["__key__"], sample["json"]["split"]) for sample in islice(samples, 20)]
    dataset = Dataset(described)
    assert found == [(dataset.row(i)["id"], dataset.row(i)["split"]) for i in range(len(dataset))]
