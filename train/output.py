"""Maps as files: EXR or NPY, a picture of each, and points as PLY; and the masks that people bring."""

from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image

from synth.errors import UserError
from synth.picture import read_picture
from synth.report_file import replacing
from train.panel import depth_image, normal_image
from train.predict import Maps


def read_mask(place: Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of the picture `place`, or `place/name.png` of a folder: set where it is brighter than half.

    Raises UserError.
    """
    path = place / f"{name}.png" if place.is_dir() else place
    mask = read_picture(path, "L") > 127
    if mask.shape != shape:
        raise UserError(f"{path}: is {mask.shape}, its picture {shape} (height, width)")
    return mask


def write_maps(out: Path, name: str, maps: Maps, mask: np.ndarray, form: str, rgb: np.ndarray | None) -> None:
    """Writes what a model said of one picture. Outside the mask: depth +inf, normals and points 0.

    EXR: `Y` for depth, `R G B` for normals, float32; NPY: float32 of the same shapes. rgb: colours of the points.
    """
    if maps.depth is not None:
        depth = np.where(mask, maps.depth, np.inf).astype(np.float32)
        _write(out / f"{name}.depth.{form}", {"Y": depth}, depth)
        _picture(out / f"{name}.depth.png", depth_image(depth, mask))
    if maps.normal is not None:
        normal = np.where(mask[..., None], maps.normal, 0).astype(np.float32)
        _write(out / f"{name}.normal.{form}", {c: normal[..., i] for i, c in enumerate("RGB")}, normal)
        _picture(out / f"{name}.normal.png", normal_image(normal, mask))
    if maps.points is not None and rgb is not None:
        with replacing(out / f"{name}.ply") as file:
            file.write(ply_bytes(maps.points[mask], rgb[mask]))


def ply_bytes(points: np.ndarray, rgb: np.ndarray) -> bytes:
    """A binary PLY of (N, 3) points (metres, OpenCV camera frame) with (N, 3) uint8 colours."""
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.zeros(len(points), fields)
    for i, axis in enumerate("xyz"):
        rows[axis] = points[:, i]
    for i, colour in enumerate(("red", "green", "blue")):
        rows[colour] = rgb[:, i]
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in fields] + ["end_header", ""]
    return "\n".join(header).encode() + rows.tobytes()


def _write(path: Path, channels: dict[str, np.ndarray], array: np.ndarray) -> None:
    if path.suffix == ".npy":
        with replacing(path) as file:
            np.save(file, array)
        return
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    temporary = path.with_name(f".{path.stem}.tmp.exr")
    with OpenEXR.File(header, {name: np.ascontiguousarray(c) for name, c in channels.items()}) as file:
        file.write(str(temporary))
    temporary.replace(path)


def _picture(path: Path, pixels: np.ndarray) -> None:
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, "PNG")
