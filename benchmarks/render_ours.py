"""Our renderer's core-seconds, stage by stage, and its pictures: nothing in it is changed, its calls are timed.

A sample is charged with its whole way: render, encode, decode, check, and a staged file that is safe on disk.
"""

import contextlib
import functools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from render_cases import Case, Stage, as_preset, say, with_film

from renderers import blender, blender_scene, frame
from renderers.base import Renderer
from renderers.blender import BlenderRenderer
from synth.codec import stored
from synth.config import PRESETS, CheckLimits
from synth.pipeline_worker import environment
from synth.recipe import SceneRecipe
from synth.sample import BadSample, check
from synth.store_write import Run, make_row, open_run

#: Whose attribute of which name is timed as what.
Timed = tuple[tuple[object, str, str], ...]
_TIMED: Timed = (
    (BlenderRenderer, "_render_passes", "Cycles"),
    (blender, "denoise_light", "denoiser"),
    (blender, "cast_labels", "labels"),
    (blender, "check_subject", "labels"),
    (blender, "check_depth", "labels"),
    (blender, "render_background", "background, film"),
    (blender, "build_sample", "background, film"),
    (frame, "count_labels", "labels"),
    (blender, "load_prepared", "load scan"),
    (blender, "ScanCaster", "load scan"),
    (blender_scene, "build_scan", "load scan"),
    (blender_scene, "remove_scan", "load scan"),
    (blender, "load_panorama", "load background"),
    (blender, "light_panorama", "load background"),
    (blender_scene, "light_world", "load background"),
)
#: Paths per pixel from whose costs Cycles' fixed cost and that of a path are told apart.
_FEW_SPP, _MORE_SPP = 1, 9


@dataclass
class Watch:
    """Core-seconds of this process by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    _inner: float = 0.0

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Charges what is done within it to a stage, less what a stage within it is charged with."""
        started, before = time.process_time(), self._inner
        self._inner = 0.0
        try:
            yield
        finally:
            used = time.process_time() - started
            self.seconds[stage] = self.seconds.get(stage, 0.0) + used - self._inner
            self._inner = before + used

    @contextlib.contextmanager
    def on_renderer(self, timed: Timed) -> Iterator[None]:
        """Charges the renderer's own calls, and what is left of `render` to "the rest"."""
        with contextlib.ExitStack() as stack:
            for owner, name, stage in timed:
                original = getattr(owner, name)
                stack.callback(setattr, owner, name, original)
                setattr(owner, name, self._wrapped(original, stage))
            before = sum(self.seconds.values())
            started = time.process_time()
            yield
            used = time.process_time() - started
            self.seconds["the rest"] = used - (sum(self.seconds.values()) - before)

    def _wrapped(self, function, stage: str):
        @functools.wraps(function, updated=())
        def call(*args, **keywords):
            with self.timed(stage):
                return function(*args, **keywords)

        return call

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.seconds.values())


@dataclass(frozen=True, eq=False)
class Ours:
    """What one case gave."""

    rgb: dict[str, np.ndarray]
    """Full frame (H, W, 3) sRGB 8 bit by preset."""
    seconds: dict[str, dict[str, float]]
    """Core-seconds of a sample by preset, by stage; scan and background already loaded."""
    sync_s: float
    """Core-seconds of Cycles at no path at all: handing over the scene, reading the passes."""
    scan_loaded: bool
    """Whether the case's scan was new to the renderer."""
    first_use: dict[str, float]
    """Core-seconds that the first picture took longer than the same once more, and of them our own loading."""
    background_use: dict[str, float]
    """The same of a picture whose background alone is new."""

    def total(self, preset: str) -> float:
        """Core-seconds of a sample."""
        return sum(self.seconds[preset].values())


def measure_ours(stage: Stage, cases: list[Case], skies: list[SceneRecipe]) -> list[Ours]:
    """All presets on the cases. skies: recipes whose backgrounds take a case's own away for a moment.

    Every timed picture was rendered before, so that no preset pays for what is loaded once.
    """
    renderer, limits = stage.open(), stage.config().checks
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        run = open_run(Path(folder, "dataset"), {"format": "benchmark"})
        env_id = run.add_environment(environment(renderer))
        measured, scan_key = [], None
        for case in cases:
            new_scan = case.recipe.subjects[0].scan_key != scan_key
            scan_key = case.recipe.subjects[0].scan_key
            other = next(sky for sky in skies if sky.background.sha256 != case.recipe.background.sha256)
            once = functools.partial(make_once, renderer, limits, run, env_id, _TIMED)
            measured.append(_measure_case(stage, case, other, new_scan, once))
            say(f"ours on {case.name}: {measured[-1].total('default'):.2f} core-s")
    renderer.close()
    return measured


def _measure_case(stage: Stage, case: Case, other: SceneRecipe, new_scan: bool, once) -> Ours:
    few = with_film(case.recipe, spp=_FEW_SPP, denoise=False)
    first, _ = once(few)
    steady, _ = once(few)
    once(few.model_copy(update={"background": other.background}))
    swapped, _ = once(few)
    more, _ = once(with_film(few, spp=_MORE_SPP))
    steady = min(once(few)[0], steady, key=lambda watch: watch.total)
    per_spp = (more.seconds["Cycles"] - steady.seconds["Cycles"]) / (_MORE_SPP - _FEW_SPP)
    seconds, rgb = {}, {}
    for preset in PRESETS:
        recipe = as_preset(stage, case.recipe, preset)
        watch, rgb[preset] = once(recipe)
        if preset == "default":  # the one that the aims are about: the less disturbed of two
            watch = min(watch, once(recipe)[0], key=lambda watch: watch.total)
        seconds[preset] = watch.seconds
    return Ours(
        rgb=rgb,
        seconds=seconds,
        sync_s=max(0.0, steady.seconds["Cycles"] - per_spp * _FEW_SPP),
        scan_loaded=new_scan,
        first_use=_excess(first, steady),
        background_use=_excess(swapped, steady),
    )


def make_once(
    renderer: Renderer, limits: CheckLimits, run: Run, env_id: str, timed: Timed, recipe: SceneRecipe
) -> tuple[Watch, np.ndarray]:
    """A sample as a worker makes it, and its colour."""
    watch = Watch()
    with watch.on_renderer(timed):
        sample = renderer.render(recipe)
    with watch.timed("encode"):
        members, read = stored(sample)
    with watch.timed("check"), contextlib.suppress(BadSample):  # its cost is wanted here, not its verdict
        check(read, limits)
    with watch.timed("write"):
        row = make_row(read, members, flags=(), env_id=env_id, seconds=0.0, refused=())
        run.stage(members, row)
    return watch, sample.rgb


def _excess(watch: Watch, steady: Watch) -> dict[str, float]:
    loads = {stage: watch.seconds.get(stage, 0.0) for stage in ("load scan", "load background")}
    return {"total": watch.total - steady.total, **loads}
