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
    """The barycentrics of a ray are its products with the normals of the planes through the eye and an edge, over their
    sum; so u and v of the taps are quotients of what is linear in the picture, and most of it is the triangle's own."""
    height, width = shapes[0, 0], shapes[0, 1]
    spread = off if off > 0 else 0.05
    taps = 4 if off > 0 else 1
    corner, edge, uv = np.empty((3, 3)), np.empty((3, 3)), np.empty((4, 2))
    depth, right, down = np.empty(3), np.empty(3), np.empty(3)  # of the corners; of one, u and v, a step each way
    volume = 0.0
    last = -1
    for s in samples:
        t = triangle[s]
        if t != last:
            last = t
            for k in range(3):
                depth[k] = 0.0
                for x in range(3):
                    corner[k, x] = positions[triangles[t, k], x] - scan_from_camera[x, 3]
                    depth[k] += corner[k, x] * scan_from_camera[x, 2]
            right[:], down[:] = 0.0, 0.0
            for k in range(3):
                a, b = (k + 1) % 3, (k + 2) % 3
                per_right = per_down = 0.0
                for x in range(3):
                    y, z = (x + 1) % 3, (x + 2) % 3
                    edge[k, x] = corner[a, y] * corner[b, z] - corner[a, z] * corner[b, y]
                    per_right += edge[k, x] * scan_from_camera[x, 0] * spread / focal
                    per_down += edge[k, x] * scan_from_camera[x, 1] * spread / focal
                right[0], down[0] = right[0] + per_right, down[0] + per_down
                for x in range(2):
                    right[1 + x] += per_right * uvs[t, k, x]
                    down[1 + x] += per_down * uvs[t, k, x]
            volume = corner[0, 0] * edge[0, 0] + corner[0, 1] * edge[0, 1] + corner[0, 2] * edge[0, 2]
        w0, w1, w2 = weights[s, 0], weights[s, 1], weights[s, 2]
        scale = volume / (w0 * depth[0] + w1 * depth[1] + w2 * depth[2])
        one = (w0 + w1 + w2) * scale
        u = (w0 * uvs[t, 0, 0] + w1 * uvs[t, 1, 0] + w2 * uvs[t, 2, 0]) * scale
        v = (w0 * uvs[t, 0, 1] + w1 * uvs[t, 1, 1] + w2 * uvs[t, 2, 1]) * scale
        for tap in range(4):
            x, y = (1.0 if tap & 1 else -1.0), (1.0 if tap & 2 else -1.0)
            total = one + x * right[0] + y * down[0]
            if total == 0:
                total = 1e-30
            uv[tap, 0], uv[tap, 1] = (u + x * right[1] + y * down[1]) / total, (v + x * right[2] + y * down[2]) / total
        # Texels per pixel to the right and down, from the taps' own differences.
        rx, ry = (uv[1, 0] - uv[0, 0]) * width / (2 * spread), (uv[1, 1] - uv[0, 1]) * height / (2 * spread)
        dx, dy = (uv[2, 0] - uv[0, 0]) * width / (2 * spread), (uv[2, 1] - uv[0, 1]) * height / (2 * spread)
        long = max(np.sqrt(max(rx * rx + ry * ry, dx * dx + dy * dy)), 1e-6)
        short = max(abs(rx * dy - ry * dx) / long, long / _MOST_ANISOTROPY)
        level = 0.5 * np.log2(max(_TAP_PX * _TAP_PX * long * short, 1e-12))
        level = min(max(level, 0.0), len(shapes) - 1.0)
        lower = int(level)
        share_up = np.float32(level - lower)
        upper = lower + 1 if share_up > 0 else lower
        if taps == 1:
            uv[0, 0], uv[0, 1] = uv[:, 0].mean(), uv[:, 1].mean()
        red = green = blue = np.float32(0)
        for tap in range(taps):
            # Of four, two that lie across from each other look at the larger picture, two at the smaller.
            above = upper > lower and (tap == 1 or tap == 2)
            at = upper if above else lower
            r, g, b = _bilinear(uv[tap, 0], uv[tap, 1], texels, shapes[at, 0], shapes[at, 1], starts[at])
            share = np.float32(1)
            if upper > lower and taps == 4:
                share = np.float32(2) * (share_up if above else np.float32(1) - share_up)
            elif upper > lower:
                r2, g2, b2 = _bilinear(
                    uv[tap, 0], uv[tap, 1], texels, shapes[upper, 0], shapes[upper, 1], starts[upper]
                )
                r, g, b = r + share_up * (r2 - r), g + share_up * (g2 - g), b + share_up * (b2 - b)
            red += share * _linear(r, decode)
            green += share * _linear(g, decode)
            blue += share * _linear(b, decode)
        each = np.float32(1) / np.float32(taps)
        out[s, 0], out[s, 1], out[s, 2] = red * each, green * each, blue * each


@numba.njit(cache=True, inline="always")
def _linear(code, decode):  # pragma: no cover - compiled
    whole = min(int(code), 254)
    return decode[whole] + (code - np.float32(whole)) * (decode[whole + 1] - decode[whole])


@numba.njit(cache=True, inline="always")
def _bilinear(u, v, texels, h, w, start):  # pragma: no cover - compiled
    """Mean code between four texels, by their weights; texels hold three colours and a weight in 32 bits."""
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
        texel = texels[start + (y1 if corner & 2 else y0) * w + (x1 if corner & 1 else x0)]
        share = (fy if corner & 2 else one - fy) * (fx if corner & 1 else one - fx) * np.float32(texel >> 24)
        total += share
        red += share * np.float32(texel & 255)
        green += share * np.float32((texel >> 8) & 255)
        blue += share * np.float32((texel >> 16) & 255)
    scale = one / max(total, np.float32(1e-6))
    return red * scale, green * scale, blue * scale
