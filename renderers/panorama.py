"""The background behind a subject: a panorama seen through a camera, as Cycles' world shows it.

Composited by us rather than path traced: what no ray hits needs no path, and every engine shares it.
"""

import numpy as np
from scipy.ndimage import map_coordinates

from synth.camera import Camera, pixel_rays

#: Rays per pixel and axis where a texel is smaller than two pixels; a panorama magnified more is smooth as it is.
_SUPERSAMPLE = 2


def render_panorama(
    panorama: np.ndarray, camera: Camera, yaw_deg: float, wanted: np.ndarray | None = None
) -> np.ndarray:
    """Linear colour (H, W, 3) float32 of an equirectangular panorama (h, w, 3) turned by yaw_deg about world z.

    wanted: (H, W) bool, pixels to look up; the others, which a subject hides, stay 0.

    Smooth between texel centres, wrapped at the seam, held at the poles. A panorama finer than the pixels is
    shrunk first, so that nothing twinkles.
    """
    # A texel no smaller than half a pixel at the image centre.
    panorama = shrink_panorama(panorama, int(panorama.shape[1] / (2 * np.pi * camera.focal_px) / _SUPERSAMPLE))
    rotation = np.array(camera.world_from_camera)[:3, :3]
    wanted = np.ones(camera.shape, bool) if wanted is None else wanted
    rays = pixel_rays(camera)[wanted]  # (K, 3)
    colour = np.zeros(rays.shape, np.float32)
    magnification = 2 * np.pi * camera.focal_px / panorama.shape[1]
    count = 1 if magnification >= 2 else _SUPERSAMPLE
    steps = (np.arange(count) + 0.5) / count - 0.5
    for dv in steps / camera.focal_px:
        for du in steps / camera.focal_px:
            directions = (rays + np.array([du, dv, 0.0])) @ rotation.T
            colour += _lookup(panorama, directions, yaw_deg)
    out = np.zeros((*camera.shape, 3), np.float32)
    out[wanted] = colour / count**2
    return out


def shrink_panorama(panorama: np.ndarray, factor: int) -> np.ndarray:
    """A panorama (h, w, 3) averaged over blocks of at most `factor` by `factor` texels, as its size divides."""
    while factor > 1 and (panorama.shape[0] % factor or panorama.shape[1] % factor):
        factor -= 1
    if factor <= 1:
        return np.asarray(panorama)
    h, w = panorama.shape[0] // factor, panorama.shape[1] // factor
    return panorama.reshape(h, factor, w, factor, 3).mean(axis=(1, 3), dtype=np.float32)


def _lookup(panorama: np.ndarray, directions: np.ndarray, yaw_deg: float) -> np.ndarray:
    """Colour (K, 3) in directions (K, 3), by cubic B-splines over the texels.

    Where a texel covers several pixels, linear interpolation shows its grid; a B-spline blurs it as a lens would.
    """
    h, w = panorama.shape[:2]
    azimuth = np.arctan2(directions[..., 1], directions[..., 0]) - np.radians(yaw_deg)
    polar = np.arctan2(np.hypot(directions[..., 0], directions[..., 1]), directions[..., 2])
    x = ((0.5 - azimuth / (2 * np.pi)) * w - 0.5) % w
    y = np.clip(polar / np.pi * h - 0.5, 1, h - 3)  # so that no tap of the spline wraps over a pole
    out = np.empty((*x.shape, 3), np.float32)
    for channel in range(3):
        map_coordinates(
            panorama[..., channel], (y, x), output=out[..., channel], order=3, mode="grid-wrap", prefilter=False
        )
    return out
