"""Small worlds that several tests share: recipes by hand and closed-form samples of them."""

import numpy as np

from renderers.analytic import cast_ellipsoids
from synth.camera import IDENTITY4, Camera, look_at, matrix4
from synth.recipe import Background, Film, Plate, SceneRecipe, Subject
from synth.sample import LabelCounts, Sample

KEY = "ab" * 16
SHA256 = "cd" * 32


def make_camera(
    width=96, height=128, focal_px=150.0, eye=(2.5, 0.6, 1.2), target=(0, 0, 0.5), roll_deg=7.0, center_px=None
) -> Camera:
    """A camera that looks slightly down, rolled, with its lens off the centre."""
    return Camera(
        width=width,
        height=height,
        focal_px=focal_px,
        center_px=center_px or (width / 2 + 3.25, height / 2 - 2.5),
        world_from_camera=matrix4(look_at(np.array(eye, float), np.array(target, float), roll_deg)),
    )


def make_recipe(camera: Camera | None = None, subjects: int = 1, index: int = 0, **film) -> SceneRecipe:
    """A recipe of `subjects` subjects at the origin."""
    film = {
        "engine": "analytic",
        "spp": 4,
        "denoise": False,
        "exposure_ev": 0.0,
        "view_transform": "Standard",
        "material": "diffuse",
        "cycles_seed": 1,
        **film,
    }
    subject = Subject(scan_id="ball", scan_key=KEY, person="ball", scan_from_file=IDENTITY4)
    return SceneRecipe(
        seed=0,
        index=index,
        attempt=0,
        framing="full",
        normals="smooth",
        camera=camera or make_camera(),
        subjects=(subject,) * subjects,
        background=Background(background_id="sky", sha256=SHA256, yaw_deg=30.0, width_px=1024),
        film=Film(**film),
    )


def plate_of(recipe: SceneRecipe, **changes) -> SceneRecipe:
    """The recipe with a plate of 400 x 300 texels behind, its crop as tall as the plate."""
    width = 300 * recipe.camera.width / recipe.camera.height
    plate = Plate(
        **{
            "plate_id": "wall",
            "sha256": "ef" * 32,
            "width_px": 400,
            "height_px": 300,
            "crop_px": (50.0, 0.0, 50.0 + width, 300.0),
            "mirrored": False,
            "shown_ev": 0.0,
            **changes,
        }
    )
    return recipe.model_copy(update={"background": recipe.background.model_copy(update={"plate": plate})})


def unit_pose(center, radii) -> np.ndarray:
    """world_from_unit of an ellipsoid."""
    pose = np.diag([*np.broadcast_to(radii, 3), 1.0])
    pose[:3, 3] = center
    return pose


def ball_sample(recipe: SceneRecipe | None = None, center=(0, 0, 0.5), radii=(0.3, 0.3, 0.5)) -> Sample:
    """An ellipsoid with a checkered picture, labels in closed form."""
    recipe = recipe or make_recipe()
    depth, instance, normal = cast_ellipsoids(recipe.camera, [unit_pose(center, radii)])
    mask = instance > 0
    rows, columns = np.indices(mask.shape)
    rgb = np.where(mask[..., None], 90 + 60 * (((rows // 4 + columns // 4) % 2)[..., None]), 40).astype(np.uint8)
    return Sample(
        recipe=recipe,
        rgb=np.ascontiguousarray(np.broadcast_to(rgb, (*mask.shape, 3))),
        alpha=(mask * 255).astype(np.uint8),
        instance=instance,
        depth_m=depth.astype(np.float32),
        normal=normal.astype(np.float32),
        counts=LabelCounts(back_faces=0, leaning_normals=0, unproven_depth=0),
    )


def angles_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between vectors (..., 3), degrees; exact for small ones, where arccos is not."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1)))
