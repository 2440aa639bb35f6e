"""The Sapiens tree as the official readers take it, step by step, and back again."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exports import COUNT, SCANS, camera_points, export_recipe, export_sample, run_synth, tree, write_set
from worlds import angles_deg, ball_sample, make_camera

from synth.camera import distance_from_z, normals_from_depth
from synth.cli import main
from synth.export_rules import Labelled
from synth.export_sapiens import read_sapiens, sapiens_names
from synth.sample import Sample
from synth.store import Dataset

cv2 = pytest.importorskip("cv2", reason="no OpenCV: pip install 'synth[test]'")

#: What a round trip may change. Depth, picture and mask are kept to the bit; normals are made unit in float32; K and M
#: go through text with 18 digits and an inverse.
NORMAL_DEG, POINT_M, POSE = 1e-4, 1e-6, 1e-12
#: What a K of half-integer pixel centres has more.
HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Dataset, Path]:
    """A dataset with albedo, and its export."""
    root = tmp_path_factory.mktemp("sapiens")
    samples = [export_sample(index, ("albedo",)) for index in range(COUNT)]
    write_set(root / "set", samples)
    assert main(["export", str(root / "set"), "--to", "sapiens", "--dest", str(root / "out"), "--workers", "1"]) == 0
    return Dataset(root / "set"), root / "out"


def names_of(root: Path, folders: dict[str, str]) -> list[str]:
    """The intersection that the readers take: names without suffix that every folder has."""
    sets = [{p.name.removesuffix(suffix) for p in (root / folder).iterdir()} for folder, suffix in folders.items()]
    assert all(found == sets[0] for found in sets), "a folder has names that another lacks: they are silently dropped"
    return sorted(set.intersection(*sets))


@pytest.mark.parametrize(
    "folders",
    [
        {"images": ".png", "masks": ".png", "depths": ".npy"},  # v1 depth_general
        {"images": ".png", "masks": ".png", "normals": ".npy"},  # v1 normal_general
        {"rgb": ".png", "mask": ".png", "depth": ".npy"},  # v1 render_people
        {"rgb": ".png", "mask": ".png", "normal": ".npy"},  # v2 normal
        {
            "rgb": ".png", "mask": ".png", "depth": ".npy",
            "camera_intrinsics": ".txt", "camera_extrinsics": ".txt",
        },  # v1 and v2 pointmap
        {"rgb": ".png", "mask": ".png", "albedo": ".png"},
    ],
)  # fmt: skip
def test_every_reader_finds_every_sample(made, folders):
    dataset, root = made
    assert names_of(root, folders) == [f"{index:08d}" for index in dataset.ids]


def test_v1_depth_as_its_pipeline_takes_it(made):
    dataset, root = made
    for position in range(0, COUNT, 7):
        stem, sample = f"{dataset.ids[position]:08d}", dataset[position]
        image = cv2.imread(str(root / "images" / f"{stem}.png"))
        mask = cv2.imread(str(root / "masks" / f"{stem}.png"))[:, :, 0]
        depth = np.load(root / "depths" / f"{stem}.npy")
        assert image.dtype == np.uint8 and np.array_equal(image[..., ::-1], sample.rgb)
        assert set(np.unique(mask)) == {0, 255} and np.array_equal(mask > 0, sample.mask)
        assert depth.dtype == np.float32 and np.isfinite(depth).all() and not depth[mask == 0].any()
        assert np.array_equal(depth[mask > 0], sample.depth_m[sample.mask])
        rows, columns = np.nonzero(mask)  # the bounding box: IndexError where the mask is empty
        assert rows.min() < rows.max() and columns.min() < columns.max()
        turn = cv2.getRotationMatrix2D((24, 32), 30, 1.0)
        turned = cv2.warpAffine(depth, turn, (48, 64), flags=cv2.INTER_NEAREST, borderValue=1e10)
        assert turned.dtype == np.float32
        target = (depth - depth[mask > 0].min()) / np.ptp(depth[mask > 0])
        target[mask == 0] = -1
        assert target[mask > 0].min() == 0 and target[mask > 0].max() == 1 and np.isfinite(target).all()


def test_v2_pointmap_at_integer_pixels_is_our_cameras(made):
    dataset, root = made
    for position in range(0, COUNT, 5):
        stem, sample = f"{dataset.ids[position]:08d}", dataset[position]
        z = np.load(root / "depth" / f"{stem}.npy").astype(np.float64)
        k = np.loadtxt(root / "camera_intrinsics" / f"{stem}.txt")
        m = np.loadtxt(root / "camera_extrinsics" / f"{stem}.txt")
        assert k.shape == (3, 3) and m.shape == (4, 4)
        mask = cv2.imread(str(root / "mask" / f"{stem}.png"))[:, :, 0] > 0
        rows, columns = np.indices(z.shape)
        points = np.stack([(columns - k[0, 2]) * z / k[0, 0], (rows - k[1, 2]) * z / k[1, 1], z], axis=-1)
        expected = camera_points(sample)
        assert np.abs(points[mask] - expected).max() < POINT_M
        assert k[0, 0] == k[1, 1] and k[2].tolist() == [0, 0, 1] and k[0, 1] == k[1, 0] == 0
        half = points + np.array([0.5, 0.5, 0]) * z[..., None] / k[0, 0]
        assert np.abs(half[mask] - expected).max() > 1000 * POINT_M  # K of half-integer centres: a 10 mm shift
        world = np.array(sample.recipe.camera.world_from_camera)
        assert np.abs(m @ world - np.eye(4)).max() < POSE  # world to camera, not the other way round
        assert not np.allclose(m, world, atol=0.1)
        canonical = points * 768 / (k[0, 0] * 768 / z.shape[1])
        assert canonical[mask][:, 2].min() > 0.04


def test_normals_fit_the_depth_through_the_exported_k_with_one_sign_triple(made):
    """Derived at integer pixels from files alone; x right, y up, z towards the camera."""
    _, root = made
    medians = {}
    for stem in sapiens_names(root)[::9]:
        z, k = np.load(root / "depth" / f"{stem}.npy"), np.loadtxt(root / "camera_intrinsics" / f"{stem}.txt")
        mask = cv2.imread(str(root / "mask" / f"{stem}.png"))[:, :, 0] > 0
        normal = np.load(root / "normal" / f"{stem}.npy")
        assert normal.dtype == np.float32 and not normal[~mask].any()
        assert np.abs(np.linalg.norm(normal[mask], axis=-1) - 1).max() < 1e-6  # so readers normalise nothing anew
        rows, columns = np.indices(z.shape)
        z = np.where(mask, z, np.nan).astype(np.float64)
        points = np.stack([(columns - k[0, 2]) * z / k[0, 0], -(rows - k[1, 2]) * z / k[1, 1], -z], axis=-1)
        right, up = points[1:-1, 2:] - points[1:-1, :-2], points[:-2, 1:-1] - points[2:, 1:-1]
        derived = np.cross(right, up)
        known = np.isfinite(derived).all(-1)
        for signs in [(x, y, s) for x in (1, -1) for y in (1, -1) for s in (1, -1)]:
            angles = angles_deg(normal[1:-1, 1:-1][known] * signs, derived[known])
            medians.setdefault(signs, []).append(np.median(angles))
    assert max(medians.pop((1, 1, 1))) < 3.0
    assert len(medians) == 7 and min(min(found) for found in medians.values()) > 15.0


def test_lists_of_scans_and_links_that_move_along(made, tmp_path):
    dataset, root = made
    lists = {path.name: path.read_text().split() for path in (root / "pointmap").iterdir()}
    assert sorted(stem for stems in lists.values() for stem in stems) == [f"{index:08d}" for index in dataset.ids]
    assert len(lists) == len(SCANS) and "ada.txt" in lists and lists["ada.txt"][:2] == ["00000000", "00000003"]
    assert all(name[0].isalnum() or name[0] == "_" for name in lists)  # no name leaves the folder
    for alias, folder in {"images": "rgb", "masks": "mask", "depths": "depth", "normals": "normal"}.items():
        assert (root / alias).is_symlink() and str((root / alias).readlink()) == folder


def round_trip(sample: Sample, read: Labelled) -> list[str]:
    """What a round trip changed beyond its tolerances; empty when nothing."""
    camera, mask = sample.recipe.camera, sample.mask
    found = []
    if not np.array_equal(read.rgb, sample.rgb):
        found.append("rgb")
    if not np.array_equal(read.mask > 0, mask):
        return [*found, "mask"]
    if read.depth.dtype != np.float32 or read.normal.dtype != np.float32:
        found.append("dtype")
    if not np.isfinite(read.depth).all():
        found.append("finite")
    z = read.depth[mask].astype(np.float64)
    if not np.array_equal(z, sample.depth_m[mask]):
        found.append("depth")
    k = read.intrinsics
    rows, columns = np.nonzero(mask)
    points = np.stack([(columns - k[0, 2]) * z / k[0, 0], (rows - k[1, 2]) * z / k[1, 1], z], axis=-1)
    if np.abs(points - camera_points(sample)).max() > POINT_M:
        found.append("points")
    if angles_deg(read.normal[mask] * [1, -1, -1], sample.normal[mask]).max() > NORMAL_DEG:
        found.append("normal")
    if np.abs(read.camera_from_world @ np.array(camera.world_from_camera) - np.eye(4)).max() > POSE:
        found.append("pose")
    return found


def test_what_is_read_back_is_what_was_stored(made):
    dataset, root = made
    for position, sample in enumerate(dataset):
        read = read_sapiens(root, f"{dataset.ids[position]:08d}")
        assert round_trip(sample, read) == [] and np.array_equal(read.albedo, sample.albedo)
        camera, ours = read.camera(), sample.recipe.camera
        assert camera.center_px == pytest.approx(ours.center_px, abs=1e-9) and camera.shape == ours.shape
        assert np.allclose(camera.world_from_camera, ours.world_from_camera, atol=POSE)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda it: replace(it, intrinsics=it.intrinsics + HALF_PIXEL), "points"),
        (lambda it: replace(it, normal=it.normal * np.float32([1, -1, -1])), "normal"),
        (lambda it: replace(it, depth=np.where(it.mask > 0, it.depth, np.inf).astype(np.float32)), "finite"),
        (lambda it: replace(it, mask=np.zeros_like(it.mask)), "mask"),
        (lambda it: replace(it, depth=it.depth.astype(np.float64)), "dtype"),
        (lambda it: replace(it, normal=it.normal.astype(np.float16)), "dtype"),
        (lambda it: replace(it, depth=distance_from_z(it.camera(), it.depth).astype(np.float32)), "depth"),
        (lambda it: replace(it, camera_from_world=np.linalg.inv(it.camera_from_world)), "pose"),
        (lambda it: replace(it, rgb=it.rgb[..., ::-1]), "rgb"),
    ],
)
def test_the_round_trip_notices(made, spoil, expected):
    dataset, root = made
    assert expected in round_trip(dataset[3], spoil(read_sapiens(root, f"{dataset.ids[3]:08d}")))


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory) -> Path:
    """Four sound samples and one for each limit that a stored sample can break."""
    cameras = {
        1: make_camera(width=64, height=48, focal_px=80.0),
        3: make_camera(width=48, height=64, focal_px=600.0, eye=(0.302, 0.0, 0.5), center_px=(24.0, 32.0)),
        5: make_camera(width=48, height=64, focal_px=60.0, eye=(0.8, 0.0, 0.55), center_px=(24.0, 32.0)),
        6: make_camera(width=48, height=64, focal_px=60.0, eye=(15.0, 0.0, 0.6)),
    }
    samples = [
        ball_sample(export_recipe(index, cameras.get(index)), (0, 0, 0.5), (0.6 if index == 5 else 0.3, 0.9, 1.2))
        if index in (3, 5)
        else ball_sample(export_recipe(index, cameras.get(index)), (0, 0, 0.5), (0.3, 0.35, 0.5))
        for index in range(8)
    ]
    return write_set(tmp_path_factory.mktemp("poisoned") / "set", samples)


def test_what_breaks_a_limit_is_left_out_named_and_counted(poisoned, tmp_path, capsys):
    dest = tmp_path / "out"
    assert main(["export", str(poisoned), "--to", "sapiens", "--dest", str(dest), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "left out 00000001 aspect: 64 x 48 is not 3:4" in said
    assert "left out 00000003" in said and "too_near: canonical z 0.000" in said and "full_frame" in said
    assert "left out 00000006 few_pixels" in said
    assert sapiens_names(dest) == ["00000000", "00000002", "00000004", "00000007"], said
    assert f"{dest}: 4 of 8 images exported" in said
    assert all("00000003" not in name for name in tree(dest))
    listed = [stem for path in (dest / "pointmap").iterdir() for stem in path.read_text().split()]
    assert sorted(listed) == sapiens_names(dest)
    assert main(["export", str(poisoned), "--to", "sapiens", "--dest", str(dest)]) == 1
    said = capsys.readouterr().out
    assert "left out 00000001 aspect" in said and "nothing to do" in said


def test_the_rules_of_check_and_export_are_one_list(poisoned, tmp_path, capsys):
    dest = tmp_path / "out"
    main(["export", str(poisoned), "--to", "sapiens", "--dest", str(dest), "--workers", "1"])
    left_out = {line.split()[2] for line in capsys.readouterr().out.splitlines() if line.startswith("  left out")}
    assert main(["check", str(poisoned), "--target", "sapiens", "--workers", "1"]) == 1
    named = {line.split()[0] for line in capsys.readouterr().out.splitlines() if " sapiens " in line and line[0] == " "}
    assert named == left_out and len(named) == 4


def test_normals_from_depth_of_our_own_agree(made):
    """The oracle of the oracle: read back through our camera, the same frame."""
    dataset, root = made
    read = read_sapiens(root, f"{dataset.ids[0]:08d}")
    derived = normals_from_depth(read.camera(), np.where(read.mask > 0, read.depth, np.inf))
    known = np.isfinite(derived).all(-1)
    assert np.median(angles_deg(read.normal[known] * [1, -1, -1], derived[known])) < 3.0


def test_a_reader_needs_neither_synth_nor_a_camera_of_ours(made, tmp_path):
    """The page's promise: numpy and OpenCV are enough."""
    _, root = made
    code = (
        "import sys, numpy as np, cv2\n"
        f"root = {str(root)!r}\n"
        "mask = cv2.imread(root + '/mask/00000000.png', 0) > 0\n"
        "print(float(np.load(root + '/depth/00000000.npy')[mask].min()))\n"
        "assert 'synth' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and float(done.stdout) > 1, done.stderr


def test_without_a_subject_in_a_split_the_filter_says_so(made, tmp_path):
    dataset, _ = made
    done = run_synth("export", dataset.path, "--to", "sapiens", "--dest", tmp_path / "x", "--where", "split == 'no'")
    assert done.returncode == 1 and "holds for no sample" in done.stderr and not (tmp_path / "x").exists()
