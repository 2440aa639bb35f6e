"""Staging: finished samples of units that are not sealed yet, each by itself.

`<bucket>/<id>.tar` is the sample as a fragment of its shard-to-be, `<bucket>/<id>.json` its row. The row is written
first, so the fragment's presence is what counts. A bucket is 128 ids whatever the run's size, so that staged samples
stay good when a run goes on to a larger one. `synth.store_write` decides when they become a shard.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from synth.recipe import canonical_json, sample_id
from synth.store_files import listing, publish, write_temporary
from synth.store_record import SHARD_SIZE, Row
from synth.store_shard import fragment, split


class NotStaged(Exception):
    """A sample is not there, or not any more."""


class Damaged(Exception):
    """Staged bytes that are not what their row says."""


@dataclass(frozen=True)
class Staging:
    """The staging area of a run. Holds no handle."""

    store: Path
    folder: Path

    def write(self, members: Mapping[str, bytes], row: Mapping) -> None:
        """Keeps a sample; it is on disk when this returns."""
        index = row["index"]
        publish(write_temporary(self.store, [canonical_json(dict(row)).encode()]), self._path(index, "json"))
        publish(write_temporary(self.store, [fragment(row["id"], members)]), self._path(index, "tar"))

    def read(self, index: int) -> tuple[Row, bytes]:
        """A sample's row and fragment, every byte verified. Raises NotStaged or Damaged."""
        try:
            data = self._path(index, "tar").read_bytes()
        except FileNotFoundError as error:
            raise NotStaged(index) from error
        try:
            row = Row.model_validate_json(self._path(index, "json").read_bytes())
            if row.index != index:
                raise ValueError(f"the row is of {row.id}")
            row.verify(split(row.id, row.lengths, data))
        except (FileNotFoundError, ValidationError, ValueError) as error:
            if not self._path(index, "tar").exists():  # removed between the two reads: sealed by another
                raise NotStaged(index) from error
            raise Damaged(f"{sample_id(index)}: {' '.join(str(error).split())[:200]}") from error
        return row, data

    def ids(self) -> Iterator[int]:
        """All ids that have a fragment, ascending."""
        for bucket in sorted(listing(self.folder)):
            yield from sorted(_ids_in(self.folder / bucket))

    def has(self, index: int) -> bool:
        """Whether an id has a fragment."""
        return self._path(index, "tar").exists()

    def has_all(self, ids: range) -> bool:
        """Whether all ids (of one bucket) have a fragment."""
        return set(ids) <= set(_ids_in(self._bucket(ids[0])))

    def remove(self, ids: Iterable[int]) -> None:
        """Removes samples, and buckets that are empty then."""
        buckets = set()
        for index in ids:
            self._path(index, "tar").unlink(missing_ok=True)  # first: a row without fragment is nothing
            self._path(index, "json").unlink(missing_ok=True)
            buckets.add(self._bucket(index))
        for bucket in buckets:
            with suppress(OSError):  # not empty: other ids of it are staged
                bucket.rmdir()

    def _bucket(self, index: int) -> Path:
        return self.folder / f"{index // SHARD_SIZE:06d}"

    def _path(self, index: int, kind: str) -> Path:
        return self._bucket(index) / f"{sample_id(index)}.{kind}"


def _ids_in(bucket: Path) -> Iterator[int]:
    names = (name.removesuffix(".tar") for name in listing(bucket) if name.endswith(".tar"))
    return (int(name) for name in names if len(name) == 8 and name.isascii() and name.isdigit())
