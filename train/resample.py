"""Pictures and labels looked at through a similarity map: what `train.augment` does its geometry with.

Both are taken at the same places, the centres of the frame's pixels. A picture is filtered over the pixel's footprint.
Labels are averaged over it too, but only with what lies on the same surface: never across a silhouette or a step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: Neighbours count as one surface when their depth differs by less than this and this many pixels' width.
_SURFACE_M, _SURFACE_PX = 0.01, 6


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of one picture, as `train.augment.Arrays` has them."""

    mask: Tensor
    """(1, H, W) bool."""
    depth: Tensor
    """(1, H, W) float32."""
    normal: Tensor
    """(3, H, W) float32, unit, OpenGL camera frame."""
    trust: Tensor
    """(1, H, W) float32."""


def sample_colour(colour: Tensor, size: tuple[int, int], picture_from_frame: np.ndarray, step: float) -> Tensor:
    """(C, H, W) of a (C, h, w) picture; `step` picture pixels to a pixel of the frame. Black outside."""
    if step > 1:  # then a pixel of what is sampled is one of the frame; edges stay where they are
        smaller = [max(1, round(side / step)) for side in colour.shape[-2:]]
        height, width = colour.shape[-2:]
        colour = F.interpolate(colour[None], smaller, mode="bilinear", antialias=True)[0]
    else:
        height, width = colour.shape[-2:]
    u, v = _centres(size, picture_from_frame)
    grid = torch.stack([2 * u / width - 1, 2 * v / height - 1], dim=-1).float()
    return F.grid_sample(colour[None], grid[None], mode="bilinear", align_corners=False)[0]


def sample_labels(
    labels: Labels, focal_px: float, size: tuple[int, int], picture_from_frame: np.ndarray, step: float
) -> Labels:
    """Labels at the frame's pixel centres, where the picture's pixel there has any; directions turned with the frame.

    Of the four values around a place those count that lie on the surface of the pixel that it falls into. That is
    linear interpolation inside a surface and none across edges. Of pixels two and more to one, means come first.
    """
    height, width = labels.mask.shape[-2:]
    u, v = (c.flatten() for c in _centres(size, picture_from_frame))
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    at = v.clamp(0, height - 1).int() * width + u.clamp(0, width - 1).int()
    found = torch.nonzero(inside & labels.mask.flatten()[at])[:, 0]
    u, v, at = u[found], v[found], at[found]
    values, known = torch.stack([*labels.depth, *labels.normal, *labels.trust], dim=-1), labels.mask[0]  # (H, W, 5)
    nearest = values.view(-1, 5).index_select(0, at)  # (N, 5)
    block = max(1, int(step))
    if block > 1:
        values, known = _block_means(values, known, focal_px, block)
    mean = _interpolate(values, known, u / block, v / block, nearest, focal_px)
    turn = picture_from_frame[:2, :2].T / step  # the picture's directions -> the frame's, y down
    mean[:, 1:4] = _turned(mean[:, 1:4], turn)
    out = torch.zeros(size[0] * size[1], 5).index_copy_(0, found, mean)
    out = out.view(*size, 5).permute(2, 0, 1).contiguous()
    mask = torch.zeros(size[0] * size[1], dtype=torch.bool).index_fill_(0, found, True)
    return Labels(mask.view(1, *size), out[:1], out[1:4], out[4:])


def _interpolate(values: Tensor, known: Tensor, u: Tensor, v: Tensor, nearest: Tensor, focal_px: float) -> Tensor:
    """(N, 5) between the four values around each of N places, as far as they lie on the surface of `nearest`, (N, 5);
    that itself where none does. values: (H, W, 5), depth first."""
    height, width = known.shape
    tolerance = _SURFACE_M + _SURFACE_PX * nearest[:, 0] / focal_px
    values, known = values.view(-1, 5), known.flatten()
    total, weights = torch.zeros_like(nearest), torch.zeros(len(u))
    for row, down in _neighbours(v, height):
        for column, across in _neighbours(u, width):
            at = row * width + column
            tap = values.index_select(0, at)
            counts = known[at] & ((tap[:, 0] - nearest[:, 0]).abs() < tolerance)
            weight = across * down * counts
            total += weight[:, None] * tap.masked_fill_(~counts[:, None], 0.0)  # what does not count may be NaN
            weights += weight
    some = weights > 1e-6
    return torch.where(some[:, None], total / torch.where(some, weights, 1.0)[:, None], nearest)


def _neighbours(u: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The two pixels of a line of `size` around each of N places, and their shares, 0 beyond the ends: (N,) int32 and
    (N,) float32 each."""
    first = torch.floor(u - 0.5)
    second_share, first = (u - 0.5 - first).float(), first.int()
    both = ((first, 1 - second_share), (first + 1, second_share))
    return [(place.clamp(0, size - 1), share * ((place >= 0) & (place < size))) for place, share in both]


def _block_means(values: Tensor, known: Tensor, focal_px: float, block: int) -> tuple[Tensor, Tensor]:
    """Means over squares of `block` x `block` pixels of what lies on the surface of their middle pixel.

    values: (H, W, 5), depth first. Squares whose middle has no label are not known.
    """
    height, width = known.shape

    def squares(x: Tensor) -> Tensor:  # (H, W) -> (rows, columns, block * block)
        padded = F.pad(x, (0, -width % block, 0, -height % block))
        rows, columns = padded.shape[0] // block, padded.shape[1] // block
        return padded.view(rows, block, columns, block).transpose(1, 2).reshape(rows, columns, -1)

    middle = (block // 2) * (block + 1)
    depth, mask = squares(values[..., 0]), squares(known)
    reference = depth[..., middle : middle + 1]
    tolerance = _SURFACE_M + _SURFACE_PX * reference / focal_px
    counts = mask & mask[..., middle : middle + 1] & ((depth - reference).abs() < tolerance)
    number = counts.sum(-1).clamp_min(1)
    means = [torch.where(counts, squares(values[..., i]), 0.0).sum(-1) / number for i in range(5)]
    return torch.stack(means, dim=-1), mask[..., middle]


def _turned(normal: Tensor, turn: np.ndarray) -> Tensor:
    """(N, 3) OpenGL vectors as the frame sees them, unit. turn: (2, 2), y down."""
    x, y = normal[:, 0], -normal[:, 1]
    turned = [turn[0, 0] * x + turn[0, 1] * y, -(turn[1, 0] * x + turn[1, 1] * y), normal[:, 2]]
    return F.normalize(torch.stack(turned, dim=1), dim=1)


def _centres(size: tuple[int, int], picture_from_frame: np.ndarray) -> tuple[Tensor, Tensor]:
    """(H, W) u and (H, W) v in the picture of the frame's pixel centres, float64."""
    v, u = (torch.arange(n, dtype=torch.float64) + 0.5 for n in size)
    m = picture_from_frame
    return tuple(m[i, 0] * u + (m[i, 1] * v + m[i, 2])[:, None] for i in (0, 1))
