"""RelightRenderer: what light can reach a scan is found once; any panorama, at any turn, is then a product.

Precomputed radiance transfer (Sloan, Kautz and Snyder 2002) towards a few thousand directions, with the strongest
lights by shadow rays of their own, for matte surfaces: docs/relight.md says what is taken from whom. Labels, checks and
film are those of every engine (`renderers.frame`).
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numba
import numpy as np

from renderers.frame import build_sample, render_background, subject_window
from renderers.kernel import cpu_kernel
from renderers.panorama import light_panorama
from renderers.proof import check_subject
from renderers.raycast import Labels, ScanCaster, cast_labels
from renderers.relight_colour import colours
from renderers.relight_directions import Directions
from renderers.relight_light import Sky, take_apart, turn_light
from renderers.relight_relit import Relit
from renderers.relight_shade import Points, irradiance
from renderers.relight_store import open_transport
from renderers.relight_transport import DIRECTIONS, Transport
from renderers.relight_view import see_surfaces
from renderers.surface import ScanPaint
from synth.backgrounds import load_panorama
from synth.errors import UserError
from synth.recipe import SceneRecipe
from synth.sample import Sample
from synth.scans import PreparedScan, load_prepared

#: Panoramas kept taken apart: 1.5 MB each.
_MOST_BACKGROUNDS = 64
#: Light of so many times white is seen in a pixel of which it has a hundredth.
_BRIGHT = 2.0


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A scan with its transport."""

    key: str
    scan: PreparedScan
    caster: ScanCaster
    paint: ScanPaint
    transport: Transport


@dataclass(frozen=True, eq=False)
class _Background:
    """A panorama as it is seen, mapped into memory, and as it lights."""

    panorama: np.ndarray
    sky: Sky


class RelightRenderer:
    """Holds the scan and the light of the last recipe, so that further views of them cost no set-up.

    scan_store: folder of prepared scans, where transport is kept too. threads: taken as one, whatever is given.
    """

    def __init__(self, scan_store: Path, background_store: Path, threads: int = 1):
        self._scan_store, self._background_store = scan_store, background_store
        self._directions = Directions(DIRECTIONS)
        self._loaded: _Loaded | None = None
        self._backgrounds: dict[str, _Background] = {}

    def render(self, recipe: SceneRecipe) -> Sample:
        """Colour and labels of a recipe.

        Raises BadSample when no subject is in view or a scan is seen from its inside; UserError for a recipe that this
        engine cannot render.
        """
        placed, window, labels = self._label(recipe)
        background = self._render_background(recipe)
        premultiplied = self._shade(recipe, placed, window, labels, background)
        return build_sample(recipe, labels, premultiplied, background, placed)

    def render_linear(self, recipe: SceneRecipe) -> np.ndarray:
        """(H, W, 4) float32: linear colour of the subject, premultiplied with its coverage; nothing behind."""
        return self._shade(recipe, *self._label(recipe), self._render_background(recipe))

    def environment(self) -> dict[str, str]:
        """What bytes depend on besides recipes: versions of what casts rays, compiles and adds up."""
        from importlib.metadata import version

        return {
            "renderer": "relight",
            "cpu": cpu_kernel(),
            **{name: version(name) for name in ("embreex", "llvmlite", "numba", "numpy", "scipy")},
        }

    def close(self) -> None:
        """Lets go of the scan."""
        self._loaded = None

    def _label(self, recipe: SceneRecipe) -> tuple[list, tuple[slice, slice], Labels]:
        _refuse_unable(recipe)
        pose = np.array(recipe.subjects[0].world_from_scan)
        placed = [(self._load_scan(recipe.subjects[0].scan_key), pose)]
        window = subject_window(recipe.camera, placed)
        labels = cast_labels(recipe.camera, [(placed[0][0].caster, pose)], recipe.normals, window)
        check_subject(labels)
        return placed, window, labels

    def _render_background(self, recipe: SceneRecipe) -> np.ndarray:
        """Before the subject, whose rim depends on it."""
        panorama = self._load_background(recipe).panorama
        return render_background(recipe, panorama, self._background_store, np.ones(recipe.camera.shape, bool))

    def _shade(
        self,
        recipe: SceneRecipe,
        placed: list,
        window: tuple[slice, slice],
        labels: Labels,
        background: np.ndarray,
    ) -> np.ndarray:
        (loaded, world_from_scan), camera = placed[0], recipe.camera
        sky = self._load_background(recipe).sky
        light = turn_light(sky, recipe.background.yaw_deg, world_from_scan, self._directions)
        relit = Relit(loaded.transport, light, self._directions)
        scan_from_camera = np.linalg.inv(world_from_scan) @ np.array(camera.world_from_camera)
        seen = see_surfaces(
            camera, labels, loaded.caster, loaded.transport.part, scan_from_camera, window,
            functools.partial(_find_bright, recipe, background),
        )  # fmt: skip
        points = Points(np.concatenate([s.triangle for s in seen]), np.concatenate([s.weights for s in seen]))
        falling = irradiance(points, scan_from_camera[:3, 3], loaded.scan, loaded.caster, loaded.transport, relit)
        out = np.zeros((*camera.shape, 4), np.float32)
        first = 0
        for some in seen:
            colour = colours(loaded.paint, some.triangle, some.weights, camera, scan_from_camera, some.taps)
            mine = falling[first : first + len(some.triangle)]
            _add(out.reshape(-1, 4), some.pixel, some.sample, some.share, colour, mine)
            first += len(some.triangle)
        return out

    def _load_scan(self, key: str) -> _Loaded:
        if self._loaded is None or self._loaded.key != key:
            scan = load_prepared(self._scan_store, key)
            caster, paint = ScanCaster(scan), ScanPaint(scan)
            transport = open_transport(self._scan_store, key, scan, caster, paint)
            # A product of bytes is found by way of floats: once for all views.
            transport = replace(transport, patch_light=transport.patch_light.astype(np.float32))
            self._loaded = _Loaded(key, scan, caster, paint, transport)
        return self._loaded

    def _load_background(self, recipe: SceneRecipe) -> _Background:
        """The panorama of a recipe; so many of the last are kept as fit into little memory."""
        wanted = recipe.background.sha256
        found = self._backgrounds.pop(wanted, None)
        if found is None:
            panorama = load_panorama(self._background_store, wanted)
            found = _Background(panorama, take_apart(light_panorama(panorama)))
        self._backgrounds[wanted] = found
        while len(self._backgrounds) > _MOST_BACKGROUNDS:
            del self._backgrounds[next(iter(self._backgrounds))]
        return found


def _find_bright(recipe: SceneRecipe, background: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Which of pixels (K,) lie before what is far brighter than white, as no photo is: (K,) bool."""
    if recipe.background.plate is not None:
        return np.zeros(len(pixels), bool)
    return background.reshape(-1, 3)[pixels].max(axis=-1) * 2.0**recipe.film.exposure_ev > _BRIGHT


def _refuse_unable(recipe: SceneRecipe) -> None:
    if recipe.film.material != "diffuse":
        raise UserError(f"film.material {recipe.film.material}: relight knows matte surfaces only; use engine cycles")
    if len(recipe.subjects) != 1:
        raise UserError(f"{len(recipe.subjects)} subjects: relight lights one at a time; use engine cycles")


@numba.njit(cache=True)
def _add(out, pixel, sample, share, colour, falling):  # pragma: no cover - compiled
    """Adds what matte samples send to the eye, and their coverage, to pixels (H * W, 4)."""
    for k in range(len(pixel)):
        p, s = pixel[k], sample[k]
        for c in range(3):
            out[p, c] += share[k] * colour[s, c] * falling[s, c] / np.float32(np.pi)
        out[p, 3] += share[k]
