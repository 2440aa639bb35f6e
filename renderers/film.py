"""From linear light to 8-bit colour: compositing, exposure and the view transform, shared by every engine."""

import functools

import numpy as np

from synth.assets import bpy_folder
from synth.errors import UserError
from synth.recipe import Film


def composite(premultiplied: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Linear colour of a subject over a background: (H, W, 3) premultiplied, (H, W) in 0..1, (H, W, 3)."""
    return premultiplied + (1 - alpha[..., None]) * background


def develop(linear_rgb: np.ndarray, film: Film) -> np.ndarray:
    """sRGB 8 bit (H, W, 3) of linear Rec. 709 light, after the recipe's exposure and view transform."""
    exposed = linear_rgb * np.float32(2.0**film.exposure_ev)
    return to_8bit(srgb_from_linear(exposed) if film.view_transform == "Standard" else _agx(exposed))


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """The sRGB transfer function (IEC 61966-2-1), clipped to 0..1: Blender's `Standard` view transform."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.power(linear, 1 / 2.4) - 0.055)


def to_8bit(unit: np.ndarray) -> np.ndarray:
    """0..1 as uint8, rounded to nearest."""
    return np.floor(np.clip(unit, 0, 1) * 255 + 0.5).astype(np.uint8)


def _agx(linear: np.ndarray) -> np.ndarray:
    """Blender's AgX for an sRGB display, by its own OpenColorIO configuration."""
    pixels = np.ascontiguousarray(linear, np.float32).copy()
    _agx_processor().applyRGB(pixels)
    return pixels


@functools.cache
def _agx_processor():
    try:
        import PyOpenColorIO
    except ImportError as error:
        raise UserError("film.view_transform AgX needs OpenColorIO: pip install 'synth[render]'") from error
    folder = bpy_folder()  # found by path: Blender itself need not start for its tables
    found = sorted(folder.glob("*/datafiles/colormanagement/config.ocio")) if folder else []
    if not found:
        raise UserError("film.view_transform AgX needs the tables in Blender's package: pip install 'synth[render]'")
    transform = PyOpenColorIO.DisplayViewTransform(src="Linear Rec.709", display="sRGB", view="AgX")
    return PyOpenColorIO.Config.CreateFromFile(str(found[0])).getProcessor(transform).getDefaultCPUProcessor()
