"""A person before another background, by soft alpha and in linear light, with no fringe of the old background."""

import torch
from torch import Tensor
from torch.nn import functional as F

#: From here on a pixel shows the person alone: 8-bit alpha of 255, or 254 by rounding.
_OPAQUE = 0.995
#: Soft edges are no wider than this many pixels.
_REACH = 4


def replace_background(rgb: Tensor, alpha: Tensor, plate: Tensor) -> Tensor:
    """(3, H, W) 0..255 sRGB with `plate` behind, its middle scaled to fill the picture.

    rgb: (3, H, W) 0..255; alpha: (1, H, W) soft coverage 0..1; plate: (3, h, w) 0..255.
    """
    height, width = rgb.shape[-2:]
    scale = max(height / plate.shape[1], width / plate.shape[2])
    filled = max(height, round(plate.shape[1] * scale)), max(width, round(plate.shape[2] * scale))
    behind = F.interpolate(plate[None], filled, mode="bilinear", antialias=True)[0]
    top, left = (filled[0] - height) // 2, (filled[1] - width) // 2
    behind = behind[:, top : top + height, left : left + width]
    out = torch.where(alpha >= _OPAQUE, rgb, behind)
    soft = torch.nonzero((alpha[0] > 0) & (alpha[0] < _OPAQUE))  # (N, 2)
    rows, columns = soft.unbind(1)
    share = alpha[0, rows, columns]
    person = _nearby_person(rgb, alpha[0] >= _OPAQUE, rows, columns)
    mixed = share * _linear(person) + (1 - share) * _linear(behind[:, rows, columns])
    out[:, rows, columns] = _encoded(mixed)
    return out


def _nearby_person(rgb: Tensor, opaque: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(3, N) the person's own colour for soft pixels, where the picture holds a mixture: the mean of the nearest
    opaque ones around; the picture's own where there are none."""
    height, width = opaque.shape
    found, left = rgb[:, rows, columns].clone(), torch.arange(len(rows))
    for reach in range(1, _REACH + 1):
        total, number = torch.zeros(3, len(left)), torch.zeros(len(left))
        for dy, dx in _ring(reach):
            y, x = rows[left] + dy, columns[left] + dx
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
            counts = inside & opaque[y, x]
            total += rgb[:, y, x] * counts
            number += counts
        hit = number > 0
        found[:, left[hit]] = total[:, hit] / number[hit]
        left = left[~hit]
    return found


def _ring(reach: int) -> list[tuple[int, int]]:
    """Offsets at a distance of `reach` along rows or columns."""
    span = range(-reach, reach + 1)
    return [(dy, dx) for dy in span for dx in span if max(abs(dy), abs(dx)) == reach]


def _linear(srgb: Tensor) -> Tensor:
    """0..255 sRGB -> linear light 0..1 (IEC 61966-2-1)."""
    x = srgb.clamp(0, 255) / 255
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def _encoded(linear: Tensor) -> Tensor:
    """The inverse of `_linear`."""
    x = linear.clamp(0, 1)
    return 255 * torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
