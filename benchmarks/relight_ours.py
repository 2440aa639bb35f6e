"""Relight's pictures of the cases and their core-seconds by step, beside those of our own Cycles.

Nothing in the renderers is changed, their calls are timed. A sample is charged with its whole way: render, encode,
decode, check, and a staged file that is safe on disk. Costs of what is done once, for a scan, a background or the first
picture of a process, stand apart.
"""

import functools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from render_cases import Case, Stage, as_preset, say, with_film
from render_ours import Timed, Watch, make_once

from renderers import frame, relight, relight_store
from renderers.raycast import ScanCaster
from renderers.relight_transport import Transport, build_transport
from renderers.surface import ScanPaint
from synth.pipeline_worker import environment
from synth.recipe import SceneRecipe
from synth.scans import load_prepared
from synth.store_write import open_run

#: Whose attribute of which name is timed as what.
_TIMED: Timed = (
    (relight, "load_prepared", "load scan"),
    (relight, "ScanCaster", "load scan"),
    (relight, "ScanPaint", "load scan"),
    (relight, "open_transport", "load scan"),
    (relight, "load_panorama", "load background"),
    (relight, "light_panorama", "load background"),
    (relight, "take_apart", "load background"),
    (relight, "subject_window", "labels"),
    (relight, "cast_labels", "labels"),
    (relight, "check_subject", "labels"),
    (frame, "count_labels", "labels"),
    (relight, "turn_light", "light of the panorama"),
    (relight, "Relit", "light on patches"),
    (relight, "see_surfaces", "edges: more rays"),
    (relight, "irradiance", "light on points"),
    (relight, "colours", "texture"),
    (relight, "render_background", "background"),
    (relight, "build_sample", "film"),
)
#: The order of the steps in a table.
STEPS = (
    *("labels", "light of the panorama", "light on patches", "edges: more rays", "light on points", "texture"),
    *("background", "film", "the rest", "encode", "check", "write"),
)
LOADING = ("load scan", "load background")


@dataclass(frozen=True, eq=False)
class Relit:
    """What one case gave."""

    rgb: np.ndarray
    """(H, W, 3) sRGB 8 bit."""
    seconds: dict[str, float]
    """Core-seconds of a further sample by step; scan and background are there."""
    new_background: float
    """Core-seconds more where the background is none of the last ones."""
    new_scan: float
    """Core-seconds more where the scan is another than the last one, with its transport on disk."""
    transport: float
    """Core-seconds of the scan's transport, once for all workers and pictures."""
    transport_bytes: int
    """Of its arrays."""

    @property
    def total(self) -> float:
        """Core-seconds of a further sample."""
        return sum(self.seconds.values())


@dataclass(frozen=True, eq=False)
class Traced:
    """What our Cycles gave of a case, default preset."""

    rgb: np.ndarray
    seconds: float
    """Core-seconds of a further sample."""


def as_relit(recipe: SceneRecipe) -> SceneRecipe:
    """The recipe as it would have been drawn for relight."""
    return with_film(recipe, engine="relight", spp=0, denoise=False, cycles_seed=0)


def measure_relight(stage: Stage, cases: list[Case], skies: list[SceneRecipe]) -> list[Relit]:
    """Relight on the cases. skies: recipes whose backgrounds take a case's own away for a moment."""
    limits, measured = stage.config().checks, []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        run = open_run(Path(folder, "dataset"), {"format": "benchmark"})
        env_id = run.add_environment(environment(_open(stage)))

        def once(renderer: relight.RelightRenderer, recipe: SceneRecipe) -> tuple[Watch, np.ndarray]:
            return make_once(renderer, limits, run, env_id, _TIMED, recipe)

        once(_open(stage), as_relit(cases[0].recipe))  # compiles
        known: dict[str, tuple[float, Transport]] = {}
        for case in cases:
            recipe = as_relit(case.recipe)
            key = recipe.subjects[0].scan_key
            known[key] = known.get(key) or _measure_transport(stage, key)
            other = next(sky for sky in skies if sky.background.sha256 != recipe.background.sha256)
            measured.append(_measure_case(stage, recipe, other, once, *known[key]))
            say(f"relight on {case.name}: {measured[-1].total:.2f} core-s")
    return measured


def _open(stage: Stage) -> relight.RelightRenderer:
    return relight.RelightRenderer(stage.scan_store, stage.background_store, threads=1)


def _measure_transport(stage: Stage, key: str) -> tuple[float, Transport]:
    """Core-seconds of building it, and what was built."""
    scan = load_prepared(stage.scan_store, key)
    caster, paint = ScanCaster(scan), ScanPaint(scan)
    started = time.process_time()
    transport = build_transport(scan, caster, paint)
    return time.process_time() - started, transport


def _measure_case(
    stage: Stage, recipe: SceneRecipe, other: SceneRecipe, once, cost: float, transport: Transport
) -> Relit:
    renderer = _open(stage)
    with patch.object(relight_store, "build_transport", lambda *scan: transport):  # where it is not on disk
        once(renderer, recipe.model_copy(update={"background": other.background}))
    swapped, rgb = once(renderer, recipe)
    watch = min((once(renderer, recipe)[0] for _ in range(3)), key=lambda watch: watch.total)
    first, _ = once(_open(stage), recipe)
    return Relit(
        rgb=rgb,
        seconds={step: watch.seconds.get(step, 0.0) for step in (*STEPS, *LOADING)},
        new_background=swapped.total - watch.total,
        new_scan=first.total - swapped.total,
        transport=cost,
        transport_bytes=sum(array.nbytes for array in vars(transport).values()),
    )


def measure_traced(stage: Stage, cases: list[Case]) -> list[Traced]:
    """Our Cycles on the cases, default preset; every timed picture was rendered before with few paths."""
    renderer, limits, measured = stage.open(), stage.config().checks, []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        run = open_run(Path(folder, "dataset"), {"format": "benchmark"})
        env_id = run.add_environment(environment(renderer))
        for case in cases:
            once = functools.partial(make_once, renderer, limits, run, env_id, ())
            once(with_film(case.recipe, spp=1, denoise=False))
            watch, rgb = once(as_preset(stage, case.recipe, "default"))
            measured.append(Traced(rgb, watch.total))
            say(f"our Cycles on {case.name}: {watch.total:.2f} core-s")
    renderer.close()
    return measured
