"""Hits in double precision, compiled: Embree says which triangle, the triangle itself says where and how it faces.

Used by `renderers.raycast` alone.
"""

import numba
import numpy as np


@numba.njit(cache=True)
def intersect(origin, directions, triangle, positions, triangles):  # pragma: no cover - compiled
    """Ray parameter (K,), barycentrics (K, 3), clipped into the triangle, and face normals (K, 3), not unit.

    origin (3,), directions (K, 3), triangle (K,), positions (V, 3), all float64; triangles (T, 3).
    Moeller and Trumbore 1997.
    """
    count = len(triangle)
    depth, weights, face = np.empty(count), np.empty((count, 3)), np.empty((count, 3))
    edge1, edge2, s, q = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for k in range(count):
        a, b, c = triangles[triangle[k], 0], triangles[triangle[k], 1], triangles[triangle[k], 2]
        for x in range(3):
            edge1[x] = positions[b, x] - positions[a, x]
            edge2[x] = positions[c, x] - positions[a, x]
            s[x] = origin[x] - positions[a, x]
        determinant = u = v = 0.0
        for x in range(3):
            y, z = (x + 1) % 3, (x + 2) % 3
            face[k, x] = edge1[y] * edge2[z] - edge1[z] * edge2[y]
            q[x] = s[y] * directions[k, z] - s[z] * directions[k, y]
            determinant += face[k, x] * directions[k, x]
        if abs(determinant) < 1e-300:
            determinant = 1e-300
        for x in range(3):
            u -= edge2[x] * q[x]
            v += edge1[x] * q[x]
        u, v = u / determinant, v / determinant
        w0, w1, w2 = min(max(1 - u - v, 0.0), 1.0), min(max(u, 0.0), 1.0), min(max(v, 0.0), 1.0)
        total = w0 + w1 + w2
        weights[k, 0], weights[k, 1], weights[k, 2] = w0 / total, w1 / total, w2 / total
        # The depth of the clipped point: a plane seen edge-on has no exact depth, a point of the triangle has.
        along = length = 0.0
        for x in range(3):
            point = weights[k, 1] * edge1[x] + weights[k, 2] * edge2[x] - s[x]
            along += point * directions[k, x]
            length += directions[k, x] * directions[k, x]
        depth[k] = along / length
    return depth, weights, face


@numba.njit(cache=True)
def turn_normals(weights, triangle, face, directions, normals, smooth):  # pragma: no cover - compiled
    """Normals (K, 3) and face normals (K, 3), unit, towards where directions (K, 3) come from, and back faces (K,).

    smooth: whether corner normals (T, 3, 3) are interpolated; where they are none, the face's is taken.
    """
    count = len(triangle)
    normal, unit, back = np.empty((count, 3)), np.empty((count, 3)), np.empty(count, np.bool_)
    for k in range(count):
        towards = length = 0.0
        for x in range(3):
            towards += face[k, x] * directions[k, x]
            length += face[k, x] * face[k, x]
        back[k] = towards > 0
        scale = (-1.0 if back[k] else 1.0) / max(np.sqrt(length), 1e-30)
        for x in range(3):
            unit[k, x] = normal[k, x] = face[k, x] * scale
        if smooth:
            _interpolate(normal[k], weights[k], normals[triangle[k]], directions[k], back[k])
    return normal, unit, back


@numba.njit(cache=True)
def window_rays(top, bottom, left, right, focal_px, center_px):  # pragma: no cover - compiled
    """Rays through the pixel centres of a window, as `synth.camera.pixel_rays` has them: (K, 3) float64, by rows."""
    out = np.empty(((bottom - top) * (right - left), 3))
    n = 0
    for i in range(top, bottom):
        for j in range(left, right):
            out[n, 0], out[n, 1], out[n, 2] = (
                (j + 0.5 - center_px[0]) / focal_px,
                (i + 0.5 - center_px[1]) / focal_px,
                1,
            )
            n += 1
    return out


@numba.njit(cache=True, inline="always")
def _interpolate(normal, weights, corners, direction, back):  # pragma: no cover - compiled
    length, across = 0.0, 0.0
    mean = (
        weights[0] * corners[0, 0] + weights[1] * corners[1, 0] + weights[2] * corners[2, 0],
        weights[0] * corners[0, 1] + weights[1] * corners[1, 1] + weights[2] * corners[2, 1],
        weights[0] * corners[0, 2] + weights[1] * corners[1, 2] + weights[2] * corners[2, 2],
    )
    for x in range(3):
        length += mean[x] * mean[x]
        across += direction[x] * direction[x]
    if length < 1e-12:
        return
    scale = (-1.0 if back else 1.0) / np.sqrt(length)
    cosine, across = 0.0, np.sqrt(across)
    for x in range(3):
        normal[x] = mean[x] * scale
        cosine += normal[x] * direction[x] / across
    if cosine > 0:  # leans away from the ray: the nearest direction that is seen edge-on
        length = 0.0
        for x in range(3):
            normal[x] -= cosine * direction[x] / across
            length += normal[x] * normal[x]
        for x in range(3):
            normal[x] /= max(np.sqrt(length), 1e-30)


@numba.njit(cache=True)
def write_hits(
    pixel,
    number,
    depth,
    normal,
    triangle,
    weights,
    back,
    to_depth,
    to_normal,
    to_instance,
    to_triangle,
    to_weights,
    to_back,
):  # pragma: no cover - compiled
    """Writes hits (K,) on scan `number` to the arrays of all pixels (P,), each to its pixel (K,)."""
    for k in range(len(pixel)):
        p = pixel[k]
        to_depth[p], to_instance[p], to_triangle[p], to_back[p] = depth[k], number, triangle[k], back[k]
        for x in range(3):
            to_normal[p, x], to_weights[p, x] = normal[k, x], weights[k, x]
