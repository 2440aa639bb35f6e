"""A plate behind a subject: a crop of a flat photo, as light that develops into the photo's own colours."""

import numpy as np

from renderers.resample import overlap_shares, resample
from synth.backgrounds_photo import SRGB8_LINEAR
from synth.recipe import Plate


def render_plate(pixels: np.ndarray, plate: Plate, shape: tuple[int, int], exposure_ev: float) -> np.ndarray:
    """Linear colour (H, W, 3) float32 of a recipe's crop of a plate (h, w, 3) uint8, sRGB, over a frame of `shape`.

    Averaged over areas in linear light. Divided by the exposure that the film applies to all light, since a photo was
    exposed when it was taken: with the Standard view transform it comes out as bright as it is, then brighter by
    `plate.shown_ev`. AgX rolls its highlights off a second time.
    """
    if pixels.shape[:2] != (plate.height_px, plate.width_px):
        raise ValueError(f"plate {plate.plate_id} is {pixels.shape}, its recipe says {plate.width_px} wide")
    left, top, right, bottom = plate.crop_px
    rows = overlap_shares(top, bottom, shape[0], plate.height_px)
    columns = overlap_shares(left, right, shape[1], plate.width_px)
    light = resample(pixels, rows, columns, SRGB8_LINEAR)
    if plate.mirrored:
        light = light[:, ::-1]
    return np.ascontiguousarray(light) * np.float32(2.0 ** (plate.shown_ev - exposure_ev))
