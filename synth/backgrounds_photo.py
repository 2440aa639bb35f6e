"""Ordinary pictures (JPEG, PNG, WebP, TIFF, BMP) as upright 8-bit sRGB, and whether one is a panorama.

A panorama of 8 bits lights softly and has no sun; a flat photo lights nothing and is only seen, as a plate. Both may
be 2:1, so the content decides: a panorama closes at its left and right edges, and each pole is one point.
"""

import io
import warnings as python_warnings

import numpy as np
from PIL import Image, ImageCms

from synth.backgrounds_picture import MAX_PIXELS, BadPicture, is_two_to_one

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_SMALLEST_PLATE_PX = 256
_SMALLEST_PANORAMA_PX = 64
_ORIENTATION_TAG = 0x0112
#: EXIF orientation -> how to turn the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: What shows through transparent parts, sRGB: neither a light nor a hole.
_BEHIND = 128
_MOST_TRANSPARENT = 0.5
#: Measured on twelve panoramas as JPEGs of 512 and 1024 columns, and on crops of photos: 95 % of the former pass, none
#: of the latter. The step over the seam against the 90th percentile of steps between columns, and against the
#: difference of opposite columns; a pole row's deviation and its steps against those of a typical row.
_SEAM_STEPS, _SEAM_SHARE, _POLE_DEVIATION, _POLE_STEPS = 2.5, 0.6, 1.2, 0.7
#: A frame or backdrop of one colour closes at every edge; the edge column of a real panorama runs from sky to ground.
_EDGE_CONTRAST = 3.0


def read_photo(data: bytes) -> tuple[np.ndarray, list[str]]:
    """Pixels (h, w, 3) uint8, sRGB, upright, row 0 on top; and warnings. Raises BadPicture.

    More than 2**28 pixels are refused before any is decoded. Decoders read strangers' bytes here: call it in a child.
    """
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            return _read(data)
    except (BadPicture, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:  # whose text names an address in memory
        raise BadPicture("is no picture that can be read") from error
    except Exception as error:  # Pillow's plugins raise whatever their parsing meets: struct.error, KeyError, ...
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadPicture(f"cannot be read ({said})") from error


def linear_from_srgb8(pixels: np.ndarray) -> np.ndarray:
    """Linear light, float32, of sRGB bytes of any shape (IEC 61966-2-1)."""
    return SRGB8_LINEAR[pixels]


def is_panorama(pixels: np.ndarray) -> bool:
    """Whether a picture (h, w, 3) uint8 holds the whole sphere: 2:1, closed at the seam, one colour at each pole."""
    height, width = pixels.shape[:2]
    if not is_two_to_one(width, height) or width < _SMALLEST_PANORAMA_PX:
        return False
    return _closes(pixels) and _has_poles(pixels)


def check_plate(pixels: np.ndarray) -> None:
    """Refuses a picture that is no use behind anybody. Raises BadPicture."""
    height, width = pixels.shape[:2]
    if min(width, height) < _SMALLEST_PLATE_PX:
        raise BadPicture(f"{width} x {height} is too small for a plate (at least {_SMALLEST_PLATE_PX} on a side)")
    if int(pixels.max()) < 3:
        raise BadPicture("is black")


def _closes(pixels: np.ndarray) -> bool:
    """Whether the right edge goes on at the left one as any column does in the next."""
    width = pixels.shape[1]
    columns = np.unique(np.linspace(0, width - 2, min(512, width - 1)).astype(int))
    here, edge = pixels[:, columns].astype(np.float32), pixels[:, [0, -1]].astype(np.float32)
    if edge.mean(axis=2).std(axis=0).min() < _EDGE_CONTRAST:
        return False
    steps = np.abs(pixels[:, columns + 1] - here).mean(axis=(0, 2))
    opposite = float(np.abs(pixels[:, (columns + width // 2) % width] - here).mean())
    seam = float(np.abs(edge[:, 0] - edge[:, 1]).mean())
    return seam <= _SEAM_STEPS * max(float(np.quantile(steps, 0.9)), 0.5) and seam <= _SEAM_SHARE * max(opposite, 0.5)


def _has_poles(pixels: np.ndarray) -> bool:
    """Whether the first and the last row show one point each, drawn out over the width."""
    rows = np.unique(np.linspace(len(pixels) // 4, 3 * len(pixels) // 4, 64).astype(int))
    deviation, step = _row_variation(pixels[rows])
    pole_deviation, pole_step = _row_variation(pixels[[0, -1]])
    return bool(
        pole_deviation.max() <= _POLE_DEVIATION * max(float(np.median(deviation)), 1.0)
        and pole_step.max() <= _POLE_STEPS * max(float(np.median(step)), 0.3)
    )


def _row_variation(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation and mean step from column to column of each row, (K,) of 255."""
    rows = rows.astype(np.float32)
    return rows.std(axis=1).mean(axis=-1), np.abs(np.diff(rows, axis=1)).mean(axis=(1, 2))


def _read(data: bytes) -> tuple[np.ndarray, list[str]]:
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit would refuse 16k panoramas
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise BadPicture(f"{image.width} x {image.height} pixels are too many (at most {MAX_PIXELS})")
    turn = _UPRIGHT.get(_orientation(image))
    image.load()
    warnings: list[str] = []
    profile = image.info.get("icc_profile")
    image = _without_alpha(_eight_bit(image), warnings)
    image = _as_srgb(image, profile, warnings)
    if turn is not None:
        image = image.transpose(turn)
    return np.asarray(image), warnings


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # mangled EXIF is no reason to refuse a picture, and Pillow raises anything over it
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB, RGBA, L or CMYK of any picture; 16-bit grey is cut to 8 bits."""
    if image.mode == "F":
        raise BadPicture("holds floating-point values, whose encoding nothing states; save it as EXR or 8-bit PNG")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(values / 65535 * 255 + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("RGB", "L", "CMYK"):
        return image.convert("RGBA") if "transparency" in image.info else image
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")


def _without_alpha(image: Image.Image, warnings: list[str]) -> Image.Image:
    if image.mode != "RGBA":
        return image
    transparent = float((np.asarray(image.getchannel("A")) < 128).mean())
    if transparent > _MOST_TRANSPARENT:
        raise BadPicture(f"{transparent:.0%} of it is transparent")
    if transparent > 0.001:
        warnings.append(f"{transparent:.1%} of it is transparent, shown as grey")
    behind = Image.new("RGBA", image.size, (_BEHIND, _BEHIND, _BEHIND, 255))
    return Image.alpha_composite(behind, image).convert("RGB")


def _as_srgb(image: Image.Image, profile: bytes | None, warnings: list[str]) -> Image.Image:
    """Through the picture's own colour profile, as cameras (Adobe RGB, Display P3) and printers (CMYK) embed one."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" in ImageCms.getProfileDescription(source):
                return image.convert("RGB")
            changed = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return changed if changed is not None else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            warnings.append("its colour profile does not fit it and was left out")
    return image.convert("RGB")


def _srgb8_linear() -> np.ndarray:
    unit = np.arange(256) / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


#: Linear light of each sRGB byte, (256,) float32.
SRGB8_LINEAR = _srgb8_linear()
