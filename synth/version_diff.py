"""What changed between two versions of a dataset, and the version number that follows from it.

Rows are joined by index. Two versions of 500 000 rows are compared as arrays, no object per row, from their indexes
alone. Next: `synth.version` gives a version its number.
"""

from dataclasses import dataclass

import numpy as np

from synth.store_table import PICTURES
from synth.store_tag import parse_number

#: The columns of the index that a diff reads.
DIFF_COLUMNS = ["index", "content_sha256", "recipe_sha256", "pixels_sha256", PICTURES, "env_id"]

#: What may differ in a sample, from what asked for it to what is merely said of it.
ASPECTS = ("recipe", "environment", "pixels", "encoding", "metadata")


@dataclass(frozen=True, eq=False)
class Diff:
    """Indices of samples, ascending (int32)."""

    added: np.ndarray
    removed: np.ndarray
    changed: np.ndarray
    """In both versions, with anything different."""
    aspects: dict[str, np.ndarray]
    """By aspect, bool (len(changed),). `recipe`: another picture was asked for. `environment`: other software or
    another class of device made it. `pixels`: decoded values differ. `encoding`: the values are the same, their bytes
    are not. `metadata`: recipe, pictures and labels are the same to the byte, what `.json` says of them is not."""
    same: int

    @property
    def empty(self) -> bool:
        """Whether the versions hold the same samples, made in the same environments."""
        return not (len(self.added) or len(self.removed) or len(self.changed))

    @property
    def counts(self) -> dict[str, int]:
        """`added`, `removed`, `changed`, `same`, and changed samples by aspect."""
        sizes = {"added": len(self.added), "removed": len(self.removed), "changed": len(self.changed)}
        return {**sizes, "same": self.same, **{name: int(where.sum()) for name, where in self.aspects.items()}}


def diff_tables(before, after) -> Diff:
    """The difference of two indexes: pyarrow tables with DIFF_COLUMNS, ascending by index.

    An index from before there was a column `pictures_hash` cannot tell metadata from encoding: it counts as encoding.
    """
    old, new = before["index"].to_numpy(), after["index"].to_numpy()
    both, i, j = np.intersect1d(old, new, assume_unique=True, return_indices=True)

    def differs(column: str) -> np.ndarray:
        return (_hashes(before[column])[i] != _hashes(after[column])[j]).any(axis=1)

    recipe, pixels, content = (differs(name) for name in ("recipe_sha256", "pixels_sha256", "content_sha256"))
    environment = _texts_differ(before["env_id"], after["env_id"], i, j)
    changed = recipe | pixels | content | environment
    told = all(PICTURES in table.column_names for table in (before, after))
    pictures = differs(PICTURES) if told else np.ones(len(both), bool)
    said = content & ~pixels & ~recipe
    aspects = dict(zip(ASPECTS, (recipe, environment, pixels, said & pictures, said & ~pictures), strict=True))
    return Diff(
        added=np.setdiff1d(new, old, assume_unique=True),
        removed=np.setdiff1d(old, new, assume_unique=True),
        changed=both[changed],
        aspects={name: where[changed] for name, where in aspects.items()},
        same=int((~changed).sum()),
    )


def next_number(previous: str | None, diff: Diff) -> str:
    """The version number after `previous`: 1.0.0 first.

    Samples removed, or changed in what is asked for, shown or stored: the next major. New samples: the next minor. Only
    other words about the same pictures, or other environments for the same bytes: the next patch. The diff must not be
    empty.
    """
    if previous is None:
        return "1.0.0"
    major, minor, patch = parse_number(previous)
    if len(diff.removed) or any(diff.aspects[name].any() for name in ("recipe", "pixels", "encoding")):
        return f"{major + 1}.0.0"
    if len(diff.added):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def _texts_differ(before, after, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Whether texts differ, by dictionary codes: environments are few, rows many."""
    import pyarrow as pa

    codes = pa.chunked_array([*before.chunks, *after.chunks], pa.string()).combine_chunks().dictionary_encode().indices
    codes = codes.to_numpy()
    return codes[: len(before)][i] != codes[len(before) :][j]


def _hashes(column) -> np.ndarray:
    """A pyarrow column of binary(8 K) as (N, K) uint64, for comparing."""
    from synth.store_places import fixed_bytes

    return fixed_bytes(column).view(np.uint64)
