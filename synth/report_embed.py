"""A sample's pictures as `data:` addresses: which pictures a page holds, in which files and at which size.

Labels are PNG, so that a pixel's colour can be turned back into its value on the page; colour is JPEG. Next:
`synth.report_page`.
"""

import base64
import io

import numpy as np
from PIL import Image

from synth.report_pictures import (
    OUTLINE,
    depth_codes,
    depth_colors,
    depth_levels,
    mask_edge,
    mask_picture,
    normal_picture,
    shrink_labels,
)
from synth.sample import Sample

_JPEG_QUALITY = 90
#: Points of fewer rows than this look like bricks.
_CLOUD_ROWS = 256

#: What a thumbnail shows, from left to right.
TILES = ("rgb", "depth", "normal")


def embed_pictures(sample: Sample, height: int) -> dict[str, str]:
    """{name: data address}, in the order they are shown, none higher than `height` pixels.

    Names: rgb, depth, normal, mask, alpha, then albedo and trust where the sample has them; and two that are not shown
    by themselves: `outline`, the mask's edge on a transparent picture, to be laid over rgb, and `cloud`, see
    `synth.report_pictures.depth_codes`, which has half of `height` or, as far as the sample has them, 256 rows.
    """
    instance = shrink_labels(sample.instance, height)
    pictures = {
        "rgb": _jpeg(_shrink_colour(sample.rgb, height)),
        "depth": _palette_png(depth_levels(sample, height), depth_colors()),
        "normal": _png(normal_picture(shrink_labels(sample.normal, height))),
        "mask": _png(mask_picture(instance)),
        "alpha": _png(_shrink_colour(sample.alpha, height)),
    }
    if sample.albedo is not None:
        pictures["albedo"] = _jpeg(_shrink_colour(sample.albedo, height))
    if sample.trust is not None:
        pictures["trust"] = _png(shrink_labels(sample.trust, height))
    edge = mask_edge(instance > 0).astype(np.uint8)
    pictures["outline"] = _palette_png(edge, np.array([(0, 0, 0), OUTLINE], np.uint8), transparent=0)
    pictures["cloud"] = _png(depth_codes(sample, max(height // 2, _CLOUD_ROWS)))
    return pictures


def thumbnail_row(sample: Sample, tile: tuple[int, int]) -> np.ndarray:
    """The pictures of `TILES` side by side, each fitted into `tile` (width, height): (height, 3 * width, 3) uint8."""
    width, height = tile
    h, w = sample.mask.shape
    scale = min(width / w, height / h)
    size = max(1, round(w * scale)), max(1, round(h * scale))
    row = Image.new("RGB", (len(TILES) * width, height))
    colour = Image.fromarray(sample.rgb).resize(size, Image.Resampling.BOX)
    labels = depth_colors()[depth_levels(sample, size[1])]
    normals = normal_picture(shrink_labels(sample.normal, size[1]))
    for k, picture in enumerate((colour, Image.fromarray(labels), Image.fromarray(normals))):
        left, top = k * width + (width - size[0]) // 2, (height - size[1]) // 2
        row.paste(picture.resize(size, Image.Resampling.NEAREST), (left, top))
    return np.asarray(row)


def _shrink_colour(array: np.ndarray, height: int) -> np.ndarray:
    h, w = array.shape[:2]
    if h <= height:
        return array
    return np.asarray(Image.fromarray(array).resize((max(1, round(w * height / h)), height), Image.Resampling.LANCZOS))


def _jpeg(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return _address("image/jpeg", buffer)


def _png(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return _address("image/png", buffer)


def _palette_png(levels: np.ndarray, colors: np.ndarray, **options: int) -> str:
    """levels (H, W) uint8 shown in colors (K, 3): a third of the size of the same picture without a palette."""
    image = Image.fromarray(levels)
    image.putpalette(colors.tobytes())
    if "transparent" in options:
        image.info["transparency"] = options["transparent"]
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _address("image/png", buffer)


def _address(media_type: str, buffer: io.BytesIO) -> str:
    return f"data:{media_type};base64,{base64.b64encode(buffer.getvalue()).decode()}"
