"""A panorama as light on a scan: shares of equal cells, and apart from them the few lights that are small and strong.

A cell answers for its whole light with one visibility, which is too coarse for the sun: whatever is far brighter than
the mean and small is taken out, and asks for its own shadow rays when a view is made. What stays is smooth.
"""

import functools
from dataclasses import dataclass

import numba
import numpy as np
from scipy import ndimage

from renderers.panorama import shrink_panorama
from renderers.relight_directions import Directions

#: Rec. 709 luminance.
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
#: A strong light is this many times as bright as the panorama's mean, gives at least this share of all its light, and
#: is no larger than this, steradians: ten cells answer well enough for what is.
_STRONG, _LEAST_SHARE, _MOST_SR = 30.0, 0.008, 0.06
#: At most so many; the weaker ones stay in their cells.
_MOST_LIGHTS = 8
#: Width at which the rest is summed into cells, which are some 5 degrees wide.
_SMOOTH_PX = 512
#: Shadow rays of a light: each stands for an equal part of it.
LIGHT_RAYS = 8


@dataclass(frozen=True, eq=False)
class Sky:
    """A panorama taken apart, in its own frame: as it is before any turn."""

    smooth: np.ndarray
    """(h, w, 3) float32, at most some 512 texels wide, without the strong lights."""
    strong: np.ndarray
    """(L, 3) float32, irradiance of each strong light on a surface that faces it."""
    towards: np.ndarray
    """(L, LIGHT_RAYS, 3) float32, unit: the middles of equal parts of each strong light."""


@dataclass(frozen=True, eq=False)
class Light:
    """What a panorama sends onto a scan, frame scan."""

    moments: np.ndarray
    """(D, 9) float32: for each cell and colour (three a colour, red first) the integral of radiance times direction,
    without the strong lights."""
    irradiance: np.ndarray
    """(D, 3) float32: integral of radiance over each cell, with the strong lights."""
    strong: np.ndarray
    """As of Sky."""
    towards: np.ndarray
    """As of Sky, frame scan."""


def take_apart(panorama: np.ndarray) -> Sky:
    """The strong lights of an equirectangular panorama (h, w, 3), and the rest."""
    panorama = np.ascontiguousarray(panorama, np.float32)
    h, w = panorama.shape[:2]
    area = solid_angles(h, w)
    found, smooth = _strong_lights(panorama, area)
    strong = np.empty((len(found), 3), np.float32)
    towards = np.empty((len(found), LIGHT_RAYS, 3), np.float32)
    for number, (chosen, excess) in enumerate(found):
        strong[number] = (excess * area[chosen[0]][:, None]).sum(axis=0)
        unit = texel_directions(h, w)[chosen]
        towards[number] = _split(unit, excess @ _LUMINANCE * area[chosen[0]], LIGHT_RAYS)
    return Sky(np.ascontiguousarray(shrink_panorama(smooth, w // _SMOOTH_PX)), strong, towards)


def turn_light(sky: Sky, yaw_deg: float, world_from_scan: np.ndarray, directions: Directions) -> Light:
    """The light of a sky turned by yaw_deg about world z on a scan placed by world_from_scan."""
    yaw = np.radians(yaw_deg)
    world_from_sky = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    scan_from_sky = np.asarray(world_from_scan)[:3, :3].T @ world_from_sky
    h, w = sky.smooth.shape[:2]
    unit = texel_directions(h, w).reshape(-1, 3) @ scan_from_sky.T.astype(np.float32)
    cell = directions.find(unit)
    moments, irradiance = _sum_cells(sky.smooth.reshape(-1, 3), np.repeat(solid_angles(h, w), w), unit, cell,
                                     directions.count)  # fmt: skip
    towards = sky.towards @ scan_from_sky.T.astype(np.float32)
    for strong, parts in zip(sky.strong, towards, strict=True):
        np.add.at(irradiance, directions.find(parts), strong / LIGHT_RAYS)
    return Light(moments, irradiance, sky.strong, towards)


def solid_angles(height: int, width: int) -> np.ndarray:
    """(height,) float32 steradians of a texel in each row of an equirectangular panorama."""
    edges = np.cos(np.arange(height + 1) * np.pi / height)
    return ((edges[:-1] - edges[1:]) * 2 * np.pi / width).astype(np.float32)


@functools.cache
def texel_directions(height: int, width: int) -> np.ndarray:
    """(height, width, 3) float32, unit, where the middles of an unturned panorama's texels are, as
    `renderers.panorama` looks them up. Shared: not to be written to."""
    azimuth = (0.5 - (np.arange(width) + 0.5) / width) * 2 * np.pi
    polar = (np.arange(height) + 0.5) * np.pi / height
    out = np.empty((height, width, 3), np.float32)
    out[..., 0] = np.sin(polar)[:, None] * np.cos(azimuth)
    out[..., 1] = np.sin(polar)[:, None] * np.sin(azimuth)
    out[..., 2] = np.cos(polar)[:, None]
    return out


def _strong_lights(
    panorama: np.ndarray, area: np.ndarray
) -> tuple[list[tuple[tuple[np.ndarray, np.ndarray], np.ndarray]], np.ndarray]:
    """Texels (rows, columns) of each strong light and what they have too much (K, 3), strongest first; and the rest."""
    luminance = panorama @ _LUMINANCE
    power = luminance * area[:, None]
    total = float(power.sum())
    bright = luminance > _STRONG * total / (4 * np.pi)
    smooth = panorama.copy()
    number, count = ndimage.label(np.concatenate([bright, bright], axis=1), np.ones((3, 3)))
    if total <= 0 or count == 0:
        return [], smooth
    number = _joined(number, panorama.shape[1])
    inside = np.flatnonzero(number)
    share = np.bincount(number.ravel()[inside], power.ravel()[inside], count + 1) / total
    size = np.bincount(number.ravel()[inside], np.repeat(area, panorama.shape[1])[inside], count + 1)
    ranked = [k for k in np.argsort(-share, kind="stable") if share[k] >= _LEAST_SHARE and 0 < size[k] <= _MOST_SR]
    found = []
    for k in ranked[:_MOST_LIGHTS]:
        chosen = np.nonzero(number == k)
        left = panorama[chosen] * (_STRONG * total / (4 * np.pi) / luminance[chosen])[:, None]
        found.append((chosen, panorama[chosen] - left))
        smooth[chosen] = left
    return found, smooth


def _joined(number: np.ndarray, width: int) -> np.ndarray:
    """Labels (h, width) of a picture from those of two copies side by side: what crosses the seam is one thing."""
    left, right = number[:, :width].copy(), number[:, width:]
    for k in np.unique(right[:, 0][right[:, 0] > 0]):
        across = np.unique(left[right == k])
        left[np.isin(left, across[across > 0])] = k
    return left


def _split(unit: np.ndarray, power: np.ndarray, parts: int) -> np.ndarray:
    """Middles (parts, 3) of parts of about equal power: halved across the longer side, again and again."""
    groups = [np.arange(len(unit))]
    while len(groups) < parts:
        halves = []
        for group in groups:
            spread = unit[group].max(axis=0) - unit[group].min(axis=0)
            order = group[np.argsort(unit[group, int(np.argmax(spread))], kind="stable")]
            sums = np.cumsum(power[order])
            cut = int(np.searchsorted(sums, sums[-1] / 2)) + 1
            cut = min(max(cut, 1), max(len(order) - 1, 1))
            halves += [order[:cut], order[cut:] if len(order) > 1 else order]
        groups = halves
    middles = np.array([(unit[g] * power[g, None]).sum(axis=0) for g in groups])
    return middles / np.linalg.norm(middles, axis=1, keepdims=True)


@numba.njit(cache=True)
def _sum_cells(radiance, area, unit, cell, count):  # pragma: no cover - compiled
    moments, irradiance = np.zeros((count, 9)), np.zeros((count, 3))
    for t in range(len(cell)):
        k = cell[t]
        for c in range(3):
            value = radiance[t, c] * area[t]
            irradiance[k, c] += value
            for x in range(3):
                moments[k, 3 * c + x] += value * unit[t, x]
    return moments.astype(np.float32), irradiance.astype(np.float32)
