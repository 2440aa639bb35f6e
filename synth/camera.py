"""The pinhole camera and its arithmetic. Every frame and pixel convention of the project is decided here.

World: right-handed, z up, metres. Camera: OpenCV axes, x right, y down, z forward. The image spans
[0, W] x [0, H]; the centre of pixel (row, col) lies at (u, v) = (col + 0.5, row + 0.5).
`a_from_b` maps points of frame b to frame a. Next: `synth.recipe` puts a camera into a scene.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

Matrix4 = tuple[tuple[float, float, float, float], ...]

IDENTITY4: Matrix4 = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))

#: OpenGL camera axes (x right, y up, z towards the viewer) from OpenCV ones; its own inverse.
GL_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])

#: Diagonal of a 36 x 24 mm frame: "35 mm equivalent" is by diagonal, so that it means the same for any aspect.
FULL_FRAME_DIAGONAL_MM = 43.27


class Camera(BaseModel):
    """A pinhole camera with square pixels: intrinsics in pixels, pose in the world."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    width: int = Field(gt=0)
    """Columns, pixels."""
    height: int = Field(gt=0)
    """Rows, pixels."""
    focal_px: float = Field(gt=0)
    """Focal length, pixels."""
    center_px: tuple[float, float]
    """Principal point (u, v), pixels; (W/2, H/2) for a centred lens."""
    world_from_camera: Matrix4
    """Rigid 4x4, rows first: maps camera points (OpenCV axes, metres) to the world."""

    @field_validator("world_from_camera")
    @classmethod
    def _rigid(cls, value: Matrix4) -> Matrix4:
        pose = np.array(value)
        rotation = pose[:3, :3]
        if pose.shape != (4, 4) or not np.allclose(pose[3], (0, 0, 0, 1)):
            raise ValueError("world_from_camera is not a 4x4 rigid transform")
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(rotation) < 0:
            raise ValueError("world_from_camera has no proper rotation")
        return value

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as arrays have it."""
        return self.height, self.width


def cropped(camera: Camera, window: tuple[slice, slice]) -> Camera:
    """The camera whose whole picture is a window, (rows, columns), of this one's."""
    rows, columns = window
    return camera.model_copy(
        update={
            "width": columns.stop - columns.start,
            "height": rows.stop - rows.start,
            "center_px": (camera.center_px[0] - columns.start, camera.center_px[1] - rows.start),
        }
    )


def matrix4(array: np.ndarray) -> Matrix4:
    """A (4, 4) array as the nested tuple of floats that recipes hold."""
    return tuple(tuple(float(x) for x in row) for row in np.asarray(array))


def transform_points(a_from_b: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Points (..., 3) of frame b in frame a, by a 4x4 affine transform; float64."""
    a_from_b = np.asarray(a_from_b, dtype=np.float64)
    return points_b @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def focal_px_from_35mm(focal_35mm: float, width: int, height: int) -> float:
    """Focal length in pixels from its 35 mm equivalent (by diagonal)."""
    return focal_35mm / FULL_FRAME_DIAGONAL_MM * float(np.hypot(width, height))


def pixel_slopes(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """x / z (W,) of the pixel centres of each column, and y / z (H,) of each row; float64."""
    x = (np.arange(camera.width) + 0.5 - camera.center_px[0]) / camera.focal_px
    y = (np.arange(camera.height) + 0.5 - camera.center_px[1]) / camera.focal_px
    return x, y


def pixel_rays(camera: Camera) -> np.ndarray:
    """Directions through all pixel centres, camera frame, scaled to z = 1: (H, W, 3) float64.

    Times planar depth they are the points seen; their lengths turn depth into distance.
    """
    x, y = pixel_slopes(camera)
    rays = np.ones((*camera.shape, 3))
    rays[..., 0] = x
    rays[..., 1] = y[:, None]
    return rays


def project(camera: Camera, points_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates and planar depth of world points (..., 3).

    Returns (u, v) as (..., 2) and z as (...), metres. Points with z <= 0 are behind the camera and their
    (u, v) mean nothing.
    """
    camera_from_world = np.linalg.inv(np.array(camera.world_from_camera))
    points = transform_points(camera_from_world, np.asarray(points_world, dtype=np.float64))
    z = points[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = points[..., :2] / z[..., None] * camera.focal_px + np.array(camera.center_px)
    return uv, z


def points_from_depth(camera: Camera, depth_m: np.ndarray) -> np.ndarray:
    """Camera-frame points (H, W, 3), metres, of a planar depth map (H, W); nan where depth is infinite."""
    z = np.where(np.isfinite(depth_m), depth_m, np.nan).astype(np.float64)
    return pixel_rays(camera) * z[..., None]


def distance_from_z(camera: Camera, depth_m: np.ndarray) -> np.ndarray:
    """Length along the ray (H, W), metres, from planar depth (H, W); +inf is kept."""
    return depth_m * np.linalg.norm(pixel_rays(camera), axis=-1)


def z_from_distance(camera: Camera, distance_m: np.ndarray) -> np.ndarray:
    """Planar depth (H, W), metres, from length along the ray (H, W); +inf is kept."""
    return distance_m / np.linalg.norm(pixel_rays(camera), axis=-1)


def normals_from_depth(camera: Camera, depth_m: np.ndarray, max_step: float = 0.05) -> np.ndarray:
    """Geometric normals (H, W, 3), camera frame, towards the camera, from central differences of depth.

    nan where a neighbour is background or where depth jumps by more than `max_step` of itself per pixel:
    a central difference across an occlusion edge describes no surface.
    """
    points = points_from_depth(camera, depth_m)
    normal = np.full(points.shape, np.nan)
    du = points[1:-1, 2:] - points[1:-1, :-2]
    dv = points[2:, 1:-1] - points[:-2, 1:-1]
    n = cross(dv, du)  # x right cross y down points away from the camera; the other order towards it
    with np.errstate(invalid="ignore", divide="ignore"):
        n /= np.sqrt(np.einsum("hwx,hwx->hw", n, n))[..., None]
        smooth = (np.abs(du[..., 2]) < 2 * max_step * points[1:-1, 1:-1, 2]) & (
            np.abs(dv[..., 2]) < 2 * max_step * points[1:-1, 1:-1, 2]
        )
    normal[1:-1, 1:-1] = np.where(smooth[..., None], n, np.nan)
    return normal


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a x b of arrays (..., 3) of one shape; a third of the time of np.cross, which copies its arguments."""
    out = np.empty(a.shape, np.result_type(a, b))
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        np.multiply(a[..., y], b[..., z], out=out[..., x])
        out[..., x] -= a[..., z] * b[..., y]
    return out


def look_at(eye_world: np.ndarray, target_world: np.ndarray, roll_deg: float = 0.0) -> np.ndarray:
    """world_from_camera (4, 4) of a camera at `eye` that sees `target` on its axis, world z up in the picture.

    A positive roll turns the camera clockwise about its viewing direction. Looking straight up or down is
    undefined and raises ValueError.
    """
    forward = np.asarray(target_world, dtype=np.float64) - eye_world
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    if np.linalg.norm(right) < 1e-6:
        raise ValueError("a camera that looks straight up or down has no upright picture")
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = np.radians(roll_deg)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    pose[:3, 2] = forward
    pose[:3, 3] = eye_world
    return pose
