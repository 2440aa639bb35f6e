"""Is a version still what it was? Four levels, each naming what the ones before it cannot see.

index: manifest, index, unit records, shards' names and sizes agree. hash: every byte of every shard. decode: pictures
and labels decode, keep the rules, and are the pixels and the recipe that were recorded. render: a sample made again
from its recipe is the one that is stored.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synth.config import CheckLimits
from synth.recipe import canonical_sha256, sample_id
from synth.sample import BadSample, check
from synth.store import Dataset
from synth.store_index import read_index
from synth.store_places import fixed_bytes
from synth.store_record import StoreError, root_hash
from synth.store_row import pixel_hashes

LEVELS = ("index", "hash", "decode", "render")

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
        contents = (row.tobytes().hex() for row in fixed_bytes(table["content_sha256"]))
        if root_hash(zip(table["sample_id"].to_pylist(), contents, strict=True)) != manifest["root"]:
            yield Finding("root", "is not that of the index's rows")
    sizes = dataset.folder.sizes("shards")
    for shard in manifest["shards"]:
        size = sizes.get(shard["path"].removeprefix("shards/"))
        if size is None:
            yield Finding(shard["path"], "is missing")
        elif size != shard["bytes"]:
            yield Finding(shard["path"], f"has {size} bytes, the manifest says {shard['bytes']}")


def verify_rows(dataset: Dataset, positions: np.ndarray) -> Iterator[Finding]:
    """Level `index` for samples: their unit records say what the index says."""
    for position in positions:
        try:
            row = dataset.row(int(position))
        except StoreError as error:
            yield Finding(_name(dataset, position), str(error))
            continue
        recorded = (row["recipe_sha256"], canonical_sha256(row["pixels_sha256"]))
        if recorded != dataset.hashes(int(position)):
            yield Finding(_name(dataset, position), "its unit record speaks of another recipe or pixels than the index")


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
    recipe, pixels = dataset.hashes(position)
    if canonical_sha256(sample.recipe) != recipe:
        yield Finding(name, "its recipe is not the one that was recorded")
    if canonical_sha256(pixel_hashes(sample)) != pixels:
        row = dataset.row(position)["pixels_sha256"]
        changed = [array for array, digest in pixel_hashes(sample).items() if row.get(array) != digest]
        yield Finding(name, f"its pixels are not those that were recorded ({', '.join(changed) or 'index'})")


def _name(dataset: Dataset, position: int) -> str:
    return f"sample {sample_id(int(dataset.ids[position]))}"
