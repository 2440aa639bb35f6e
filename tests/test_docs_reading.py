"""docs/reading.md: every block is run as it stands, and what it reads is what `Dataset` reads."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_store_revision import copy_objects, revise
from test_version_replace import rendered

from synth.cli import main
from synth.codec import decode_recipe
from synth.sample import Sample
from synth.store import Dataset

__all__ = ["rendered"]

PAGE = Path(__file__).parents[1] / "docs" / "reading.md"


def sections() -> dict[str, list[tuple[str, str]]]:
    """(language, code) of the blocks of each section that has any."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    found = {}
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        assert text.count("```") == 2 * len(blocks), title
        if blocks:
            found[title] = blocks
    assert "```" not in parts[0]
    return found


BLOCKS = sections()


@pytest.fixture
def people(rendered, tmp_path, monkeypatch) -> Dataset:
    """A folder with `people/` in it, where the blocks run."""
    shutil.copytree(rendered, tmp_path / "people")
    monkeypatch.chdir(tmp_path)
    return Dataset("people/")


def run(title: str, number: int = 0) -> dict:
    """What a block of the page leaves in its names."""
    language, code = BLOCKS[title][number]
    assert language == "python"
    names: dict = {"__name__": "__main__"}
    exec(compile(code, f"{title} {number}", "exec"), names)
    return names


def run_elsewhere(title: str, number: int) -> dict[str, np.ndarray]:
    """The arrays of a block that needs a process of its own."""
    language, code = BLOCKS[title][number]
    assert language == "python"
    code += "\nimport numpy\nnumpy.savez('read.npz', depth_m=depth_m, normal=normal, rgb=rgb)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(np.load("read.npz"))


def same(found: dict, sample: Sample, *names: str) -> None:
    for name in names:
        array = np.asarray(found[name])
        assert array.shape == getattr(sample, name).shape, name
        assert np.array_equal(array.astype(getattr(sample, name).dtype), getattr(sample, name)), name


def get_one() -> None:
    """The command above the block."""
    language, code = BLOCKS["OpenCV"][0]
    words = code.split()
    assert language == "sh" and words[0] == "synth" and main(words[1:]) == 0


def test_every_block_has_a_test():
    tested = {"synth": 1, "Plain Python": 2, "torch": 2, "webdataset": 1, "Hugging Face datasets": 1, "OpenCV": 2}
    tested |= {"Which shards": 1, "Blender": 1, "An object store": 1}
    assert {title: len(blocks) for title, blocks in BLOCKS.items()} == tested


def test_synth(people):
    found = run("synth")
    same(found, people[7], "depth_m", "normal", "rgb", "mask")
    assert np.array_equal(found["points"], people[7].pointmap())
    assert found["faces"] == [i for i in range(12) if people.recipe(i).framing == "face"] != []


def test_plain_python_in_order(people):
    found = run("Plain Python")
    assert found["samples"] == {f"{i:08d}": people.members(i) for i in range(12)}
    camera = people.recipe(7).camera
    assert found["camera"]["focal_px"] == camera.focal_px
    assert found["camera"]["world_from_camera"] == [list(row) for row in camera.world_from_camera]
    assert decode_recipe(found["samples"]["00000007"]["json"]) == people.recipe(7)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # json.load(open(...)), as people write it
def test_plain_python_by_the_index(people):
    assert run("Plain Python", 1)["depth_exr"] == people.members(7)["depth.exr"]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_shards_of_one_version_hold_nothing_else_once_compacted(people, capsys):
    assert "replaced samples" not in shown(people, capsys)
    revise(people.path, [3, 7])
    assert "replaced samples take " in shown(people, capsys)
    assert len(run("Which shards")["shards"]) == 2
    assert main(["dataset", "compact", "people/", "--below", "1"]) == 0
    assert "replaced samples" not in shown(people, capsys)
    revised, found = Dataset("people/"), {}
    for path in run("Which shards")["shards"]:
        with tarfile.open(path) as shard:
            for member in shard:
                assert member.name not in found
                found[member.name] = shard.extractfile(member).read()
    assert found == {f"{i:08d}.{name}": data for i in range(12) for name, data in revised.members(i).items()}
    assert revised.members(7) != people.members(7)


def shown(people, capsys) -> str:
    capsys.readouterr()
    assert main(["dataset", "show", "people/"]) == 0
    return capsys.readouterr().out


def test_torch_with_two_workers(people):
    pytest.importorskip("torch", reason="no torch: pip install 'synth[train]'")
    batches = run("torch")["batches"]
    assert [len(batch["index"]) for batch in batches] == [4, 4, 4]
    seen = [int(index) for batch in batches for index in batch["index"]]
    assert sorted(seen) == list(range(12)) and seen != list(range(12))
    for batch in batches:
        for k, index in enumerate(batch["index"]):
            same(
                {name: batch[name][k] for name in ("rgb", "depth_m", "normal")},
                people[int(index)],
                "rgb",
                "depth_m",
                "normal",
            )


def test_torch_as_a_stream(people):
    pytest.importorskip("torch", reason="no torch: pip install 'synth[train]'")
    depths = run("torch", 1)["depths"]
    assert sorted(depths) == list(range(12))
    for index, depth_m in depths.items():
        same({"depth_m": depth_m}, people[index], "depth_m")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset's own
def test_webdataset(people):
    pytest.importorskip("webdataset", reason="no webdataset: pip install 'synth[test]'")
    found = run("webdataset")
    assert len(found["by_key"]) == 12 and found["camera"]["index"] == 7
    same(found, people[7], "rgb", "depth_m", "normal")


def test_hugging_face_datasets(people, monkeypatch, tmp_path):
    pytest.importorskip("datasets", reason="no datasets: pip install 'synth[test]'")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = run("Hugging Face datasets")
    assert len(found["by_key"]) == 12 and found["camera"]["focal_px"] == people.recipe(7).camera.focal_px
    same(found, people[7], "rgb", "depth_m")


def test_opencv(people):
    pytest.importorskip("cv2", reason="no cv2: pip install 'synth[test]'")
    get_one()
    same(run_elsewhere("OpenCV", 1), people[7], "rgb", "depth_m", "normal")


@pytest.mark.blender
def test_blender(people):
    pytest.importorskip("bpy", reason="no bpy: pip install 'synth[render]'")
    get_one()
    same(run_elsewhere("Blender", 0), people[7], "rgb", "depth_m", "normal")


def test_an_object_store(people, s3):
    copy_objects(people.path, f"{s3}/people")
    same(run("An object store"), people[7], "rgb", "depth_m", "normal")
    assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1")
