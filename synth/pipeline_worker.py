"""One worker: a renderer, and the road of a sample from its recipe to the staging area.

The same class runs in this process (`--workers 0`) and inside a Ray actor.
"""

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from renderers.base import Engines, Renderer
from synth.codec import stored, with_flags
from synth.config import RenderConfig, engine_shares
from synth.pipeline_work import Refusal, Task
from synth.randomize import Library, draw_recipe
from synth.sample import BadSample, Sample, check
from synth.sandbox import resident_mb
from synth.store_record import Row
from synth.store_write import Run, make_row

#: After so many refused attempts at one index something is wrong that chance does not mend.
MAX_ATTEMPTS = 8
#: glibc's options of malloc (malloc.h) and what they are set to, bytes: what is freed stays ours, and arrays of a frame
#: come from there. Else each sample has 13 000 pages given and cleared anew.
_KEPT = {"M_TRIM_THRESHOLD": (-1, 2**30), "M_TOP_PAD": (-2, 2**26), "M_MMAP_THRESHOLD": (-3, 2**25)}


@dataclass(frozen=True)
class Job:
    """All a worker needs to make any sample of a run; no handle, no state."""

    config: RenderConfig
    library: Library
    seed: int
    scan_store: Path
    background_store: Path
    device: str = "cpu"
    threads: int = 0


@dataclass(frozen=True)
class Limits:
    """When a worker is replaced."""

    sample_s: float = 600.0
    """Longest time over one sample, all its attempts."""
    images: int = 2000
    """Images after which a worker is replaced by a fresh one, at the end of its task."""
    rss_mb: float = 8000.0
    """Resident memory above which it is, MiB."""


LIMITS = Limits()


@dataclass(frozen=True)
class Places:
    """Where workers run, and what each takes there."""

    workers: int | None
    """At most; None: as many as the cluster has room for, as nodes come and go."""
    address: str | None = None
    """A Ray cluster's (`auto`, `host:port`, `ray://host:port`); None starts a local one."""
    gpus: float = 0
    """GPUs of a worker; Ray shows it those and no others."""
    one_class: bool = False
    """Workers of another environment class than the first are not used."""


#: Hears what happens besides fates, e.g. ("worker_lost", {"index": 7, "reason": "crashed"}); the facts are JSON values.
OnEvent = Callable[[str, dict], None]


@dataclass(frozen=True)
class Fate:
    """What became of one index: staged or not, after the refused attempts."""

    index: int
    staged: bool
    refused: tuple[Refusal, ...]
    flags: tuple[str, ...]
    seconds: float
    rss_mb: float = 0.0
    """Resident memory of the worker after it, MiB."""
    scans: tuple[str, ...] = ()
    """scan_ids of its subjects; none where no attempt was kept."""
    size: int = 0
    """Bytes of its members."""
    errors: tuple[str, ...] = ()
    """What the renderer's own output called an error meanwhile, first lines first."""

    def with_errors(self, errors: tuple[str, ...]) -> "Fate":
        """The same fate with these errors."""
        return replace(self, errors=errors) if errors else self


def fate_of_row(row: Row) -> Fate:
    """The fate of a sample that is kept, from its row."""
    size = sum(length for _, length, _ in row.members.values())
    return Fate(row.index, True, row.refused, row.flags, row.seconds, 0.0, row.scans, size)


class Worker:
    """Makes the samples of tasks and stages them; seals a shard when it staged the last one of it."""

    def __init__(self, job: Job, run: Run):
        _keep_memory()
        self._job, self._run = job, run
        self._engines = open_engines(job)
        self.facts = {name: environment(self._engines.of(name)) for name in engine_shares(job.config.film.engine)}
        """What its samples depend on besides their recipes, by engine."""
        self._env_ids: dict[str, str] = {}  # remembered with the first sample: a worker may be refused before

    def render(self, task: Task) -> Iterator[Fate]:
        """Makes and stages the task's samples one by one. A fate that is not staged ends the run."""
        for number, (index, unit) in enumerate(zip(task.ids, task.units, strict=True)):
            fate = self._make(index, task.refused if number == 0 else ())
            if fate.staged:
                self._run.seal_if_complete(unit)
            yield fate

    def close(self) -> None:
        """Closes the renderers."""
        self._engines.close()

    def _make(self, index: int, before: tuple[Refusal, ...]) -> Fate:
        started = time.process_time()
        made, refused = make_sample(self._engines, self._job, index, before)
        seconds = time.process_time() - started
        if made is None:
            return Fate(index, False, refused, (), seconds, resident_mb())
        engine = made.sample.recipe.film.engine
        if engine not in self._env_ids:
            self._env_ids[engine] = self._run.add_environment(self.facts[engine])
        env_id = self._env_ids[engine]
        row = make_row(made.sample, made.members, flags=made.flags, env_id=env_id, seconds=seconds, refused=refused)
        self._run.stage(made.members, row)
        return Fate(
            index,
            True,
            refused,
            made.flags,
            seconds,
            resident_mb(),
            tuple(subject.scan_id for subject in made.sample.recipe.subjects),
            sum(map(len, made.members.values())),
        )


@dataclass(frozen=True, eq=False)
class Made:
    """A sample that may be kept: its bytes, and what a reader will get from them."""

    members: dict[str, bytes]
    sample: Sample
    flags: tuple[str, ...]


def make_sample(
    renderer: Renderer | Engines, job: Job, index: int, before: tuple[Refusal, ...] = ()
) -> tuple[Made | None, tuple[Refusal, ...]]:
    """Image `index` of a job: the first attempt that passes the check (None if none did), and those refused before.

    before: attempts that are known to be refused. What is checked is what was read back from the bytes, after rounding.
    """
    refused = list(before)
    for attempt in range(len(before), MAX_ATTEMPTS):
        recipe = draw_recipe(job.config, job.library, job.seed, index, attempt)
        try:
            members, sample = stored(renderer.render(recipe))
            flags = check(sample, job.config.checks)
        except BadSample as error:
            refused.append((attempt, error.reason, error.detail))
            continue
        return Made(with_flags(members, sample, flags), sample, flags), tuple(refused)
    return None, tuple(refused)


def open_engines(job: Job) -> Engines:
    """The renderers that the job's config names, started."""
    engines = Engines(job.scan_store, job.background_store, job.device, job.threads)
    for name in engine_shares(job.config.film.engine):
        engines.of(name)
    return engines


def _keep_memory() -> None:
    """Spares this process the kernel's work over memory that is given back and asked for again with every sample."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another system's malloc
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in _KEPT.values():
            mallopt(option, size)


def environment(renderer: Renderer) -> dict[str, str]:
    """The renderer's environment with the encoders' versions: equal environments promise equal bytes."""
    encoders = {name.lower(): version(name) for name in ("OpenEXR", "zlib-ng")}
    return {"synth": version("synth"), **encoders, **renderer.environment()}
