"""AnalyticRenderer: each subject is the ellipsoid of its bounding box, in closed form.

No Blender, no embree, no pixel of the scan or the background: labels exact to double precision. It is the oracle of
the tests, and makes every command triable in seconds.
"""

from pathlib import Path

import numpy as np

from renderers.film import composite, develop, srgb_from_linear, to_8bit
from renderers.kernel import cpu_kernel
from synth.camera import Camera, pixel_rays
from synth.recipe import SceneRecipe
from synth.sample import LabelCounts, Sample
from synth.scans import ScanFacts, load_facts

#: Towards the light, world frame; any fixed direction does.
_LIGHT = np.array([0.4, -0.5, 0.77])
#: Offsets of the rays that measure coverage, pixels: four per pixel, none at the centre.
_COVERAGE = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))


class AnalyticRenderer:
    """Renders ellipsoids. `scan_store` is read for bounding boxes only."""

    def __init__(self, scan_store: Path):
        self._scan_store = scan_store
        self._facts: dict[str, ScanFacts] = {}

    def render(self, recipe: SceneRecipe) -> Sample:
        """All arrays of a recipe; never fails."""
        camera = recipe.camera
        ellipsoids = [self._world_from_unit(s.scan_key, s.world_from_scan) for s in recipe.subjects]
        depth, instance, normal = cast_ellipsoids(camera, ellipsoids)
        alpha = np.mean(
            [np.isfinite(cast_ellipsoids(camera, ellipsoids, offset)[0]) for offset in _COVERAGE], axis=0
        ).astype(np.float32)
        world_normal = normal @ np.array(camera.world_from_camera)[:3, :3].T
        shade = 0.25 + 0.5 * np.clip(world_normal @ _LIGHT, 0, None)
        tint = _tint(recipe.subjects[0].scan_key)
        light = 2.0**-recipe.film.exposure_ev  # the exposure is drawn for real panoramas; this world cancels it
        subject = (
            np.where(instance > 0, shade, 0.5)[..., None] * tint * light
        )  # 0.5: rims that only rays off centre meet
        rgb = develop(
            composite((subject * alpha[..., None]).astype(np.float32), alpha, _sky(recipe) * light), recipe.film
        )
        return Sample(
            recipe=recipe,
            rgb=rgb,
            alpha=to_8bit(alpha),
            instance=instance,
            depth_m=depth.astype(np.float32),
            normal=normal.astype(np.float32),
            counts=LabelCounts(back_faces=0, leaning_normals=0, unproven_depth=0),
            albedo=_albedo(instance > 0, tint) if "albedo" in recipe.outputs else None,
            trust=np.where(instance > 0, np.uint8(255), np.uint8(0)) if "trust" in recipe.outputs else None,
        )

    def environment(self) -> dict[str, str]:
        """Closed form in numpy: its version and the CPU's kernel."""
        return {"renderer": "analytic", "device": "cpu", "cpu": cpu_kernel(), "numpy": np.__version__}

    def close(self) -> None:
        """Nothing is held."""

    def _world_from_unit(self, key: str, world_from_scan) -> np.ndarray:
        if key not in self._facts:
            self._facts[key] = load_facts(self._scan_store, key)
        low, high = np.array(self._facts[key].bounds)
        scan_from_unit = np.eye(4)
        scan_from_unit[:3, :3] = np.diag(np.maximum((high - low) / 2, 1e-3))
        scan_from_unit[:3, 3] = (low + high) / 2
        return np.array(world_from_scan) @ scan_from_unit


def cast_ellipsoids(
    camera: Camera, world_from_unit: list[np.ndarray], offset_px: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (H, W) metres, instance (H, W) and normals (H, W, 3), camera frame, of affine images of the unit sphere.

    Float64; +inf, 0 and 0 where no ellipsoid is. `offset_px` moves all rays from the pixel centres by (du, dv).
    """
    rays = pixel_rays(camera)
    rays[..., :2] += np.array(offset_px) / camera.focal_px
    depth = np.full(camera.shape, np.inf)
    instance = np.zeros(camera.shape, np.uint8)
    normal = np.zeros(rays.shape)
    for number, pose in enumerate(world_from_unit, start=1):
        unit_from_camera = np.linalg.inv(pose) @ np.array(camera.world_from_camera)
        d = rays @ unit_from_camera[:3, :3].T
        o = unit_from_camera[:3, 3]
        a, b, c = np.sum(d * d, axis=-1), d @ o, o @ o - 1
        root = b * b - a * c
        with np.errstate(invalid="ignore"):
            t = (-b - np.sqrt(root)) / a
        nearer = (root >= 0) & (t > 0) & (t < depth)
        depth[nearer] = t[nearer]
        instance[nearer] = number
        # The gradient of |unit|^2 = 1, carried to the camera frame by the inverse transpose.
        unit_normal = (o + t[nearer][:, None] * d[nearer]) @ unit_from_camera[:3, :3]
        normal[nearer] = unit_normal / np.linalg.norm(unit_normal, axis=-1, keepdims=True)
    return depth, instance, normal


def _albedo(mask: np.ndarray, tint: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], to_8bit(srgb_from_linear(tint)), np.uint8(0))


def _tint(key: str) -> np.ndarray:
    return 0.35 + 0.5 * np.frombuffer(bytes.fromhex(key[:6].ljust(6, "0")), np.uint8) / 255


def _sky(recipe: SceneRecipe) -> np.ndarray:
    """A vertical gradient in the background's own hue: (H, W, 3) linear. A plate's does not turn with the camera."""
    plate = recipe.background.plate
    if plate is not None:
        up = np.linspace(1, -1, recipe.camera.height)[:, None] * np.ones(recipe.camera.width)
        return ((0.35 + 0.3 * up)[..., None] * _tint(plate.sha256)).astype(np.float32)
    directions = pixel_rays(recipe.camera) @ np.array(recipe.camera.world_from_camera)[:3, :3].T
    up = directions[..., 2] / np.linalg.norm(directions, axis=-1)
    return ((0.35 + 0.3 * up)[..., None] * _tint(recipe.background.sha256)).astype(np.float32)
