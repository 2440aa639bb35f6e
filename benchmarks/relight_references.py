"""What Cycles makes of a picture with many paths and no denoiser, in two halves of other noise; kept from run to run.

Three parts, most wanted first: the whole subject with few paths, for a measure that knows no noise; twelve small windows
and a crop with all paths, for the eye and for PSNR as everybody means it; the whole subject once more with the materials
that the file asks for. A run that was stopped goes on with the part it was at.

Of two halves A and B with noise of their own, the mean of (picture - A) x (picture - B) holds none of it: the squared
error of the picture alone. And the noise of their mean is half of their difference.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from render_cases import Case, Stage, cast_case, in_processes, light_map, psnr, say, with_film
from render_references import NAIVE_SPP, Developed, Window, choose_windows, crop_window, reference_name

from renderers.blender import BlenderRenderer
from renderers.film import composite, srgb_from_linear, to_8bit
from renderers.panorama import render_panorama
from synth.backgrounds import load_panorama
from synth.recipe import SceneRecipe

#: Paths per pixel of a half: of the whole subject, and of windows and crop.
WHOLE_SPP, HALF_SPP = 32, 512
_WINDOWS, _WINDOW_PX = 12, 32
PARTS = ("whole", "windows", "authored")
#: Goes into the names of kept references: raise it when pictures of many paths change.
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Reference:
    """One case. Colours are sRGB, 0 to 255, float32 where they are means of many paths, before our background."""

    mask: np.ndarray
    """(H, W) bool, the subject's pixels."""
    box: Window
    whole: np.ndarray
    """(2, h, w, 3) of the box, by halves."""
    rim: np.ndarray
    """(h, w) bool of the box: pixels that the subject covers in part."""
    authored: np.ndarray
    """As `whole`, with the materials that the file asks for."""
    windows: tuple[Window, ...]
    """Twelve small ones."""
    small: np.ndarray
    """(2, 12, 32, 32, 3)."""
    noisy: np.ndarray
    """(len(NAIVE_SPP), 12, 32, 32, 3) uint8: ordinary renders without denoiser, of few paths."""
    crop_window: Window
    crop: np.ndarray
    """(2, 192, 192, 3)."""

    def score(self, rgb: np.ndarray) -> float:
        """PSNR in dB of a full frame (H, W, 3) sRGB 8 bit, over the subject in the windows, against all paths."""
        return self._psnr(np.stack([rgb[window] for window in self.windows]))

    def naive_db(self) -> list[float]:
        """The same of renders without denoiser, at NAIVE_SPP."""
        return [self._psnr(noisy) for noisy in self.noisy]

    def noise_db(self) -> float:
        """PSNR that a perfect picture would have: the reference's own noise."""
        a, b = (half[self._subject] for half in self.small)
        return _decibels(float(((a - b) ** 2).mean()) / 4)

    def clean_db(self, rgb: np.ndarray, authored: bool = False) -> float:
        """PSNR over the whole subject, free of the reference's noise."""
        return self._clean(rgb, self.authored if authored else self.whole, self.mask[self.box])

    def rim_db(self, rgb: np.ndarray) -> float:
        """The same over pixels that the subject covers in part."""
        return self._clean(rgb, self.whole, self.rim)

    @property
    def _subject(self) -> np.ndarray:
        return np.stack([self.mask[window] for window in self.windows])

    def _psnr(self, pixels: np.ndarray) -> float:
        truth = _round(self.small.mean(axis=0))
        return psnr(pixels[self._subject], truth[self._subject])

    def _clean(self, rgb: np.ndarray, halves: np.ndarray, where: np.ndarray) -> float:
        pixels = rgb[self.box][where].astype(np.float64)
        a, b = (half[where] for half in halves)
        return _decibels(float(((pixels - a) * (pixels - b)).mean()))


def make_references(stage: Stage, cases: Sequence[Case], folder: Path, processes: int) -> list[Reference]:
    """References of all cases, made where `folder` lacks them."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        missing = [case for case in cases if not _path(folder, case.recipe, part).is_file()]
        say(f"references, {part}: {len(cases) - len(missing)} of {len(cases)} kept from an earlier run")
        if missing:
            in_processes(_render_parts, stage, missing, processes, folder, part)
    return [_load(stage, case, folder) for case in cases]


def _path(folder: Path, recipe: SceneRecipe, part: str) -> Path:
    asked = {"part": part, "spp": [WHOLE_SPP, HALF_SPP, *NAIVE_SPP], "windows": [_WINDOWS, _WINDOW_PX]}
    return folder / f"relight-{reference_name(recipe, **asked, version=_VERSION)}.npz"


def _render_parts(stage: Stage, cases: list[Case], folder: Path, part: str) -> list[None]:
    renderer = stage.open()
    for case in cases:
        path = _path(folder, case.recipe, part)
        if path.is_file():  # another run was first
            continue
        started = time.process_time()
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **_render_part(stage, renderer, case, part))
        temporary.replace(path)
        say(f"reference of {case.name}, {part}: {time.process_time() - started:.0f} core-s")
    renderer.close()
    return [None] * len(cases)


def _render_part(stage: Stage, renderer: BlenderRenderer, case: Case, part: str) -> dict[str, np.ndarray]:
    """Linear premultiplied arrays by name."""
    seed = case.recipe.film.cycles_seed
    halves = seed ^ 1, seed ^ 2  # others than an ordinary render's: the same paths in both would hide its noise
    developed = Developed(renderer, with_film(case.recipe, material="authored" if part == "authored" else "diffuse"))
    with light_map(4):
        if part != "windows":
            rows, columns = box = developed.box
            colour = np.stack([developed.linear(WHOLE_SPP, box, half) for half in halves])
            return {"halves": colour, "box": np.array([rows.start, rows.stop, columns.start, columns.stop])}
        windows, crop = _places(cast_case(stage, case.recipe).instance > 0, case)
        return {
            "noisy": np.stack([[developed.linear(n, window, seed) for window in windows] for n in NAIVE_SPP]),
            "small": np.stack([[developed.linear(HALF_SPP, window, half) for window in windows] for half in halves]),
            "crop": np.stack([developed.linear(HALF_SPP, crop, half) for half in halves]),
        }


def _places(mask: np.ndarray, case: Case) -> tuple[tuple[Window, ...], Window]:
    windows = choose_windows(mask, case.number, _WINDOWS, _WINDOW_PX)
    return windows, crop_window(windows[_WINDOWS // 3], case.recipe)


def _load(stage: Stage, case: Case, folder: Path) -> Reference:
    recipe = case.recipe
    mask = cast_case(stage, recipe).instance > 0
    windows, crop = _places(mask, case)
    panorama = load_panorama(stage.background_store, recipe.background.sha256)
    behind = render_panorama(panorama, recipe.camera, recipe.background.yaw_deg)

    def finished(linear: np.ndarray, window: Window) -> np.ndarray:
        """(..., h, w, 3) sRGB, 0 to 255."""
        light = composite(linear[..., :3], np.clip(linear[..., 3], 0, 1), behind[window])
        return 255 * srgb_from_linear(light * np.float32(2.0**recipe.film.exposure_ev))

    parts = {part: np.load(_path(folder, recipe, part), allow_pickle=False) for part in PARTS}
    whole, small = parts["whole"]["halves"], parts["windows"]["small"]
    top, bottom, left, right = parts["whole"]["box"].tolist()
    box = slice(top, bottom), slice(left, right)
    alpha = whole[..., 3].mean(axis=0)
    return Reference(
        mask=mask,
        box=box,
        whole=finished(whole, box),
        rim=(alpha > 0.02) & (alpha < 0.98),
        authored=finished(parts["authored"]["halves"], box),
        windows=windows,
        small=np.stack([finished(small[:, k], window) for k, window in enumerate(windows)], axis=1),
        noisy=_round(
            np.stack([finished(parts["windows"]["noisy"][:, k], window) for k, window in enumerate(windows)], axis=1)
        ),
        crop_window=crop,
        crop=finished(parts["windows"]["crop"], crop),
    )


def _round(colour: np.ndarray) -> np.ndarray:
    """0 to 255 as uint8."""
    return to_8bit(colour / 255)


def _decibels(squared: float) -> float:
    return float(10 * np.log10(255**2 / max(squared, 1e-9)))
