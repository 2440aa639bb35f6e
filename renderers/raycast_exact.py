"""Hits in double precision, compiled: which triangle is known, the triangle itself says where and how it faces.

Used by `renderers.raycast` alone. Points and directions are tuples of three: compiled, they are plain numbers.
"""

import numba
import numpy as np


@numba.njit(cache=True)
def intersect(origin, directions, triangle, positions, triangles):  # pragma: no cover - compiled
    """Ray parameter (K,) and barycentrics (K, 3), clipped into the triangle.

    origin (3,), directions (K, 3), triangle (K,), positions (V, 3), all float64; triangles (T, 3).
    """
    depth, weights = np.empty(len(triangle)), np.empty((len(triangle), 3))
    eye = origin[0], origin[1], origin[2]
    for k in range(len(triangle)):
        a, b, c = _corners(triangle[k], positions, triangles)
        depth[k], (weights[k, 0], weights[k, 1], weights[k, 2]), _ = _meet(eye, _row(directions, k), a, b, c)
    return depth, weights


@numba.njit(cache=True)
def window_rays(top, bottom, left, right, focal_px, center_px, scan_from_camera):  # pragma: no cover - compiled
    """Rays through the pixel centres of a window, as `synth.camera.pixel_rays` has them, frame scan: (K, 3) float64, by
    rows."""
    out = np.empty(((bottom - top) * (right - left), 3))
    n = 0
    for i in range(top, bottom):
        for j in range(left, right):
            out[n, 0], out[n, 1], out[n, 2] = _ray(i, j, focal_px, center_px, scan_from_camera)
            n += 1
    return out


@numba.njit(cache=True)
def write_labels(
    number, seen, top, left, focal_px, center_px, scan_from_camera, positions, triangles, normals, smooth, leaning,
    to_depth, to_normal, to_instance, to_triangle, to_weights, to_back, to_leaning,
):  # pragma: no cover - compiled  # fmt: skip
    """Writes the labels of scan `number`, where it is nearer than what is there, into arrays of the frame.

    seen (h, w): triangles in a window whose first pixel is in row `top`, column `left`; -1 for none. smooth: whether
    corner normals (T, 3, 3) are interpolated; where they are none, the face's is taken. leaning: cosine below which a
    normal leans away from its triangle's.
    """
    eye = scan_from_camera[0, 3], scan_from_camera[1, 3], scan_from_camera[2, 3]
    for i in range(top, top + seen.shape[0]):
        for j in range(left, left + seen.shape[1]):
            t = seen[i - top, j - left]
            if t < 0:
                continue
            ray = _ray(i, j, focal_px, center_px, scan_from_camera)
            a, b, c = _corners(t, positions, triangles)
            depth, weights, face = _meet(eye, ray, a, b, c)
            if not np.float32(depth) < to_depth[i, j]:  # a ray has z = 1: its parameter is planar depth
                continue
            back = _dot(face, ray) > 0
            sign = -1.0 if back else 1.0
            face = _times(sign / max(np.sqrt(_dot(face, face)), 1e-30), face)
            normal = _interpolate(weights, normals, t, ray, sign, face) if smooth else face
            to_depth[i, j], to_instance[i, j], to_triangle[i, j] = depth, number, t
            to_back[i, j], to_leaning[i, j] = back, _dot(normal, face) < leaning
            for x in range(3):
                column = scan_from_camera[0, x], scan_from_camera[1, x], scan_from_camera[2, x]
                to_normal[i, j, x] = _dot(normal, column)
            to_weights[i, j, 0], to_weights[i, j, 1], to_weights[i, j, 2] = weights


@numba.njit(cache=True)
def _ray(i, j, focal_px, center_px, scan_from_camera):  # pragma: no cover - compiled
    x, y = (j + 0.5 - center_px[0]) / focal_px, (i + 0.5 - center_px[1]) / focal_px
    r = scan_from_camera
    return (
        x * r[0, 0] + y * r[0, 1] + r[0, 2],
        x * r[1, 0] + y * r[1, 1] + r[1, 2],
        x * r[2, 0] + y * r[2, 1] + r[2, 2],
    )


@numba.njit(cache=True)
def _meet(origin, ray, a, b, c):  # pragma: no cover - compiled
    """Ray parameter and barycentrics of a point of a triangle, clipped into it, and the face normal, not unit.

    Moeller and Trumbore 1997.
    """
    edge1, edge2, s = _minus(b, a), _minus(c, a), _minus(origin, a)
    face, q = _cross(edge1, edge2), _cross(s, ray)
    determinant = _dot(face, ray)
    if abs(determinant) < 1e-300:
        determinant = 1e-300
    u, v = -_dot(edge2, q) / determinant, _dot(edge1, q) / determinant
    w0, w1, w2 = min(max(1 - u - v, 0.0), 1.0), min(max(u, 0.0), 1.0), min(max(v, 0.0), 1.0)
    total = w0 + w1 + w2
    w0, w1, w2 = w0 / total, w1 / total, w2 / total
    # The depth of the clipped point: a plane seen edge-on has no exact depth, a point of the triangle has.
    point = _minus((w1 * edge1[0] + w2 * edge2[0], w1 * edge1[1] + w2 * edge2[1], w1 * edge1[2] + w2 * edge2[2]), s)
    return _dot(point, ray) / _dot(ray, ray), (w0, w1, w2), face


@numba.njit(cache=True)
def _interpolate(weights, normals, t, ray, sign, face):  # pragma: no cover - compiled
    """Unit normal between those of the corners, towards where the ray comes from; `face` where they are none."""
    mean = (
        weights[0] * normals[t, 0, 0] + weights[1] * normals[t, 1, 0] + weights[2] * normals[t, 2, 0],
        weights[0] * normals[t, 0, 1] + weights[1] * normals[t, 1, 1] + weights[2] * normals[t, 2, 1],
        weights[0] * normals[t, 0, 2] + weights[1] * normals[t, 1, 2] + weights[2] * normals[t, 2, 2],
    )
    length = _dot(mean, mean)
    if length < 1e-12:
        return face
    normal = _times(sign / np.sqrt(length), mean)
    ray = _times(1 / np.sqrt(_dot(ray, ray)), ray)
    cosine = _dot(normal, ray)
    if cosine > 0:  # leans away from the ray: the nearest direction that is seen edge-on
        normal = _minus(normal, _times(cosine, ray))
        normal = _times(1 / max(np.sqrt(_dot(normal, normal)), 1e-30), normal)
    return normal


@numba.njit(cache=True)
def _corners(t, positions, triangles):  # pragma: no cover - compiled
    return _row(positions, triangles[t, 0]), _row(positions, triangles[t, 1]), _row(positions, triangles[t, 2])


@numba.njit(cache=True)
def _row(array, k):  # pragma: no cover - compiled
    # Numbers by themselves: a row as an array would be counted by whom it is held.
    return array[k, 0], array[k, 1], array[k, 2]


@numba.njit(cache=True)
def _dot(a, b):  # pragma: no cover - compiled
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(cache=True)
def _minus(a, b):  # pragma: no cover - compiled
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@numba.njit(cache=True)
def _times(factor, a):  # pragma: no cover - compiled
    return factor * a[0], factor * a[1], factor * a[2]


@numba.njit(cache=True)
def _cross(a, b):  # pragma: no cover - compiled
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
