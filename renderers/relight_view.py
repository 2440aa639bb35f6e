"""Which points of a scan each pixel of a view shows, and how much of each: one where all is smooth, many at edges.

The label's own hit serves inside of surfaces. Where the eight neighbours of a pixel show another surface, or something
half transparent, rays are cast, spread as Cycles' pixel filter spreads its paths.
"""

from dataclasses import dataclass

import numba
import numpy as np

from renderers.raycast import Labels, ScanCaster
from synth.camera import Camera

#: Rays of a pixel at an edge.
EDGE_RAYS = 16
#: Full width of Cycles' Blackman-Harris pixel filter, pixels: twice what Blender calls its width, 1.5 by default.
_FILTER_PX = 3.0
#: A neighbour is on another surface if it is so many pixels off the plane, or if its normal is turned by more than
#: the angle of this cosine.
_OFF_PLANE_PX, _TURNED = 1.0, 0.9
#: What is left of a ray behind half transparent layers is forgotten below this.
_LEAST_LEFT = 0.01
_MAX_LAYERS = 32
#: Alpha below this is taken for nothing.
_LEAST_ALPHA = 0.004
_STEP_M = 2e-5


@dataclass(frozen=True, eq=False)
class Seen:
    """S samples: pixel (S,) int64 of the frame, triangle (S,) int32, barycentrics (S, 3) float32, and share of the
    pixel (S,) float32."""

    pixel: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray
    share: np.ndarray


def see_surfaces(
    camera: Camera, labels: Labels, caster: ScanCaster, scan_from_camera: np.ndarray, window: tuple[slice, slice]
) -> tuple[Seen, Seen]:
    """The samples of pixels inside of surfaces, one each, and of those at edges, several each."""
    edge = _edges(
        labels.instance, labels.depth_m, labels.normal, labels.veiled, camera.focal_px, np.array(camera.center_px),
        window[0].start, window[0].stop, window[1].start, window[1].stop,
    )  # fmt: skip
    inside = np.flatnonzero((labels.instance > 0) & ~edge)
    whole = Seen(
        inside,
        labels.triangle.ravel()[inside],
        labels.weights.reshape(-1, 3)[inside],
        np.ones(len(inside), np.float32),
    )
    return whole, _cast_edges(camera, np.flatnonzero(edge), caster, scan_from_camera)


def filter_offsets(count: int) -> np.ndarray:
    """(count, 2) offsets from a pixel's centre, pixels, distributed as Cycles' filter: the inverse of its integral at
    the points of a (0, m, 2) net (Hammersley's)."""
    number = np.arange(count)
    other = np.zeros(count)
    bit, value = 0.5, number.copy()
    while value.any():
        other += bit * (value & 1)
        value >>= 1
        bit /= 2
    at = np.linspace(-0.5, 0.5, 4097)
    v = 2 * np.pi * (at + 0.5)
    density = 0.35875 - 0.48829 * np.cos(v) + 0.14128 * np.cos(2 * v) - 0.01168 * np.cos(3 * v)
    integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    points = np.stack([(number + 0.5) / count, other + 0.5 / count], axis=1)
    return np.interp(points, integral / integral[-1], at) * _FILTER_PX


def _cast_edges(camera: Camera, pixels: np.ndarray, caster: ScanCaster, scan_from_camera: np.ndarray) -> Seen:
    offsets = filter_offsets(EDGE_RAYS)
    pixel = np.repeat(pixels, EDGE_RAYS)
    directions = _rays(pixels, offsets, camera.width, camera.focal_px, np.array(camera.center_px), scan_from_camera)
    origins = np.ascontiguousarray(np.broadcast_to(scan_from_camera[:3, 3].astype(np.float32), directions.shape))
    left = np.full(len(pixel), 1 / EDGE_RAYS, np.float32)
    ray = np.arange(len(pixel))
    threshold = np.full(len(pixel), _LEAST_ALPHA)
    found = []
    for _ in range(_MAX_LAYERS):
        triangle, weights = caster.surfaces(origins[ray], directions[ray], threshold[ray])
        hit = triangle >= 0
        ray, triangle, weights = ray[hit], triangle[hit], weights[hit]
        alpha = caster.alpha_at(triangle, weights).astype(np.float32)
        found.append((pixel[ray], triangle, weights, left[ray] * alpha))
        left[ray] *= 1 - alpha
        go_on = left[ray] * EDGE_RAYS > _LEAST_LEFT
        ray = ray[go_on]
        if ray.size == 0:
            break
        corners = np.asarray(caster.scan.positions)[np.asarray(caster.scan.triangles)[triangle[go_on]]]
        origins[ray] = np.einsum("kc,kcx->kx", weights[go_on], corners) + np.float32(_STEP_M) * directions[ray]
    pixel, triangle, weights, share = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if len(found) > 1:
        order = np.argsort(pixel, kind="stable")
        pixel, triangle, weights, share = pixel[order], triangle[order], weights[order], share[order]
    return Seen(*_merge(pixel, triangle, weights, share))


@numba.njit(cache=True)
def _merge(pixel, triangle, weights, share):  # pragma: no cover - compiled
    """Makes one sample of those of a pixel that lie in one triangle: their middle, with all their shares."""
    kept = 0
    first = 0
    for s in range(len(pixel)):
        if pixel[s] != pixel[first] or s == 0:
            first, mine = s, kept
        into = mine
        while into < kept and triangle[into] != triangle[s]:
            into += 1
        t, total = triangle[s], share[s]
        if into == kept:
            kept += 1
            pixel[into], triangle[into], share[into] = pixel[s], t, total
            for k in range(3):
                weights[into, k] = weights[s, k] * total
        else:
            share[into] += total
            for k in range(3):
                weights[into, k] += weights[s, k] * total
    for s in range(kept):
        for k in range(3):
            weights[s, k] /= max(share[s], np.float32(1e-9))
    return pixel[:kept], triangle[:kept], weights[:kept], share[:kept]


@numba.njit(cache=True)
def _rays(pixels, offsets, width, focal, center, scan_from_camera):  # pragma: no cover - compiled
    """Unit directions (K * len(offsets), 3) float32, frame scan, pixel by pixel."""
    out = np.empty((len(pixels) * len(offsets), 3), np.float32)
    n = 0
    for p in pixels:
        for k in range(len(offsets)):
            u = (p % width + 0.5 + offsets[k, 0] - center[0]) / focal
            v = (p // width + 0.5 + offsets[k, 1] - center[1]) / focal
            scale = 1 / np.sqrt(u * u + v * v + 1)
            for x in range(3):
                out[n, x] = scale * (
                    u * scan_from_camera[x, 0] + v * scan_from_camera[x, 1] + scan_from_camera[x, 2]
                )
            n += 1
    return out


@numba.njit(cache=True)
def _edges(
    instance, depth, normal, veiled, focal, center, top, bottom, left, right
):  # pragma: no cover - compiled
    """(H, W) bool: pixels whose surface is not the only one within the reach of the pixel filter."""
    edge = np.zeros(instance.shape, np.bool_)
    for i in range(top, bottom):
        for j in range(left, right):
            if veiled[i, j]:
                edge[i, j] = True
            if not instance[i, j]:
                continue
            z = depth[i, j]
            u, v = (j + 0.5 - center[0]) / focal, (i + 0.5 - center[1]) / focal
            nx, ny, nz = normal[i, j, 0], normal[i, j, 1], normal[i, j, 2]
            plane = z * (u * nx + v * ny + nz)
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    a, b = i + di, j + dj
                    if (di == 0 and dj == 0) or a < 0 or b < 0 or a >= instance.shape[0] or b >= instance.shape[1]:
                        continue
                    other = instance[a, b] != instance[i, j]
                    if not other:
                        turned = nx * normal[a, b, 0] + ny * normal[a, b, 1] + nz * normal[a, b, 2]
                        u2, v2, z2 = (b + 0.5 - center[0]) / focal, (a + 0.5 - center[1]) / focal, depth[a, b]
                        off = abs(z2 * (u2 * nx + v2 * ny + nz) - plane)
                        other = turned < _TURNED or off > _OFF_PLANE_PX * z / focal
                    if other:
                        edge[i, j] = True
                        if top <= a < bottom and left <= b < right:
                            edge[a, b] = True
    return edge
