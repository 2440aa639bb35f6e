"""What the loop costs that one would write against bpy first, and how many paths it needs for a given noise.

Full frame, opaque film, Blender's own settings, labels by a second full render of one path with Z and Normal, both to
EXR. Three choices favour it: its scan and background stay loaded (`use_persistent_data`), colour is written as half
floats, and its labels count as good as ours (benchmarks/labels.py has what they are worth). Adaptive sampling is off,
so that cost is a line in the paths; it would set in after 64 of them, and its effect at 128 is measured on one case.
"""

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import OpenEXR
from quiet import quiet
from render_cases import Case, Stage, say
from render_references import NAIVE_SPP, Reference

from renderers import blender_scene
from renderers.film import composite, develop
from renderers.panorama import render_panorama
from synth.backgrounds import load_panorama
from synth.recipe import SceneRecipe
from synth.scans import load_prepared

#: Paths per pixel between which the cost of a frame is a line.
LINE_SPP = (2, 10)
#: Where the line is held against a real render, and where Blender's adaptive sampling is looked at.
CHECK_SPP, ADAPTIVE_SPP = 32, 128
#: Paths per pixel of the loop with Blender's denoiser.
DENOISED_SPP = (8, 32)
#: dB per doubling of independent paths.
_DB_PER_DOUBLING = 10 * math.log10(2)


@dataclass(frozen=True)
class Naive:
    """The naive loop on one case."""

    fixed_s: float
    """Core-seconds of a sample without any path: scene, labels, files."""
    per_spp_s: float
    denoised: tuple[tuple[float, np.ndarray], ...]
    """Core-seconds and full frame (H, W, 3) sRGB 8 bit at DENOISED_SPP; empty where that was not asked for."""
    checked: dict[str, float]
    """Core-seconds of real renders, by what they are; empty but on one case."""

    def seconds(self, spp: float) -> float:
        """Core-seconds of a sample of so many paths per pixel."""
        return self.fixed_s + self.per_spp_s * spp


def measure_naive(
    stage: Stage, cases: list[Case], denoised: frozenset[int], checked: int, adaptive: bool
) -> list[Naive]:
    """The loop's costs. denoised: numbers of the cases with Blender's denoiser too. checked: the case whose line is
    held against real renders; adaptive: also with Blender's adaptive sampling."""
    with tempfile.TemporaryDirectory(prefix="naive-") as folder:
        loop, measured = NaiveLoop(stage, Path(folder)), []
        for case in cases:
            loop.load(case.recipe)
            loop.sample(1)  # what is loaded once is charged to nobody
            costs = [loop.sample(spp) for spp in LINE_SPP]
            per_spp = (costs[1] - costs[0]) / (LINE_SPP[1] - LINE_SPP[0])
            checks = {}
            if case.number == checked:
                checks["plain"] = loop.sample(CHECK_SPP)
                if adaptive:
                    checks["adaptive"] = loop.sample(ADAPTIVE_SPP, adaptive=True)
            pictures = [loop.denoised(spp) for spp in DENOISED_SPP] if case.number in denoised else []
            measured.append(Naive(costs[0] - LINE_SPP[0] * per_spp, per_spp, tuple(pictures), checks))
            say(f"naive loop on {case.name}: {measured[-1].fixed_s:.2f} + {per_spp:.3f} spp core-s")
    return measured


class NaiveLoop:
    """Blender with one scan before a panorama, as a script of fifty lines sets it up. One thread."""

    def __init__(self, stage: Stage, folder: Path):
        self._stage, self._folder = stage, folder
        self._scene = blender_scene.clear_scene()
        self._camera = blender_scene.build_camera()
        self._world = blender_scene.build_world()
        self._world.cycles.sampling_method = "AUTOMATIC"
        self._loaded: bpy.types.Object | None = None
        self._recipe: SceneRecipe | None = None
        self._panorama = np.zeros((1, 1, 3), np.float32)
        self._replaced: bpy.types.Image | None = None
        render, cycles = self._scene.render, self._scene.cycles
        render.engine = "CYCLES"
        render.threads_mode, render.threads = "FIXED", 1
        render.use_persistent_data = True
        render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
        cycles.use_adaptive_sampling = cycles.use_denoising = False

    def load(self, recipe: SceneRecipe) -> None:
        """Makes the recipe's scene; its panorama lights at its full size."""
        if self._loaded is not None:
            blender_scene.remove_scan(self._loaded)
        subject, background = recipe.subjects[0], recipe.background
        self._loaded = blender_scene.build_scan(
            load_prepared(self._stage.scan_store, subject.scan_key), recipe.film.material
        )
        blender_scene.place(self._loaded, np.array(subject.world_from_scan))
        self._panorama = load_panorama(self._stage.background_store, background.sha256)
        self._replaced = blender_scene.light_world(self._world, self._panorama)
        self._recipe = recipe
        self._aim()

    def sample(self, spp: int, adaptive: bool = False) -> float:
        """Core-seconds of a colour render and a label render, both written."""
        started = time.process_time()
        self._aim()
        self._scene.cycles.use_adaptive_sampling = adaptive
        self._render("colour.exr", spp, depth="16")
        self._scene.cycles.use_adaptive_sampling = False
        with self._label_passes():
            self._render("labels.exr", 1, depth="32")
        return time.process_time() - started

    def denoised(self, spp: int) -> tuple[float, np.ndarray]:
        """Core-seconds of a sample with Blender's denoiser as it comes, and its colour developed as ours.

        On transparent film over our background: a pixel of the rim differs by what the denoiser made of it alone.
        """
        render, cycles = self._scene.render, self._scene.cycles
        cycles.use_denoising, cycles.denoising_quality, cycles.denoising_prefilter = True, "HIGH", "ACCURATE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        render.film_transparent = True
        started = time.process_time()
        self._aim()
        self._render("colour.exr", spp, depth="16")
        seconds = time.process_time() - started
        cycles.use_denoising = render.film_transparent = False
        channels = OpenEXR.File(str(self._folder / "colour.exr"), separate_channels=True).channels()
        named = {name.rsplit(".", 1)[1]: array.pixels for name, array in channels.items() if ".Combined." in name}
        colour = np.stack([named[channel] for channel in "RGBA"], axis=-1).astype(np.float32)
        started = time.process_time()
        with self._label_passes():
            self._render("labels.exr", 1, depth="32")
        seconds += time.process_time() - started
        recipe = self._recipe
        background = render_panorama(self._panorama, recipe.camera, recipe.background.yaw_deg)
        return seconds, develop(composite(colour[..., :3], np.clip(colour[..., 3], 0, 1), background), recipe.film)

    def _aim(self) -> None:
        """As every sample of a loop has a camera of its own and the light turned its own way."""
        blender_scene.aim_camera(self._camera, self._recipe.camera)
        blender_scene.turn_world(self._world, self._recipe.background.yaw_deg)

    @contextlib.contextmanager
    def _label_passes(self) -> Iterator[None]:
        layer = self._scene.view_layers[0]
        layer.use_pass_z = layer.use_pass_normal = True
        yield
        layer.use_pass_z = layer.use_pass_normal = False

    def _render(self, name: str, spp: int, depth: str) -> None:
        render = self._scene.render
        render.filepath, render.image_settings.color_depth = str(self._folder / name), depth
        self._scene.cycles.samples = spp
        self._scene.cycles.seed = self._recipe.film.cycles_seed
        with quiet():
            bpy.ops.render.render(write_still=True)
        if self._replaced is not None:  # not before a render has ended: blender_scene.light_world
            bpy.data.images.remove(self._replaced)
            self._replaced = None


def spp_for(target_db: float, reference: Reference) -> float:
    """Paths per pixel that reach a PSNR without denoiser: measured at NAIVE_SPP and straight in dB over log2 between;
    beyond them 3.01 dB for each doubling."""
    measured, logs = reference.naive_db(), [math.log2(spp) for spp in NAIVE_SPP]
    if target_db <= measured[0]:
        return 2 ** (logs[0] + (target_db - measured[0]) / _DB_PER_DOUBLING)
    if target_db >= measured[-1]:
        return 2 ** (logs[-1] + (target_db - measured[-1]) / _DB_PER_DOUBLING)
    return float(2 ** np.interp(target_db, measured, logs))


def denoised_seconds_for(target_db: float, naive: Naive, reference: Reference) -> tuple[float, str]:
    """Core-seconds at which the loop with Blender's denoiser reaches a PSNR, straight in dB over the logarithm of the
    paths, and "" within what was measured, "<" or ">" where the bound of what was measured stands for it."""
    decibels = [reference.score(rgb) for _, rgb in naive.denoised]
    seconds = [used for used, _ in naive.denoised]
    if target_db < min(decibels):
        return seconds[0], "<"
    if target_db > max(decibels):
        return seconds[1], ">"
    share = (target_db - decibels[0]) / (decibels[1] - decibels[0])
    spp = DENOISED_SPP[0] * (DENOISED_SPP[1] / DENOISED_SPP[0]) ** share
    slope = (seconds[1] - seconds[0]) / (DENOISED_SPP[1] - DENOISED_SPP[0])
    return seconds[0] + slope * (spp - DENOISED_SPP[0]), ""
