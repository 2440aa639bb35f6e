"""Directions of equal area over the sphere: rings of cells around z, each cell seen along one ray through its middle.

Rings make the cell of any direction a matter of two divisions, and their areas equal to the last bit: the light of a
panorama is split among them without loss. Frame scan.
"""

from functools import cached_property

import numba
import numpy as np


class Directions:
    """`count` cells of equal solid angle, a multiple of 8; ring k holds `cells[k]` of them from index `first[k]` on."""

    def __init__(self, count: int):
        side = np.sqrt(4 * np.pi / count)
        rings = round(np.pi / side)
        share = np.sin((np.arange(rings) + 0.5) * np.pi / rings)
        edges = np.round(np.cumsum(share) / share.sum() * count).astype(np.int64)
        self.count = count
        self.first = np.concatenate([[0], edges])
        self.cells = np.diff(self.first)

    @property
    def area_sr(self) -> float:
        """Solid angle of a cell."""
        return 4 * np.pi / self.count

    @cached_property
    def unit(self) -> np.ndarray:
        """(count, 3) float64, the middle of each cell; consecutive rings are staggered by the golden ratio."""
        ring = np.repeat(np.arange(len(self.cells)), self.cells)
        number = np.arange(self.count) - self.first[ring]
        z = 1 - (self.first[ring] + self.first[ring + 1]) / self.count
        turn = (number + 0.5) / self.cells[ring] + self._stagger[ring]
        across = np.sqrt(1 - z * z)
        return np.stack([across * np.cos(2 * np.pi * turn), across * np.sin(2 * np.pi * turn), z], axis=1)

    @cached_property
    def _stagger(self) -> np.ndarray:
        return (np.arange(len(self.cells)) * 0.6180339887498949) % 1

    def find(self, directions: np.ndarray) -> np.ndarray:
        """Cell (K,) int32 of unit directions (K, 3)."""
        return _find(np.ascontiguousarray(directions), self.first, self._stagger)


@numba.njit(cache=True)
def _find(directions, first, stagger):  # pragma: no cover - compiled
    count, rings = first[-1], len(first) - 1
    ring_of = np.empty(count, np.int32)
    for ring in range(rings):
        ring_of[first[ring] : first[ring + 1]] = ring
    out = np.empty(len(directions), np.int32)
    for k in range(len(directions)):
        level = min(max(int((1 - directions[k, 2]) * 0.5 * count), 0), count - 1)
        ring = ring_of[level]
        cells = first[ring + 1] - first[ring]
        turn = np.arctan2(directions[k, 1], directions[k, 0]) / (2 * np.pi) - stagger[ring]
        out[k] = first[ring] + min(int((turn - np.floor(turn)) * cells), cells - 1)
    return out
