"""A scan under one light: what falls onto each row that a view needs. The only products of transport and light.

The irradiance of a row is kept as a vector per colour: its product with a normal is Lambert's cosine, so that between
rows the vector is interpolated and the normal of each pixel does the rest.
"""

import numba
import numpy as np
from scipy.sparse import csr_matrix

from renderers.relight_directions import Directions
from renderers.relight_light import Light
from renderers.relight_transport import STRIDE, Transport

#: Bounces of light between surfaces: Cycles' diffuse bounces (renderers.blender).
_BOUNCES = 3
#: A direction this near to a strong light's is asked whether it is blocked, radians: a cell and a half.
_AROUND = 0.12
DARK, LIT, UNKNOWN = 0, 1, 2


class Relit:
    """A transport under one light."""

    def __init__(self, transport: Transport, light: Light, directions: Directions):
        self._transport, self.light, self._directions = transport, light, directions
        self._tables = _tables(light.moments)
        self._patches = self._bounce()
        unit = directions.unit.astype(np.float32)
        self._unit = unit
        middles = light.towards.mean(axis=1)
        #: (L, 3) float32, unit, towards the middle of each strong light.
        self.middles = middles / np.maximum(np.linalg.norm(middles, axis=1, keepdims=True), 1e-9)
        near = np.cos(_AROUND + _radius(light.towards, self.middles))
        around = [np.flatnonzero(unit @ m > n) for m, n in zip(self.middles, near, strict=True)]
        self._around_start = np.cumsum([0, *(len(a) for a in around)])
        self._around = np.concatenate([*around, np.zeros(0, np.int64)]).astype(np.int64)

    def nodes(self, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (K, 9) float32 of nodes seen from a side, and for strong lights DARK, LIT or UNKNOWN (K, L) uint8.

        sides (K,): a node, or that plus the count of nodes for its back.
        """
        t = self._transport
        rows = _rows_of(sides, t.blend_row, t.back)
        wanted, compact = used(rows, len(t.normal))
        vectors = _direct(t.bits, wanted, self._tables)
        _gather(
            vectors, wanted, t.seen_start, t.seen_patch, t.seen_direction, self._patches, self._unit,
            np.float32(self._directions.area_sr * STRIDE),
        )  # fmt: skip
        state = _classify(t.bits, t.normal, wanted, self._around_start, self._around, self._unit, self.middles)
        return _blend(sides, rows, compact, t.blend_share, vectors, state)

    def _bounce(self) -> np.ndarray:
        """Radiance (P, 3) float32 that patches send out after at least one and at most _BOUNCES encounters."""
        t = self._transport
        irradiance = t.patch_light.astype(np.float32, copy=False) @ (self.light.irradiance / np.float32(255))
        links = csr_matrix((t.link_share, t.link_patch, t.link_start), (len(t.patch_albedo), len(t.patch_albedo)))
        sent = total = irradiance * t.patch_albedo / np.float32(np.pi)
        for _ in range(_BOUNCES - 1):
            sent = (links @ sent) * t.patch_albedo / np.float32(np.pi)
            total = total + sent
        return total


def _radius(towards: np.ndarray, middles: np.ndarray) -> np.ndarray:
    cosine = np.einsum("lkx,lx->lk", towards, middles)
    return np.arccos(np.clip(cosine, -1, 1)).max(axis=1, initial=0)


@numba.njit(cache=True)
def used(numbers, count):  # pragma: no cover - compiled
    """The numbers from 0 that occur in (K, B), ascending, and for each below `count` its place among them, or -1."""
    compact = np.full(count, -1, np.int32)
    for k in range(numbers.shape[0]):
        for b in range(numbers.shape[1]):
            if numbers[k, b] >= 0:
                compact[numbers[k, b]] = 0
    wanted = np.flatnonzero(compact == 0)
    for k in range(len(wanted)):
        compact[wanted[k]] = k
    return wanted, compact


@numba.njit(cache=True)
def _rows_of(sides, blend_row, back):  # pragma: no cover - compiled
    """The rows (K, B) that nodes take their light from; -1 where a back is dark."""
    rows = np.empty((len(sides), blend_row.shape[1]), np.int32)
    for k in range(len(sides)):
        for b in range(blend_row.shape[1]):
            row = blend_row[sides[k] % len(blend_row), b]
            rows[k, b] = row if sides[k] < len(blend_row) else back[row]
    return rows


@numba.njit(cache=True)
def _blend(sides, rows, compact, share, vectors, state):  # pragma: no cover - compiled
    lights = state.shape[1]
    out = np.zeros((len(rows), 9), np.float32)
    merged = np.zeros((len(rows), lights), np.uint8)
    for k in range(len(rows)):
        for b in range(rows.shape[1]):
            if rows[k, b] >= 0:
                for x in range(9):
                    out[k, x] += share[sides[k] % len(share), b] * vectors[compact[rows[k, b]], x]
        for light in range(lights):
            for b in range(rows.shape[1]):
                mine = np.uint8(DARK) if rows[k, b] < 0 else state[compact[rows[k, b]], light]
                if b == 0:
                    merged[k, light] = mine
                elif mine != merged[k, light]:
                    merged[k, light] = UNKNOWN
    return out, merged


@numba.njit(cache=True)
def _tables(moments):  # pragma: no cover - compiled
    """Sums of moments (D, 9) over the directions of every byte of bits: (D / 8, 256, 12)."""
    out = np.zeros((len(moments) // 8, 256, 12), np.float32)
    for g in range(len(out)):
        for mask in range(1, 256):
            lowest = 0
            while not mask >> lowest & 1:
                lowest += 1
            for x in range(9):
                out[g, mask, x] = out[g, mask & (mask - 1), x] + moments[8 * g + lowest, x]
    return out


@numba.njit(cache=True)
def _direct(bits, wanted, tables):  # pragma: no cover - compiled
    out = np.zeros((len(wanted), 12), np.float32)
    for start in range(0, len(wanted), 128):  # a block's sums stay in the cache, and so does a table
        stop = min(start + 128, len(wanted))
        for g in range(bits.shape[1]):
            for k in range(start, stop):
                byte = bits[wanted[k], g]
                if byte:
                    for x in range(12):
                        out[k, x] += tables[g, byte, x]
    return out[:, :9].copy()


@numba.njit(cache=True)
def _gather(out, wanted, start, patch, direction, light, unit, area):  # pragma: no cover - compiled
    for k in range(len(wanted)):
        r = wanted[k]
        for s in range(start[r], start[r + 1]):
            p, d = patch[s], direction[s]
            for c in range(3):
                value = light[p, c] * area
                for x in range(3):
                    out[k, 3 * c + x] += value * unit[d, x]


@numba.njit(cache=True)
def _classify(bits, normal, wanted, start, around, unit, middles):  # pragma: no cover - compiled
    """Whether rows see strong lights, judged by the directions around them that are well above the row's horizon."""
    lights = len(middles)
    out = np.empty((len(wanted), lights), np.uint8)
    for k in range(len(wanted)):
        r = wanted[k]
        for light in range(lights):
            free = blocked = low = 0
            for a in range(start[light], start[light + 1]):
                d = around[a]
                cosine = normal[r, 0] * unit[d, 0] + normal[r, 1] * unit[d, 1] + normal[r, 2] * unit[d, 2]
                if cosine < 0.05:
                    low += 1
                elif bits[r, d >> 3] >> (d & 7) & 1:
                    free += 1
                else:
                    blocked += 1
            if free + blocked == 0:
                out[k, light] = 0
            elif low == 0 and blocked == 0:
                out[k, light] = 1
            elif low == 0 and free == 0:
                out[k, light] = 0
            else:
                out[k, light] = 2
    return out
