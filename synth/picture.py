"""Pictures that people bring: read with care."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from synth.errors import UserError

#: Largest picture that is read: a 200-megapixel camera's.
MOST_PIXELS = 200_000_000


def read_picture(path: Path, mode: str = "RGB", least: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 sRGB, or (H, W) for mode L; turned as its EXIF says. Raises UserError in one line.

    least: a JPEG may come smaller, but no side below this many pixels: reading it is then several times faster.
    """
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise UserError(f"{path}: {picture.width} x {picture.height} pixels are too many")
            if least is not None:
                picture.draft(None, (least, least))
            return np.array(ImageOps.exif_transpose(picture).convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable picture: {error}") from error
