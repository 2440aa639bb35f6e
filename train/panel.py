"""Pictures of predictions beside the truth: rows of picture | truth | prediction | error."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from synth.report_pictures import depth_colors, normal_picture
from train.examples import Example
from train.metrics import align_depth
from train.predict import Maps, unit

#: What a row shows, from left to right.
COLUMNS = "picture | truth | prediction | error (white: 45 degrees, or a quarter of the depth's own range)"
#: Errors shown as white: degrees, and metres over the depth's own range.
_WHITE_DEG, _WHITE_SHARE = 45.0, 0.25
_GL = np.array([1, -1, -1], np.float32)


def write_panel(path: Path, examples: list[Example], maps: list[Maps], height: int = 256) -> None:
    """A PNG with a row per example, all rows `height` pixels tall."""
    rows = [panel_row(example, made, height) for example, made in zip(examples, maps, strict=True)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def depth_image(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: near bright, far dark, over the mask's own range; black outside."""
    values = depth[mask]
    low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    level = np.clip((depth - low) / max(high - low, 1e-9), 0, 1)
    level = np.where(mask, np.nan_to_num(level), 0)
    colours = depth_colors()[1:-1]  # without those of no subject and of NaN
    return colours[((1 - level) * (len(colours) - 1)).astype(int)] * mask[..., None].astype(np.uint8)


def normal_image(normal: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of OpenGL-frame normals in the usual colours; black outside."""
    return normal_picture(normal * _GL) * mask[..., None].astype(np.uint8)


def panel_row(example: Example, maps: Maps, height: int) -> np.ndarray:
    """(height, W, 3) uint8: `COLUMNS`. Depth in the colours of the truth's own range, after scale and shift."""
    mask, tiles = example.mask, [example.rgb]
    if maps.normal is not None and example.normal is not None:
        cosine = (unit(example.normal) * maps.normal).sum(-1).clip(-1, 1)
        error = np.degrees(np.arccos(cosine)) / _WHITE_DEG
        tiles += [normal_image(example.normal, mask), normal_image(maps.normal, mask), _grey(error, mask)]
    if maps.depth is not None and example.depth is not None and mask.any():
        aligned = align_depth(maps.depth, example.depth, mask)
        truth = np.where(mask, example.depth, 0)
        spread = max(float(np.ptp(truth[mask])), 1e-6) * _WHITE_SHARE
        tiles += [depth_image(truth, mask), depth_image(aligned, mask), _grey(np.abs(aligned - truth) / spread, mask)]
    return np.concatenate([_fit(tile, height) for tile in tiles], axis=1)


def _grey(share: np.ndarray, mask: np.ndarray) -> np.ndarray:
    level = np.where(mask, share, 0).clip(0, 1)
    return np.repeat((level * 255).astype(np.uint8)[..., None], 3, axis=-1)


def _fit(tile: np.ndarray, height: int) -> np.ndarray:
    if tile.shape[0] == height:
        return tile
    width = max(1, round(tile.shape[1] * height / tile.shape[0]))
    picture = torch.from_numpy(np.ascontiguousarray(tile)).permute(2, 0, 1)[None].float()  # (1, 3, H, W)
    fitted = F.interpolate(picture, (height, width), mode="bilinear", antialias=True)[0]
    return fitted.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
