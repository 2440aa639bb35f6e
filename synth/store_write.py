"""Writing a dataset: finished samples are staged one by one, a unit whose samples are all there is sealed as a shard.

Any number of processes may stage and seal the same things at once, and die at any point. The only commit point is the
creation of a unit's record; resume is the plan minus unit records minus staged samples. How bytes reach a name:
`synth.store_files`. What comes after the last unit: `synth.store_index.commit`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from synth.recipe import canonical_json, canonical_sha256
from synth.store_files import (
    clear_errors,
    create_if_absent,
    listing,
    publish,
    sweep_temporary,
    sync_folder,
    write_temporary,
)
from synth.store_record import (
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
    shard_name,
    unit_name,
)
from synth.store_row import make_row
from synth.store_shard import END_OF_ARCHIVE
from synth.store_spec import spec_difference
from synth.store_stage import Damaged, NotStaged, Staging

__all__ = ["SHARD_SIZE", "Run", "StoreError", "Unit", "make_row", "open_run"]

#: Threads that verify staged samples: reading waits for the file server, hashing lets others run.
_READERS = 16
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


def open_run(out: Path, spec: dict) -> "Run":
    """The run of `spec` in the dataset folder `out`, begun if there is none. Tidies up after dead writers.

    spec: JSON values that say what image i is; another spec is another dataset. Raises StoreError when the folder
    holds a run of another spec (naming the difference), holds anything else, or cannot be written.
    """
    out = Path(out).absolute()
    spec = json.loads(canonical_json(spec))
    run = Run(out, canonical_sha256(spec)[:12])
    with clear_errors(out):
        _open_store(out)
        _refuse_other_runs(run, spec)
        if not run.file.exists():
            create_if_absent(write_temporary(out, [canonical_json(RunFile(spec=spec)).encode()]), run.file)
            _refuse_other_runs(run, spec)  # another spec may have come at the same moment
        difference = spec_difference(read_model(RunFile, run.file).spec, spec)
        if difference:
            raise StoreError(f"{run.file}: was changed by hand ({difference}); put it right or give another --out")
        sweep_temporary(out)
        run.sweep_staging()
    return run


@dataclass(frozen=True)
class Run:
    """A run's place on disk. Holds no handle: it may be sent to any process that sees the folder."""

    out: Path
    run_id: str

    @property
    def folder(self) -> Path:
        """`runs/<run>` of the store."""
        return self.out / "runs" / self.run_id

    @property
    def file(self) -> Path:
        """Its `run.json`."""
        return self.folder / "run.json"

    def record_path(self, unit: Unit) -> Path:
        """Where the unit's record is once it is sealed."""
        return self.folder / "units" / f"{unit.name}.json"

    def units(self) -> list[Unit]:
        """Sealed units, ascending, from the names of their records alone."""
        with clear_errors(self.out):
            names = listing(self.folder / "units")
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
        with clear_errors(self.out), ThreadPoolExecutor(_READERS) as pool:
            ids = list(self._staging.ids())
            return {index for index, sound in zip(ids, pool.map(self._is_sound, ids), strict=True) if sound}

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
        path = self.folder / "environments" / f"{env_id}.json"
        with clear_errors(self.out):
            if not path.exists():
                create_if_absent(write_temporary(self.out, [canonical_json(dict(facts)).encode()]), path)
        return env_id

    def environments(self) -> list[dict[str, str]]:
        """Environments that samples of this run were made in so far."""
        folder = self.folder / "environments"
        with clear_errors(self.out):
            return [json.loads((folder / name).read_bytes()) for name in sorted(listing(folder))]

    def is_staged(self, index: int) -> bool:
        """Whether a sample waits to be sealed, by its name alone."""
        with clear_errors(self.out):
            return self._staging.has(index)

    def staged_count(self) -> int:
        """How many samples wait to be sealed, by their names alone."""
        with clear_errors(self.out):
            return sum(1 for _ in self._staging.ids())

    def read_staged(self, index: int) -> tuple[Row, bytes]:
        """A staged sample's row and fragment, verified. Raises NotStaged or Damaged."""
        with clear_errors(self.out):
            return self._staging.read(index)

    def kept_row(self, index: int, unit: Unit) -> Row | None:
        """The row of a sample that is staged or sealed with its unit; None if it is neither."""
        with clear_errors(self.out):
            try:
                return self._staging.read(index)[0]
            except Damaged:
                return None
            except NotStaged:
                pass
            path = self.record_path(unit)
            return read_record(path).rows[index - unit.first] if path.exists() else None

    def stage(self, members: dict[str, bytes], row: dict) -> None:
        """Keeps a finished sample, with its row of `make_row`, until its unit is sealed; returns once it is on disk."""
        with clear_errors(self.out):
            self._staging.write(members, row)

    def seal_if_complete(self, unit: Unit) -> bool:
        """Seals the unit if all its samples are staged; whether it is sealed now, by whomever.

        Raises StoreError when a staged sample is damaged; that sample is removed, to be made again.
        """
        record = self.record_path(unit)
        with clear_errors(self.out):
            if not record.exists():
                try:
                    if not self._staging.has_all(unit.ids):
                        raise NotStaged
                    self._seal(unit)
                except NotStaged:
                    return record.exists()  # sealed and cleared by another while we looked
            self._staging.remove(unit.ids)
        return True

    def sweep_staging(self) -> None:
        """Removes what was staged again, or not yet removed, after its unit had been sealed."""
        sealed = self.sealed_ids()
        self._staging.remove([index for index in self._staging.ids() if any(index in ids for ids in sealed)])

    @property
    def _staging(self) -> Staging:
        return Staging(self.out, self.folder / "staging")

    def _is_sound(self, index: int) -> bool:
        try:
            self._staging.read(index)
        except NotStaged:
            return False
        except Damaged:
            self._staging.remove([index])
            return False
        return True

    def _seal(self, unit: Unit) -> None:
        rows: list[Row] = []
        temporary, size, sha256 = _write_hashed(self.out, self._shard_chunks(unit, rows))
        shard = self.out / "shards" / shard_name(unit.first, unit.last, sha256)
        publish(temporary, shard)
        sync_folder(shard.parent)  # the record must not survive a power cut that the shard does not
        record = UnitRecord(
            first=unit.first, last=unit.last, shard=shard.name, bytes=size, sha256=sha256, rows=tuple(rows)
        )
        path = self.record_path(unit)
        create_if_absent(write_temporary(self.out, [canonical_json(record).encode()]), path)
        sync_folder(path.parent)  # and the staged samples not be removed before it is safe

    def _shard_chunks(self, unit: Unit, rows: list[Row]) -> Iterator[bytes]:
        """The shard's bytes, piece by piece; `rows` receives the samples' rows with offsets in the shard."""
        start = 0
        for index in unit.ids:
            try:
                row, data = self._staging.read(index)
            except Damaged as error:
                self._staging.remove([index])
                raise StoreError(
                    f"{self.out}: a staged sample was damaged on disk and has been removed ({error}); "
                    "run the same command again"
                ) from error
            rows.append(row.at(start))
            start += len(data)
            yield data
        yield END_OF_ARCHIVE


def _open_store(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    names = set(listing(out))
    if "store.json" not in names:
        if names - _EMPTY:
            raise StoreError(f"{out}: holds {min(names - _EMPTY)!r} and is no dataset; give a new or empty folder")
        (out / "tmp").mkdir(exist_ok=True)
        create_if_absent(write_temporary(out, [canonical_json({"format": STORE_FORMAT}).encode()]), out / "store.json")
    check_store(out)
    (out / "tmp").mkdir(exist_ok=True)


def _refuse_other_runs(run: Run, spec: dict) -> None:
    for name in sorted(listing(run.out / "runs")):
        file = run.out / "runs" / name / "run.json"
        if name != run.run_id and file.exists():
            difference = spec_difference(read_model(RunFile, file).spec, spec)
            raise StoreError(f"{run.out}: holds a dataset of another spec: {difference}; give another --out")


def _write_hashed(store: Path, chunks: Iterable[bytes]) -> tuple[Path, int, str]:
    """A temporary file of these bytes, with its size and sha256."""
    size, digest = 0, hashlib.sha256()

    def watched() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            yield chunk

    temporary = write_temporary(store, watched())
    return temporary, size, digest.hexdigest()
