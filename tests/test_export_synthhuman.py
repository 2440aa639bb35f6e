"""SynthHuman's layout, read as its own viewer reads it (names, cv2.imread, np.loadtxt), and back again."""

import os
from pathlib import Path

os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"  # before cv2 is imported

import numpy as np
import OpenEXR
import pyarrow.parquet as parquet
import pytest
from exports import COUNT, camera_points, write_set
from worlds import angles_deg

from synth.camera import normals_from_depth
from synth.cli import main
from synth.errors import UserError
from synth.export_synthhuman import NO_SUBJECT_CM, read_synthhuman
from synth.store import Dataset

cv2 = pytest.importorskip("cv2", reason="no OpenCV: pip install 'synth[test]'")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Dataset, Path]:
    root = tmp_path_factory.mktemp("synthhuman")
    write_set(root / "set")
    assert main(["export", str(root / "set"), "--to", "synthhuman", "--dest", str(root / "out"), "--workers", "1"]) == 0
    return Dataset(root / "set"), root / "out"


def order(dataset: Dataset) -> list[int]:
    """Positions by their number: faces, whole bodies, upper bodies, each by id."""
    framings = dataset.column("framing")
    return [p for framing in ("face", "full", "upper") for p in range(len(dataset)) if framings[p] == framing]


def test_files_are_counted_without_a_gap_in_their_order(made):
    dataset, root = made
    assert len(order(dataset)) == COUNT
    found = {path.name for path in root.iterdir()} - {"export.json", "LICENCES.md", "samples.parquet"}
    suffixes = {"rgb": "png", "alpha": "png", "depth": "exr", "normal": "exr", "cam": "txt"}
    assert found == {f"{part}_{n:07d}.{suffix}" for part, suffix in suffixes.items() for n in range(COUNT)}


def test_their_viewer_gets_what_it_expects(made):
    dataset, root = made
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    for number, position in list(enumerate(order(dataset)))[::6]:
        sample, n = dataset[position], f"{number:07d}"
        assert np.array_equal(cv2.imread(str(root / f"rgb_{n}.png"))[..., ::-1], sample.rgb)
        alpha = cv2.imread(str(root / f"alpha_{n}.png"), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(alpha, sample.alpha) and 0 < alpha.max() <= 255
        depth = cv2.imread(str(root / f"depth_{n}.exr"), flags)
        assert depth.shape == sample.mask.shape and depth.dtype == np.float32
        assert np.array_equal(depth != NO_SUBJECT_CM, sample.mask)  # their viewer takes 65504 for no depth
        cm = 100 * sample.depth_m[sample.mask].astype(np.float64)
        assert (np.abs(depth[sample.mask] - cm) <= 2.0**-16 * cm).all()
        normal = cv2.imread(str(root / f"normal_{n}.exr"), flags)  # they show [:, :, ::-1] of this as B, G, R
        assert np.array_equal(normal, sample.normal * np.float32([1, -1, -1]))
        k = np.loadtxt(root / f"cam_{n}.txt")
        rows, columns = np.nonzero(sample.mask)
        z = depth[sample.mask].astype(np.float64) / 100
        points = np.stack([(columns + 0.5 - k[0, 2]) * z / k[0, 0], (rows + 0.5 - k[1, 2]) * z / k[1, 1], z], axis=-1)
        assert np.abs(points - camera_points(sample)).max() < 2.0**-15 * z.max() * 1.5


def test_rows_say_which_number_is_which_sample(made):
    dataset, root = made
    rows = parquet.read_table(root / "samples.parquet", columns=["name", "index"]).to_pylist()
    expected = [(f"{n:07d}", int(dataset.ids[position])) for n, position in enumerate(order(dataset))]
    assert [(row["name"], row["index"]) for row in rows] == expected


def test_one_sign_triple_fits_the_depth(made):
    dataset, root = made
    read, camera = read_synthhuman(root, 4), dataset[order(dataset)[4]].recipe.camera
    derived = normals_from_depth(camera, read.depth_m)
    known = np.isfinite(derived).all(-1)
    for signs in [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)]:
        median = np.median(angles_deg(read.normal[known] * signs, derived[known]))
        assert median < 3 if signs == (1, 1, 1) else median > 15


def test_what_is_read_back_is_what_was_stored(made):
    dataset, root = made
    for number, position in enumerate(order(dataset)):
        sample, read = dataset[position], read_synthhuman(root, number)
        assert np.array_equal(read.rgb, sample.rgb) and np.array_equal(read.alpha, sample.alpha)
        assert np.array_equal(np.isfinite(read.depth_m), sample.mask) and read.depth_m.dtype == np.float32
        stored = sample.depth_m[sample.mask].astype(np.float64)
        assert (np.abs(read.depth_m[sample.mask] - stored) <= 2.0**-15 * stored).all()
        assert np.array_equal(read.normal, sample.normal)
        assert tuple(read.intrinsics[:2, 2]) == sample.recipe.camera.center_px


def test_what_is_no_sample_is_refused_by_name(made, tmp_path):
    _, root = made
    for part, spoil in {
        "depth_0000000.exr": lambda path: path.write_bytes(b"no"),
        "cam_0000000.txt": lambda path: path.unlink(),
        "normal_0000000.exr": lambda path: OpenEXR.File({}, {"Z": np.zeros((4, 4), np.float32)}).write(str(path)),
    }.items():
        for path in root.glob("*_0000000.*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        spoil(tmp_path / part)
        with pytest.raises(UserError, match=r"normal_|depth_|sample 0000000"):
            read_synthhuman(tmp_path, 0)
