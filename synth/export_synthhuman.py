"""The layout of SynthHuman, the dataset of DAViD (github.com/microsoft/DAViD, README and visualize_data.py).

One flat folder: rgb_0000000.png, alpha_0000000.png, depth_0000000.exr, normal_0000000.exr, cam_0000000.txt, counted
without a gap (its viewer stops at the first one), faces first, then whole bodies, then upper bodies.

depth: planar z in centimetres, channel Y, 65504 where there is no subject. normal: unit, x right, y up, z towards the
camera. Their viewer shows what `cv2.imread` gives as x, y, z, and OpenCV reads B, G, R: so the channels are B = x,
G = y, R = z. Of cam's pixel centres nothing is said; ours are at half-integers, a centred lens has (W / 2, H / 2).
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR

from synth.codec import exr_bytes
from synth.errors import UserError
from synth.export_dest import is_there, publish
from synth.export_job import Job, Made, Portion, portions
from synth.export_sapiens import load_matrix, matrix_text, opengl_normal
from synth.picture import read_picture
from synth.sample import Sample
from synth.store import Dataset

#: Depth where there is no subject, centimetres: the largest half float.
NO_SUBJECT_CM = 65504.0
#: Order of their files.
_FRAMINGS = ("face", "full", "upper")
_FILES = {"rgb": "png", "alpha": "png", "depth": "exr", "normal": "exr", "cam": "txt"}


@dataclass(frozen=True, eq=False)
class SynthHuman:
    """A sample of such a folder, in the conventions of `synth.sample.Sample`."""

    rgb: np.ndarray
    """(H, W, 3) uint8, sRGB."""
    alpha: np.ndarray
    """(H, W) uint8, soft coverage."""
    depth_m: np.ndarray
    """(H, W) float32, planar z, metres; +inf where no subject."""
    normal: np.ndarray
    """(H, W, 3) float32, camera frame x right, y down, z forward; 0 where no subject."""
    intrinsics: np.ndarray
    """(3, 3) float64, as the file has it."""


def arrange(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """By framing, then by id."""
    framing = np.array(dataset.table(["framing"])["framing"].take(positions).to_pylist())
    return positions[np.argsort([_FRAMINGS.index(name) for name in framing], kind="stable")]


def plan(job: Job, arranged: np.ndarray) -> list[Portion]:
    """A few samples each."""
    return portions(arranged)


def make(job: Job, portion: Portion) -> list[Made]:
    """Writes the samples of a portion that are not there."""
    return [_make_sample(job, rank, position) for rank, position in portion.ranked()]


def finish(job: Job, arranged: np.ndarray, made: list[Made]) -> None:
    """Nothing is written of all samples together."""


def _make_sample(job: Job, rank: int, position: int) -> Made:
    number = f"{rank:07d}"
    if all(is_there(job.dest, file_name(part, rank)) for part in _FILES):
        return Made(rank, number)
    members, sample = job.dataset.read_stored(position, verify=True)
    for part, data in _encode(sample, members).items():
        publish(job.dest, file_name(part, rank), data)
    return Made(rank, number)


def file_name(part: str, number: int) -> str:
    """E.g. `depth_0000012.exr`."""
    return f"{part}_{number:07d}.{_FILES[part]}"


def _encode(sample: Sample, members: dict[str, bytes]) -> dict[str, bytes]:
    """Part: bytes of the file."""
    camera, mask = sample.recipe.camera, sample.mask
    depth_cm = np.where(mask, 100 * sample.depth_m.astype(np.float64), NO_SUBJECT_CM).astype(np.float32)
    normal = (opengl_normal(sample.normal) + 0.0).astype(np.float16)  # + 0.0: no negative zeros
    (u, v), f = camera.center_px, camera.focal_px
    return {
        "rgb": members["rgb.png"],
        "alpha": members["alpha.png"],
        "depth": exr_bytes({"Y": depth_cm}, OpenEXR.PXR24_COMPRESSION),
        "normal": exr_bytes({"RGB": normal[..., ::-1]}, OpenEXR.ZIP_COMPRESSION),
        "cam": matrix_text(np.array([[f, 0.0, u], [0.0, f, v], [0.0, 0.0, 1.0]])),
    }


def read_synthhuman(folder: Path, number: int) -> SynthHuman:
    """A sample of such a folder, theirs or ours. Raises UserError naming the file.

    Of ours depth is within 2^-15 of itself (centimetres are rounded once more), all else as it was.
    """
    rgb = read_picture(folder / file_name("rgb", number))
    depth_cm = _read_exr(folder / file_name("depth", number), "Y")
    normal = opengl_normal(_read_exr(folder / file_name("normal", number), "RGB")[..., ::-1]) + np.float32(0)
    intrinsics = load_matrix(folder / file_name("cam", number), (3, 3))
    if intrinsics is None or depth_cm.shape != rgb.shape[:2] or normal.shape != rgb.shape:
        raise UserError(f"{folder}: sample {number:07d} has no camera, or labels of another size than its picture")
    return SynthHuman(
        rgb=rgb,
        alpha=read_picture(folder / file_name("alpha", number), "L"),
        depth_m=np.where(depth_cm < NO_SUBJECT_CM, depth_cm / 100, np.inf).astype(np.float32),
        normal=normal,
        intrinsics=intrinsics,
    )


def _read_exr(path: Path, channel: str) -> np.ndarray:
    """(H, W) or (H, W, 3) float32."""
    try:
        pixels = OpenEXR.File(io.BytesIO(path.read_bytes())).channels()[channel].pixels
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a readable EXR with channel {channel} ({error})") from error
    return pixels.astype(np.float32)
