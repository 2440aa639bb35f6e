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
    material = np.asarray(scan.material)[triangle]
    out = np.empty((len(triangle), 3), np.float32)
    facts = scan.facts.materials
    pictures = {k for k in range(len(facts)) if facts[k].texture is not None}
    if not pictures and scan.colors is not None:
        _vertex_colours(out, triangle, weights, np.asarray(scan.colors), linear_codes())
        return out
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
    corner, side = np.empty((3, 3)), np.empty((3, 3))
    ray, uv = np.empty((3, 3)), np.empty((4, 2))
    share = np.empty((3, 3))
    height, width = shapes[0, 0], shapes[0, 1]
    spread = off if off > 0 else 0.05
    taps = 4 if off > 0 else 1
    for x in range(3):  # a step to the right and one down, of a ray scaled to z = 1
        ray[1, x], ray[2, x] = scan_from_camera[x, 0] * spread / focal, scan_from_camera[x, 1] * spread / focal
    for s in samples:
        t = triangle[s]
        depth = 0.0
        for x in range(3):
            ray[0, x] = 0.0
            for k in range(3):
                corner[k, x] = positions[triangles[t, k], x] - scan_from_camera[x, 3]
                ray[0, x] += weights[s, k] * corner[k, x]
            depth += ray[0, x] * scan_from_camera[x, 2]
        for x in range(3):
            ray[0, x] /= depth
        # Barycentrics of a ray are its products with the normals of the planes through the eye and an edge.
        for k in range(3):
            a, b = (k + 1) % 3, (k + 2) % 3
            for x in range(3):
                y, z = (x + 1) % 3, (x + 2) % 3
                side[k, x] = corner[a, y] * corner[b, z] - corner[a, z] * corner[b, y]
            for step in range(3):
                share[step, k] = ray[step, 0] * side[k, 0] + ray[step, 1] * side[k, 1] + ray[step, 2] * side[k, 2]
        for tap in range(4):
            right, down = (1.0 if tap & 1 else -1.0), (1.0 if tap & 2 else -1.0)
            total, u, v = 0.0, 0.0, 0.0
            for k in range(3):
                mine = share[0, k] + right * share[1, k] + down * share[2, k]
                total += mine
                u += mine * uvs[t, k, 0]
                v += mine * uvs[t, k, 1]
            if total == 0:
                total = 1e-30
            uv[tap, 0], uv[tap, 1] = u / total, v / total
        # Texels per pixel to the right and down, from the taps' own differences.
        rx, ry = (uv[1, 0] - uv[0, 0]) * width / (2 * spread), (uv[1, 1] - uv[0, 1]) * height / (2 * spread)
        dx, dy = (uv[2, 0] - uv[0, 0]) * width / (2 * spread), (uv[2, 1] - uv[0, 1]) * height / (2 * spread)
        long = max(np.sqrt(rx * rx + ry * ry), np.sqrt(dx * dx + dy * dy), 1e-6)
        short = max(abs(rx * dy - ry * dx) / long, long / _MOST_ANISOTROPY)
        level = np.log2(max(_TAP_PX * np.sqrt(long * short), 1e-6))
        level = min(max(level, 0.0), len(shapes) - 1.0)
        lower = int(level)
        upper = lower + 1 if level > lower else lower
        share_up = level - lower
        if taps == 1:
            uv[0, 0], uv[0, 1] = uv[:, 0].mean(), uv[:, 1].mean()
        red, green, blue = 0.0, 0.0, 0.0
        for tap in range(taps):
            r, g, b = _bilinear(uv[tap, 0], uv[tap, 1], texels, shapes[lower], starts[lower])
            if upper > lower:
                r2, g2, b2 = _bilinear(uv[tap, 0], uv[tap, 1], texels, shapes[upper], starts[upper])
                r, g, b = r + share_up * (r2 - r), g + share_up * (g2 - g), b + share_up * (b2 - b)
            red, green, blue = red + _linear(r, decode), green + _linear(g, decode), blue + _linear(b, decode)
        out[s, 0], out[s, 1], out[s, 2] = red / taps, green / taps, blue / taps


@numba.njit(cache=True, inline="always")
def _linear(code, decode):  # pragma: no cover - compiled
    whole = min(int(code), 254)
    return decode[whole] + np.float32(code - whole) * (decode[whole + 1] - decode[whole])


@numba.njit(cache=True, inline="always")
def _bilinear(u, v, texels, shape, start):  # pragma: no cover - compiled
    """Mean code between four texels, by their weights; texels hold three colours and a weight in 32 bits."""
    h, w = shape[0], shape[1]
    x, y = (u - np.floor(u)) * w - 0.5, (1 - (v - np.floor(v))) * h - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = np.float32(x - x0), np.float32(y - y0)
    x1, y1 = x0 + 1, y0 + 1
    x0, x1 = x0 + w if x0 < 0 else x0, x1 - w if x1 >= w else x1
    y0, y1 = y0 + h if y0 < 0 else y0, y1 - h if y1 >= h else y1
    y0, y1 = min(y0, h - 1), min(y1, h - 1)
    total = red = green = blue = np.float32(0)
    one = np.float32(1)
    for corner in range(4):
        at = start + (y1 if corner & 2 else y0) * w + (x1 if corner & 1 else x0)
        texel = texels[at]
        share = (fy if corner & 2 else one - fy) * (fx if corner & 1 else one - fx) * np.float32(texel >> 24)
        total += share
        red += share * np.float32(texel & 255)
        green += share * np.float32((texel >> 8) & 255)
        blue += share * np.float32((texel >> 16) & 255)
    scale = one / max(total, np.float32(1e-6))
    return red * scale, green * scale, blue * scale
