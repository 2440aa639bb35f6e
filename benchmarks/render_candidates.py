"""What one setting of the colour render costs and gains against the default, all else equal."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import bpy
import numpy as np
from render_cases import Case, Stage, light_map, say, with_film
from render_references import Reference

from renderers import blender_scene, denoise
from renderers.blender import BlenderRenderer
from renderers.blender_quiet import stdout_to
from renderers.core import Core
from synth.camera import Camera


@dataclass(frozen=True)
class Candidate:
    """Changes to the default."""

    film: dict[str, object] = field(default_factory=dict)
    cycles: dict[str, object] = field(default_factory=dict)
    light_map: int | None = None
    """Its width over the panorama's."""
    quality: int | None = None
    """OIDNQuality of our denoiser, as in the library's oidn.h."""
    cycles_denoiser: str | None = None
    """Cycles' own denoiser in place of ours, at this quality."""
    textures: int = 1
    """The scan's textures are this many times narrower."""
    threads: int = 1


#: Views of a scan that one Blender animation may render.
_VIEWS = 4

CANDIDATES = {
    "default": Candidate(),
    "4 spp": Candidate(film={"spp": 4}),
    "16 spp": Candidate(film={"spp": 16}),
    "32 spp": Candidate(film={"spp": 32}),
    "no denoiser": Candidate(film={"denoise": False}),
    "32 spp, no denoiser": Candidate(film={"denoise": False, "spp": 32}),
    "denoiser BALANCED": Candidate(quality=5),
    "denoiser HIGH": Candidate(quality=6),
    "Cycles' denoiser, BALANCED": Candidate(cycles_denoiser="BALANCED"),
    "Cycles' denoiser, HIGH": Candidate(cycles_denoiser="HIGH"),
    "light tree": Candidate(cycles={"use_light_tree": True}),
    "one bounce": Candidate(cycles={"diffuse_bounces": 1}),
    "light map 1x": Candidate(light_map=1),
    "light map 4x": Candidate(light_map=4),
    "adaptive to 16 spp, 0.05": Candidate(
        film={"spp": 16}, cycles={"use_adaptive_sampling": True, "adaptive_threshold": 0.05, "adaptive_min_samples": 4}
    ),
    "Sobol-Burley, no blue noise": Candidate(cycles={"sampling_pattern": "TABULATED_SOBOL"}),
    "Sobol-Burley, scrambled by 0.5": Candidate(
        cycles={"sampling_pattern": "TABULATED_SOBOL", "scrambling_distance": 0.5}
    ),
    "textures half as wide": Candidate(textures=2),
    "textures a quarter as wide": Candidate(textures=4),
    "two threads": Candidate(threads=2),
}


def measure_candidates(
    stage: Stage, cases: list[Case], references: dict[int, Reference]
) -> list[dict[str, tuple[float, float, float]]]:
    """By candidate, on each case: core-seconds and wall seconds of the renderer, PSNR in dB. Nothing is charged with
    loading; a picture with the candidate's settings has been rendered before."""
    renderer, measured = stage.open(), []
    for case in cases:
        found = {}
        renderer.render(with_film(case.recipe, spp=1))  # the light map's usual width comes with the panorama
        for name, candidate in CANDIDATES.items():
            recipe = with_film(case.recipe, **candidate.film)
            with _applied(candidate, renderer):
                renderer.render(with_film(recipe, spp=1))
                wall, core = time.monotonic(), time.process_time()
                sample = renderer.render(recipe)
                core, wall = time.process_time() - core, time.monotonic() - wall
            found[name] = (core, wall, references[case.number].score(sample.rgb))
        say(f"candidates on {case.name}: done")
        measured.append(found)
    renderer.close()
    return measured


def measure_animation(stage: Stage, cases: list[Case]) -> list[tuple[float, float]]:
    """On each case: Blender's core-seconds for a few views as frames of one animation, and as pictures of their own.

    Both write their passes to files in memory; the views differ by a small turn of the camera about its own axis.
    """
    renderer, measured = stage.open(), []
    scene = bpy.context.scene
    for case in cases:
        renderer.render(case.recipe)
        camera = scene.camera
        for frame in range(1, _VIEWS + 1):
            blender_scene.place(camera, np.array(_rolled(case.recipe.camera, frame)) @ blender_scene.GL_FROM_CV)
            for path in ("location", "rotation_euler"):
                camera.keyframe_insert(path, frame=frame)
        scene.frame_start, scene.frame_end = 1, _VIEWS
        with tempfile.TemporaryDirectory() as folder, stdout_to(Path(folder, "blender.log")):
            one = _core_seconds(lambda: bpy.ops.render.render(animation=True))
            many = _core_seconds(_render_each)
        camera.animation_data_clear()
        measured.append((one, many))
        say(f"animation on {case.name}: done")
    renderer.close()
    return measured


def _rolled(camera: Camera, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    return np.array(camera.world_from_camera) @ turn


def _render_each() -> None:
    for frame in range(1, _VIEWS + 1):
        bpy.context.scene.frame_set(frame)
        bpy.ops.render.render(write_still=True)


def _core_seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def print_candidates(measured: list[dict[str, tuple[float, float, float]]]) -> None:
    """The table: medians over the cases."""
    print(f"\nCandidates: the default with one change, medians over {len(measured)} cases (renderer alone)")
    print(f"{'':<30} {'core-s':>7} {'wall s':>7} {'PSNR dB':>8} {'least':>6} {'against default':>24}")
    for name in CANDIDATES:
        core, wall, decibels = (np.array([found[name][k] for found in measured]) for k in range(3))
        base = [np.array([found["default"][k] for found in measured]) for k in (0, 2)]
        against = f"{np.median(core / base[0]):.2f} x core-s, {np.median(decibels - base[1]):+.1f} dB"
        print(f"{name:<30} {np.median(core):>7.2f} {np.median(wall):>7.2f} {np.median(decibels):>8.1f}", end="")
        print(f" {decibels.min():>6.1f} {against:>24}")


def print_animation(measured: list[tuple[float, float]]) -> None:
    """One line."""
    ratio = np.median([one / many for one, many in measured])
    print(f"{_VIEWS} views of a scan as one animation: {ratio:.2f} x the core-s of {_VIEWS} renders", flush=True)


@contextlib.contextmanager
def _applied(candidate: Candidate, renderer: BlenderRenderer) -> Iterator[None]:
    scene = bpy.context.scene
    cycles = dict(candidate.cycles)
    with contextlib.ExitStack() as stack:
        if candidate.cycles_denoiser is not None:
            cycles["denoising_quality"] = candidate.cycles_denoiser
            stack.enter_context(patch.object(BlenderRenderer, "_denoises_light", lambda self, recipe: False))
        if candidate.quality is not None:
            stack.enter_context(patch.object(denoise, "_FAST", candidate.quality))
        if candidate.textures != 1:
            stack.enter_context(_narrower_textures(renderer, candidate.textures))
        if candidate.threads != 1:
            renderer._core.close()  # two threads on one core would only wait for each other
            stack.callback(lambda: setattr(renderer, "_core", Core()))
            scene.render.threads = candidate.threads
            stack.callback(setattr, scene.render, "threads", 1)
            stack.enter_context(patch.object(renderer, "_denoiser", denoise.Denoiser(candidate.threads)))
        before = {name: getattr(scene.cycles, name) for name in cycles}
        for name, value in cycles.items():
            stack.callback(setattr, scene.cycles, name, before[name])
            setattr(scene.cycles, name, value)
        if candidate.light_map is not None:
            stack.enter_context(light_map(candidate.light_map))
        yield


@contextlib.contextmanager
def _narrower_textures(renderer: BlenderRenderer, times: int) -> Iterator[None]:
    def load(*args):
        image = load_texture(*args)
        image.scale(max(image.size[0] // times, 1), max(image.size[1] // times, 1))
        image.filepath_raw = os.path.join(folder, f"{time.monotonic_ns()}.png")
        image.save()  # under its old name Cycles would still know the wide one
        return image

    load_texture = blender_scene._load_texture
    _unload_scans(renderer)
    try:
        with tempfile.TemporaryDirectory() as folder, patch.object(blender_scene, "_load_texture", load):
            yield
    finally:
        _unload_scans(renderer)


def _unload_scans(renderer: BlenderRenderer) -> None:
    for loaded in renderer._loaded:
        blender_scene.remove_scan(loaded.obj)
    renderer._loaded = []
