"""Which triangle rays from one eye meet first, by drawing: a fraction of the time of casting them.

In double precision throughout; used by `renderers.raycast` alone.
"""

from dataclasses import dataclass, field

import numba
import numpy as np

from synth.camera import Camera

#: A mesh that comes nearer to the camera than this, metres, is not drawn.
NEAREST_M = 1e-3


@dataclass(frozen=True, eq=False)
class Pixels:
    """K pixels of a picture, and S rays through each."""

    number: np.ndarray
    """(h, w) int32: which of the K a pixel is, -1 for none, in a window of the picture."""
    corner: tuple[int, int] = (0, 0)
    """Row and column of the window's first pixel."""
    offsets: np.ndarray = field(default_factory=lambda: np.zeros((1, 2)))
    """(S, 2): of the rays from a pixel's centre, right and down, pixels; by default one through it."""

    @property
    def shape(self) -> tuple[int, int]:
        """(K, S)."""
        return int(self.number.max(initial=-1)) + 1, len(self.offsets)


def flatten(positions: np.ndarray, camera: Camera, scan_from_camera: np.ndarray) -> np.ndarray | None:
    """Where vertices (V, 3) float64 stand in the picture: (V, 3), column and row, pixel centres at whole numbers, and
    one over the depth. None where one lies beside the camera or behind it: then rays must be cast."""
    seen = (positions - scan_from_camera[:3, 3]) @ scan_from_camera[:3, :3]
    if not (seen[:, 2] > NEAREST_M).all():
        return None
    flat = np.empty_like(seen)
    flat[:, 2] = 1 / seen[:, 2]
    flat[:, :2] = camera.focal_px * seen[:, :2] * flat[:, 2:] + np.array(camera.center_px) - 0.5
    return flat


def draw(flat: np.ndarray, triangles: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Triangles (K, S) int32 of (T, 3) that rays meet first, -1 for none; of two at one depth the lower.

    A ray through an edge that two triangles share meets one of them, never what is behind.
    """
    flat = flat - np.array([pixels.corner[1], pixels.corner[0], 0.0])
    out = np.full(pixels.shape, -1, np.int32)
    if len(pixels.offsets) == 1:
        _draw_one(out[:, 0], flat, triangles, pixels.number, *pixels.offsets[0])
    else:
        _draw_many(out, flat, triangles, pixels.number, pixels.offsets)
    return out


@numba.njit(cache=True)
def _draw_one(out, flat, triangles, number, right_of, below):  # pragma: no cover - compiled
    """One ray through each pixel. Triangles are mostly small: what decides is what is not done for most pixels."""
    h, w = number.shape
    nearest = np.where(number < 0, np.inf, 0.0)  # one over the depth; no triangle is nearer where none is asked for
    met = np.full(number.shape, -1, np.int32)
    reach = max(abs(right_of), abs(below))
    for t in range(len(triangles)):
        (ax, ay, az), (bx, by, bz), (gx, gy, gz) = _corners(t, flat, triangles)
        left, right, high, low = _box(ax, ay, bx, by, gx, gy, reach, h, w)
        most = _least_hidden(az, bz, gz)
        for i in range(high, low + 1):
            y = i + below
            ya, yb, yg = ay - y, by - y, gy - y
            for j in range(left, right + 1):
                if nearest[i, j] >= most:
                    continue
                x = j + right_of
                xa, xb, xg = ax - x, bx - x, gx - x
                # Twice the areas that the ray makes with each edge: exact negatives for the edge's other triangle.
                of_a, of_b, of_c = xb * yg - yb * xg, xg * ya - yg * xa, xa * yb - ya * xb
                if min(of_a, of_b, of_c) < 0 and max(of_a, of_b, of_c) > 0:
                    continue
                area = of_a + of_b + of_c
                if area == 0:
                    continue
                inverse = (of_a * az + of_b * bz + of_c * gz) / area
                if inverse > nearest[i, j]:
                    nearest[i, j], met[i, j] = inverse, t
    for i in range(h):
        for j in range(w):
            if number[i, j] >= 0:
                out[number[i, j]] = met[i, j]


@numba.njit(cache=True)
def _draw_many(out, flat, triangles, number, offsets):  # pragma: no cover - compiled
    """Many rays through each pixel, all at once for vector instructions."""
    h, w = number.shape
    rays = len(offsets)
    nearest = np.zeros(out.shape)  # one over the depth
    reach = np.abs(offsets).max()
    right_of, below = offsets[:, 0].copy(), offsets[:, 1].copy()
    depths = np.empty(rays)
    for t in range(len(triangles)):
        (ax, ay, az), (bx, by, bz), (gx, gy, gz) = _corners(t, flat, triangles)
        left, right, high, low = _box(ax, ay, bx, by, gx, gy, reach, h, w)
        for i in range(high, low + 1):
            for j in range(left, right + 1):
                k = number[i, j]
                if k < 0:
                    continue
                for ray in range(rays):
                    x, y = j + right_of[ray], i + below[ray]
                    of_a = (bx - x) * (gy - y) - (by - y) * (gx - x)
                    of_b = (gx - x) * (ay - y) - (gy - y) * (ax - x)
                    of_c = (ax - x) * (by - y) - (ay - y) * (bx - x)
                    area = of_a + of_b + of_c
                    meets = (min(of_a, of_b, of_c) >= 0) | (max(of_a, of_b, of_c) <= 0)
                    inverse = (of_a * az + of_b * bz + of_c * gz) / (area if area != 0 else 1.0)
                    depths[ray] = inverse if meets & (area != 0) else 0.0
                for ray in range(rays):
                    if depths[ray] > nearest[k, ray]:
                        nearest[k, ray], out[k, ray] = depths[ray], t


@numba.njit(cache=True)
def _corners(t, flat, triangles):  # pragma: no cover - compiled
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    return (
        (flat[a, 0], flat[a, 1], flat[a, 2]),
        (flat[b, 0], flat[b, 1], flat[b, 2]),
        (flat[c, 0], flat[c, 1], flat[c, 2]),
    )


@numba.njit(cache=True)
def _box(ax, ay, bx, by, gx, gy, reach, h, w):  # pragma: no cover - compiled
    """First and last column, first and last row of the pixels within reach of a triangle."""
    return (
        int(max(np.ceil(min(ax, bx, gx) - reach), 0.0)),
        int(min(np.floor(max(ax, bx, gx) + reach), w - 1.0)),
        int(max(np.ceil(min(ay, by, gy) - reach), 0.0)),
        int(min(np.floor(max(ay, by, gy) + reach), h - 1.0)),
    )


@numba.njit(cache=True)
def _least_hidden(az, bz, gz):  # pragma: no cover - compiled
    """One over a depth from which on nothing of a triangle is seen, whatever rounding does to what lies between its
    corners."""
    return max(az, bz, gz) * (1 + 1e-12)


@numba.njit(cache=True)
def barycentrics(met, flat, triangles, number, corner, offsets):  # pragma: no cover - compiled
    """(K, S, 3) float32 of the points where rays meet triangles met (K, S); 0 where they meet none. Others as Pixels
    has them."""
    weights = np.zeros((*met.shape, 3), np.float32)
    for i in range(number.shape[0]):
        for j in range(number.shape[1]):
            k = number[i, j]
            if k < 0:
                continue
            for ray in range(met.shape[1]):
                t = met[k, ray]
                if t < 0:
                    continue
                x, y = j + corner[1] + offsets[ray, 0], i + corner[0] + offsets[ray, 1]
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                ax, ay, bx, by = flat[a, 0] - x, flat[a, 1] - y, flat[b, 0] - x, flat[b, 1] - y
                gx, gy = flat[c, 0] - x, flat[c, 1] - y
                of_a = (bx * gy - by * gx) * flat[a, 2]
                of_b = (gx * ay - gy * ax) * flat[b, 2]
                of_c = (ax * by - ay * bx) * flat[c, 2]
                total = of_a + of_b + of_c
                weights[k, ray, 0], weights[k, ray, 1], weights[k, ray, 2] = of_a / total, of_b / total, of_c / total
    return weights
