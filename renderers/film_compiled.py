"""What `renderers.film` does to a finished frame, compiled: the same bytes in a fifth of the time.

Compositing is the same arithmetic in the same order. The transfer function to 8 bit only ever rises, so that each code
begins at a certain float; those 255 floats are found with `renderers.film` itself, and a table by leading bits says
between which of them a value can lie.
"""

import functools

import numba
import numpy as np

from renderers.film import composite, develop, srgb_from_linear, to_8bit
from synth.recipe import Film

#: Trailing bits of a float32 that the table does not tell apart: 512 steps to a doubling.
_SHIFT = 14
#: A float32 from here on is 1 or more, by its bits.
_ONE = 0x3F800000


def develop_over(premultiplied: np.ndarray, background: np.ndarray, film: Film) -> np.ndarray:
    """`develop(composite(...))` of linear colour (H, W, 4) float32, premultiplied, over a background (H, W, 3)."""
    exposure = np.float32(2.0**film.exposure_ev)
    if film.view_transform != "Standard" or background.dtype != np.float32:
        alpha = np.clip(premultiplied[..., 3], 0, 1)
        return develop(composite(premultiplied[..., :3], alpha, background), film)
    return _develop(premultiplied, np.ascontiguousarray(background), exposure, *_codes())


@numba.njit(cache=True)
def coverage_8bit(premultiplied):  # pragma: no cover - compiled
    """`to_8bit` of the last of four channels: (H, W) uint8 of (H, W, 4) float32."""
    out = np.empty(premultiplied.shape[:2], np.uint8)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            unit = min(max(premultiplied[i, j, 3], np.float32(0)), np.float32(1))
            out[i, j] = np.uint8(unit * np.float32(255) + np.float32(0.5))
    return out


@functools.cache
def _codes() -> tuple[np.ndarray, np.ndarray]:
    """The least float32 of each code from 1 to 255, and the code at the start of each run of 2 ** _SHIFT floats."""
    low, high = np.zeros(255, np.int64), np.full(255, _ONE, np.int64)  # positive floats rise as their bits do
    wanted = np.arange(1, 256)
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = _code(middle) >= wanted
        high, low = np.where(reached, middle, high), np.where(reached, low, middle)
    return high.astype(np.uint32).view(np.float32), _code(np.arange((_ONE >> _SHIFT) + 1) << _SHIFT)


def _code(bits: np.ndarray) -> np.ndarray:
    return to_8bit(srgb_from_linear(bits.astype(np.uint32).view(np.float32)))


@numba.njit(cache=True)
def _develop(premultiplied, background, exposure, least, table):  # pragma: no cover - compiled
    h, w = background.shape[:2]
    out = np.empty((h, w, 3), np.uint8)
    light = np.empty((w, 3), np.float32)
    bits = light.view(np.uint32)
    for i in range(h):
        for j in range(w):
            alpha = min(max(premultiplied[i, j, 3], np.float32(0)), np.float32(1))
            for c in range(3):
                light[j, c] = (premultiplied[i, j, c] + (np.float32(1) - alpha) * background[i, j, c]) * exposure
        for j in range(w):
            for c in range(3):
                value = light[j, c]
                if not value > 0:
                    out[i, j, c] = 0
                elif value >= 1:
                    out[i, j, c] = 255
                else:
                    code = np.uint32(table[bits[j, c] >> np.uint32(_SHIFT)])
                    while code < 255 and value >= least[code]:
                        code += np.uint32(1)
                    out[i, j, c] = code
    return out
