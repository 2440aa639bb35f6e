"""What a picture looks like without noise, in four small windows on the subject; kept from run to run.

Of as many paths as are asked for, without denoiser, with the finest light map. Without a denoiser a border render is
bit for bit the part of the full frame, so that little has to be rendered. The same windows with few paths tell what an
ordinary render's noise is; a larger crop is for the eye.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from render_cases import Case, Stage, cast_case, in_processes, light_map, psnr, say, with_film

from renderers import blender_scene
from renderers.blender import BlenderRenderer
from renderers.film import composite, develop
from renderers.panorama import render_panorama
from synth.recipe import SceneRecipe, canonical_sha256

#: Paths per pixel at which the noise of a render without denoiser is measured.
NAIVE_SPP = (8, 32, 128)
#: Side of the crop for the eye, pixels, and its paths per pixel: its noise, some 35 dB, shows in amplified differences.
CROP_PX, CROP_SPP = 192, 64
_WINDOWS, _WINDOW_PX = 4, 24
#: Goes into the names of kept references: raise it when pictures of many paths change.
_VERSION = 2

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Reference:
    """One case's windows, and what they hold."""

    windows: tuple[Window, ...]
    subject: np.ndarray
    """(4, 24, 24) bool: pixels that count."""
    truth: np.ndarray
    """(4, 24, 24, 3) sRGB 8 bit."""
    noisy: np.ndarray
    """(len(NAIVE_SPP), 4, 24, 24, 3): the same of few paths."""
    crop_window: Window
    crop: np.ndarray
    """(192, 192, 3) sRGB 8 bit; all black where no page was asked for."""

    def score(self, rgb: np.ndarray) -> float:
        """PSNR in dB of a full frame (H, W, 3) sRGB 8 bit over the subject's pixels in the windows."""
        return self._psnr(np.stack([rgb[window] for window in self.windows]))

    def naive_db(self) -> list[float]:
        """PSNR of renders without denoiser, at NAIVE_SPP."""
        return [self._psnr(noisy) for noisy in self.noisy]

    def _psnr(self, pixels: np.ndarray) -> float:
        return psnr(pixels[self.subject], self.truth[self.subject])


def make_references(
    stage: Stage, cases: Sequence[Case], folder: Path, spp: int, crops: bool, processes: int
) -> list[Reference]:
    """References of all cases, those from `folder` that are there already. crops: whether a page is to be made."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [case for case in cases if not _path(folder, case, spp, crops).is_file()]
    say(f"references: {len(cases) - len(missing)} of {len(cases)} kept from an earlier run")
    if missing:
        in_processes(_render_references, stage, missing, processes, folder, spp, crops)
    return [_load(stage, case, _path(folder, case, spp, crops)) for case in cases]


def reference_name(recipe: SceneRecipe, **further: object) -> str:
    """A name for what Cycles makes of a recipe with any number of paths; `further` says which parts, and how many."""
    told = recipe.model_dump(mode="json")
    facts = {
        "recipe": {key: told[key] for key in ("camera", "background")},
        "subjects": [[subject["scan_key"], subject["world_from_scan"]] for subject in told["subjects"]],
        "film": {key: value for key, value in told["film"].items() if key not in ("spp", "denoise")},
        "blender": f"{bpy.app.version_string} {bpy.app.build_hash.decode()}",
        **further,
    }
    return canonical_sha256(facts)[:16]


def _path(folder: Path, case: Case, spp: int, crops: bool) -> Path:
    windows = [_WINDOWS, _WINDOW_PX, [CROP_PX, CROP_SPP] if crops else None]
    name = reference_name(case.recipe, spp=[spp, *NAIVE_SPP], windows=windows, version=_VERSION)
    return folder / f"{name}.npz"


def _render_references(stage: Stage, cases: list[Case], folder: Path, spp: int, crops: bool) -> list[None]:
    renderer = stage.open()
    for case in cases:
        started = time.monotonic()
        windows = choose_windows(cast_case(stage, case.recipe).instance > 0, case.number)
        crop = crop_window(windows[1], case.recipe) if crops else None
        path = _path(folder, case, spp, crops)
        temporary = path.with_suffix(".tmp.npz")
        np.savez_compressed(temporary, **_render_case(renderer, case.recipe, spp, windows, crop))
        temporary.replace(path)
        say(f"reference of {case.name}: {time.monotonic() - started:.0f} s")
    renderer.close()
    return [None] * len(cases)


def _render_case(
    renderer: BlenderRenderer, recipe: SceneRecipe, spp: int, windows: Sequence[Window], where: Window | None
) -> dict[str, np.ndarray]:
    # Another seed than the pictures': the same paths in both would hide part of their noise.
    true = with_film(recipe, cycles_seed=recipe.film.cycles_seed ^ 1)
    few = Developed(renderer, recipe)
    with light_map(4):
        noisy = np.stack([[few.render(n, window) for window in windows] for n in NAIVE_SPP])
        many = Developed(renderer, true)
        truth = np.stack([many.render(spp, window) for window in windows])
        crop = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
        if where is not None:
            crop = many.render(CROP_SPP, where)
    return {"truth": truth, "noisy": noisy, "crop": crop}


def _load(stage: Stage, case: Case, path: Path) -> Reference:
    mask = cast_case(stage, case.recipe).instance > 0
    windows = choose_windows(mask, case.number)
    with np.load(path, allow_pickle=False) as kept:
        return Reference(
            windows=windows,
            subject=np.stack([mask[window] for window in windows]),
            truth=kept["truth"],
            noisy=kept["noisy"],
            crop_window=crop_window(windows[1], case.recipe),
            crop=kept["crop"],
        )


def choose_windows(mask: np.ndarray, seed: int, count: int = _WINDOWS, size: int = _WINDOW_PX) -> tuple[Window, ...]:
    """Windows of size x size px around pixels of the subject, from its top to its bottom: of four, at an eighth of its
    pixels, three, ..."""
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(mask)  # by rows
    windows = []
    for number in range(count):
        row = rows[int((number + 0.5) / count * len(rows))]
        column = rng.choice(columns[rows == row])
        windows.append(_around(int(row), int(column), size, mask.shape))
    return tuple(windows)


def crop_window(window: Window, recipe: SceneRecipe) -> Window:
    """The crop for the eye, in the middle of which a window lies."""
    rows, columns = window
    middle = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
    return _around(*middle, CROP_PX, recipe.camera.shape)


def _around(row: int, column: int, size: int, shape: tuple[int, int]) -> Window:
    first = [
        int(np.clip(at - size // 2, 0, max(0, most - size))) for at, most in zip((row, column), shape, strict=True)
    ]
    return slice(first[0], first[0] + size), slice(first[1], first[1] + size)


class Developed:
    """Parts of a recipe's frame with any number of paths and no denoiser.

    A renderer's private methods are used because it offers no part of a frame; so all but the noise is as in our
    pictures.
    """

    def __init__(self, renderer: BlenderRenderer, recipe: SceneRecipe):
        self._renderer, self._recipe = renderer, recipe
        renderer._load_scans(recipe)
        self._panorama = renderer._load_panorama(recipe)
        blender_scene.place(renderer._loaded[0].obj, np.array(recipe.subjects[0].world_from_scan))
        blender_scene.aim_camera(renderer._camera, recipe.camera)

    def linear(self, spp: int, window: Window, seed: int) -> np.ndarray:
        """(h, w, 4) float32, premultiplied, of a window."""
        recipe = with_film(self._recipe, spp=spp, denoise=False, cycles_seed=seed)
        return self._renderer._render_passes(recipe, window).colour

    def render(self, spp: int, window: Window) -> np.ndarray:
        """(h, w, 3) sRGB 8 bit of a window."""
        recipe = self._recipe
        camera = recipe.camera
        colour = self.linear(spp, window, recipe.film.cycles_seed)
        wanted = np.zeros(camera.shape, bool)
        wanted[window] = True
        background = render_panorama(self._panorama, camera, recipe.background.yaw_deg, wanted=wanted)[window]
        return develop(composite(colour[..., :3], np.clip(colour[..., 3], 0, 1), background), recipe.film)
