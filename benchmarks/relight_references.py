"""What Cycles makes of a picture with many paths and no denoiser, in two halves of other noise; kept from run to run.

Four parts, most wanted first: twelve small windows with all paths, for PSNR as everybody means it; the whole subject
with few paths, for a measure that knows no noise; a crop with all paths, for the eye; the whole subject once more with
the materials that the file asks for. A run that was stopped goes on with the picture it was at.

Of two halves A and B with noise of their own, the mean of (picture - A) x (picture - B) holds none of it: the squared
error of the picture alone. And the noise of their mean is half of their difference.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import flip_evaluator
import numpy as np
from render_cases import Case, Stage, cast_case, in_processes, light_map, psnr, say, with_film
from render_references import CROP_PX, NAIVE_SPP, Developed, Window, choose_windows, crop_window, reference_name

from renderers.blender import BlenderRenderer
from renderers.film import composite, srgb_from_linear, to_8bit
from renderers.frame import subject_window
from renderers.panorama import render_panorama
from synth.backgrounds import load_panorama
from synth.recipe import SceneRecipe
from synth.scans import load_prepared

#: Paths per pixel of a half: of the whole subject, and of windows and crop.
WHOLE_SPP, HALF_SPP = 32, 512
_WINDOWS, _WINDOW_PX = 12, 24
PARTS = ("windows", "whole", "crop", "authored")
#: Goes into the names of kept references: raise it when pictures of many paths change.
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Reference:
    """One case. Colours are sRGB, 0 to 255, float32 where they are means of many paths, before our background; None
    where a part was not asked for."""

    mask: np.ndarray
    """(H, W) bool, the subject's pixels."""
    box: Window
    whole: np.ndarray | None
    """(2, h, w, 3) of the box, by halves."""
    rim: np.ndarray
    """(h, w) bool of the box: pixels that the subject covers in part."""
    authored: np.ndarray | None
    """As `whole`, with the materials that the file asks for."""
    windows: tuple[Window, ...]
    """Twelve small ones."""
    small: np.ndarray
    """(2, 12, 24, 24, 3)."""
    noisy: np.ndarray
    """(len(NAIVE_SPP), 12, 24, 24, 3) uint8: ordinary renders without denoiser, of few paths."""
    crop_window: Window
    crop: np.ndarray | None
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

    def clean_score(self, rgb: np.ndarray) -> float:
        """As `score`, free of the reference's noise."""
        return _clean(np.stack([rgb[window] for window in self.windows]), self.small, self._subject)

    def clean_db(self, rgb: np.ndarray) -> float:
        """PSNR over the whole subject, free of the reference's noise; NaN without that part, here and below."""
        return _clean(rgb[self.box], self.whole, self.mask[self.box])

    def rim_db(self, rgb: np.ndarray) -> float:
        """The same over pixels that the subject covers in part."""
        return _clean(rgb[self.box], self.whole, self.rim)

    def authored_db(self, rgb: np.ndarray) -> float:
        """The same over the whole subject, against the materials that the file asks for."""
        return _clean(rgb[self.box], self.authored, self.mask[self.box])

    def flip(self, rgb: np.ndarray) -> tuple[float, float]:
        """Mean FLIP (0 to 1, 67 pixels a degree; Andersson et al. 2020) over the subject in the crop, and that of one
        half of the reference against the other."""
        if self.crop is None:
            return np.nan, np.nan
        where = self.mask[self.crop_window]
        truth, halves = self.crop_truth / 255, self.crop / 255
        return _flip(truth, rgb[self.crop_window] / 255, where), _flip(halves[0], halves[1], where)

    @property
    def crop_truth(self) -> np.ndarray:
        """(192, 192, 3) uint8."""
        return _round(self.crop.mean(axis=0))

    @property
    def small_truth(self) -> np.ndarray:
        """(12, 24, 24, 3) uint8."""
        return _round(self.small.mean(axis=0))

    @property
    def whole_truth(self) -> np.ndarray:
        """(h, w, 3) uint8 of the box."""
        return _round(self.whole.mean(axis=0))

    @property
    def _subject(self) -> np.ndarray:
        return np.stack([self.mask[window] for window in self.windows])

    def _psnr(self, pixels: np.ndarray) -> float:
        truth = _round(self.small.mean(axis=0))
        return psnr(pixels[self._subject], truth[self._subject])


def make_references(
    stage: Stage, cases: Sequence[Case], folder: Path, processes: int, parts: Sequence[str] = PARTS
) -> list[Reference]:
    """References of all cases, made where `folder` lacks them. parts: `windows`, and what else of PARTS is wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        missing = [case for case in cases if not _path(folder, case.recipe, part).is_file()]
        say(f"references, {part}: {len(cases) - len(missing)} of {len(cases)} kept from an earlier run")
        if missing:
            in_processes(_render_parts, stage, missing, processes, folder, part)
    return [_load(stage, case, folder, parts) for case in cases]


def kept_cases(cases: Sequence[Case], folder: Path, parts: Sequence[str]) -> list[Case]:
    """Those whose references are there."""
    return [case for case in cases if all(_path(folder, case.recipe, part).is_file() for part in parts)]


def _path(folder: Path, recipe: SceneRecipe, part: str) -> Path:
    parts = {"windows": [HALF_SPP, *NAIVE_SPP, _WINDOWS, _WINDOW_PX], "crop": [HALF_SPP, CROP_PX, _WINDOWS]}
    asked = parts.get(part, [WHOLE_SPP])
    return folder / f"relight-{reference_name(recipe, part=part, asked=asked, version=_VERSION)}.npz"


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
        if part in ("whole", "authored"):
            box = _box(stage, case.recipe)
            return {"halves": np.stack([developed.linear(WHOLE_SPP, box, half) for half in halves])}
        windows, crop = _places(cast_case(stage, case.recipe).instance > 0, case)
        if part == "crop":
            return {"halves": np.stack([developed.linear(HALF_SPP, crop, half) for half in halves])}
        return {
            "noisy": np.stack([[developed.linear(n, window, seed) for window in windows] for n in NAIVE_SPP]),
            "small": np.stack([[developed.linear(HALF_SPP, window, half) for window in windows] for half in halves]),
        }


def _places(mask: np.ndarray, case: Case) -> tuple[tuple[Window, ...], Window]:
    windows = choose_windows(mask, case.number, _WINDOWS, _WINDOW_PX)
    return windows, crop_window(windows[_WINDOWS // 3], case.recipe)


def _load(stage: Stage, case: Case, folder: Path, wanted: Sequence[str]) -> Reference:
    recipe = case.recipe
    mask = cast_case(stage, recipe).instance > 0
    windows, crop = _places(mask, case)
    panorama = load_panorama(stage.background_store, recipe.background.sha256)
    behind = render_panorama(panorama, recipe.camera, recipe.background.yaw_deg)

    def finished(linear: np.ndarray, window: Window) -> np.ndarray:
        """(..., h, w, 3) sRGB, 0 to 255."""
        light = composite(linear[..., :3], np.clip(linear[..., 3], 0, 1), behind[window])
        return 255 * srgb_from_linear(light * np.float32(2.0**recipe.film.exposure_ev))

    box = _box(stage, recipe)
    parts = {part: np.load(_path(folder, recipe, part), allow_pickle=False) for part in wanted}
    few = {name: [parts["windows"][name][:, k] for k in range(_WINDOWS)] for name in ("small", "noisy")}
    few = {name: np.stack(list(map(finished, of, windows)), axis=1) for name, of in few.items()}
    halves = {part: parts[part]["halves"] for part in PARTS[1:] if part in parts}
    colours = {part: finished(linear, crop if part == "crop" else box) for part, linear in halves.items()}
    alpha = halves["whole"][..., 3].mean(axis=0) if "whole" in halves else np.zeros(mask[box].shape)
    return Reference(
        mask=mask,
        box=box,
        whole=colours.get("whole"),
        rim=(alpha > 0.02) & (alpha < 0.98),
        authored=colours.get("authored"),
        windows=windows,
        small=few["small"],
        noisy=_round(few["noisy"]),
        crop_window=crop,
        crop=colours.get("crop"),
    )


def _box(stage: Stage, recipe: SceneRecipe) -> Window:
    """The part of the frame that every engine renders."""
    subject = recipe.subjects[0]
    loaded = SimpleNamespace(scan=load_prepared(stage.scan_store, subject.scan_key))
    return subject_window(recipe.camera, [(loaded, np.array(subject.world_from_scan))])


def _round(colour: np.ndarray) -> np.ndarray:
    """0 to 255 as uint8."""
    return to_8bit(colour / 255)


def _clean(pixels: np.ndarray, halves: np.ndarray | None, where: np.ndarray) -> float:
    if halves is None:
        return np.nan
    a, b = (half[where] for half in halves)
    return _decibels(float(((pixels[where] - a) * (pixels[where] - b)).mean(dtype=np.float64)))


def _flip(reference: np.ndarray, picture: np.ndarray, where: np.ndarray) -> float:
    """Colours 0 to 1."""
    pair = (np.ascontiguousarray(image, np.float32) for image in (reference, picture))
    errors, _, _ = flip_evaluator.evaluate(*pair, "LDR", applyMagma=False, computeMeanError=False)
    return float(errors[..., 0][where].mean())


def _decibels(squared: float) -> float:
    return float(10 * np.log10(255**2 / max(squared, 1e-9)))
