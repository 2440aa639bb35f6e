"""The pictures that benchmarks/render.py measures on, and what its stages share: processes, PSNR.

A case is a scan, a framing and a background; its recipe is drawn as any other, from a library of one of each.
"""

import contextlib
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import bpy
import numpy as np

from renderers.blender import BlenderRenderer
from renderers.importers import probe
from renderers.raycast import Labels, ScanCaster, cast_labels
from synth.assets import bpy_hdris
from synth.backgrounds import load_backgrounds
from synth.config import PRESETS, RenderConfig, load_config
from synth.errors import UserError
from synth.randomize import Library, draw_recipe
from synth.recipe import SceneRecipe
from synth.scans import default_cache, load_library, load_prepared

#: Scan, framing, background: heads, upper bodies, whole bodies; studio, sun, overcast, interior, night.
CASES = (
    ("james", "face", "studio"),
    ("james", "face", "sunrise"),
    ("james_clay", "face", "interior"),
    ("woman_old_thin", "face", "courtyard"),
    ("child", "upper", "forest"),
    ("man_young", "upper", "city"),
    ("woman_heavy", "upper", "interior"),
    ("man_middle_clay", "upper", "sunset"),
    ("man_young", "full", "night"),
    ("woman_heavy", "full", "city"),
    ("child", "full", "sunrise"),
    ("man_middle_clay", "full", "studio"),
)
#: Scans whose mesh alone, without its material and picture, makes an untextured one.
_STRIPPED = ("james", "man_middle")
#: A head that was scanned from the front is hollow from behind.
_MOST_BACK_FACES = 0.1
_ATTEMPTS = 40
#: At most so many scans of further folders become cases of their own.
_MOST_FURTHER = 4


@dataclass(frozen=True)
class Case:
    """One picture to measure on."""

    number: int
    name: str
    recipe: SceneRecipe


@dataclass(frozen=True)
class Stage:
    """What every process of a stage needs besides its cases."""

    scan_store: Path
    background_store: Path
    width: int
    height: int

    def config(self, preset: str = "default", **changes: object) -> RenderConfig:
        """The configuration of a preset at the benchmark's size."""
        return load_config(None, {"width": self.width, "height": self.height, **PRESETS[preset], **changes})

    def open(self, threads: int = 1) -> BlenderRenderer:
        """A renderer; it takes the place of any other in this process."""
        return BlenderRenderer(self.scan_store, self.background_store, threads=threads)


def load_cases(folders: Sequence[Path], scratch: Path, size: tuple[int, int]) -> tuple[Stage, list[Case], Library]:
    """All cases: the table's, from the first folder (the demo scans), and one per scan of the others. And the library
    of the first folder.

    scratch: where untextured copies are put. Raises UserError when the first folder lacks a scan of the table.
    """
    demo, *further = folders
    for name in _STRIPPED:
        (scratch / f"{name}_clay").mkdir(parents=True)
        if not (demo / name / f"{name}.obj").is_file():
            raise UserError(f"{demo}: no {name}/{name}.obj; `synth assets fetch demo --dest` makes the demo scans")
        shutil.copy(demo / name / f"{name}.obj", scratch / f"{name}_clay" / f"{name}_clay.obj")
    scans = load_library([demo, scratch], default_cache(), probe)
    skies = load_backgrounds(list(bpy_hdris().values()), default_cache())
    stage = Stage(scans.store, skies.store, *size)
    entries = {entry.scan_id: entry for entry in scans.entries}
    panoramas = {entry.background_id: entry for entry in skies.entries}
    wanted = [(f"{s} {f} {b}", entries[s], f, panoramas[b]) for s, f, b in CASES]
    if further:
        found = load_library(further, default_cache(), probe).entries
        new = sorted((e for e in found if e.key not in {x.key for x in scans.entries}), key=lambda e: e.scan_id)
        say(f"of the further folders: {', '.join(e.scan_id for e in new[:_MOST_FURTHER]) or 'nothing new'}")
        for number, entry in enumerate(new[:_MOST_FURTHER]):
            framing = ("full", "upper", "face")[number % 3]
            sky = skies.entries[number % len(skies.entries)]
            wanted.append((f"{entry.scan_id} {framing} {sky.background_id}", entry, framing, sky))
    cases = [
        Case(number, name, draw_case(stage, number, Library((entry,), (sky,)), framing))
        for number, (name, entry, framing, sky) in enumerate(wanted)
    ]
    stripped = {f"{name}_clay" for name in _STRIPPED}
    return stage, cases, Library(tuple(e for e in scans.entries if e.scan_id not in stripped), skies.entries)


def cast_case(stage: Stage, recipe: SceneRecipe) -> Labels:
    """The labels of a recipe, without Blender."""
    subject = recipe.subjects[0]
    caster = ScanCaster(load_prepared(stage.scan_store, subject.scan_key))
    return cast_labels(recipe.camera, [(caster, np.array(subject.world_from_scan))])


def with_film(recipe: SceneRecipe, **changes: object) -> SceneRecipe:
    """The recipe with another film."""
    return recipe.model_copy(update={"film": recipe.film.model_copy(update=changes)})


def as_preset(stage: Stage, recipe: SceneRecipe, preset: str) -> SceneRecipe:
    """The recipe as it would have been drawn with a preset, which changes nothing that is drawn."""
    film = stage.config(preset).film
    return with_film(
        recipe, **film.model_dump(include=set(type(recipe.film).model_fields) & set(type(film).model_fields))
    )


def psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """dB, of 8-bit values of equal shape."""
    error = picture.astype(np.float64) - reference
    return float(10 * np.log10(255**2 / max((error**2).mean(), 1e-9)))


def in_processes(work: Callable, stage: Stage, cases: Sequence[Case], count: int, *more: object) -> list:
    """work(stage, cases, *more), a list as long as its cases, dealt to `count` new processes; in the cases' order.

    Two of them keep both cores as busy as a run of two workers does, for all that is compared alike.
    """
    shares = [list(cases[k::count]) for k in range(count) if cases[k::count]]
    # bpy puts a folder of its own on the path, where a new interpreter would find half a bpy.
    path = [entry for entry in sys.path if not entry.endswith(os.path.join("scripts", "modules"))]
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
    with patch.object(sys, "path", path), pool:
        futures = [pool.submit(work, stage, share, *more) for share in shares]
        results = [future.result() for future in futures]
    made = {}
    for share, many in zip(shares, results, strict=True):
        made.update({case.number: one for case, one in zip(share, many, strict=True)})
    return [made[case.number] for case in cases]


@contextlib.contextmanager
def light_map(scale: int) -> Iterator[None]:
    """Cycles' light map `scale` times as wide as the panorama that lights, in place of our two; that must be loaded."""
    world = bpy.context.scene.world
    width = world.cycles.sample_map_resolution
    world.cycles.sample_map_resolution = width // 2 * scale
    world.update_tag()
    try:
        yield
    finally:
        world.cycles.sample_map_resolution = width
        world.update_tag()


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(f"  {text}", file=sys.stderr, flush=True)


def draw_case(stage: Stage, number: int, library: Library, framing: str) -> SceneRecipe:
    """The first picture of a library of one scan and one panorama, so framed, that does not show the scan's inside."""
    weights = {f"framing.{name}": float(name == framing) for name in ("full", "upper", "face")}
    config = stage.config(**weights, **{"camera.truncation": 0.0})
    for attempt in range(_ATTEMPTS):
        recipe = draw_recipe(config, library, seed=0, index=number, attempt=attempt)
        labels = cast_case(stage, recipe)
        subject = int((labels.instance > 0).sum())
        if subject and (labels.back & (labels.instance > 0)).sum() < _MOST_BACK_FACES * subject:
            return recipe
    raise UserError(f"{library.scans[0].scan_id}: its inside is seen in all of {_ATTEMPTS} pictures; leave it out")
