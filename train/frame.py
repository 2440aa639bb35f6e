"""Pictures of any size in and out of a model's frame: aspect kept, centred, black around, pixel edges aligned."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Placement:
    """Where a picture of (height, width) lies in a frame: rows top..top+rows, columns left..left+columns."""

    height: int
    width: int
    top: int
    left: int
    rows: int
    columns: int


def place(rgb: np.ndarray, size: tuple[int, int]) -> tuple[Tensor, Placement]:
    """(H, W, 3) uint8 -> ((3, *size) uint8, where it lies). Made smaller it is filtered, so that nothing aliases."""
    height, width = rgb.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    where = Placement(height, width, (size[0] - rows) // 2, (size[1] - columns) // 2, rows, columns)
    picture = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)  # (3, H, W)
    if (rows, columns) != (height, width):
        resized = F.interpolate(picture[None].float(), (rows, columns), mode="bilinear", antialias=True)[0]
        picture = resized.round().clamp(0, 255).to(torch.uint8)
    frame = torch.zeros(3, *size, dtype=torch.uint8)
    frame[:, where.top : where.top + rows, where.left : where.left + columns] = picture
    return frame, where


def restore(prediction: Tensor, where: Placement, size: tuple[int, int]) -> np.ndarray:
    """(C, h, w) prediction over a frame of `size` -> (H, W, C) float32 over the picture that was placed in it."""
    if prediction.shape[-2:] != torch.Size(size):
        prediction = F.interpolate(prediction[None].float(), size, mode="bilinear", align_corners=False)[0]
    inside = prediction[:, where.top : where.top + where.rows, where.left : where.left + where.columns]
    if inside.shape[-2:] != (where.height, where.width):
        back = (where.height, where.width)
        smaller = where.height < where.rows
        inside = F.interpolate(inside[None].float(), back, mode="bilinear", antialias=smaller)[0]
    return inside.float().permute(1, 2, 0).cpu().numpy()  # (H, W, C)


def place_camera(K: np.ndarray, where: Placement) -> np.ndarray:
    """(3, 3) K of a picture, pixel centres at integers -> that of the frame."""
    scale_x, scale_y = where.columns / where.width, where.rows / where.height
    placed = K.astype(np.float64).copy()
    placed[0, 0], placed[1, 1] = K[0, 0] * scale_x, K[1, 1] * scale_y
    placed[0, 2] = (K[0, 2] + 0.5) * scale_x - 0.5 + where.left
    placed[1, 2] = (K[1, 2] + 0.5) * scale_y - 0.5 + where.top
    return placed
