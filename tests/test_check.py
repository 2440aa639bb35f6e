"""`synth check`: what it finds does not depend on workers, a share is a share, and a target's rules are named."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exports import COUNT, export_recipe, export_sample, write_set
from PIL import Image
from test_store_write import write as write_store
from worlds import ball_sample, make_camera

from synth import export_job
from synth.camera import distance_from_z
from synth.cli import main
from synth.cli_proof import pick
from synth.export_sapiens import read_sapiens
from synth.sample import Sample
from synth.store import Dataset
from synth.store_folder import open_folder
from synth.version import make_tag

#: What a K of half-integer pixel centres has more.
HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
NOW = "2026-01-02T03:04:05+00:00"


def flipped(sample: Sample) -> Sample:
    """With its normals' x the wrong way round: unit, towards the camera, and wrong."""
    return Sample(**{**vars(sample), "normal": sample.normal * np.float32([-1, 1, 1])})


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Path:
    """44 samples: 7 has flipped normals, 30 is not 3:4."""
    samples = [export_sample(index) for index in range(COUNT)]
    samples[7] = flipped(samples[7])
    wide = make_camera(width=64, height=48, focal_px=80.0)
    samples[30] = ball_sample(export_recipe(30, wide), (0, 0, 0.5), (0.3, 0.35, 0.5))
    return write_set(tmp_path_factory.mktemp("check") / "set", samples)


def checked(capsys, *args) -> tuple[int, str]:
    code = main(["check", *map(str, args)])
    captured = capsys.readouterr()
    progress = re.compile(r"^check: .*\n", re.MULTILINE)  # on a slow machine
    return code, captured.out + progress.sub("", captured.err)


def test_what_is_found_does_not_depend_on_workers(faulty, capsys, monkeypatch):
    monkeypatch.setattr(export_job, "_PORTION", 8)
    code, one = checked(capsys, faulty, "--workers", 1)
    assert code == 1 and "  00000007 normal_" in one and "00000030" not in one
    assert f"{faulty}: 44 images, root {Dataset(faulty).root[:12]}, 1 faulty" in one
    assert checked(capsys, faulty, "--workers", 3) == (code, one)


def test_a_target_names_what_would_poison_it_and_why(faulty, capsys):
    code, said = checked(capsys, faulty, "--target", "sapiens", "--workers", 1)
    assert code == 1
    assert "  00000030 sapiens aspect: 64 x 48 is not 3:4 (width:height)" in said
    assert "  00000007 sapiens normal_frame: normals are" in said and "they fit as (-x+y+z)" in said
    assert "fault sapiens aspect: 1 of 44 (v1 stretches it to 3:4; v2 validates on a stretched frame)" in said
    assert "2 faulty" in said


def test_a_share_is_always_the_same_one(faulty, capsys):
    count = len(pick(Dataset(faulty).ids, 0.3))
    code, said = checked(capsys, faulty, "--fraction", 0.3, "--target", "sapiens", "--workers", 1)
    assert 5 < count < 25 and f"{count} of 44 images" in said
    chosen = {int(Dataset(faulty).ids[k]) for k in pick(Dataset(faulty).ids, 0.3)}
    assert code == int(bool(chosen & {7, 30}))
    code, said = checked(capsys, faulty, "--fraction", 2)
    assert code == 1 and "--fraction 2.0" in said


def test_a_version_is_checked_as_it_was(tmp_path, capsys):
    samples = [export_sample(index) for index in range(6)]
    out = write_set(tmp_path / "set", samples[:4], first=4)
    make_tag(open_folder(out), "", NOW)
    write_set(out, [*samples[:4], flipped(samples[4]), samples[5]], first=4)
    code, said = checked(capsys, f"{out}@1.0.0", "--workers", 1)
    assert code == 0 and "4 images" in said and said.endswith("no fault\n")  # though there is a newer one
    code, said = checked(capsys, out, "--workers", 1)
    assert code == 1 and "6 images" in said and "1 faulty" in said


def test_while_it_is_rendered_sealed_shards_are_checked_and_it_says_so(tmp_path, capsys):
    out = tmp_path / "set"
    write_store(out, 130, order=range(129))  # one shard is sealed, one sample of the next is staged
    code, said = checked(capsys, out, "--workers", 2)
    assert code == 0 and "128 images" in said
    assert said.rstrip().endswith("no fault (still being rendered: only sealed shards were checked)")
    empty = tmp_path / "empty"
    write_store(empty, 130, order=range(5))
    code, said = checked(capsys, empty)
    assert code == 1 and "no shard is sealed yet" in said


def test_a_flipped_byte_is_a_fault_of_its_sample(tmp_path, capsys):
    out = write_set(tmp_path / "set", [export_sample(index) for index in range(4)], first=2)
    shard = sorted((out / "shards").iterdir())[1]
    data = bytearray(shard.read_bytes())
    data[600] ^= 1  # in the picture of its first sample
    shard.write_bytes(data)
    code, said = checked(capsys, out, "--target", "sapiens", "--workers", 1)
    assert code == 1 and "fault unreadable: 1 of 4" in said and "  00000002 " in said and "rgb.png" in said


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """An export; a test changes one file and puts it back."""
    root = tmp_path_factory.mktemp("tree")
    cameras = [
        make_camera(width=96, height=128, focal_px=64.0, eye=(1.2, 0.3, 0.8), center_px=(70.0, 90.0)),
        make_camera(width=48, height=64, focal_px=75.0),
    ]
    samples = [ball_sample(export_recipe(k, cameras[k]), (0, 0, 0.5), (0.3, 0.35, 0.5)) for k in range(2)]
    write_set(root / "set", samples, first=1)
    assert main(["export", str(root / "set"), "--to", "sapiens", "--dest", str(root / "out"), "--workers", "1"]) == 0
    return root / "out"


@pytest.mark.parametrize(
    ("folder", "spoil", "rule"),
    [
        ("depth", lambda it: np.where(it.mask > 0, it.depth, np.inf).astype(np.float32), "not_finite"),
        ("depth", lambda it: it.depth.astype(np.float64), "depth_form"),
        ("depth", lambda it: it.depth.astype(np.float16), "depth_form"),
        ("depth", lambda it: distance_from_z(it.camera(), it.depth).astype(np.float32), "distance"),
        ("depth", lambda it: it.depth[:-1], "unreadable"),
        ("depth", lambda it: it.depth.astype(np.int32), "unreadable"),
        ("normal", lambda it: it.normal * np.float32([1, -1, -1]), "normal_frame"),
        ("normal", lambda it: it.normal.astype(np.float16), "normal_form"),
        ("mask", lambda it: np.zeros_like(it.mask), "few_pixels"),
        ("mask", lambda it: it.mask // 255, "mask_form"),
        ("camera_intrinsics", lambda it: it.intrinsics[:2], "unreadable"),
        ("camera_intrinsics", lambda it: it.intrinsics.T, "camera_form"),
    ],
)
def test_a_tree_of_files_is_checked_as_it_is(tree, capsys, folder, spoil, rule):
    suffix = {"mask": "png", "camera_intrinsics": "txt"}.get(folder, "npy")
    path = tree / folder / f"00000000.{suffix}"
    sound, spoilt = path.read_bytes(), spoil(read_sapiens(tree, "00000000"))
    assert checked(capsys, tree, "--target", "sapiens", "--workers", 1)[0] == 0
    try:
        if suffix == "png":
            Image.fromarray(spoilt).save(path)
        elif suffix == "txt":
            np.savetxt(path, spoilt)
        else:
            np.save(path, spoilt)
        code, said = checked(capsys, tree, "--target", "sapiens", "--workers", 1)
    finally:
        path.write_bytes(sound)
    assert code == 1 and "1 faulty" in said and "  00000000 " in said and "  00000001 " not in said
    assert (f"fault sapiens {rule}: 1 of 2" if rule != "unreadable" else "fault unreadable: 1 of 2") in said


def test_a_half_pixel_k_of_a_tree_moves_every_point(tree):
    """One picture cannot tell; the dataset it was made from can."""
    read = read_sapiens(tree, "00000001")
    sample = Dataset(tree.parent / "set")[1]
    moved = replace(read, intrinsics=read.intrinsics + HALF_PIXEL)
    assert read.camera().center_px == pytest.approx(sample.recipe.camera.center_px)
    assert np.subtract(moved.camera().center_px, sample.recipe.camera.center_px) == pytest.approx([0.5, 0.5])


def test_without_a_target_a_tree_is_no_dataset(tree, tmp_path, capsys):
    code, said = checked(capsys, tree)
    assert code == 1 and "is no dataset" in said
    (tmp_path / "rgb").mkdir()
    code, said = checked(capsys, tmp_path, "--target", "sapiens")
    assert code == 1 and "no sample: rgb/NAME.png with mask/NAME.png are expected" in said
    code, said = checked(capsys, tree, "--workers", 0)
    assert code == 1 and "--workers 0" in said
