"""Samples made again from their stored recipes, and held against what is stored.

A recipe holds every decision, so that neither config nor dice are needed: only the prepared scans and backgrounds it
names by hash, and a renderer. `--workers K` processes, or this one.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from renderers.base import Engines
from synth.codec import stored
from synth.pipeline_worker import environment
from synth.recipe import sample_id
from synth.sample import BadSample
from synth.store import Dataset
from synth.version_compare import compare_samples


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

    def __str__(self) -> str:
        parts = [self.figures, *(f"environment {field}" for field in self.env)]
        return f"{sample_id(self.index)}: {'; '.join(part for part in parts if part)} {self.verdict}"


def rerender(dataset: Dataset, positions: Sequence[int], machine: Machine, workers: int) -> Iterator[Answer]:
    """Answers in the order of `positions`. Raises what a renderer raises that cannot start."""
    if workers == 0:
        again = Again(dataset, machine)
        try:
            yield from map(again.answer, positions)
        finally:
            again.close()
        return
    # spawn: Blender and the threads of a parent do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (dataset, machine)) as pool:
        yield from pool.map(_answer, positions)


class Again:
    """Renderers that make samples of a dataset again."""

    def __init__(self, dataset: Dataset, machine: Machine):
        self._dataset = dataset
        self._engines = Engines(machine.scan_store, machine.background_store, machine.device, machine.threads)

    def answer(self, position: int) -> Answer:
        """Makes the sample at a position again and compares."""
        dataset = self._dataset
        before = dataset.read(position)
        renderer = self._engines.of(before.recipe.film.engine)
        env = _env_differences(dataset.environment_of(position), environment(renderer))
        try:
            members, after = stored(renderer.render(before.recipe))
        except BadSample as error:
            return Answer(before.recipe.index, "DIFFERENT", f"refused as {error}", env)
        comparison = compare_samples(before, after)
        pictures = {name: data for name, data in dataset.members(position).items() if name != "json"}
        same_bytes = pictures == {name: data for name, data in members.items() if name != "json"}
        figures = ", ".join(comparison.faults) if comparison.faults else comparison.figures
        if comparison.identical:
            figures = "every byte" if same_bytes else "every value, encoded otherwise"
        return Answer(before.recipe.index, comparison.verdict, figures, env)

    def close(self) -> None:
        """Closes the renderers."""
        self._engines.close()


def _env_differences(then: dict[str, str] | None, now: dict[str, str]) -> tuple[str, ...]:
    if then is None:
        return ("then unknown",)
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    return tuple(f"{name}: {then.get(name, 'none')} -> {now.get(name, 'none')}" for name in names)


_again: Again  # of a worker process


def _start(dataset: Dataset, machine: Machine) -> None:
    global _again
    _again = Again(dataset, machine)


def _answer(position: int) -> Answer:
    return _again.answer(position)
