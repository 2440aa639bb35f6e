"""What the layouts of an export share: what a worker is told, and what it says of each sample.

A layout is a module with `arrange` (the samples in its order), `plan` (tasks), `make` (a task's files, those that are
there already left alone) and `finish` (what is written of all samples together).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synth.export_dest import Encoding
from synth.store import Dataset

#: Samples a task of layouts with a file for each: few enough that all processes end at about the same time.
_PORTION = 32


@dataclass(frozen=True, eq=False)
class Job:
    """An export, as all of its workers know it."""

    dataset: Dataset
    dest: Path
    encoding: Encoding
    copy: bool
    """Whole shards are copied where they could be links to the dataset's own files."""


@dataclass(frozen=True)
class Portion:
    """Samples of one task."""

    first: int
    """Rank of the first one in the export's order."""
    positions: tuple[int, ...]
    """Where each lies in the dataset."""

    def ranked(self) -> list[tuple[int, int]]:
        """(rank, position) of each."""
        return list(enumerate(self.positions, self.first))


@dataclass(frozen=True)
class Made:
    """A sample that is in the export, or is left out."""

    rank: int
    """Its place in the export's order, those that are left out included."""
    name: str
    """What it is called there: a stem, or the file that holds it."""
    faults: tuple[tuple[str, str], ...] = ()
    """(rule, what was found): why it is left out."""


def portions(arranged: np.ndarray) -> list[Portion]:
    """All samples, a few at a time. arranged: positions in the export's order."""
    starts = range(0, len(arranged), _PORTION)
    return [Portion(start, tuple(arranged[start : start + _PORTION].tolist())) for start in starts]
