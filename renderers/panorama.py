"""The background behind a subject: a panorama seen through a camera, as Cycles' world shows it.

Composited by us rather than path traced: what no ray hits needs no path, and every engine shares it.
"""

import math

import numpy as np

from renderers.panorama_spline import between, look_up
from renderers.resample import overlap_shares, resample
from synth.camera import Camera, pixel_slopes

#: Pixels per texel from which on every other pixel is looked up, or of these every other one and so on, and those
#: between are interpolated: a spline with a knot every five pixels is then off by less than 1 % of an edge's height
#: (tests/test_panorama.py).
_SMOOTH = 5.0
#: Width at which a panorama lights: 0.35 degrees a texel, finer than the sun. What is seen of it has its full size.
_LIGHT_PX = 1024


def render_panorama(
    panorama: np.ndarray, camera: Camera, yaw_deg: float, wanted: np.ndarray | None = None
) -> np.ndarray:
    """Linear colour (H, W, 3) float32 of an equirectangular panorama (h, w, 3) turned by yaw_deg about world z.

    wanted: (H, W) bool, pixels to look up; the others, which a subject hides, may hold anything finite.

    Smooth between texel centres (cubic B-splines: linear interpolation would show the grid of magnified texels),
    wrapped at the seam, held at the poles. A panorama finer than the pixels is shrunk first, so that nothing twinkles.
    """
    panorama = shrink_panorama(panorama, math.ceil(panorama.shape[1] / _turn_px(camera)))
    if _turn_px(camera) / panorama.shape[1] >= _SMOOTH:
        coarse = render_panorama(panorama, _every_other(camera), yaw_deg)
        return between(coarse)[1 : camera.height + 1, 1 : camera.width + 1]
    wanted = np.ones(camera.shape, bool) if wanted is None else wanted
    rotation = np.array(camera.world_from_camera)[:3, :3]
    return look_up(np.asarray(panorama), *pixel_slopes(camera), rotation, np.radians(yaw_deg), wanted)


def _turn_px(camera: Camera) -> float:
    """Pixels of a full turn, at the image centre."""
    return 2 * np.pi * camera.focal_px


def _every_other(camera: Camera) -> Camera:
    """A camera of half the resolution: its pixel centres are every other one's, from three rows and columns before the
    frame to at least two beyond it, as `between` needs."""
    return camera.model_copy(
        update={
            "width": camera.width // 2 + 4,
            "height": camera.height // 2 + 4,
            "focal_px": camera.focal_px / 2,
            # Its pixel (i, j) is at row 2 i - 3, column 2 j - 3 of the full frame.
            "center_px": tuple((c - 0.5 + 3) / 2 + 0.5 for c in camera.center_px),
        }
    )


def light_panorama(panorama: np.ndarray) -> np.ndarray:
    """The panorama (h, w, 3) as it lights, in every engine: at most some 1024 texels wide."""
    return shrink_panorama(panorama, panorama.shape[1] // _LIGHT_PX)


def shrink_panorama(panorama: np.ndarray, factor: int) -> np.ndarray:
    """A panorama (h, w, 3) averaged over blocks of at most `factor` by `factor` texels, as its size divides.

    Where no more than half of `factor` divides it, over areas of about `factor` texels that cut texels in parts.
    """
    even = factor
    while 2 * even > factor and (panorama.shape[0] % even or panorama.shape[1] % even):
        even -= 1
    divides = 2 * even > factor
    factor = even if divides else factor
    if factor <= 1:
        return np.asarray(panorama)
    h, w = panorama.shape[0] // factor, panorama.shape[1] // factor
    if not divides:
        rows = overlap_shares(0.0, panorama.shape[0], h, panorama.shape[0])
        return resample(panorama, rows, overlap_shares(0.0, panorama.shape[1], w, panorama.shape[1]))
    return panorama.reshape(h, factor, w, factor, 3).mean(axis=(1, 3), dtype=np.float32)
