"""Which points of a scan each pixel of a view shows, and how much of each: one where all is smooth, many at edges.

The label's own hit serves inside of surfaces. Where the eight neighbours of a pixel show another surface, or something
half transparent, rays are cast, spread as Cycles' pixel filter spreads its paths.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from renderers.raster import Pixels
from renderers.raycast import Labels, ScanCaster
from renderers.relight_pixels import count, find_edges, merge, ray_directions, sort_pixels, spread
from synth.camera import Camera

#: Rays of a pixel at an edge: within the subject, at its rim, and at its rim before what is far brighter than white,
#: where one ray more or less is seen.
_WITHIN, _RIM, _BRIGHT_RIM = 1, 2, 3
EDGE_RAYS = {_WITHIN: 8, _RIM: 16, _BRIGHT_RIM: 128}
#: Full width of Cycles' Blackman-Harris pixel filter, pixels: twice what Blender calls its width, 1.5 by default.
_FILTER_PX = 3.0
#: Fewer pixels than this for each triangle seen are too few for one sample a pixel.
_FINE = 2.0
#: What is left of a ray behind half transparent layers is forgotten below this.
_LEAST_LEFT = 0.01
_MAX_LAYERS = 32
#: Alpha below this is taken for nothing.
_LEAST_ALPHA = 0.004
_STEP_M = 2e-5


@dataclass(frozen=True, eq=False)
class Seen:
    """S samples, points of triangles, and which pixels show how much of which: P times."""

    triangle: np.ndarray
    """(S,) int32."""
    weights: np.ndarray
    """(S, 3) float32, barycentrics."""
    pixel: np.ndarray
    """(P,) int64, of the frame."""
    sample: np.ndarray
    """(P,) int64."""
    share: np.ndarray
    """(P,) float32, of the pixel."""
    taps: int
    """How often the texture is looked up around each sample: 4 times where it stands for a pixel, once for a part."""


def see_surfaces(
    camera: Camera,
    labels: Labels,
    caster: ScanCaster,
    part: np.ndarray,
    scan_from_camera: np.ndarray,
    window: tuple[slice, slice],
    find_bright: Callable[[np.ndarray], np.ndarray] = lambda pixels: np.zeros(len(pixels), bool),
) -> list[Seen]:
    """The samples of pixels inside of surfaces, of those at edges within the subject, at its rim, and at its rim before
    bright light.

    part (T,): triangles of one number continue each other. find_bright: which of pixels (K,), by number in the frame,
    lie before what is far brighter than white, (K,) bool. Inside there is one sample a pixel, in its centre; where
    triangles are as small as pixels, one at each corner besides, and a pixel takes from all around.
    """
    edge = find_edges(
        labels.instance, labels.depth_m, labels.normal, labels.veiled, labels.triangle, part,
        camera.focal_px, np.array(camera.center_px),
        window[0].start, window[0].stop, window[1].start, window[1].stop,
    )  # fmt: skip
    inside, within, rim = sort_pixels(labels.instance, edge)
    bright = find_bright(rim)
    triangle, weights = labels.triangle.ravel()[inside], labels.weights.reshape(-1, 3)[inside]
    flat = caster.flatten(camera, scan_from_camera) if caster.opaque else None
    if len(inside) < _FINE * count(triangle, len(caster.scan.triangles)):
        whole = _cast_corners(camera, inside, triangle, weights, caster, scan_from_camera, flat)
    else:
        whole = Seen(triangle, weights, inside, np.arange(len(inside)), np.ones(len(inside), np.float32), taps=4)
    edges = [
        _cast_edges(camera, pixels, EDGE_RAYS[kind], caster, scan_from_camera, flat)
        for kind, pixels in ((_WITHIN, within), (_RIM, rim[~bright]), (_BRIGHT_RIM, rim[bright]))
    ]
    return [whole, *edges]


@functools.cache
def filter_offsets(count: int) -> np.ndarray:
    """(count, 2) offsets from a pixel's centre, pixels, distributed as Cycles' filter: the inverse of its integral at
    the points of a (0, m, 2) net (Hammersley's). Shared: not to be written to."""
    number = np.arange(count)
    other = np.zeros(count)
    bit, value = 0.5, number.copy()
    while value.any():
        other += bit * (value & 1)
        value >>= 1
        bit /= 2
    at = np.linspace(-0.5, 0.5, 4097) * _FILTER_PX
    density = _filter_density(at)
    integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    points = np.stack([(number + 0.5) / count, other + 0.5 / count], axis=1)
    return np.interp(points, integral / integral[-1], at)


def _cast_corners(
    camera: Camera,
    pixels: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
    caster: ScanCaster,
    scan_from_camera: np.ndarray,
    flat: np.ndarray | None,
) -> Seen:
    """Samples at centres and corners of pixels, weighted by the pixel filter there."""
    h, w = camera.shape
    corner = np.zeros((h + 1, w + 1), bool)
    inside = np.zeros((h, w), bool)
    inside.ravel()[pixels] = True
    for i in (0, 1):
        for j in (0, 1):
            corner[i : h + i, j : w + j] |= inside
    corners = np.flatnonzero(corner)
    to_corner = np.array([[-0.5, -0.5]])
    drawn = _draw(corners, (h + 1, w + 1), to_corner, caster, flat)
    hit_triangle, hit_weights = drawn or caster.surfaces(*_rays(camera, corners, w + 1, to_corner, scan_from_camera))
    hit = hit_triangle >= 0
    at_centre, at_corner = np.full(h * w, -1), np.full((h + 1) * (w + 1), -1)
    at_centre[pixels] = np.arange(len(pixels))
    at_corner[corners[hit]] = len(pixels) + np.arange(int(hit.sum()))
    density = _filter_density(np.array([0.0, 0.5, 1.0]))
    pixel, sample, share = spread(pixels, at_centre.reshape(h, w), at_corner.reshape(h + 1, w + 1), density)
    return Seen(
        triangle=np.concatenate([triangle, hit_triangle[hit]]),
        weights=np.concatenate([weights, hit_weights[hit]]),
        pixel=pixel,
        sample=sample,
        share=share,
        taps=1,
    )


def _filter_density(offset_px: np.ndarray) -> np.ndarray:
    """Cycles' pixel filter at distances along one axis, not normalised; 0 outside of it."""
    v = 2 * np.pi * (offset_px / _FILTER_PX + 0.5)
    density = 0.35875 - 0.48829 * np.cos(v) + 0.14128 * np.cos(2 * v) - 0.01168 * np.cos(3 * v)
    return np.where(np.abs(offset_px) < _FILTER_PX / 2, density, 0.0)


def _draw(
    pixels: np.ndarray, shape: tuple[int, int], offsets: np.ndarray, caster: ScanCaster, flat: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Triangles (K * S,) and barycentrics (K * S, 3) that S rays through each of K pixels of a picture of a shape meet,
    as `ScanCaster.surfaces` has them; None where rays must be cast: the scan is not `flat`."""
    if flat is None:
        return None
    if not len(pixels):
        return np.zeros(0, np.int32), np.zeros((0, 3), np.float32)
    number = np.full(shape, -1, np.int32)
    number.ravel()[pixels] = np.arange(len(pixels))
    triangle, weights = caster.nearest_points(flat, Pixels(number, offsets=offsets))
    return triangle.ravel(), weights.reshape(-1, 3)


def _cast_edges(
    camera: Camera,
    pixels: np.ndarray,
    rays: int,
    caster: ScanCaster,
    scan_from_camera: np.ndarray,
    flat: np.ndarray | None,
) -> Seen:
    offsets = filter_offsets(rays)
    pixel = np.repeat(pixels, rays)
    drawn = _draw(pixels, camera.shape, offsets, caster, flat)
    if drawn is not None:
        triangle, weights = drawn
        hit = triangle >= 0
        share = np.full(int(hit.sum()), 1 / rays, np.float32)
        found = pixel[hit], triangle[hit], weights[hit], share
    else:
        origins, directions = _rays(camera, pixels, camera.width, offsets, scan_from_camera)
        ray, triangle, weights, share = _cast_layers(origins, directions, 1 / rays, caster)
        found = pixel[ray], triangle, weights, share
    pixel, triangle, weights, share = merge(*found)
    return Seen(triangle, weights, pixel, np.arange(len(pixel)), share, taps=1)


def _cast_layers(
    origins: np.ndarray, directions: np.ndarray, whole: float, caster: ScanCaster
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All surfaces that rays (R, 3) meet until next to nothing of them is left: numbers of rays (K,), ascending,
    triangles, barycentrics and shares of `whole`."""
    left = np.full(len(origins), whole, np.float32)
    ray = np.arange(len(origins))
    threshold = np.full(len(origins), _LEAST_ALPHA)
    found = []
    for _ in range(_MAX_LAYERS):
        triangle, weights = caster.surfaces(origins[ray], directions[ray], threshold[ray])
        hit = triangle >= 0
        ray, triangle, weights = ray[hit], triangle[hit], weights[hit]
        alpha = caster.alpha_at(triangle, weights).astype(np.float32)
        found.append((ray, triangle, weights, left[ray] * alpha))
        left[ray] *= 1 - alpha
        go_on = left[ray] > _LEAST_LEFT * whole
        ray = ray[go_on]
        if ray.size == 0:
            break
        corners = np.asarray(caster.scan.positions)[np.asarray(caster.scan.triangles)[triangle[go_on]]]
        origins[ray] = np.einsum("kc,kcx->kx", weights[go_on], corners) + np.float32(_STEP_M) * directions[ray]
    ray, triangle, weights, share = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(ray, kind="stable")
    return ray[order], triangle[order], weights[order], share[order]


def _rays(
    camera: Camera, pixels: np.ndarray, width: int, offsets: np.ndarray, scan_from_camera: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions (K * S, 3) float32, frame scan, of S rays through each of K pixels of a picture
    `width` wide."""
    center = np.array(camera.center_px)
    directions = ray_directions(pixels, offsets, width, camera.focal_px, center, scan_from_camera)
    eye = scan_from_camera[:3, 3].astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(eye, directions.shape)), directions
