"""The seam: `render(recipe) -> Sample`. Everything else in the project is on one side of it or the other."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from synth.recipe import SceneRecipe
from synth.sample import Sample


class Renderer(Protocol):
    """Turns recipes into samples. No dice, no clock: the same recipe gives the same sample."""

    def render(self, recipe: SceneRecipe) -> Sample:
        """All pixels of one recipe. Raises synth.sample.BadSample when no useful picture comes out."""

    def environment(self) -> dict[str, str]:
        """What the bytes depend on besides the recipe: versions, device, CPU kernel."""

    def close(self) -> None:
        """Gives back what the renderer holds (scenes, temporary files)."""


def make_renderer(
    engine: str, scan_store: Path, background_store: Path, device: str = "cpu", threads: int = 0
) -> Renderer:
    """The renderer of a name. Heavy imports happen here, in the process that renders.

    scan_store: folder of prepared scans, by key. background_store: folder of prepared panoramas and plates, by sha256.
    device: cpu, cuda, optix, hip, metal or oneapi. threads: 0 takes every core.
    """
    if engine == "analytic":
        from renderers.analytic import AnalyticRenderer

        return AnalyticRenderer(scan_store)
    if engine == "relight":
        from renderers.relight import RelightRenderer

        return RelightRenderer(scan_store, background_store, threads)
    if engine in ("cycles", "eevee"):
        from renderers.blender import BlenderRenderer

        return BlenderRenderer(scan_store, background_store, engine=engine, device=device, threads=threads)
    raise ValueError(f"unknown engine {engine!r}: cycles, eevee, relight or analytic")


@dataclass
class Engines:
    """The renderers of one process by the name of their engine, each opened when it is first asked for."""

    scan_store: Path
    background_store: Path
    device: str = "cpu"
    threads: int = 0
    _open: dict[str, Renderer] = field(default_factory=dict)

    def of(self, engine: str) -> Renderer:
        """The renderer of an engine."""
        if engine not in self._open:
            self._open[engine] = make_renderer(
                engine, self.scan_store, self.background_store, self.device, self.threads
            )
        return self._open[engine]

    def render(self, recipe: SceneRecipe) -> Sample:
        """All pixels of one recipe, by the engine that its film names. Raises what that raises."""
        return self.of(recipe.film.engine).render(recipe)

    def close(self) -> None:
        """Closes what was opened."""
        while self._open:
            self._open.popitem()[1].close()
