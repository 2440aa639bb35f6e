"""A scan as a turntable: small pictures from all sides, its own colour in the light of a lamp at the camera.

Ray cast (`renderers.raycast`), no Blender: a lying person, a wrong picture or an inside-out face is seen at a glance.
"""

import io

import numpy as np
from PIL import Image

from renderers.film import srgb_from_linear
from renderers.raycast import ScanCaster, cast_labels
from renderers.surface import ScanPaint, lookup_albedo
from renderers.surface_texture import linear_codes
from synth.camera import Camera, look_at, matrix4
from synth.report_pictures import normal_picture
from synth.scans import PreparedScan

#: Focal length over the picture's height: about 60 degrees less than a face distorts.
_FOCAL = 3.0
_FILL = 0.92
#: Share of light that reaches a surface from everywhere; the rest comes from the camera.
_AMBIENT = 0.35
_QUALITY = 78
#: Rays along each side of a pixel: smooth rims.
_FINER = 2
#: No thumbnail shows more of a texture.
_TEXTURE_PX = 1024


def render_turntable(scan: PreparedScan, views: int = 8, width: int = 150, height: int = 200) -> bytes:
    """A WebP with alpha: `views` pictures side by side, counter-clockwise from the front, then normals from there."""
    caster, paint = ScanCaster(scan), ScanPaint(scan, _TEXTURE_PX)
    tiles = []
    for number in range(views):
        camera = _camera(scan, 360 * number / views - 90, _FINER * width, _FINER * height)
        labels = cast_labels(camera, [(caster, np.eye(4))])
        seen = labels.instance > 0
        albedo = lookup_albedo(camera, labels, [(paint, np.eye(4))])
        shade = _AMBIENT + (1 - _AMBIENT) * np.clip(-labels.normal[..., 2:], 0, 1)
        tiles.append(_tile(srgb_from_linear(linear_codes()[albedo] * shade), seen))
        if number == 0:
            normals = _tile(normal_picture(labels.normal) / 255, seen)
    strip = Image.fromarray(np.concatenate([*tiles, normals], axis=1)).reduce(_FINER)  # colours weighted by alpha
    stream = io.BytesIO()
    strip.save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()


def _camera(scan: PreparedScan, yaw_deg: float, width: int, height: int) -> Camera:
    """Level, around the middle of the scan's box, as far away as its height or width needs."""
    low, high = np.array(scan.facts.bounds)
    middle, size = (low + high) / 2, high - low
    focal_px = _FOCAL * height
    across = float(np.hypot(size[0], size[1]))
    distance = max(size[2] / (_FILL * height), across / (_FILL * width)) * focal_px + across / 2
    yaw = np.radians(yaw_deg)
    position = middle + distance * np.array([np.cos(yaw), np.sin(yaw), 0.0])
    pose = look_at(position, middle, 0.0)
    center = (width / 2, height / 2)
    return Camera(width=width, height=height, focal_px=focal_px, center_px=center, world_from_camera=matrix4(pose))


def _tile(colour: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(h, w, 4) uint8 of colour (h, w, 3) in 0..1; nothing where nothing is seen."""
    picture = np.zeros((*seen.shape, 4), np.uint8)
    picture[seen, :3] = np.round(np.clip(colour[seen], 0, 1) * 255)
    picture[seen, 3] = 255
    return picture
