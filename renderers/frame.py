"""What every engine makes of a recipe besides the subject's colour: where the subject is, what lies behind, the sample.

Engines differ in how light reaches the subject (`renderers.blender`, `renderers.relight`) and in nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from renderers.film_compiled import coverage_8bit, develop_over
from renderers.panorama import render_panorama
from renderers.plate import render_plate
from renderers.proof import count_labels
from renderers.raycast import Labels, ScanCaster
from renderers.surface import ScanPaint, lookup_albedo, lookup_trust
from synth.backgrounds import load_plate
from synth.camera import Camera, project
from synth.recipe import SceneRecipe
from synth.sample import Sample
from synth.scans import PreparedScan

#: Pixels around the subject's box: Cycles' filter reaches 0.75 px, the denoiser likes a rim.
_MARGIN_PX = 8


class LoadedScan(Protocol):
    """A scan as an engine holds it."""

    scan: PreparedScan
    caster: ScanCaster
    paint: ScanPaint


Placed = Sequence[tuple[LoadedScan, np.ndarray]]
"""Scans with their world_from_scan (4x4), in the recipe's order."""


def subject_window(camera: Camera, placed: Placed) -> tuple[slice, slice]:
    """Rows and columns that hold all of the subjects, with a margin; the frame where one is beside the camera."""
    low, high = np.array([np.inf, np.inf]), np.array([-np.inf, -np.inf])
    for loaded, world_from_scan in placed:
        points = np.asarray(loaded.scan.positions, np.float64) @ world_from_scan[:3, :3].T + world_from_scan[:3, 3]
        uv, z = project(camera, points)
        if (z <= 1e-3).any():
            return slice(0, camera.height), slice(0, camera.width)
        low, high = np.minimum(low, uv.min(axis=0)), np.maximum(high, uv.max(axis=0))
    size = np.array([camera.width, camera.height])
    x0, y0 = np.clip(np.floor(low) - _MARGIN_PX, 0, size - 1).astype(int)
    x1, y1 = np.clip(np.ceil(high) + _MARGIN_PX, 1, size).astype(int)
    return slice(int(y0), max(int(y1), int(y0) + 1)), slice(int(x0), max(int(x1), int(x0) + 1))


def render_background(
    recipe: SceneRecipe, panorama: np.ndarray, background_store: Path, wanted: np.ndarray
) -> np.ndarray:
    """Linear colour (H, W, 3) behind the subject, where `wanted` (H, W); anything finite elsewhere."""
    plate = recipe.background.plate
    if plate is None:
        return render_panorama(panorama, recipe.camera, recipe.background.yaw_deg, wanted=wanted)
    pixels = load_plate(background_store, plate.sha256)
    return render_plate(pixels, plate, recipe.camera.shape, recipe.film.exposure_ev)


def build_sample(
    recipe: SceneRecipe, labels: Labels, premultiplied: np.ndarray, background: np.ndarray, placed: Placed
) -> Sample:
    """The sample of labels and linear colour (H, W, 4), premultiplied, before a background (H, W, 3)."""
    return Sample(
        recipe=recipe,
        rgb=develop_over(premultiplied, background, recipe.film),
        alpha=coverage_8bit(premultiplied),
        instance=labels.instance,
        depth_m=labels.depth_m,
        normal=labels.normal,
        counts=count_labels(labels),
        **_further_labels(recipe, labels, placed),
    )


def _further_labels(recipe: SceneRecipe, labels: Labels, placed: Placed) -> dict[str, np.ndarray]:
    """The labels that the recipe asks for besides the triplet, by the names that Sample gives them."""
    further = {}
    if "albedo" in recipe.outputs:
        further["albedo"] = lookup_albedo(recipe.camera, labels, [(loaded.paint, pose) for loaded, pose in placed])
    if "trust" in recipe.outputs:
        further["trust"] = lookup_trust(labels, [loaded.scan for loaded, _ in placed])
    return further
