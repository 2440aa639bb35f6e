"""What one setting of the colour render costs and gains, against the others, in one run.

For each variant: core-seconds per image (CPU time of this process, set-up left out) and PSNR in sRGB over the subject's
pixels against many paths without denoiser. Machines are shared and noisy: read ratios within one run.

    .venv/bin/python benchmarks/render.py --scans demo/assets/scans --images 4
"""

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

from renderers.base import make_renderer
from renderers.importers import probe
from synth.assets import bpy_hdris
from synth.backgrounds import load_backgrounds
from synth.config import load_config
from synth.randomize import Library, draw_recipe
from synth.sample import Sample
from synth.scans import default_cache, load_library

#: Variant: (changes to the recipe's film, changes to Cycles, light map's width over the panorama's or None).
VARIANTS = {
    "default": ({}, {}, None),
    "draft, 4 spp": ({"spp": 4}, {}, None),
    "high, 32 spp": ({"spp": 32}, {}, None),
    "8 spp, no denoiser": ({"denoise": False}, {}, None),
    "32 spp, no denoiser": ({"denoise": False, "spp": 32}, {}, None),
    "denoiser FAST": ({}, {"denoising_quality": "FAST"}, None),
    "denoiser HIGH": ({}, {"denoising_quality": "HIGH"}, None),
    "prefilter ACCURATE": ({}, {"denoising_prefilter": "ACCURATE"}, None),
    "one bounce": ({}, {"diffuse_bounces": 1}, None),
    "light tree": ({}, {"use_light_tree": True}, None),
    "light map 1x": ({}, {}, 1),
    "light map 1x, no denoiser": ({"denoise": False}, {}, 1),
    "light map 4x": ({}, {}, 4),
    "light map 4x, no denoiser": ({"denoise": False}, {}, 4),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--reference-spp", type=int, default=512)
    args = parser.parse_args()
    scans = load_library([args.scans.absolute()], default_cache(), probe)
    skies = load_backgrounds(list(bpy_hdris().values()), default_cache())
    config = load_config(None, {"width": args.width, "height": args.height})
    library = Library(scans.entries, skies.entries)
    recipes = [draw_recipe(config, library, seed=0, index=i) for i in range(args.images)]
    renderer = make_renderer("cycles", scans.store, skies.store, threads=1)

    def render(recipe, film: dict) -> tuple[Sample, float]:
        recipe = recipe.model_copy(update={"film": recipe.film.model_copy(update=film)})
        started = time.process_time()
        return renderer.render(recipe), time.process_time() - started

    references = []
    for recipe in recipes:  # four times the light map: the least noise
        render(recipe, {"spp": 1})
        with _changed({}, 4):
            references.append(render(recipe, {"spp": args.reference_spp, "denoise": False})[0])
    size = f"{args.width} x {args.height}"
    print(f"{args.images} images, {size}, reference {args.reference_spp} spp, Blender {bpy.app.version_string}")
    print(f"{'variant':<26} {'core-s':>7} {'PSNR dB, median (least)':>24}")
    for name, (film, cycles, scale) in VARIANTS.items():
        seconds, psnr = [], []
        for recipe, reference in zip(recipes, references, strict=True):
            render(recipe, {"spp": 1})  # loads scan and panorama, which no variant is charged for
            with _changed(cycles, scale):
                sample, used = render(recipe, film)
            seconds.append(used)
            psnr.append(_psnr(sample, reference))
        print(f"{name:<26} {np.median(seconds):>7.2f} {np.median(psnr):>15.1f} ({min(psnr):.1f})", flush=True)


@contextlib.contextmanager
def _changed(cycles: dict, scale: int | None) -> Iterator[None]:
    """Cycles' settings, and the light map's width over the panorama's (the default is twice), for a while."""
    settings, world = bpy.context.scene.cycles, bpy.context.scene.world
    before, width = {key: getattr(settings, key) for key in cycles}, world.cycles.sample_map_resolution
    _apply(cycles, width if scale is None else width // 2 * scale)
    try:
        yield
    finally:
        _apply(before, width)


def _apply(cycles: dict, light_map_px: int) -> None:
    for key, value in cycles.items():
        setattr(bpy.context.scene.cycles, key, value)
    bpy.context.scene.world.cycles.sample_map_resolution = light_map_px
    bpy.context.scene.world.update_tag()


def _psnr(sample: Sample, reference: Sample) -> float:
    error = (sample.rgb.astype(np.float64) - reference.rgb)[reference.mask]
    return float(10 * np.log10(255**2 / max((error**2).mean(), 1e-9)))


if __name__ == "__main__":
    main()
