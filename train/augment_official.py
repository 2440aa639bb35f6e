"""The official training recipes, for comparison: what they do to picture and labels, with their flaws.

Pictures are made smaller without a filter, labels by taking the pixel at the upper left, aspect is not kept (v1), the
lens scales without its half pixel. `benchmarks/augment.py` measures what that costs. Written from their description
(V1: RandomResize, crop, resize, rotate, flip; V2: scale, crop, flip, resize with padding).
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.augment import Arrays, Augment, Plate, photometric

#: What happens to colour alone; the last argument of each recipe, so that geometry can be measured without it.
V1_COLOUR = Augment(colour=0.5)
V2_COLOUR = Augment(colour=0.5, resample=0.2, blur=0.3, noise=0.3)


def official_v1_depth(
    arrays: Arrays, size: tuple[int, int], rng: np.random.Generator, plate: Plate | None, colour: Augment = V1_COLOUR
) -> Arrays:
    """Ratio 0.2..2, crop, stretched to the frame, turned up to 60 degrees, mirrored."""
    arrays = _crop_and_stretch(_paste(arrays, plate, rng), size, rng)
    if rng.random() < 0.5:
        arrays = _turned(arrays, math.radians(rng.uniform(-60, 60)))
    return _finish(arrays, rng, 0.5, colour)


def official_v1_normal(
    arrays: Arrays, size: tuple[int, int], rng: np.random.Generator, plate: Plate | None, colour: Augment = V1_COLOUR
) -> Arrays:
    """The same without turning."""
    return _finish(_crop_and_stretch(_paste(arrays, plate, rng), size, rng), rng, 0.5, colour)


def official_v2(
    arrays: Arrays, size: tuple[int, int], rng: np.random.Generator, plate: Plate | None, colour: Augment = V2_COLOUR
) -> Arrays:
    """Scale 0.5..2 and crop at 30 % each, mirrored at 30 %, aspect kept, black around; a third is solarised."""
    if rng.random() < 0.3:
        scale = rng.uniform(0.5, 2)
        arrays = _resized(arrays, *(max(1, round(side * scale)) for side in arrays.rgb.shape[-2:]))
    if rng.random() < 0.3:
        area, aspect = rng.uniform(0.4, 1), math.exp(rng.uniform(math.log(0.5), math.log(2)))
        height, width = arrays.rgb.shape[-2:]
        rows = min(height, round(math.sqrt(area * height * width * aspect)))
        columns = min(width, round(math.sqrt(area * height * width / aspect)))
        arrays = _cropped(arrays, rows, columns, rng)
    height, width = arrays.rgb.shape[-2:]
    scale = min(size[0] / height, size[1] / width)
    arrays = _padded(_resized(arrays, round(height * scale), round(width * scale)), size)
    arrays = _finish(arrays, rng, 0.3, colour)
    solarised = torch.where(arrays.rgb >= 128, 255 - arrays.rgb, arrays.rgb)
    return replace(arrays, rgb=solarised) if rng.random() < 0.3 and colour is V2_COLOUR else arrays


def _paste(arrays: Arrays, plate: Plate | None, rng: np.random.Generator) -> Arrays:
    """Another background by the hard mask."""
    if rng.random() >= 0.5 or plate is None:
        return arrays
    behind = F.interpolate(plate()[None], arrays.rgb.shape[-2:], mode="bilinear")[0]
    return replace(arrays, rgb=torch.where(arrays.mask, arrays.rgb, behind))


def _crop_and_stretch(arrays: Arrays, size: tuple[int, int], rng: np.random.Generator) -> Arrays:
    height, width = arrays.rgb.shape[-2:]
    scale = rng.uniform(0.2, 2) * min(size[0] / height, size[1] / width)
    arrays = _resized(arrays, max(1, round(height * scale)), max(1, round(width * scale)))
    arrays = _cropped(arrays, min(size[0], arrays.rgb.shape[1]), min(size[1], arrays.rgb.shape[2]), rng)
    return _resized(arrays, *size)


def _finish(arrays: Arrays, rng: np.random.Generator, flip: float, colour: Augment) -> Arrays:
    if rng.random() < flip:
        arrays = _mapped(arrays, lambda x: x.flip(-1))
        K = arrays.K.clone()
        K[0, 2] = arrays.rgb.shape[-1] - K[0, 2]
        arrays = replace(arrays, normal=arrays.normal * torch.tensor([-1.0, 1, 1]).view(3, 1, 1), K=K)
    return replace(arrays, rgb=photometric(arrays.rgb, colour, rng))


def _resized(arrays: Arrays, height: int, width: int) -> Arrays:
    """Picture by unfiltered linear interpolation, labels by the nearest to the upper left."""
    K, old = arrays.K.clone(), arrays.rgb.shape[-2:]
    for axis, scale in ((0, width / old[1]), (1, height / old[0])):
        K[axis, axis] *= scale
        K[axis, 2] = (K[axis, 2] - 0.5) * scale + 0.5

    def nearest(x: Tensor) -> Tensor:
        return F.interpolate(x[None].float(), (height, width), mode="nearest")[0].to(x.dtype)

    rgb = F.interpolate(arrays.rgb[None], (height, width), mode="bilinear", align_corners=False)[0]
    return replace(_mapped(arrays, nearest), rgb=rgb, K=K)


def _cropped(arrays: Arrays, rows: int, columns: int, rng: np.random.Generator) -> Arrays:
    height, width = arrays.rgb.shape[-2:]
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    K = arrays.K.clone()
    K[0, 2] -= left
    K[1, 2] -= top
    return replace(_mapped(arrays, lambda x: x[..., top : top + rows, left : left + columns]), K=K)


def _padded(arrays: Arrays, size: tuple[int, int]) -> Arrays:
    height, width = arrays.rgb.shape[-2:]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    around = (left, size[1] - width - left, top, size[0] - height - top)
    K = arrays.K.clone()
    K[0, 2] += left
    K[1, 2] += top
    return replace(_mapped(arrays, lambda x: F.pad(x, around)), K=K)


def _turned(arrays: Arrays, angle: float) -> Arrays:
    """About the middle; depth is turned with the picture, normals keep their values, as the official code has it."""
    height, width = arrays.rgb.shape[-2:]
    c, s = math.cos(angle), math.sin(angle)
    map_ = torch.tensor([[[c, -s * height / width, 0], [s * width / height, c, 0]]], dtype=torch.float32)
    grid = F.affine_grid(map_, [1, 1, height, width], align_corners=False)

    def sampled(x: Tensor, mode: str) -> Tensor:
        return F.grid_sample(x[None].float(), grid, mode=mode, align_corners=False)[0].to(x.dtype)

    return replace(_mapped(arrays, lambda x: sampled(x, "nearest")), rgb=sampled(arrays.rgb, "bilinear"))


def _mapped(arrays: Arrays, of) -> Arrays:
    """`of` every picture and label."""
    names = ("rgb", "alpha", "mask", "depth", "normal", "trust")
    return replace(arrays, **{name: of(getattr(arrays, name)) for name in names})
