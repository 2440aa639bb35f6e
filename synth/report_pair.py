"""Two samples of one id under each other, and where they differ: colour, depth and normals."""

from pathlib import Path

import numpy as np
from PIL import Image

from synth.report_file import replacing
from synth.report_pictures import depth_picture, normal_picture
from synth.sample import Sample

#: Differences that are shown as white: 8-bit steps of colour, millimetres per metre, degrees.
_WHITE = (32.0, 5.0, 10.0)
_GAP = 4


def write_pair(a: Sample, b: Sample, path: Path) -> None:
    """A PNG of three rows, `a`, `b` and the difference (white: 32 steps, 5 mm per metre, 10 degrees; red: mask)."""
    rows = [np.concatenate([s.rgb, depth_picture(s), normal_picture(s.normal)], axis=1) for s in (a, b)]
    rows.append(np.concatenate(_differences(a, b), axis=1))
    gap = np.zeros((_GAP, rows[0].shape[1], 3), np.uint8)
    with replacing(path) as file:
        Image.fromarray(np.concatenate([rows[0], gap, rows[1], gap, rows[2]])).save(file, "PNG")


def _differences(a: Sample, b: Sample) -> list[np.ndarray]:
    common = a.mask & b.mask
    depth = np.zeros(a.mask.shape)
    depth[common] = np.abs(a.depth_m[common] - b.depth_m[common]) / a.depth_m[common] * 1000
    cosine = np.clip(np.sum(a.normal * b.normal, axis=-1), -1, 1)
    degrees = np.where(common, np.degrees(np.arccos(cosine)), 0)
    colour = np.abs(a.rgb.astype(int) - b.rgb).max(axis=-1)
    pictures = []
    for figure, white in zip((colour, depth, degrees), _WHITE, strict=True):
        grey = np.clip(figure / white * 255, 0, 255).astype(np.uint8)
        picture = np.repeat(grey[..., None], 3, axis=-1)
        picture[a.instance != b.instance] = (255, 0, 0)
        pictures.append(picture)
    return pictures
