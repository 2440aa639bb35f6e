"""Pixels of a view one by one, compiled: where edges are, rays through pixels, samples shared out and merged.

Used by `renderers.relight_view` alone.
"""

import numba
import numpy as np

#: A neighbour is on another surface if it is so many pixels off the plane, or if its normal is turned by more than
#: the angle of this cosine.
_OFF_PLANE_PX, _TURNED = 1.0, 0.9


@numba.njit(cache=True)
def sort_pixels(instance, edge):  # pragma: no cover - compiled
    """Pixels, by number in the frame, of the subject's that are at no edge, and of those at edges of kind 1 and 2."""
    instance, edge = instance.ravel(), edge.ravel()
    numbers = np.empty((3, len(edge)), np.int64)
    counts = np.zeros(3, np.int64)
    for p in range(len(edge)):
        kind = edge[p]
        if kind or instance[p]:
            numbers[kind, counts[kind]] = p
            counts[kind] += 1
    return numbers[0, : counts[0]], numbers[1, : counts[1]], numbers[2, : counts[2]]


@numba.njit(cache=True)
def count(triangle, triangles):  # pragma: no cover - compiled
    """How many triangles occur."""
    seen = np.zeros(triangles, np.bool_)
    for t in triangle:
        seen[t] = True
    return seen.sum()


@numba.njit(cache=True)
def spread(pixels, at_centre, at_corner, density):  # pragma: no cover - compiled
    """Pixels, samples and shares: of each pixel its centre, its corners and its four neighbours' centres, as there are.

    at_centre (H, W), at_corner (H + 1, W + 1): samples, or -1. density: of the filter at 0, 1/2 and 1 px.
    """
    h, w = at_centre.shape
    pixel, sample = np.empty(9 * len(pixels), np.int64), np.empty(9 * len(pixels), np.int64)
    share = np.empty(9 * len(pixels), np.float32)
    near = density[0] * density[2]
    n = 0
    for p in pixels:
        i, j = p // w, p % w
        first, total = n, 0.0
        sample[n], share[n] = at_centre[i, j], density[0] * density[0]
        n += 1
        for a in range(2):
            for b in range(2):
                if at_corner[i + a, j + b] >= 0:
                    sample[n], share[n] = at_corner[i + a, j + b], density[1] * density[1]
                    n += 1
        if i > 0 and at_centre[i - 1, j] >= 0:
            sample[n], share[n] = at_centre[i - 1, j], near
            n += 1
        if i + 1 < h and at_centre[i + 1, j] >= 0:
            sample[n], share[n] = at_centre[i + 1, j], near
            n += 1
        if j > 0 and at_centre[i, j - 1] >= 0:
            sample[n], share[n] = at_centre[i, j - 1], near
            n += 1
        if j + 1 < w and at_centre[i, j + 1] >= 0:
            sample[n], share[n] = at_centre[i, j + 1], near
            n += 1
        for k in range(first, n):
            pixel[k] = p
            total += share[k]
        for k in range(first, n):
            share[k] /= total
    return pixel[:n], sample[:n], share[:n]


@numba.njit(cache=True)
def merge(pixel, triangle, weights, share):  # pragma: no cover - compiled
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
def ray_directions(pixels, offsets, width, focal, center, scan_from_camera):  # pragma: no cover - compiled
    """Unit directions (K * len(offsets), 3) float32, frame scan, pixel by pixel."""
    out = np.empty((len(pixels) * len(offsets), 3), np.float32)
    n = 0
    for p in pixels:
        for k in range(len(offsets)):
            u = (p % width + 0.5 + offsets[k, 0] - center[0]) / focal
            v = (p // width + 0.5 + offsets[k, 1] - center[1]) / focal
            scale = 1 / np.sqrt(u * u + v * v + 1)
            for x in range(3):
                out[n, x] = scale * (u * scan_from_camera[x, 0] + v * scan_from_camera[x, 1] + scan_from_camera[x, 2])
            n += 1
    return out


@numba.njit(cache=True)
def find_edges(
    instance, depth, normal, veiled, triangle, part, focal, center, top, bottom, left, right
):  # pragma: no cover - compiled
    """(H, W) uint8: 0 where a pixel's surface is the only one within the reach of the pixel filter, 1 where there is
    another of the subject's, 2 where the subject ends or is half transparent."""
    edge = np.zeros(instance.shape, np.uint8)
    for i in range(top, bottom):
        for j in range(left, right):
            if veiled[i, j]:
                edge[max(i - 1, top) : min(i + 2, bottom), max(j - 1, left) : min(j + 2, right)] = 2
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
                    kind = 2 if instance[a, b] != instance[i, j] else 0
                    if not kind and triangle[a, b] != triangle[i, j]:
                        turned = nx * normal[a, b, 0] + ny * normal[a, b, 1] + nz * normal[a, b, 2]
                        u2, v2, z2 = (b + 0.5 - center[0]) / focal, (a + 0.5 - center[1]) / focal, depth[a, b]
                        off = abs(z2 * (u2 * nx + v2 * ny + nz) - plane)
                        kind = 1 if turned < _TURNED or off > _OFF_PLANE_PX * z / focal else 0
                        if part[triangle[a, b]] != part[triangle[i, j]]:
                            kind = 1
                    if kind:
                        edge[i, j] = max(edge[i, j], kind)
                        if top <= a < bottom and left <= b < right:
                            edge[a, b] = max(edge[a, b], kind)
    return edge
