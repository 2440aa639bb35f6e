"""A trial of the whole renderer on this machine: a ball, from a mesh file to a stored sample, against closed form.

`synth doctor` runs it; the tests use the same comparison.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from renderers.analytic import cast_ellipsoids
from renderers.base import make_renderer
from renderers.importers import probe
from synth.assets import bpy_hdris
from synth.backgrounds import load_backgrounds
from synth.camera import Camera
from synth.codec import stored
from synth.config import load_config
from synth.randomize import Library, draw_recipe
from synth.sample import Sample, check
from synth.scans import load_library

#: Rings and sectors of the ball: the polyhedron then lies within 0.2 mm of a ball of 0.14 m.
_RINGS = 64
_RADIUS = 0.14


@dataclass(frozen=True)
class Agreement:
    """How far a sample's labels are from closed form, over the pixels that both call subject."""

    depth_median_m: float
    normal_median_deg: float
    stray_pixels: int
    """Pixels where the masks differ though no silhouette touches them."""


def render_trial() -> str:
    """Renders one small frame by Blender and returns a line that says how exact its labels are.

    Raises RuntimeError when they are not.
    """
    with tempfile.TemporaryDirectory(prefix="synth-trial-") as folder:
        scans = Path(folder) / "scans"
        scans.mkdir()
        (scans / "ball.obj").write_text(ball_obj())
        library = load_library([scans], Path(folder) / "cache", probe)
        backgrounds = load_backgrounds(list(bpy_hdris().values())[:1], Path(folder) / "cache")
        config = load_config(None, {"width": 192, "height": 256, "film.spp": 8})
        recipe = draw_recipe(config, Library(library.entries, backgrounds.entries), seed=0, index=0)
        renderer = make_renderer("cycles", library.store, backgrounds.store)
        try:
            _, sample = stored(renderer.render(recipe))
        finally:
            renderer.close()
    check(sample, config.checks)
    found = measure_agreement(sample, [world_from_unit_ball(sample, 0)])
    line = (
        f"rendered a ball at {config.width} x {config.height}: depth off by {found.depth_median_m * 1e3:.3f} mm, "
        f"normals by {found.normal_median_deg:.3f} degrees (medians), {found.stray_pixels} stray pixels"
    )
    if found.depth_median_m > 2e-4 or found.normal_median_deg > 0.5 or found.stray_pixels:
        raise RuntimeError(f"labels are wrong: {line}")
    return line


def ball_obj(rings: int = _RINGS, radius: float = _RADIUS) -> str:
    """An OBJ text of a ball, y up, with smooth normals."""
    lines, sectors = [], 2 * rings
    polar = np.linspace(0, np.pi, rings + 1)
    azimuth = np.arange(sectors) * 2 * np.pi / sectors
    for p in polar:
        for a in azimuth:
            n = (np.sin(p) * np.cos(a), np.cos(p), np.sin(p) * np.sin(a))
            lines.append("v {:.9f} {:.9f} {:.9f}".format(*(radius * x for x in n)))
            lines.append("vn {:.6f} {:.6f} {:.6f}".format(*n))
    for ring in range(rings):
        for s in range(sectors):
            a, b = ring * sectors + s + 1, ring * sectors + (s + 1) % sectors + 1
            c, d = b + sectors, a + sectors
            corners = [a, c, d] if ring == 0 else [a, b, d] if ring == rings - 1 else [a, b, c, d]
            lines.append("f " + " ".join(f"{k}//{k}" for k in corners))
    return "\n".join(lines) + "\n"


def world_from_unit_ball(sample: Sample, subject: int, radius: float = _RADIUS) -> np.ndarray:
    """Where the ball of `ball_obj` stands in a sample's world, by its recipe alone."""
    placed = sample.recipe.subjects[subject]
    world_from_file = np.array(placed.world_from_scan) @ np.array(placed.scan_from_file)
    return world_from_file @ np.diag([radius, radius, radius, 1.0])


def write_holed_ball(folder: Path, rings: int = 48) -> Path:
    """A ball within a ball in a new folder, y up, both with a picture whose alpha cuts holes. Returns the folder."""
    folder.mkdir()
    lines = ["mtllib ball.mtl", "usemtl holes"]
    columns = 2 * rings + 1  # the seam twice, for its UVs
    for radius in (0.14, 0.09):
        for polar in np.linspace(0, np.pi, rings + 1):
            for turn in np.linspace(0, 2 * np.pi, columns):
                n = np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)
                lines.append("v {:.9f} {:.9f} {:.9f}".format(*(radius * x for x in n)))
                lines.append(f"vt {turn / (2 * np.pi):.9f} {1 - polar / np.pi:.9f}")
    for first in (1, 1 + (rings + 1) * columns):
        for ring in range(rings):
            for column in range(columns - 1):
                a = first + ring * columns + column
                corners = [a, a + 1, a + columns + 1, a + columns]
                # The poles' quads have lost a side.
                corners = corners[1:] if ring == 0 else corners[:3] if ring == rings - 1 else corners
                lines.append("f " + " ".join(f"{k}/{k}" for k in corners))
    (folder / "ball.obj").write_text("\n".join(lines) + "\n")
    (folder / "ball.mtl").write_text("newmtl holes\nmap_Kd holes.png\nmap_d holes.png\n")
    row, column = np.indices((256, 512))
    wave = np.sin(2 * np.pi * 12 * column / 512) * np.sin(np.pi * 10 * row / 256)
    picture = np.full((256, 512, 4), 180, np.uint8)
    picture[..., 3] = np.clip(150 + 250 * wave, 0, 255)
    Image.fromarray(picture).save(folder / "holes.png")
    return folder


def measure_agreement(sample: Sample, world_from_unit: list[np.ndarray]) -> Agreement:
    """Holds a sample's labels against ellipsoids in closed form (affine images of the unit ball)."""
    camera = sample.recipe.camera
    depth, instance, normal = cast_ellipsoids(camera, world_from_unit)
    both = (instance == sample.instance) & (instance > 0)
    if not both.any():
        return Agreement(np.inf, 180.0, int((instance > 0).sum()))
    a, b = normal[both], sample.normal[both].astype(np.float64)
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1)))
    stray = (instance != sample.instance) & ~_silhouette(camera, world_from_unit)
    return Agreement(
        depth_median_m=float(np.median(np.abs(depth[both] - sample.depth_m[both]))),
        normal_median_deg=float(np.median(angle)),
        stray_pixels=int(stray.sum()),
    )


def _silhouette(camera: Camera, world_from_unit: list[np.ndarray]) -> np.ndarray:
    """Pixels (H, W) that a silhouette touches: their corners do not all see the same subject."""
    corners = [
        cast_ellipsoids(camera, world_from_unit, (du, dv))[1] for du in (-0.5, 0.0, 0.5) for dv in (-0.5, 0.0, 0.5)
    ]
    return np.ptp(np.stack(corners), axis=0) > 0
