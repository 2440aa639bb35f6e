"""Writing a dataset: finished samples are staged one by one, a unit whose samples are all there is sealed as a shard.

Any number of processes may stage and seal the same things at once, and die at any point. The only commit point is the
creation of a unit's record; resume is the plan minus unit records minus staged samples. How bytes reach a name:
`synth.store_folder`. What comes after the last unit: `synth.store_index.commit`.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from synth.recipe import canonical_json, canonical_sha256
from synth.store_folder import Folder, open_folder
from synth.store_names import Place, place_of
from synth.store_record import (
    LARGEST_JSON,
    MOST_SAMPLES,
    SHARD_SIZE,
    STORE_FORMAT,
    UNIT_NAME,
    Row,
    RunFile,
    StoreError,
    UnitRecord,
    check_store,
    read_model,
    read_record,
    unit_name,
)
from synth.store_row import make_row
from synth.store_seal import seal_samples
from synth.store_spec import spec_difference
from synth.store_stage import Damaged, NotStaged, Staging

__all__ = ["SHARD_SIZE", "Run", "StoreError", "Unit", "make_row", "open_run"]

#: What a folder may hold before it becomes a store: a disk's own folder, and what a killed first try left.
_EMPTY = {"tmp", "lost+found"}


@dataclass(frozen=True)
class Unit:
    """Consecutive ids that become one shard."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """`<first>-<last>`."""
        return unit_name(self.first, self.last)

    @property
    def ids(self) -> range:
        """All of them."""
        return range(self.first, self.last + 1)


def open_run(out: Place, spec: dict) -> "Run":
    """The run of `spec` in the dataset folder `out`, begun if there is none. Tidies up after dead writers.

    spec: JSON values that say what image i is; another spec is another dataset. Raises StoreError when the folder
    holds a run of another spec (naming the difference), holds anything else, or cannot be written.
    """
    spec = json.loads(canonical_json(spec))
    run = Run(place_of(out), canonical_sha256(spec)[:12])
    folder = run.folder
    _open_store(folder)
    _refuse_other_runs(run, spec)
    if folder.size(run.file) is None:
        folder.create(run.file, [canonical_json(RunFile(spec=spec)).encode()])
        _refuse_other_runs(run, spec)  # another spec may have come at the same moment
    difference = spec_difference(read_model(RunFile, folder, run.file).spec, spec)
    if difference:
        raise StoreError(
            f"{folder.where(run.file)}: was changed by hand ({difference}); put it right or give another --out"
        )
    folder.sweep()
    run.sweep_staging()
    return run


@dataclass(frozen=True)
class Run:
    """A run of a dataset. Holds no handle: it may be sent to any process that sees the place."""

    out: Place
    run_id: str

    @property
    def folder(self) -> Folder:
        """The dataset's folder."""
        return open_folder(self.out)

    def name(self, *parts: str) -> str:
        """Where something of the run lies in it: `runs/<run>/...`."""
        return "/".join(("runs", self.run_id, *parts))

    @property
    def file(self) -> str:
        """Its `run.json`."""
        return self.name("run.json")

    def record_name(self, unit: Unit) -> str:
        """Where the unit's record is once it is sealed."""
        return self.name("units", f"{unit.name}.json")

    def units(self) -> list[Unit]:
        """Sealed units, ascending, from the names of their records alone."""
        names = self.folder.listing(self.name("units"))
        matches = (UNIT_NAME.fullmatch(name.removesuffix(".json")) for name in names if name.endswith(".json"))
        units = [Unit(int(match[1]), int(match[2])) for match in matches if match]
        return sorted((unit for unit in units if unit.first <= unit.last), key=lambda unit: (unit.first, unit.last))

    def sealed_ids(self) -> tuple[range, ...]:
        """Ids in sealed units: ascending ranges that do not touch."""
        merged: list[range] = []
        for unit in self.units():
            if merged and unit.first <= merged[-1].stop:
                merged[-1] = range(merged[-1].start, max(merged[-1].stop, unit.last + 1))
            else:
                merged.append(range(unit.first, unit.last + 1))
        return tuple(merged)

    def staged_ids(self) -> set[int]:
        """Ids whose samples wait to be sealed. Every byte is read and hashed; what is damaged is removed."""
        return self._staging.sound_ids()

    def plan_units(self, n: int) -> list[Unit]:
        """Units that ids 0..n-1 lack: what is not sealed, cut at every 128th id."""
        if n > MOST_SAMPLES:
            raise StoreError(f"{n} samples: a dataset has at most {MOST_SAMPLES}")
        sealed = self.sealed_ids()
        units = []
        for start, stop in zip([0, *(ids.stop for ids in sealed)], [*(ids.start for ids in sealed), n], strict=True):
            for first in (start, *range((start // SHARD_SIZE + 1) * SHARD_SIZE, min(stop, n), SHARD_SIZE)):
                if first < min(stop, n):
                    units.append(Unit(first, min(stop, n, (first // SHARD_SIZE + 1) * SHARD_SIZE) - 1))
        return units

    def add_environment(self, facts: Mapping[str, str]) -> str:
        """Remembers what samples depend on besides their recipes; returns its `env_id`, the beginning of its hash."""
        env_id = canonical_sha256(dict(facts))[:12]
        name = self.name("environments", f"{env_id}.json")
        if self.folder.size(name) is None:
            self.folder.create(name, [canonical_json(dict(facts)).encode()])
        return env_id

    def environments(self) -> list[dict[str, str]]:
        """Environments that samples of this run were made in so far."""
        names = sorted(self.folder.listing(self.name("environments")))
        return [json.loads(self.folder.read(self.name("environments", name), LARGEST_JSON)) for name in names]

    def is_staged(self, index: int) -> bool:
        """Whether a sample waits to be sealed, by its name alone."""
        return self._staging.has(index)

    def staged_count(self) -> int:
        """How many samples wait to be sealed, by their names alone."""
        return sum(1 for _ in self._staging.ids())

    def read_staged(self, index: int) -> tuple[Row, bytes]:
        """A staged sample's row and fragment, verified. Raises NotStaged or Damaged."""
        return self._staging.read(index)

    def kept_row(self, index: int, unit: Unit) -> Row | None:
        """The row of a sample that is staged or sealed with its unit; None if it is neither."""
        try:
            return self._staging.read(index)[0]
        except Damaged:
            return None
        except NotStaged:
            pass
        try:
            return read_record(self.folder, self.record_name(unit)).row(index)
        except FileNotFoundError:
            return None

    def stage(self, members: dict[str, bytes], row: dict) -> None:
        """Keeps a finished sample, with its row of `make_row`, until its unit is sealed; returns once it is on disk."""
        self._staging.write(members, row)

    def seal_if_complete(self, unit: Unit) -> bool:
        """Seals the unit if all its samples are staged; whether it is sealed now, by whomever.

        Raises StoreError when a staged sample is damaged; that sample is removed, to be made again.
        """
        if not self._is_sealed(unit):
            try:
                if not self._staging.has_all(unit.ids):
                    raise NotStaged
                self._seal(unit)
            except NotStaged:
                return self._is_sealed(unit)  # sealed and cleared by another while we looked
        self._staging.remove(unit.ids)
        return True

    def sweep_staging(self) -> None:
        """Removes what was staged again, or not yet removed, after its unit had been sealed."""
        sealed = self.sealed_ids()
        starts = [ids.start for ids in sealed]

        def is_sealed(index: int) -> bool:
            before = bisect_right(starts, index)
            return before > 0 and index in sealed[before - 1]

        self._staging.remove(filter(is_sealed, self._staging.ids()))

    @property
    def _staging(self) -> Staging:
        return Staging(self.folder, self.name("staging"))

    def _is_sealed(self, unit: Unit) -> bool:
        return self.folder.size(self.record_name(unit)) is not None

    def _seal(self, unit: Unit) -> None:
        samples = map(self._staging.take, unit.ids)
        seal_samples(self.folder, self.record_name(unit), UnitRecord, unit.first, unit.last, samples)


def only_run(folder: Folder) -> Run:
    """The run of a dataset. Raises StoreError unless there is one."""
    runs = [Run(folder.place, name) for name in sorted(folder.listing("runs"))]
    runs = [run for run in runs if folder.size(run.file) is not None]
    if len(runs) != 1:
        names = [run.run_id for run in runs[:3]]
        raise StoreError(f"{folder.place}: holds {len(runs)} runs {names}, expected one; `synth render` makes it")
    return runs[0]


def _open_store(folder: Folder) -> None:
    names = set(folder.listing(""))
    if "store.json" not in names:
        if names - _EMPTY:
            raise StoreError(
                f"{folder.place}: holds {min(names - _EMPTY)!r} and is no dataset; give a new or empty folder"
            )
        folder.create("store.json", [canonical_json({"format": STORE_FORMAT}).encode()])
    check_store(folder)


def _refuse_other_runs(run: Run, spec: dict) -> None:
    for other in (Run(run.out, name) for name in sorted(run.folder.listing("runs"))):
        if other.run_id != run.run_id and run.folder.size(other.file) is not None:
            difference = spec_difference(read_model(RunFile, run.folder, other.file).spec, spec)
            raise StoreError(f"{run.out}: holds a dataset of another spec: {difference}; give another --out")
