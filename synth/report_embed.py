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
    depth_colors,
    depth_levels,
    mask_edge,
    mask_picture,
    normal_picture,
    shrink_labels,
)
from synth.sample import Sample

_JPEG_QUALITY = 90


def embed_pictures(sample: Sample, height: int) -> dict[str, str]:
    """{name: data address}, in the order they are shown, none higher than `height` pixels.

    Names: rgb, depth, normal, mask, alpha, then albedo and trust where the sample has them, and last `outline`, the
    mask's edge on a transparent picture, to be laid over rgb.
    """
    instance = shrink_labels(sample.instance, height)
    pictures = {
        "rgb": _jpeg(_shrink_colour(sample.rgb, height)),
        "depth": _palette_png(shrink_labels(depth_levels(sample), height), depth_colors()),
        "normal": _png(shrink_labels(normal_picture(sample.normal), height)),
        "mask": _png(mask_picture(instance)),
        "alpha": _png(_shrink_colour(sample.alpha, height)),
    }
    if sample.albedo is not None:
        pictures["albedo"] = _jpeg(_shrink_colour(sample.albedo, height))
    if sample.trust is not None:
        pictures["trust"] = _png(shrink_labels(sample.trust, height))
    edge = mask_edge(instance > 0).astype(np.uint8)
    pictures["outline"] = _palette_png(edge, np.array([(0, 0, 0), OUTLINE], np.uint8), transparent=0)
    return pictures


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
