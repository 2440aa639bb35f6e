"""A texture that may be looked up at any size: a pyramid of box-filtered pictures and a filter along the footprint.

Colours are averaged as light, not as sRGB codes; where a picture has alpha, hidden texels do not count. Used by
`renderers.surface`.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from renderers.film import srgb_from_linear, to_8bit
from synth.scans import BadScan

#: Steps along the longer side of a pixel's footprint: beyond so many it is seen at its rim, and blurred instead.
_MAX_TAPS = 8
#: A texel's share of the footprint's shorter side at which it is looked up; held against Blender's pixel filter.
_SHARPNESS = 1.0
#: Rows of a picture that are averaged at a time, for memory.
_STRIP = 256


def linear_codes() -> np.ndarray:
    """Linear value of each 8-bit sRGB code: (256,) float32, the inverse of `srgb_from_linear`."""
    code = np.arange(256) / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


_LINEAR = linear_codes()


class Pyramid:
    """A picture at its size, a half, a quarter, … as 8-bit sRGB: a third more memory than the picture.

    rgb (h, w, 3) uint8 sRGB, row 0 on top; alpha (h, w) uint8 or None. It repeats in both directions.
    """

    def __init__(self, rgb: np.ndarray, alpha: np.ndarray | None = None):
        levels, shapes = [], []
        while True:
            shapes.append(rgb.shape[:2])
            levels.append((rgb, alpha))
            if max(rgb.shape[:2]) == 1:
                break
            rgb, alpha = _halve(rgb, alpha)
        self._rgb = np.concatenate([level.reshape(-1, 3) for level, _ in levels])
        self._alpha = None if alpha is None else np.concatenate([level.ravel() for _, level in levels])
        self._shapes = np.array(shapes)
        self._starts = np.cumsum([0, *(h * w for h, w in shapes)])[:-1]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), texels."""
        return int(self._shapes[0, 1]), int(self._shapes[0, 0])

    def look_up(self, uv: np.ndarray, uv_per_pixel: np.ndarray) -> np.ndarray:
        """Linear colours (K, 3) float32 averaged over the footprints of pixels.

        uv (K, 2), v up; uv_per_pixel (K, 2, 2): what u and v (rows) change by from a pixel to the next one, right and
        down (columns). Trilinear; along the longer side of a footprint by several steps.
        """
        size = np.array(self.size)
        texels = uv_per_pixel * size[:, None]
        longest, long_axis, shortest = _axes(texels)
        taps = np.clip(np.ceil(longest / np.maximum(shortest, 1.0)), 1, _MAX_TAPS).astype(int)
        level = np.log2(np.maximum(_SHARPNESS * np.maximum(shortest, longest / taps), 1e-6))
        level = np.clip(level, 0, len(self._shapes) - 1)
        at = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)
        at = (at - np.floor(at)) * size
        # Right and down on the picture: v is up, rows go down.
        step = long_axis * np.array([1, -1]) * longest[:, None]
        colour = np.empty((len(uv), 3), np.float32)
        for n in np.unique(taps):
            some = np.flatnonzero(taps == n)
            offsets = (np.arange(n) + 0.5) / n - 0.5
            where = (at[some, None] + offsets[:, None] * step[some, None]).reshape(-1, 2)
            total = self._trilinear(where, np.repeat(level[some], n)).reshape(len(some), n, 4).sum(axis=1)
            colour[some] = total[:, :3] / np.maximum(total[:, 3:], 1e-6)
        return colour

    def _trilinear(self, at: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Linear colours times opacity, and opacity (K, 4), at places (K, 2) in texels of the full size."""
        lower = np.floor(level).astype(int)
        share = (level - lower).astype(np.float32)
        value = self._bilinear(at, lower) * (1 - share)[:, None]
        between = np.flatnonzero(share > 0)
        value[between] += self._bilinear(at[between], lower[between] + 1) * share[between, None]
        return value

    def _bilinear(self, at: np.ndarray, level: np.ndarray) -> np.ndarray:
        h, w = self._shapes[level].T
        start = self._starts[level]
        x, y = (at / (2.0**level)[:, None] - 0.5).T
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
        x0, y0 = x0.astype(np.int64), y0.astype(np.int64)
        value = np.zeros((len(at), 4), np.float32)
        for dy, wy in ((0, 1 - fy), (1, fy)):
            row = start + (y0 + dy) % h * w
            for dx, wx in ((0, 1 - fx), (1, fx)):
                texel = row + (x0 + dx) % w
                weight = wy * wx
                if self._alpha is not None:
                    weight = weight * self._alpha[texel] / np.float32(255)
                value[:, :3] += weight[:, None] * _LINEAR[self._rgb[texel]]
                value[:, 3] += weight
        return value


def load_pyramid(path: Path, alpha: np.ndarray | None) -> Pyramid:
    """The pyramid of a prepared texture. Raises BadScan when it cannot be read."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            rgb = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadScan(f"{path}: the prepared texture cannot be loaded; delete its folder and run again") from error
    return Pyramid(rgb, alpha)


def _halve(rgb: np.ndarray, alpha: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Means of two by two texels; an odd last row or column is doubled."""
    h, w = rgb.shape[:2]
    small = np.empty(((h + 1) // 2, (w + 1) // 2, 3), np.uint8)
    small_alpha = None if alpha is None else np.empty(small.shape[:2], np.uint8)
    for top in range(0, h, _STRIP):
        strip = slice(top, min(top + _STRIP, h))
        into = slice(top // 2, (strip.stop + 1) // 2)
        light = _LINEAR[rgb[strip]]
        if alpha is None:
            mean = _mean_of_four(light)
        else:
            opacity = alpha[strip].astype(np.float32)[..., None]
            covered = _mean_of_four(opacity)
            small_alpha[into] = np.floor(covered[..., 0] + 0.5)
            # Where nothing is opaque any colour does: the plain mean.
            mean = np.where(covered > 0, _mean_of_four(light * opacity) / np.maximum(covered, 1e-6), _mean_of_four(light))
        small[into] = to_8bit(srgb_from_linear(mean))
    return small, small_alpha


def _mean_of_four(values: np.ndarray) -> np.ndarray:
    h, w = values.shape[:2]
    if h % 2 or w % 2:
        values = np.pad(values, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]) / 4


def _axes(jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Longest extent (K,), its direction (K, 2), unit, and shortest extent (K,) of images of the unit disc: (K, 2, 2)."""
    product = jacobian @ np.swapaxes(jacobian, 1, 2)
    half = (product[:, 0, 0] + product[:, 1, 1]) / 2
    difference = (product[:, 0, 0] - product[:, 1, 1]) / 2
    root = np.hypot(difference, product[:, 0, 1])
    angle = np.arctan2(product[:, 0, 1], difference) / 2
    axis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sqrt(half + root), axis, np.sqrt(np.maximum(half - root, 0))
