"""Dataset: reading what a run has stored, any sample at any time, one range of bytes each.

Opens the latest version, or the records of sealed units while the run is still going on. Nothing in the folder is
believed: names, sizes, offsets and hashes are checked before they are used. Next: `synth.store_index` for what a
version is, `synth.codec` for what the members hold.
"""

import hashlib
import operator
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from synth.codec import BadBytes, StoredSample, decode_recipe
from synth.recipe import SceneRecipe, sample_id
from synth.sample import Sample
from synth.store_folder import Folder, open_folder
from synth.store_index import Manifest, gather, is_current, read_index, read_manifest
from synth.store_names import Place, place_of
from synth.store_open import OpenShards
from synth.store_places import PLACE_COLUMNS, Places, fixed_bytes
from synth.store_record import (
    Row,
    RunFile,
    ShardRecord,
    StoreError,
    check_store,
    content_hash,
    read_model,
    read_record,
)
from synth.store_write import Run, Unit, only_run

__all__ = ["Dataset", "StoreError", "open_version", "split_version"]


class Dataset:
    """The samples of a dataset folder, ascending by index: `len()`, `[i]`, iteration.

    Safe to pickle and to fork: every process opens shards of its own. Threads may share it.
    """

    def __init__(self, path: Place, version: str = "latest"):
        """path: a folder, or the URL of one in an object store.

        version: `latest` (with what is sealed since), a tag's number, or a manifest's hash.

        Raises StoreError when the folder is no dataset, holds no sealed sample, or contradicts itself.
        """
        self.path = place_of(path)
        check_store(self.folder)
        if version == "latest":
            self._run, self.manifest, table = _open_latest(self.folder)
        else:
            self._run, self.manifest, table = _open_named(self.folder, version)
        self._table = table if self.manifest["index"] is None else None
        shards = [(shard["path"], shard["bytes"]) for shard in self.manifest["shards"]]
        self._places = Places(table, np.array([size for _, size in shards], np.int64), self.path)
        self._shards = OpenShards(self.folder, shards)
        self._recorded: tuple[np.ndarray, np.ndarray] | None = None
        self._last_record: tuple[str, ShardRecord] | None = None  # rows are mostly asked for in order

    @property
    def ids(self) -> np.ndarray:
        """(N,) int32: indices, ascending."""
        return self._places.index

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: int) -> Sample:
        return self.read(position)

    def __iter__(self) -> Iterator[Sample]:
        return (self.read(position) for position in range(len(self)))

    @property
    def folder(self) -> Folder:
        """Where it lies."""
        return open_folder(self.path)

    @property
    def shard_numbers(self) -> np.ndarray:
        """(N,) int32: which of the manifest's shards holds each sample."""
        return self._places.shard

    @property
    def contents(self) -> np.ndarray:
        """(N, 32) uint8: content_sha256 of each sample."""
        return self._places.contents

    @property
    def live_bytes(self) -> np.ndarray:
        """(S,) int64: how much of each shard this version's samples take, headers and padding with them."""
        sizes = self._places.fragment_bytes()
        live = np.zeros(len(self.manifest["shards"]), np.int64)
        np.add.at(live, self.shard_numbers, sizes)
        return live

    @property
    def root(self) -> str:
        """Identity of the content: one hash over all samples' ids and bytes."""
        return self.manifest["root"]

    @property
    def complete(self) -> bool:
        """False while it is being rendered: something is sealed or staged that the version read here lacks."""
        if self.manifest["index"] is None or not is_current(self._run, self.manifest):
            return False
        return not self._run.staged_count()

    @property
    def spec(self) -> dict:
        """What was rendered: config, seed, library."""
        return read_model(RunFile, self.folder, self._run.file).spec

    def read(self, position: int, verify: bool = False) -> Sample:
        """The sample at a position (negative from the end); `verify` compares every byte with its hash.

        Raises IndexError, or StoreError naming the sample and what is wrong with it.
        """
        return self.read_stored(position, verify)[1]

    def read_stored(self, position: int, verify: bool = False) -> tuple[dict[str, bytes], Sample]:
        """A sample's `members` and what they decode to. Raises as `read` does."""
        with self.opened(position, verify) as stored:
            return stored.members, stored.sample()

    @contextmanager
    def opened(self, position: int, verify: bool = False) -> Iterator[StoredSample]:
        """A sample whose members are decoded one by one, within the block. Raises as `read` does."""
        i = self._at(position)
        try:
            stored = StoredSample(self.members(i, verify))
            self._own(i, stored.recipe)
            yield stored
        except BadBytes as error:
            raise StoreError(f"{self._name(i)}: {error}") from error

    def members(self, position: int, verify: bool = False) -> dict[str, bytes]:
        """The stored bytes of a sample by extension, in the order they lie in the shard."""
        i = self._at(position)
        ranges = self._places.ranges(i)
        start, end = min(first for first, _ in ranges.values()), max(last for _, last in ranges.values())
        data = self._shards.read(int(self._places.shard[i]), start, end)
        members = {name: data[first - start : last - start] for name, (first, last) in ranges.items()}
        if verify:
            self._verify(i, members)
        return members

    def recipe(self, position: int) -> SceneRecipe:
        """What was decided for a sample, without reading its pictures."""
        i = self._at(position)
        start, end = self._places.ranges(i)["json"]
        try:
            recipe = decode_recipe(self._shards.read(int(self._places.shard[i]), start, end))
        except BadBytes as error:
            raise StoreError(f"{self._name(i)}: {error}") from error
        return self._own(i, recipe)

    def hashes(self, position: int) -> tuple[str, str]:
        """(recipe_sha256, pixels_sha256) of a sample, as the index has them."""
        i = self._at(position)
        if self._recorded is None:
            table = self.table(["recipe_sha256", "pixels_sha256"])
            self._recorded = fixed_bytes(table["recipe_sha256"]), fixed_bytes(table["pixels_sha256"])
        recipe, pixels = self._recorded
        return recipe[i].tobytes().hex(), pixels[i].tobytes().hex()

    def environment_of(self, position: int) -> dict[str, str] | None:
        """The environment that a sample was made in; None if the dataset no longer says."""
        env_id = self.row(position)["env_id"]
        return next((e["facts"] for e in self.manifest["environments"] if e["env_id"] == env_id), None)

    def row(self, position: int) -> dict:
        """Everything recorded about a sample: hashes, seconds, flags, refused attempts, figures to filter on."""
        return self.recorded(position).model_dump(mode="json")

    def recorded(self, position: int) -> Row:
        """The row of a sample in its record. Raises StoreError when there is none, or it is of other bytes."""
        i = self._at(position)
        row = self._record_row(i)
        if row.content_sha256 != self._places.content(i):
            raise StoreError(f"{self._name(i)}: its unit record speaks of other bytes than the index")
        return row

    def table(self, names: list[str] | None = None) -> "pyarrow.Table":  # noqa: F821
        """The index, one row a sample; at least the columns `names`, by default all (see `synth.store_table`)."""
        if self._table is not None:
            return self._table
        return read_index(self.folder, self.manifest, names)

    def column(self, name: str) -> list:
        """One column of the index for all samples (see `synth.store_table`), e.g. `scans` or `depth_p50_m`."""
        table = self.table()
        if name not in table.column_names:
            raise StoreError(f"{self.path}: no column {name!r}; there are {', '.join(table.column_names)}")
        return table[name].to_pylist()

    def _at(self, position: int) -> int:
        i = operator.index(position)
        if not -len(self) <= i < len(self):
            raise IndexError(f"position {i} of a dataset of {len(self)} samples")
        return i % len(self)

    def _name(self, i: int) -> str:
        return f"{self.path}: sample {sample_id(int(self.ids[i]))}"

    def _own(self, i: int, recipe: SceneRecipe) -> SceneRecipe:
        if recipe.index != self.ids[i]:
            raise StoreError(f"{self._name(i)}: its recipe is of image {recipe.index}")
        return recipe

    def _verify(self, i: int, members: dict[str, bytes]) -> None:
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
        if content_hash(digests) == self._places.content(i):
            return
        try:
            self._record_row(i).verify(members)
        except ValueError as error:
            raise StoreError(f"{self._name(i)}: {error}") from error
        raise StoreError(f"{self._name(i)}: its bytes match their unit record, but not the index")

    def _record_row(self, i: int) -> Row:
        shard = self.manifest["shards"][self._places.shard[i]]
        name = shard.get("record") or self._record_name(shard["path"])
        try:
            last = self._last_record  # of this moment: other threads ask for others
            if last is None or last[0] != name:
                self._last_record = last = name, read_record(self.folder, name)
            row = last[1].row(int(self.ids[i]))
        except FileNotFoundError:
            row = None
        if row is None:
            raise StoreError(f"{self._name(i)}: has no row in {self.folder.where(name)}")
        return row

    def _record_name(self, shard: str) -> str:
        first, last, _ = shard.removeprefix("shards/").split("-")
        return self._run.record_name(Unit(int(first), int(last)))


def split_version(text: str) -> tuple[str, str]:
    """`DATASET@1.2.0` as (place, version); the version is `latest` where none is named."""
    place, at, version = text.rpartition("@")
    return (place, version) if at and "/" not in version else (text, "latest")


def open_version(text: str) -> Dataset:
    """The dataset of `DATASET` or `DATASET@VERSION`."""
    return Dataset(*split_version(text))


def _open_named(folder: Folder, version: str) -> tuple[Run, Manifest, "pyarrow.Table"]:  # noqa: F821
    from synth.store_tag import find_manifest

    manifest = find_manifest(folder, version)
    return Run(folder.place, manifest["spec_sha256"][:12]), manifest, read_index(folder, manifest, PLACE_COLUMNS)


def _open_latest(folder: Folder) -> tuple[Run, Manifest, "pyarrow.Table"]:  # noqa: F821
    """The run, its latest manifest and the places of all samples; from unit records if there are newer ones."""
    manifest = read_manifest(folder)
    if manifest is not None:
        run = Run(folder.place, manifest["spec_sha256"][:12])
        if is_current(run, manifest):
            return run, manifest, read_index(folder, manifest, PLACE_COLUMNS)
    run = only_run(folder)
    table, manifest = gather(run)
    if not table.num_rows:
        raise StoreError(f"{folder.place}: no shard is sealed yet; wait, or run the same `synth render` again")
    return run, manifest, table
