"""Pictures that only exports have: smaller colour for training, and previews for people."""

import io

import numpy as np
from PIL import Image

from synth.report_embed import thumbnail_row
from synth.sample import Sample

#: Colour of the `train` encoding; `benchmarks/exports.py` prints what is lost and won.
TRAIN_QUALITY = 98
_PREVIEW_QUALITY = 88
#: Width and height of each of a preview's three pictures, pixels.
_PREVIEW_TILE = (240, 320)


def jpeg_bytes(array: np.ndarray, quality: int) -> bytes:
    """A JPEG of (H, W, 3) uint8, 4:4:4: halved colour shows on striped cloth."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def preview_bytes(sample: Sample) -> bytes:
    """Colour, depth and normals side by side in 8 bit, a JPEG for a viewer."""
    return jpeg_bytes(thumbnail_row(sample, _PREVIEW_TILE), _PREVIEW_QUALITY)
