"""Staging: finished samples of units that are not sealed yet, each by itself.

`<bucket>/<id>.tar` is the sample as a fragment of its shard-to-be, `<bucket>/<id>.json` its row. The row is written
first, so the fragment's presence is what counts. A bucket is 128 ids whatever the run's size, so that staged samples
stay good when a run goes on to a larger one. `synth.store_write` decides when they become a shard.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import ValidationError

from synth.recipe import canonical_json, sample_id
from synth.store_folder import Folder
from synth.store_names import StoreError
from synth.store_record import LARGEST_JSON, SHARD_SIZE, Row
from synth.store_shard import fragment, split

#: Threads that verify staged samples: reading waits for the file server, hashing lets others run.
_READERS = 16


class NotStaged(Exception):
    """A sample is not there, or not any more."""


class Damaged(Exception):
    """Staged bytes that are not what their row says."""


@dataclass(frozen=True)
class Staging:
    """The staging area of a run. Holds no handle."""

    folder: Folder
    name: str
    """Where in it."""

    def write(self, members: Mapping[str, bytes], row: Mapping) -> None:
        """Keeps a sample; it is on disk when this returns."""
        index = row["index"]
        self.folder.publish(self._file(index, "json"), [canonical_json(dict(row)).encode()])
        self.folder.publish(self._file(index, "tar"), [fragment(row["id"], members)])

    def read(self, index: int) -> tuple[Row, bytes]:
        """A sample's row and fragment, every byte verified. Raises NotStaged or Damaged."""
        try:
            data = self.folder.read(self._file(index, "tar"))
        except FileNotFoundError as error:
            raise NotStaged(index) from error
        try:
            row = Row.model_validate_json(self.folder.read(self._file(index, "json"), LARGEST_JSON))
            if row.index != index:
                raise ValueError(f"the row is of {row.id}")
            row.verify(split(row.id, row.lengths, data))
        except (FileNotFoundError, ValidationError, ValueError) as error:
            if not self.has(index):  # removed between the two reads: sealed by another
                raise NotStaged(index) from error
            raise Damaged(f"{sample_id(index)}: {' '.join(str(error).split())[:200]}") from error
        return row, data

    def take(self, index: int) -> tuple[Row, bytes]:
        """As `read`, to be sealed: what is damaged is removed, and StoreError says to make it again."""
        try:
            return self.read(index)
        except Damaged as error:
            self.remove([index])
            raise StoreError(
                f"{self.folder.place}: a staged sample was damaged on disk and has been removed ({error}); "
                "run the same command again"
            ) from error

    def sound_ids(self) -> set[int]:
        """All ids whose samples are whole. Every byte is read and hashed; what is damaged is removed."""
        with ThreadPoolExecutor(_READERS) as pool:
            ids = list(self.ids())
            return {index for index, sound in zip(ids, pool.map(self._is_sound, ids), strict=True) if sound}

    def ids(self) -> Iterator[int]:
        """All ids that have a fragment, ascending."""
        for bucket in sorted(self.folder.listing(self.name)):
            yield from sorted(self._ids_in(f"{self.name}/{bucket}"))

    def has(self, index: int) -> bool:
        """Whether an id has a fragment."""
        return self.folder.size(self._file(index, "tar")) is not None

    def has_all(self, ids: range) -> bool:
        """Whether all ids (of one bucket) have a fragment."""
        return set(ids) <= set(self._ids_in(self._bucket(ids[0])))

    def remove(self, ids: Iterable[int]) -> None:
        """Removes samples, and buckets that are empty then."""
        ids = list(ids)
        for kind in ("tar", "json"):  # all fragments first: a row without fragment is nothing
            self.folder.remove(self._file(index, kind) for index in ids)

    def _is_sound(self, index: int) -> bool:
        try:
            self.read(index)
        except NotStaged:
            return False
        except Damaged:
            self.remove([index])
            return False
        return True

    def _bucket(self, index: int) -> str:
        return f"{self.name}/{index // SHARD_SIZE:06d}"

    def _file(self, index: int, kind: str) -> str:
        return f"{self._bucket(index)}/{sample_id(index)}.{kind}"

    def _ids_in(self, bucket: str) -> Iterator[int]:
        names = (name.removesuffix(".tar") for name in self.folder.listing(bucket) if name.endswith(".tar"))
        return (int(name) for name in names if len(name) == 8 and name.isascii() and name.isdigit())
