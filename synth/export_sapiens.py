"""The layout of Sapiens' official readers: v1 `render_people` and `*_general`, Sapiens2 `normal` and `pointmap`.

ROOT/rgb mask depth normal camera_intrinsics camera_extrinsics (albedo), one file a sample, `pointmap/<scan>.txt`, and
the general readers' names as links. A sample that breaks a rule of `synth.export_rules` is left out. Depth outside of
the mask is 0: finite, and what official pointmap targets have there.
"""

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from synth.camera import GL_FROM_CV, Camera
from synth.errors import UserError
from synth.export_dest import is_there, publish
from synth.export_job import Job, Made, Portion, portions
from synth.export_rules import Labelled, find_faults
from synth.picture import read_picture
from synth.png import png_bytes
from synth.recipe import sample_id
from synth.sample import Sample
from synth.store import Dataset
from synth.store_files import clear_errors

#: Folders of the `*_general` readers, and ours they point to.
ALIASES = {"images": "rgb", "masks": "mask", "depths": "depth", "normals": "normal"}

#: Folder: suffix of its files. A sample is finished when all of these are there.
_FILES = {
    "rgb": "png",
    "mask": "png",
    "depth": "npy",
    "normal": "npy",
    "camera_intrinsics": "txt",
    "camera_extrinsics": "txt",
}


def integer_intrinsics(camera: Camera) -> np.ndarray:
    """(3, 3) float64 K whose pixel centres lie at integer coordinates: (col, row), not (col + 0.5, row + 0.5)."""
    (u, v), f = camera.center_px, camera.focal_px
    return np.array([[f, 0.0, u - 0.5], [0.0, f, v - 0.5], [0.0, 0.0, 1.0]])


def opengl_normal(normal: np.ndarray) -> np.ndarray:
    """Normals (..., 3) of a camera frame x right, y down, z forward as x right, y up, z towards the camera, or back."""
    return normal * np.diag(GL_FROM_CV)[:3].astype(normal.dtype)


def labelled_of(sample: Sample) -> Labelled:
    """A sample as the readers get it. Normals are made unit again: half floats are off by up to 1e-3."""
    mask, camera = sample.mask, sample.recipe.camera
    normal = opengl_normal(sample.normal.astype(np.float64))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=mask[..., None] & (length > 0))
    return Labelled(
        rgb=sample.rgb,
        mask=np.where(mask, np.uint8(255), np.uint8(0)),
        depth=np.where(mask, sample.depth_m, np.float32(0)).astype(np.float32, copy=False),
        normal=(normal + 0.0).astype(np.float32),  # + 0.0: no negative zeros
        intrinsics=integer_intrinsics(camera),
        camera_from_world=np.linalg.inv(np.array(camera.world_from_camera)),
        albedo=sample.albedo,
    )


def arrange(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """As they are: by id."""
    return positions


def plan(job: Job, arranged: np.ndarray) -> list[Portion]:
    """A few samples each."""
    return portions(arranged)


def make(job: Job, portion: Portion) -> list[Made]:
    """Writes the samples of a portion that are not there."""
    return [_make_sample(job, rank, position) for rank, position in portion.ranked()]


def finish(job: Job, arranged: np.ndarray, made: list[Made]) -> None:
    """Writes the lists of each scan's samples, and the links."""
    scans = job.dataset.table(["scans"])["scans"].take(arranged).to_pylist()
    stems: dict[str, list[str]] = {}
    for one in made:
        for scan in sorted(set(scans[one.rank])) if not one.faults else ():
            stems.setdefault(_file_name(scan), []).append(one.name)
    for name, of_scan in stems.items():
        publish(job.dest, f"pointmap/{name}.txt", "".join(f"{stem}\n" for stem in of_scan).encode())
    for alias, folder in ALIASES.items():
        link = job.dest / alias
        if not link.is_symlink():
            with clear_errors(link):
                link.symlink_to(folder)  # relative: the tree may be moved


def _make_sample(job: Job, rank: int, position: int) -> Made:
    stem = sample_id(int(job.dataset.ids[position]))
    if all(is_there(job.dest, f"{folder}/{stem}.{suffix}") for folder, suffix in _FILES.items()):
        return Made(rank, stem)
    members, sample = job.dataset.read_stored(position, verify=True)
    labelled = labelled_of(sample)
    faults = find_faults(labelled)
    if faults:
        return Made(rank, stem, tuple((fault.rule, fault.detail) for fault in faults))
    if "albedo.png" in members:  # first: no sample counts as finished without it
        publish(job.dest, f"albedo/{stem}.png", members["albedo.png"])
    for folder, data in _encode(labelled, members["rgb.png"]).items():
        publish(job.dest, f"{folder}/{stem}.{_FILES[folder]}", data)
    return Made(rank, stem)


def _encode(labelled: Labelled, rgb_png: bytes) -> dict[str, bytes]:
    """Folder: bytes of the file."""
    return {
        "rgb": rgb_png,
        "mask": png_bytes(labelled.mask),
        "depth": _npy(labelled.depth),
        "normal": _npy(labelled.normal),
        "camera_intrinsics": matrix_text(labelled.intrinsics),
        "camera_extrinsics": matrix_text(labelled.camera_from_world),
    }


def sapiens_names(folder: Path) -> list[str]:
    """Stems that `rgb/` and `mask/` both have, sorted: the official readers take an intersection too."""
    stems = [{path.stem for path in (folder / part).glob("*.png")} for part in ("rgb", "mask")]
    return sorted(stems[0] & stems[1])


def read_sapiens(folder: Path, stem: str) -> Labelled:
    """A sample of such a folder with its camera, whoever wrote it. Raises UserError naming the file."""
    albedo = folder / "albedo" / f"{stem}.png"
    return replace(
        read_labels(folder, stem),
        intrinsics=load_matrix(folder / "camera_intrinsics" / f"{stem}.txt", (3, 3)),
        camera_from_world=load_matrix(folder / "camera_extrinsics" / f"{stem}.txt", (4, 4)),
        albedo=read_picture(albedo) if albedo.is_file() else None,
    )


def read_labels(folder: Path, stem: str) -> Labelled:
    """Picture, mask, depth and normals of a sample; what lies in no file is None. Raises UserError naming the file.

    Labels keep the dtype of their file; `normal/*.npz` with key `normal` is read too.
    """
    rgb = read_picture(folder / "rgb" / f"{stem}.png")
    mask = read_picture(folder / "mask" / f"{stem}.png", "L")
    if mask.shape != rgb.shape[:2]:
        raise UserError(f"{folder}/mask/{stem}.png: is {mask.shape}, its picture {rgb.shape[:2]} (height, width)")
    normal = _load(folder / "normal" / f"{stem}.npy", rgb.shape)
    return Labelled(
        rgb=rgb,
        mask=mask,
        depth=_load(folder / "depth" / f"{stem}.npy", mask.shape),
        normal=_load(folder / "normal" / f"{stem}.npz", rgb.shape) if normal is None else normal,
        intrinsics=None,
        camera_from_world=None,
    )


def _load(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded["normal"] if path.suffix == ".npz" else loaded
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: not a readable array: {error}") from error
    if array.shape != shape or array.dtype.kind != "f":
        raise UserError(f"{path}: {array.dtype} of {array.shape}, expected floats of {shape}")
    return array


def load_matrix(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """A text file of numbers, as `np.savetxt` writes them; None if there is none. Raises UserError."""
    if not path.is_file():
        return None
    try:
        array = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable matrix: {error}") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise UserError(f"{path}: is {array.shape}, expected a finite {shape}")
    return array


def _file_name(scan: str) -> str:
    """A scan's name as that of a file: what is not plain is replaced, and told apart by a hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", scan).lstrip(".")[:100]
    return plain if plain == scan else f"{plain}-{hashlib.sha256(scan.encode()).hexdigest()[:8]}"


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def matrix_text(matrix: np.ndarray) -> bytes:
    """A matrix as `np.loadtxt` reads it."""
    buffer = io.BytesIO()
    np.savetxt(buffer, matrix)  # 18 digits after the point: read back to the bit
    return buffer.getvalue()
