"""Lookups in a panorama by cubic B-splines, compiled. Used by `renderers.panorama` alone."""

import numba
import numpy as np


@numba.njit(cache=True)
def look_up(panorama, slopes_x, slopes_y, world_from_camera, yaw, wanted):  # pragma: no cover - compiled
    """Colours (H, W, 3) float32 of an equirectangular panorama (h, w, 3) behind pixels, 0 where not wanted (H, W) bool.

    slopes_x (W,), slopes_y (H,): of the pixels' rays, see `synth.camera.pixel_slopes`; world_from_camera (3, 3); yaw in
    radians. Wrapped at the seam, held a texel before the poles, so that no tap of the spline wraps over one.
    """
    h, w = panorama.shape[:2]
    out = np.zeros((len(slopes_y), len(slopes_x), 3), np.float32)
    across, down, column = np.empty(4), np.empty(4), np.empty(4, np.int64)
    r = world_from_camera
    for at in range(wanted.size):
        v, u = at // len(slopes_x), at % len(slopes_x)
        if not wanted[v, u]:
            continue
        rx, ry = slopes_x[u], slopes_y[v]
        dx = r[0, 0] * rx + r[0, 1] * ry + r[0, 2]
        dy = r[1, 0] * rx + r[1, 1] * ry + r[1, 2]
        dz = r[2, 0] * rx + r[2, 1] * ry + r[2, 2]
        x = (0.5 - (np.arctan2(dy, dx) - yaw) / (2 * np.pi)) * w - 0.5
        while x < 0:  # once or twice: a remainder takes longer
            x += w
        while x >= w:
            x -= w
        y = min(max(np.arctan2(np.hypot(dx, dy), dz) / np.pi * h - 0.5, 1.0), h - 3.0)
        left, top = int(np.floor(x)), int(np.floor(y))
        _spline(across, x - left)
        _spline(down, y - top)
        for tap in range(4):
            at_column = left - 1 + tap
            column[tap] = at_column + w if at_column < 0 else at_column - w if at_column >= w else at_column
        red = green = blue = 0.0
        for i in range(4):
            row = min(top - 1 + i, h - 1)
            for j in range(4):
                share = down[i] * across[j]
                red += share * panorama[row, column[j], 0]
                green += share * panorama[row, column[j], 1]
                blue += share * panorama[row, column[j], 2]
        out[v, u, 0], out[v, u, 1], out[v, u, 2] = red, green, blue
    return out


@numba.njit(cache=True, inline="always")
def _spline(weight, t):  # pragma: no cover - compiled
    """Weights of four neighbours of a uniform cubic B-spline at 0 <= t < 1 after the second."""
    s = 1 - t
    weight[0], weight[3] = s * s * s / 6, t * t * t / 6
    weight[1] = (4 - 6 * t * t + 3 * t * t * t) / 6
    weight[2] = (4 - 6 * s * s + 3 * s * s * s) / 6


@numba.njit(cache=True)
def between(coarse):  # pragma: no cover - compiled
    """(2 h - 6, 2 w - 6, 3) from (h, w, 3) float32: the values from the second on, and cubic Lagrange midpoints after
    each."""
    h, w = coarse.shape[:2]
    out = np.empty((2 * h - 6, 2 * w - 6, 3), np.float32)
    tall = np.empty((w, 3), np.float32)
    nine, sixteenth = np.float32(9), np.float32(1 / 16)
    for i in range(2 * h - 6):
        at = i // 2 + 1
        for j in range(w):
            for c in range(3):
                if i % 2:
                    near = nine * (coarse[at, j, c] + coarse[at + 1, j, c])
                    tall[j, c] = (near - coarse[at - 1, j, c] - coarse[at + 2, j, c]) * sixteenth
                else:
                    tall[j, c] = coarse[at, j, c]
        for j in range(w - 3):
            for c in range(3):
                out[i, 2 * j, c] = tall[j + 1, c]
                near = nine * (tall[j + 1, c] + tall[j + 2, c])
                out[i, 2 * j + 1, c] = (near - tall[j, c] - tall[j + 3, c]) * sixteenth
    return out
