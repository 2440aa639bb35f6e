"""Samples made again from their stored recipes, and held against what is stored.

A recipe holds every decision, so that neither config nor dice are needed: only the prepared scans and backgrounds it
names by hash, and a renderer. `--workers K` processes, or this one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from renderers.base import Engines, Renderer
from synth.codec import stored
from synth.pipeline_worker import environment
from synth.pool import map_in_processes
from synth.recipe import SceneRecipe, sample_id
from synth.sample import BadSample, Sample
from synth.store import Dataset
from synth.version_compare import compare_samples

_KILLED = (
    "a process that renders again was killed, by Blender or for want of memory; run the same command again, with fewer "
    "--workers if memory is short"
)


@dataclass(frozen=True)
class Machine:
    """Where and how samples are made again."""

    scan_store: Path
    background_store: Path
    device: str
    threads: int


@dataclass(frozen=True)
class Answer:
    """What became of a sample that was made again."""

    index: int
    verdict: str
    """IDENTICAL: every stored value, and every byte if the encoders are the same. EQUIVALENT: within the tolerances of
    `synth.version_compare`. DIFFERENT: beyond them, or refused this time."""
    figures: str
    env: tuple[str, ...]
    """Fields of the environment that differ from the stored sample's: `name: then -> now`."""
    staged: bool = False
    """Whether the new one is kept, to take the stored one's place (`synth.version_replace`)."""

    def __str__(self) -> str:
        parts = [self.figures, *(f"environment {field}" for field in self.env)]
        return f"{sample_id(self.index)}: {'; '.join(part for part in parts if part)} {self.verdict}"


def rerender(dataset: Dataset, positions: Sequence[int], machine: Machine, workers: int) -> Iterator[Answer]:
    """Answers in the order of `positions`. Raises what a renderer raises that cannot start."""
    yield from answers(partial(Again, dataset, machine), positions, workers)


def answers(open_maker: Callable[[], "Again"], positions: Sequence[int], workers: int) -> Iterator[Answer]:
    """What makers answer, in the order of `positions`; 0 workers: one maker in this process."""
    if workers == 0:
        maker = open_maker()
        try:
            yield from map(maker.answer, positions)
        finally:
            maker.close()
        return
    yield from map_in_processes(_start, (open_maker,), _answer, positions, workers, _KILLED)


class Again:
    """Renderers that make samples of a dataset again."""

    def __init__(self, dataset: Dataset, machine: Machine):
        self._dataset = dataset
        self._engines = Engines(machine.scan_store, machine.background_store, machine.device, machine.threads)

    def answer(self, position: int) -> Answer:
        """Makes the sample at a position again and compares."""
        before = self._dataset.read(position)
        renderer = self.renderer(before.recipe)
        env = self.env_differences(position, renderer)
        try:
            members, after = stored(renderer.render(before.recipe))
        except BadSample as error:
            return Answer(before.recipe.index, "DIFFERENT", f"refused as {error}", env)
        return Answer(before.recipe.index, *self.judge(position, before, members, after), env)

    def judge(self, position: int, before: Sample, members: dict[str, bytes], after: Sample) -> tuple[str, str]:
        """(verdict, figures) of a sample made again, against the stored one."""
        comparison = compare_samples(before, after)
        pictures = {name: data for name, data in self._dataset.members(position).items() if name != "json"}
        same_bytes = pictures == {name: data for name, data in members.items() if name != "json"}
        figures = ", ".join(comparison.faults) if comparison.faults else comparison.figures
        if comparison.identical:
            figures = "every byte" if same_bytes else "every value, encoded otherwise"
        return comparison.verdict, figures

    def close(self) -> None:
        """Closes the renderers."""
        self._engines.close()

    def env_differences(self, position: int, renderer: Renderer) -> tuple[str, ...]:
        """Fields of the environment that a stored sample was made in and the renderer's has otherwise."""
        return _env_differences(self._dataset.environment_of(position), environment(renderer))

    def renderer(self, recipe: SceneRecipe) -> Renderer:
        """The renderer of the recipe's engine."""
        return self._engines.of(recipe.film.engine)


def _env_differences(then: dict[str, str] | None, now: dict[str, str]) -> tuple[str, ...]:
    if then is None:
        return ("then unknown",)
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    return tuple(f"{name}: {then.get(name, 'none')} -> {now.get(name, 'none')}" for name in names)


_again: Again  # of a worker process


def _start(open_maker: Callable[[], Again]) -> None:
    global _again
    _again = open_maker()


def _answer(position: int) -> Answer:
    return _again.answer(position)
