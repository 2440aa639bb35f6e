"""What a card says in figures: counts and distributions of a version, from columns of its index alone.

No row becomes a Python object: 500 000 samples take seconds. Next: `synth.card_readme` puts them into words.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.camera import FULL_FRAME_DIAGONAL_MM
from synth.codec import MEMBERS
from synth.splits import SPLITS
from synth.store import Dataset
from synth.store_index import read_index
from synth.store_record import StoreError
from synth.store_table import length_column, schema

#: Bins of a histogram, at most: of very few samples, and of many.
_FEWEST_BINS, _BINS = 8, 14
#: Angles around something: both ends are the same direction.
_AROUND = ("camera_yaw_deg", "background_yaw_deg")
_AROUND_EDGES = np.arange(0.0, 361.0, 30.0)
_TEXTS = ("split", "background", "framing", "env_id")
_LISTS = ("scans", "people", "flags", "refused")
_NUMBERS = (
    "width", "height", "seconds", "focal_px", "camera_distance_m", "camera_yaw_deg", "camera_pitch_deg", "exposure_ev",
    "background_yaw_deg", "magnification", "covered", "depth_p50_m",
)  # fmt: skip
_LENGTHS = tuple(length_column(extension) for extension in MEMBERS)
COLUMNS = [*_TEXTS, *_LISTS, *_NUMBERS, *_LENGTHS]

#: Quantity: (what it is, its unit).
SPREADS = {
    "camera_yaw_deg": ("yaw", "degrees around the person"),
    "camera_pitch_deg": ("pitch", "degrees, positive looks down"),
    "focal_35mm": ("focal length", "mm, 35 mm equivalent by diagonal"),
    "camera_distance_m": ("distance", "metres, camera to the person's feet"),
    "depth_p50_m": ("depth", "metres, median of the visible person"),
    "exposure_ev": ("exposure", "EV"),
    "covered": ("person size", "share of the frame"),
    "background_yaw_deg": ("turn of the panorama", "degrees"),
    "magnification": ("background magnification", "pixels per texel"),
}


@dataclass(frozen=True, eq=False)
class Spread:
    """How a quantity is spread over the samples."""

    edges: np.ndarray
    """(B + 1,) float64, ascending; a single value has B = 0."""
    counts: np.ndarray
    """(B,) int64, samples from each edge up to the next; the last bin has its end, too."""
    percentiles: tuple[float, float, float]
    """5, 50 and 95 %."""
    missing: int
    """Samples without a finite value."""


@dataclass(frozen=True)
class SplitCounts:
    """One split."""

    name: str
    samples: int
    people: int
    scans: int
    backgrounds: int


@dataclass(frozen=True, eq=False)
class Figures:
    """All that a card counts."""

    samples: int
    splits: tuple[SplitCounts, ...]
    counts: dict[str, Counter]
    """Samples by value of each text or list column; `refused` counts attempts."""
    sizes: Counter
    """Samples by (width, height)."""
    subjects: tuple[int, int]
    """Fewest and most people of a sample."""
    spreads: dict[str, Spread]
    """By keys of SPREADS; without those that no sample has."""
    core_seconds: dict[str, tuple[int, float]]
    """(samples, core-seconds in all) by env_id."""
    seconds: Spread | None
    """Core-seconds of a sample, refused attempts included."""
    member_bytes: dict[str, tuple[int, int]]
    """(samples that have it, bytes in all) by extension, of members that any sample has."""


def measure_version(dataset: Dataset, positions: np.ndarray | None = None) -> Figures:
    """The figures of a committed version, or of some of its samples. Raises StoreError when its index is not one."""
    table = read_index(dataset.folder, dataset.manifest, COLUMNS)
    return measure_table(table if positions is None else table.take(positions), str(dataset.path))


def measure_table(table: Any, where: str) -> Figures:
    """table: pyarrow, with COLUMNS as `synth.store_table.schema` has them. where: named in errors."""
    _check(table, where)
    numbers = {name: table[name].to_numpy() for name in _NUMBERS}
    with np.errstate(divide="ignore"):  # a frame without pixels has no finite lens, and is counted as such
        diagonal_px = np.hypot(numbers["width"], numbers["height"])
        numbers["focal_35mm"] = numbers["focal_px"] * FULL_FRAME_DIAGONAL_MM / diagonal_px
    spreads = {name: _around(numbers[name]) if name in _AROUND else _spread(numbers[name]) for name in SPREADS}
    subjects = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in table["scans"].chunks])
    counts = {name: _counted(table[name]) for name in _TEXTS} | {name: _listed(table[name]) for name in _LISTS}
    return Figures(
        samples=table.num_rows,
        splits=_splits(table, counts["split"]),
        counts=counts,
        sizes=_sizes(numbers["width"], numbers["height"]),
        subjects=(int(subjects.min()), int(subjects.max())),
        spreads={name: spread for name, spread in spreads.items() if spread is not None},
        core_seconds=_core_seconds(table["env_id"], numbers["seconds"]),
        seconds=_spread(numbers["seconds"]),
        member_bytes=_member_bytes(table),
    )


def _check(table: Any, where: str) -> None:
    """Raises StoreError unless all columns are there, of their types, without gaps where a sample has no gap."""
    for name in COLUMNS:
        if name not in table.column_names or table.schema.field(name).type != schema().field(name).type:
            raise StoreError(f"{where}: its index has no column {name!r} of type {schema().field(name).type}")
        if table[name].null_count and name not in _LENGTHS:
            raise StoreError(f"{where}: its index has gaps in column {name!r}")
    if any(chunk.flatten().null_count for name in _LISTS for chunk in table[name].chunks):
        raise StoreError(f"{where}: its index has gaps in a list")
    if not table.num_rows:
        raise StoreError(f"{where}: its index has no row")


def _splits(table: Any, counts: Counter) -> tuple[SplitCounts, ...]:
    known = [name for name in SPLITS if name in counts]
    of = table["split"].to_numpy()
    found = []
    for name in known + sorted(counts.keys() - set(known)):
        rows = np.flatnonzero(of == name)
        people, scans = (len(_listed(table[column].take(rows))) for column in ("people", "scans"))
        found.append(SplitCounts(name, len(rows), people, scans, len(_counted(table["background"].take(rows)))))
    return tuple(found)


def _counted(column: Any) -> Counter:
    """Rows by value, of a text column."""
    return Counter({entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()})


def _listed(column: Any) -> Counter:
    """Entries by value, of a column of lists."""
    return sum((_counted(chunk.flatten()) for chunk in column.chunks), Counter())


def _core_seconds(environments: Any, seconds: np.ndarray) -> dict[str, tuple[int, float]]:
    encoded = environments.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    sums = np.bincount(codes, np.where(np.isfinite(seconds), seconds, 0).astype(np.float64))
    totals = zip(np.bincount(codes).tolist(), sums.tolist(), strict=True)
    return dict(sorted(zip(encoded.dictionary.to_pylist(), totals, strict=True)))


def _sizes(width: np.ndarray, height: np.ndarray) -> Counter:
    pairs, counts = np.unique(np.stack([width, height], axis=1), axis=0, return_counts=True)
    return Counter({(int(w), int(h)): int(count) for (w, h), count in zip(pairs, counts, strict=True)})


def _member_bytes(table: Any) -> dict[str, tuple[int, int]]:
    found = {}
    for extension in MEMBERS:
        column = table[length_column(extension)]
        present = table.num_rows - column.null_count
        if present:
            found[extension] = present, int(column.drop_null().to_numpy().sum(dtype=np.int64))
    return found


def _spread(values: np.ndarray) -> Spread | None:
    """None where nothing is finite."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return None
    most = min(_BINS, max(_FEWEST_BINS, math.isqrt(finite.size)))
    edges = _edges(finite.min(), finite.max(), most)
    counts = np.histogram(finite, edges)[0] if len(edges) > 1 else np.zeros(0, np.int64)
    percentiles = tuple(float(p) for p in np.percentile(finite, (5, 50, 95)))
    return Spread(edges, counts, percentiles, len(values) - len(finite))


def _around(degrees: np.ndarray) -> Spread | None:
    """Of directions: twelfths of the circle, whatever turn they were given in."""
    finite = degrees[np.isfinite(degrees)].astype(np.float64) % 360
    if not finite.size:
        return None
    counts = np.histogram(finite, _AROUND_EDGES)[0]
    percentiles = tuple(float(p) for p in np.percentile(finite, (5, 50, 95)))
    return Spread(_AROUND_EDGES, counts, percentiles, len(degrees) - len(finite))


def _edges(low: float, high: float, most: int) -> np.ndarray:
    """At most most + 1 multiples of 1, 2, 3 or 5 times a power of ten that span low..high."""
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # 32-bit floats of one value
        return np.array([low])
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    for factor in (1, 2, 3, 5, 10, 20):
        step = factor * power
        first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    edges = np.arange(first, last + 1) * step
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return edges
