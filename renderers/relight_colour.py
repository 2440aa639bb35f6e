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
        pyramid = paint.pyramid(int(k))
        _texture(
            out, of_k, triangle, weights, np.asarray(scan.positions), np.asarray(scan.triangles), np.asarray(scan.uvs),
            scan_from_camera, camera.focal_px, pyramid.texels, pyramid.shapes, pyramid.starts, linear_codes(),
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
    corner = np.empty((3, 3))
    side = np.empty((3, 3))
    ray = np.empty(3)
    uv = np.empty((4, 2))
    code = np.empty(4)
    height, width = shapes[0, 0], shapes[0, 1]
    spread = off if off > 0 else 0.05
    for s in samples:
        t = triangle[s]
        middle, depth = np.zeros(3), 0.0
        for k in range(3):
            for x in range(3):
                corner[k, x] = positions[triangles[t, k], x] - scan_from_camera[x, 3]
                middle[x] += weights[s, k] * corner[k, x]
        for x in range(3):
            depth += middle[x] * scan_from_camera[x, 2]
        for k in range(3):
            a, b = (k + 1) % 3, (k + 2) % 3
            for x in range(3):
                y, z = (x + 1) % 3, (x + 2) % 3
                side[k, x] = corner[a, y] * corner[b, z] - corner[a, z] * corner[b, y]
        for tap in range(4):
            dx, dy = (spread if tap & 1 else -spread) / focal, (spread if tap & 2 else -spread) / focal
            for x in range(3):
                ray[x] = middle[x] / depth + dx * scan_from_camera[x, 0] + dy * scan_from_camera[x, 1]
            total, u, v = 0.0, 0.0, 0.0
            for k in range(3):
                share = ray[0] * side[k, 0] + ray[1] * side[k, 1] + ray[2] * side[k, 2]
                total += share
                u += share * uvs[t, k, 0]
                v += share * uvs[t, k, 1]
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
        upper = min(lower + 1, len(shapes) - 1)
        share_up = level - lower
        value = np.zeros(3)
        if off == 0:
            uv[0, 0], uv[0, 1] = uv[:, 0].mean(), uv[:, 1].mean()
        taps = 4 if off > 0 else 1
        for tap in range(taps):
            code[:] = 0
            _bilinear(code, uv[tap, 0], uv[tap, 1], texels, shapes[lower], starts[lower], 1 - share_up)
            if share_up > 0:
                _bilinear(code, uv[tap, 0], uv[tap, 1], texels, shapes[upper], starts[upper], share_up)
            for c in range(3):
                whole = min(int(code[c]), 254)
                value[c] += decode[whole] + (code[c] - whole) * (decode[whole + 1] - decode[whole])
        for c in range(3):
            out[s, c] = value[c] / taps


@numba.njit(cache=True)
def _bilinear(code, u, v, texels, shape, start, factor):  # pragma: no cover - compiled
    """Adds factor times the mean code between four texels, by their weights."""
    h, w = shape[0], shape[1]
    x, y = (u - np.floor(u)) * w - 0.5, (1 - (v - np.floor(v))) * h - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    total, red, green, blue = 0.0, 0.0, 0.0, 0.0
    for dy in range(2):
        row = start + (y0 + dy) % h * w
        for dx in range(2):
            at = row + (x0 + dx) % w
            weight = (fy if dy else 1 - fy) * (fx if dx else 1 - fx) * texels[at, 3]
            total += weight
            red += weight * texels[at, 0]
            green += weight * texels[at, 1]
            blue += weight * texels[at, 2]
    if total > 0:
        code[0] += factor * red / total
        code[1] += factor * green / total
        code[2] += factor * blue / total
