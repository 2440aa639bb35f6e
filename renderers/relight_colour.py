"""The scan's colour at samples of a view, filtered as the pixel filter does: small taps around each sample.

A texture is interpolated between texels as codes, then decoded, as Cycles does, so that magnified texels look the same;
smaller pictures of the pyramid stand for the means of many. Used by `renderers.relight`.
"""

import numba
import numpy as np

from renderers.surface import ScanPaint
from renderers.surface_texture import linear_codes
from synth.camera import Camera

#: Side of what a tap answers for, pixels, and its distance from the sample along both axes for four taps: together
#: they spread as Cycles' Blackman-Harris filter of 1.5 px does, whose standard deviation is 0.2 px.
_TAP_PX, _TAP_OFF_PX = 0.58, 0.28
#: The longer side of a footprint is taken to be at most so many times the shorter.
_MOST_ANISOTROPY = 4.0


def colours(
    paint: ScanPaint, triangle: np.ndarray, weights: np.ndarray, camera: Camera, scan_from_camera: np.ndarray, taps: int
) -> np.ndarray:
    """Linear colours (S, 3) float32 at triangles (S,) and barycentrics (S, 3). taps: 4 for a whole pixel's sample, 1
    for one of many."""
    scan = paint.scan
    out = np.empty((len(triangle), 3), np.float32)
    facts = scan.facts.materials
    pictures = {k for k in range(len(facts)) if facts[k].texture is not None}
    if not pictures and scan.colors is not None:
        _vertex_colours(out, triangle, weights, np.asarray(scan.colors), linear_codes())
        return out
    material = np.asarray(scan.material)[triangle] if len(facts) > 1 else np.zeros(1, int)
    for k in np.unique(material):
        of_k = np.flatnonzero(material == k) if len(facts) > 1 else np.arange(len(triangle))
        if k not in pictures:
            if scan.colors is not None:
                raise ValueError("a scan has textures or vertex colours")
            out[of_k] = facts[k].base_color[:3]
            continue
        pyramid, decode = paint.pyramid(int(k)), linear_codes()
        _texture(
            out, of_k, triangle, weights, np.asarray(scan.positions), np.asarray(scan.triangles), np.asarray(scan.uvs),
            scan_from_camera, camera.focal_px, pyramid.texels.view("<u4")[:, 0], pyramid.shapes, pyramid.starts, decode,
            _TAP_OFF_PX if taps == 4 else 0.0,
        )  # fmt: skip
    return out


@numba.njit(cache=True)
def _vertex_colours(out, triangle, weights, colors, decode):  # pragma: no cover - compiled
    for s in range(len(out)):
        for c in range(3):
            value = np.float32(0)
            for k in range(3):
                value += weights[s, k] * decode[colors[triangle[s], k, c]]
            out[s, c] = value


@numba.njit(cache=True)
def _texture(
    out, samples, triangle, weights, positions, triangles, uvs, scan_from_camera, focal, texels, shapes, starts,
    decode, off,
):  # pragma: no cover - compiled  # fmt: skip
    spread = off if off > 0 else 0.05
    wide, high = shapes[0, 1] / (2 * spread), shapes[0, 0] / (2 * spread)
    one, two = np.float32(1), np.float32(2)
    last = -1
    for s in samples:
        t = triangle[s]
        if t != last:
            last = t
            volume, depth, right, down = _steps(t, positions, triangles, uvs, scan_from_camera, spread, focal)
        w0, w1, w2 = weights[s, 0], weights[s, 1], weights[s, 2]
        scale = volume / (w0 * depth[0] + w1 * depth[1] + w2 * depth[2])
        here = (
            (w0 + w1 + w2) * scale,
            (w0 * uvs[t, 0, 0] + w1 * uvs[t, 1, 0] + w2 * uvs[t, 2, 0]) * scale,
            (w0 * uvs[t, 0, 1] + w1 * uvs[t, 1, 1] + w2 * uvs[t, 2, 1]) * scale,
        )
        u0, v0 = _beside(here, -1.0, right, -1.0, down)
        u1, v1 = _beside(here, 1.0, right, -1.0, down)
        u2, v2 = _beside(here, -1.0, right, 1.0, down)
        u3, v3 = _beside(here, 1.0, right, 1.0, down)
        # Texels per pixel to the right and down, from the taps' own differences.
        rx, ry = (u1 - u0) * wide, (v1 - v0) * high
        dx, dy = (u2 - u0) * wide, (v2 - v0) * high
        long = max(np.sqrt(max(rx * rx + ry * ry, dx * dx + dy * dy)), 1e-6)
        short = max(abs(rx * dy - ry * dx) / long, long / _MOST_ANISOTROPY)
        level = 0.5 * np.log2(max(_TAP_PX * _TAP_PX * long * short, 1e-12))
        level = min(max(level, 0.0), len(shapes) - 1.0)
        lower = int(level)
        up = np.float32(level - lower)
        upper = lower + 1 if up > 0 else lower
        near = texels, starts[lower], shapes[lower, 0], shapes[lower, 1]
        far = texels, starts[upper], shapes[upper, 0], shapes[upper, 1]
        if off > 0:
            # Of four, two that lie across from each other look at the larger picture, two at the smaller.
            of_near, of_far = (two * (one - up), two * up) if up > 0 else (one, one)
            a, b = _decoded(_bilinear(u0, v0, near), decode), _decoded(_bilinear(u1, v1, far), decode)
            c, d = _decoded(_bilinear(u2, v2, far), decode), _decoded(_bilinear(u3, v3, near), decode)
            for x in range(3):
                out[s, x] = (of_near * a[x] + of_far * b[x] + of_far * c[x] + of_near * d[x]) * np.float32(0.25)
        else:
            u, v = (u0 + u1 + u2 + u3) / 4, (v0 + v1 + v2 + v3) / 4
            code, other = _bilinear(u, v, near), _bilinear(u, v, far)
            mixed = (
                code[0] + up * (other[0] - code[0]),
                code[1] + up * (other[1] - code[1]),
                code[2] + up * (other[2] - code[2]),
            )
            out[s, 0], out[s, 1], out[s, 2] = _decoded(mixed, decode)


@numba.njit(cache=True)
def _steps(t, positions, triangles, uvs, scan_from_camera, spread, focal):  # pragma: no cover - compiled
    """Of a triangle seen from the eye: its volume with it, the corners' depths, and by how much the sum of a ray's
    products, and that times u and times v, change with a step of `spread` pixels to the right and down.

    The barycentrics of a ray are its products with the normals of the planes through the eye and an edge, over their
    sum; so u and v of the taps are quotients of what is linear in the picture, and most of it is the triangle's own.
    """
    a, b, c = (
        _from_eye(positions, triangles[t, 0], scan_from_camera),
        _from_eye(positions, triangles[t, 1], scan_from_camera),
        _from_eye(positions, triangles[t, 2], scan_from_camera),
    )
    of_a, of_b, of_c = _cross(b, c), _cross(c, a), _cross(a, b)
    depth = _along(a, scan_from_camera, 2), _along(b, scan_from_camera, 2), _along(c, scan_from_camera, 2)
    right = _step(of_a, of_b, of_c, t, uvs, scan_from_camera, 0, spread, focal)
    down = _step(of_a, of_b, of_c, t, uvs, scan_from_camera, 1, spread, focal)
    return a[0] * of_a[0] + a[1] * of_a[1] + a[2] * of_a[2], depth, right, down


@numba.njit(cache=True)
def _step(of_a, of_b, of_c, t, uvs, scan_from_camera, axis, spread, focal):  # pragma: no cover - compiled
    each = spread / focal
    a, b, c = (
        _along(of_a, scan_from_camera, axis) * each,
        _along(of_b, scan_from_camera, axis) * each,
        _along(of_c, scan_from_camera, axis) * each,
    )
    return (
        a + b + c,
        a * uvs[t, 0, 0] + b * uvs[t, 1, 0] + c * uvs[t, 2, 0],
        a * uvs[t, 0, 1] + b * uvs[t, 1, 1] + c * uvs[t, 2, 1],
    )


@numba.njit(cache=True)
def _beside(here, x, right, y, down):  # pragma: no cover - compiled
    total = here[0] + x * right[0] + y * down[0]
    if total == 0:
        total = 1e-30
    scale = 1 / total
    return (here[1] + x * right[1] + y * down[1]) * scale, (here[2] + x * right[2] + y * down[2]) * scale


@numba.njit(cache=True)
def _from_eye(positions, k, scan_from_camera):  # pragma: no cover - compiled
    return (
        positions[k, 0] - scan_from_camera[0, 3],
        positions[k, 1] - scan_from_camera[1, 3],
        positions[k, 2] - scan_from_camera[2, 3],
    )


@numba.njit(cache=True)
def _along(a, scan_from_camera, axis):  # pragma: no cover - compiled
    return a[0] * scan_from_camera[0, axis] + a[1] * scan_from_camera[1, axis] + a[2] * scan_from_camera[2, axis]


@numba.njit(cache=True)
def _cross(a, b):  # pragma: no cover - compiled
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@numba.njit(cache=True)
def _decoded(code, decode):  # pragma: no cover - compiled
    """Light of codes, interpolated between those of whole ones."""
    return _linear(code[0], decode), _linear(code[1], decode), _linear(code[2], decode)


@numba.njit(cache=True)
def _linear(code, decode):  # pragma: no cover - compiled
    whole = min(np.uint32(code), np.uint32(254))
    return decode[whole] + (code - np.float32(whole)) * (decode[whole + np.uint32(1)] - decode[whole])


@numba.njit(cache=True)
def _bilinear(u, v, picture):  # pragma: no cover - compiled
    """Mean code between four texels, by their weights; texels hold three colours and a weight in 32 bits."""
    texels, start, h, w = picture
    x, y = (u - np.floor(u)) * w - 0.5, (1 - (v - np.floor(v))) * h - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = np.float32(x - x0), np.float32(y - y0)
    x1, y1 = x0 + 1, y0 + 1
    x0, x1 = x0 + w if x0 < 0 else x0, x1 - w if x1 >= w else x1
    y0, y1 = y0 + h if y0 < 0 else y0, y1 - h if y1 >= h else y1
    y0, y1 = min(y0, h - 1), min(y1, h - 1)
    one = np.float32(1)
    upper, lower = start + y0 * w, start + y1 * w
    total = red = green = blue = np.float32(0)
    for at, share in (
        (upper + x0, (one - fy) * (one - fx)),
        (upper + x1, (one - fy) * fx),
        (lower + x0, fy * (one - fx)),
        (lower + x1, fy * fx),
    ):
        texel = texels[np.uint64(at)]
        weight = share * np.float32(texel >> np.uint32(24))
        total += weight
        red += weight * np.float32(texel & np.uint32(255))
        green += weight * np.float32((texel >> np.uint32(8)) & np.uint32(255))
        blue += weight * np.float32((texel >> np.uint32(16)) & np.uint32(255))
    scale = one / max(total, np.float32(1e-6))
    return red * scale, green * scale, blue * scale
