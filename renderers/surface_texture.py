"""A texture that may be looked up at any size: a pyramid of box-filtered pictures and a filter along the footprint.

Colours are averaged as light, not as sRGB codes. Texels that no triangle uses, or that alpha hides, hardly count: an
atlas is full of gaps in colours of their own, which would else bleed into the seams. Used by `renderers.surface`.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from renderers.film import srgb_from_linear, to_8bit
from synth.scans import BadScan

#: Steps along the longer side of a pixel's footprint: beyond so many it is seen at its rim, and blurred instead.
_MAX_TAPS = 8
#: A texel's share of the footprint's shorter side at which it is looked up; held against Blender's pixel filter.
_SHARPNESS = 0.85
#: Weight of texels that only an outer edge touches, of 255: not every atlas is painted up to there, but where one is
#: they are nearer than any other.
_RIM_WEIGHT = 16
#: Pixels looked up, and triangles drawn, at a time, for memory.
_BLOCK = 1 << 16
#: Rows of a picture that are averaged at a time, for memory.
_STRIP = 256


def linear_codes() -> np.ndarray:
    """Linear value of each 8-bit sRGB code: (256,) float32, the inverse of `srgb_from_linear`."""
    code = np.arange(256) / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


_LINEAR = linear_codes()


class Pyramid:
    """A picture at its size, a half, a quarter, … as 8-bit sRGB with a weight: 5.3 bytes a texel.

    rgb (h, w, 3) uint8 sRGB, row 0 on top; weight (h, w) uint8, how much each texel counts, taken as 1 at least. It
    repeats in both directions.

    shapes (N, 2): height and width of each size. starts (N,): where its texels begin in texels (K, 4) uint8, colour and
    weight.
    """

    def __init__(self, rgb: np.ndarray, weight: np.ndarray):
        shapes = [rgb.shape[:2]]
        while max(shapes[-1]) > 1:
            shapes.append(tuple((side + 1) // 2 for side in shapes[-1]))
        self.shapes = np.array(shapes)
        starts = np.cumsum([0, *self.shapes.prod(axis=1)])
        self.starts = starts[:-1]
        self.texels = np.empty((starts[-1], 4), np.uint8)
        weight = np.maximum(weight, 1)
        for number, start in enumerate(self.starts):
            if number:
                rgb, weight = _halve(rgb, weight)
            self.texels[start : starts[number + 1], :3] = rgb.reshape(-1, 3)
            self.texels[start : starts[number + 1], 3] = weight.ravel()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), texels."""
        return int(self.shapes[0, 1]), int(self.shapes[0, 0])

    def look_up(self, uv: np.ndarray, uv_per_pixel: np.ndarray) -> np.ndarray:
        """Linear colours (K, 3) float32 averaged over the footprints of pixels.

        uv (K, 2), v up; uv_per_pixel (K, 2, 2): what u and v (rows) change by from a pixel to the next one, right and
        down (columns). Trilinear; along the longer side of a footprint by several steps.
        """
        colour = np.empty((len(uv), 3), np.float32)
        for start in range(0, len(uv), _BLOCK):
            block = slice(start, start + _BLOCK)
            colour[block] = self._look_up(uv[block], uv_per_pixel[block])
        return colour

    def _look_up(self, uv: np.ndarray, uv_per_pixel: np.ndarray) -> np.ndarray:
        size = np.array(self.size)
        texels = uv_per_pixel * size[:, None]
        longest, long_axis, shortest = _axes(texels)
        taps = np.clip(np.ceil(longest / np.maximum(shortest, 1.0)), 1, _MAX_TAPS).astype(int)
        level = np.log2(np.maximum(_SHARPNESS * np.maximum(shortest, longest / taps), 1e-6))
        level = np.clip(level, 0, len(self.shapes) - 1)
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
            colour[some] = total[:, :3] / total[:, 3:]
        return colour

    def _trilinear(self, at: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Linear colours times weight, and weight (K, 4), at places (K, 2) in texels of the full size."""
        lower = np.floor(level).astype(int)
        share = (level - lower).astype(np.float32)
        value = self._bilinear(at, lower) * (1 - share)[:, None]
        between = np.flatnonzero(share > 0)
        value[between] += self._bilinear(at[between], lower[between] + 1) * share[between, None]
        return value

    def _bilinear(self, at: np.ndarray, level: np.ndarray) -> np.ndarray:
        h, w = self.shapes[level].T
        start = self.starts[level]
        x, y = (at / (2.0**level)[:, None] - 0.5).T
        x0, y0 = np.floor(x), np.floor(y)
        fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
        x0, y0 = x0.astype(np.int64), y0.astype(np.int64)
        value = np.zeros((len(at), 4), np.float32)
        texels = self.texels.view(np.uint32)[:, 0]  # one number a texel: fetched at once
        for dy, wy in ((0, 1 - fy), (1, fy)):
            row = start + (y0 + dy) % h * w
            for dx, wx in ((0, 1 - fx), (1, fx)):
                texel = texels[row + (x0 + dx) % w].view(np.uint8).reshape(-1, 4)
                weight = wy * wx * texel[:, 3]
                value[:, :3] += weight[:, None] * _LINEAR[texel[:, :3]]
                value[:, 3] += weight
        return value


def load_pyramid(path: Path, uvs: np.ndarray, alpha: np.ndarray | None, most_px: int | None = None) -> Pyramid:
    """The pyramid of a prepared texture that triangles with uvs (T, 3, 2) use; alpha (h, w) uint8 or None.

    most_px: width or height from which on a smaller picture will do, for thumbnails; less than twice that is kept.
    Raises BadScan when it cannot be read.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if most_px is not None:
                image.draft("RGB", (most_px, most_px))  # a JPEG is decoded at a half, a quarter or an eighth
            picture = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadScan(f"{path}: the prepared texture cannot be loaded; delete its folder and run again") from error
    if most_px is not None:
        picture = picture.reduce(max(1, max(picture.size) // most_px))
    rgb = np.asarray(picture)
    del picture, image  # a third more than the array
    weight = draw_used_texels(rgb.shape[:2], uvs)
    if alpha is not None and alpha.shape != weight.shape:
        alpha = np.asarray(Image.fromarray(alpha).resize(weight.shape[::-1], Image.Resampling.BOX))
    return Pyramid(rgb, weight if alpha is None else np.minimum(weight, alpha))


def draw_used_texels(shape: tuple[int, int], uvs: np.ndarray) -> np.ndarray:
    """How much triangles of uvs (T, 3, 2) use each texel of a picture of a shape (h, w): (h, w) uint8, row 0 on top.

    255 inside of them, 16 where only an outer edge touches the texel, 0 elsewhere.
    Triangles on repeats of the picture are drawn on the one that holds their middle.
    """
    h, w = shape
    picture = Image.new("L", (w, h))
    draw = ImageDraw.Draw(picture)
    for start in range(0, len(uvs), _BLOCK):
        some = uvs[start : start + _BLOCK]
        some = some - np.floor(some.mean(axis=1, keepdims=True))
        corners = np.stack([some[..., 0] * w, (1 - some[..., 1]) * h], axis=-1)
        for triangle in corners.reshape(-1, 6).tolist():  # as Python's numbers they take ten times the room
            draw.polygon(triangle, fill=1)
    # Pillow takes a corner for the texel it lies in, and draws all that an edge touches.
    touched = np.array(picture)
    inside = touched.copy()
    inside[1:] &= touched[:-1]
    inside[:-1] &= touched[1:]
    inside[:, 1:] &= touched[:, :-1]
    inside[:, :-1] &= touched[:, 1:]
    return touched * np.uint8(_RIM_WEIGHT) + inside * np.uint8(255 - _RIM_WEIGHT)


def _halve(rgb: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means of two by two texels, and mean weights; an odd last row or column is doubled."""
    h, w = rgb.shape[:2]
    small = np.empty(((h + 1) // 2, (w + 1) // 2, 3), np.uint8)
    small_weight = np.empty(small.shape[:2], np.uint8)
    for top in range(0, h, _STRIP):
        strip = slice(top, min(top + _STRIP, h))
        into = slice(top // 2, (strip.stop + 1) // 2)
        share = weight[strip].astype(np.float32)[..., None]
        mean = _mean_of_four(share)
        small[into] = to_8bit(srgb_from_linear(_mean_of_four(_LINEAR[rgb[strip]] * share) / mean))
        small_weight[into] = np.ceil(mean[..., 0])
    return small, small_weight


def _mean_of_four(values: np.ndarray) -> np.ndarray:
    h, w = values.shape[:2]
    if h % 2 or w % 2:
        values = np.pad(values, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]) / 4


def _axes(jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Longest extent (K,), its direction (K, 2), unit, and shortest (K,) of the unit disc's images by (K, 2, 2)."""
    product = jacobian @ np.swapaxes(jacobian, 1, 2)
    half = (product[:, 0, 0] + product[:, 1, 1]) / 2
    difference = (product[:, 0, 0] - product[:, 1, 1]) / 2
    root = np.hypot(difference, product[:, 0, 1])
    angle = np.arctan2(product[:, 0, 1], difference) / 2
    axis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sqrt(half + root), axis, np.sqrt(np.maximum(half - root, 0))
