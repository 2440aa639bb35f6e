"""Is a version still what it was? Four levels, each naming what the ones before it cannot see.

index: manifest, index, unit records, shards' names and sizes agree. hash: every byte of every shard. decode: pictures
and labels decode, keep the rules, and are the pixels and the recipe that were recorded; the json repeats its recipe.
render: a sample made again from its recipe is the one that is stored, which no consistent forging survives.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synth.codec import sample_json
from synth.config import CheckLimits
from synth.recipe import canonical_json, canonical_sha256, sample_id
from synth.sample import BadSample, Sample, check
from synth.store import Dataset
from synth.store_index import read_index
from synth.store_overlay import root_of
from synth.store_record import StoreError
from synth.store_row import pixel_hashes
from synth.store_table import columns_of

LEVELS = ("index", "hash", "decode", "render")

#: Rows of the index looked at together.
_ROWS = 1024
#: Bytes hashed at a time.
_PIECE = 8 * 2**20


@dataclass(frozen=True)
class Finding:
    """Something that is not what it was."""

    what: str
    """The sample, shard or file."""
    problem: str

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


def verify_index(dataset: Dataset) -> Iterator[Finding]:
    """Findings of level `index`; opening the dataset has already refused an edited manifest or index."""
    manifest = dataset.manifest
    if manifest["index"] is not None:
        table = read_index(dataset.folder, manifest, ["sample_id", "content_sha256"])
        if root_of(table) != manifest["root"]:
            yield Finding("root", "is not that of the index's rows")
    sizes = dataset.folder.sizes("shards")
    for shard in manifest["shards"]:
        size = sizes.get(shard["path"].removeprefix("shards/"))
        if size is None:
            yield Finding(shard["path"], "is missing")
        elif size != shard["bytes"]:
            yield Finding(shard["path"], f"has {size} bytes, the manifest says {shard['bytes']}")


def verify_rows(dataset: Dataset, positions: np.ndarray) -> Iterator[Finding]:
    """Level `index` for samples: the index says what their unit records say, in every column."""
    table = dataset.table()
    for start in range(0, len(positions), _ROWS):
        piece = np.asarray(positions[start : start + _ROWS])
        told = table.take(piece)
        told = {name: told[name].to_pylist() for name in told.column_names}
        for k, position in enumerate(piece):
            try:
                row = dataset.recorded(int(position))
            except StoreError as error:
                yield Finding(_name(dataset, position), str(error))
                continue
            columns = columns_of([row], int(dataset.shard_numbers[position]))
            stale = [name for name in told if not _same(told[name][k], columns[name][0])]
            if stale:
                yield Finding(_name(dataset, position), f"the index does not have its record's {', '.join(stale)}")


def verify_shard(dataset: Dataset, shard: int) -> Iterator[Finding]:
    """Level `hash` of one shard: all its bytes, and where they differ, whose they are."""
    entry = dataset.manifest["shards"][shard]
    digest = hashlib.sha256()
    try:
        for start in range(0, entry["bytes"], _PIECE):
            end = min(start + _PIECE, entry["bytes"])
            digest.update(dataset.folder.read_range(entry["path"], start, end))
    except (OSError, StoreError) as error:
        yield Finding(entry["path"], f"cannot be read ({error})")
        return
    if digest.hexdigest() == entry["sha256"]:
        return
    named = False
    for position in np.flatnonzero(dataset.shard_numbers == shard):
        try:
            dataset.members(int(position), verify=True)
        except StoreError as error:
            named = True
            yield Finding(_name(dataset, position), str(error))
    if not named:
        yield Finding(entry["path"], "its sha256 is not the manifest's, though every sample in it is whole")


def verify_sample(dataset: Dataset, position: int, limits: CheckLimits) -> Iterator[Finding]:
    """Level `decode` of one sample."""
    name = _name(dataset, position)
    try:
        sample = dataset.read(position, verify=True)
        check(sample, limits)
    except (StoreError, BadSample) as error:
        yield Finding(name, str(error))
        return
    if wrong := _contradictions(dataset, position, sample):
        yield Finding(name, f"its json says otherwise of {', '.join(wrong)} than its recipe or record")
    recipe, pixels = dataset.hashes(position)
    if canonical_sha256(sample.recipe) != recipe:
        yield Finding(name, "its recipe is not the one that was recorded")
    if canonical_sha256(pixel_hashes(sample)) != pixels:
        row = dataset.row(position)["pixels_sha256"]
        changed = [array for array, digest in pixel_hashes(sample).items() if row.get(array) != digest]
        yield Finding(name, f"its pixels are not those that were recorded ({', '.join(changed) or 'index'})")


def _contradictions(dataset: Dataset, position: int, sample: Sample) -> list[str]:
    """Keys of the `.json` member that do not follow from the recipe in it; keys of other versions are not judged."""
    told = json.loads(dataset.members(position)["json"])
    follows = json.loads(canonical_json(sample_json(sample.recipe, sample.counts, dataset.recorded(position).flags)))
    return sorted(key for key in told.keys() & follows.keys() - {"recipe"} if told[key] != follows[key])


def _same(told, recorded) -> bool:
    """Whether the index's value is the recorded one, as far as 32-bit floats tell."""
    if isinstance(recorded, float):
        return told == float(np.float32(recorded))
    return list(recorded) == told if isinstance(told, list) else recorded == told


def _name(dataset: Dataset, position: int) -> str:
    return f"sample {sample_id(int(dataset.ids[position]))}"
