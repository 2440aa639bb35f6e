"""What light can reach each node of a scan, found once by ray casting: who sees the sky where, and who sees whom.

Rows are the nodes, then the backs of those that see the sky from behind. For a row, a bit per direction says whether
the sky is seen there; for a quarter of the directions that something blocks, it is kept which patch that is. Patches
are clusters of rows whose light is taken as one: light that comes from other surfaces is weak and smooth.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy.sparse import coo_matrix

from renderers.raycast import ScanCaster
from renderers.relight_directions import Directions
from renderers.relight_nodes import (
    HIDDEN,
    Nodes,
    build_nodes,
    cell_of,
    choose_levels,
    choose_rows,
    cluster_places,
    every_row,
    find_parts,
    longest_edges,
    steepest,
    triangle_of,
)
from renderers.surface import ScanPaint
from synth.scans import PreparedScan

#: Goes into the address of stored transport: raise it when the same scan gives another.
TRANSPORT_VERSION = 9
DIRECTIONS = 1024
#: Of so many directions one keeps what blocks it.
STRIDE = 3
#: Rays start so far off the surface, of the scan's height.
_LIFT = 1e-4
#: Directions that tell how open nodes are to the sky.
_FEW_DIRECTIONS = 256
#: And those of all nodes of a scan that has too many.
_FEWER_DIRECTIONS = 64
#: Triangles are divided once more where the open share changes by more than this from a node to the next, so many times
#: at most, down to this part of the spacing.
_STEEP, _REFINEMENTS, _LEAST_SPACING, _MOST_LEVEL = 0.12, 4, 1 / 12, 64
_ROWS = 512
_PATCHES = 4096
#: Rows with one of these between the shares of the sky that they see are in no patch together: what lies close behind a
#: lit surface would send out some of its light.
_OPENNESS = (HIDDEN, 0.15, 0.4)
#: Nodes that a scan may have; spacing grows until it has no more.
_MOST_NODES = 40_000
#: Rows of fronts, and half of that for what has its own; a scan of more vertices has several of them share rows.
_MOST_ROWS = 60_000
#: Spacing of nodes, of the square root of the scan's area.
_SPACING = 1 / 100
_MOST_PARTS = 16


@dataclass(frozen=True, eq=False)
class Transport:
    """N nodes of a scan, R rows of which the first F are fronts, P patches. level, start, grid: as in
    `renderers.relight_nodes.Nodes`."""

    part: np.ndarray
    """(T,) int32, see `renderers.relight_nodes.find_parts`."""
    level: np.ndarray
    start: np.ndarray
    grid: np.ndarray
    blend_row: np.ndarray
    """(N, B) int32, the rows below F that a node takes its light from; B is 1 where every node has its own."""
    blend_share: np.ndarray
    """(N, B) float32, how much of each; they add up to 1."""
    normal: np.ndarray
    """(R, 3) float32, the shading normal of each row; of a back, turned over."""
    back: np.ndarray
    """(F,) int32, the row of a front's back, F or above; -1 where it sees no sky."""
    bits: np.ndarray
    """(R, DIRECTIONS / 8) uint8: whether the sky is seen in direction 8 k + b, bit b; only above the row's horizon."""
    seen_start: np.ndarray
    """(R + 1,) int64, where in `seen_patch` and `seen_direction` a row begins."""
    seen_patch: np.ndarray
    """(S,) uint16, what a row sees of the scan."""
    seen_direction: np.ndarray
    """(S,) uint16, in which direction."""
    patch_light: np.ndarray
    """(P, DIRECTIONS) uint8: mean of cosine times visibility over a patch's rows, of 255."""
    patch_albedo: np.ndarray
    """(P, 3) float32, linear."""
    link_start: np.ndarray
    """(P + 1,) int64, as of a sparse matrix by rows: the share of a patch's hemisphere that another patch fills, times
    its cosine, steradians."""
    link_patch: np.ndarray
    link_share: np.ndarray


def build_transport(scan: PreparedScan, caster: ScanCaster, paint: ScanPaint) -> Transport:
    """Casts all rays of a scan: some thousand to ten thousand a node."""
    directions = Directions(DIRECTIONS)
    unit = directions.unit.astype(np.float32)
    few = Directions(_FEW_DIRECTIONS).unit.astype(np.float32)
    lift, size = np.float32(_LIFT * scan.facts.height_m), np.sqrt(_area(scan))
    nodes = _choose_nodes(scan, caster, lift, few)
    chosen, blend_row, blend_share = _choose_rows(nodes, caster, lift, size)
    position, normal = nodes.position[chosen], nodes.normal[chosen]
    behind = np.flatnonzero(_open_share(position - lift * normal, -normal, caster, few) > 0)
    back = np.full(len(chosen), -1, np.int32)
    back[behind] = len(back) + np.arange(len(behind), dtype=np.int32)
    position, normal = np.concatenate([position, position[behind]]), np.concatenate([normal, -normal[behind]])
    bits, hits = _cast(caster, position + lift * normal, normal, unit, np.arange(DIRECTIONS) % STRIDE == 0)
    patch = _cluster(position, normal, _sum_open(bits, normal, unit) * np.float32(4 / DIRECTIONS), size)
    row, direction, triangle, weights = hits
    seen = _rows_hit(nodes, blend_row[:, 0], back, scan, triangle, weights, unit[direction])
    kept = seen >= 0
    row, direction, seen_patch = row[kept], direction[kept], patch[seen[kept]]
    count = int(patch.max()) + 1
    share = np.einsum("kx,kx->k", unit[direction], normal[row]) * np.float32(directions.area_sr * STRIDE)
    members = np.bincount(patch, minlength=count)
    links = coo_matrix((share / members[patch[row]], (patch[row], seen_patch)), (count, count)).tocsr()
    links.sum_duplicates()
    colour = _colours(scan, paint, nodes, chosen)
    colour = np.concatenate([colour, colour[behind]])
    albedo = np.stack([np.bincount(patch, colour[:, c], count) / members for c in range(3)], axis=1)
    return Transport(
        part=find_parts(scan),
        level=nodes.level,
        start=nodes.start,
        grid=nodes.grid,
        blend_row=blend_row,
        blend_share=blend_share,
        normal=normal,
        back=back,
        bits=bits,
        seen_start=np.searchsorted(row, np.arange(len(normal) + 1)).astype(np.int64),
        seen_patch=seen_patch.astype(np.uint16),
        seen_direction=direction.astype(np.uint16),
        patch_light=_patch_light(bits, normal, patch, members, unit),
        patch_albedo=albedo.astype(np.float32),
        link_start=links.indptr.astype(np.int64),
        link_patch=links.indices.astype(np.int32),
        link_share=links.data.astype(np.float32),
    )


def _choose_nodes(scan: PreparedScan, caster: ScanCaster, lift: np.float32, few: np.ndarray) -> Nodes:
    """Nodes as close as lengths ask for, then closer where the share of the sky that they see changes from one to the
    next: in creases, and where one thing dips into another. As many as are allowed."""
    spacing = _SPACING * np.sqrt(_area(scan))
    nodes = build_nodes(scan, choose_levels(scan, spacing, _MOST_PARTS))
    while len(nodes.position) > _MOST_NODES // 2 and (nodes.level > 1).any():
        spacing *= 1.2
        nodes = build_nodes(scan, choose_levels(scan, spacing, _MOST_PARTS))
    longest = longest_edges(scan)
    for _ in range(_REFINEMENTS if len(nodes.position) < _MOST_NODES else 0):
        open_sky = _open_share(nodes.position + lift * nodes.normal, nodes.normal, caster, few)
        steep = steepest(nodes.level, nodes.start, nodes.grid, open_sky)
        finer = (steep > _STEEP) & (longest / nodes.level > spacing * _LEAST_SPACING) & (nodes.level < _MOST_LEVEL)
        # A node inside of a surface stands in the grids of six triangles, one on an edge in those of two.
        more = np.where(finer, 3 * nodes.level.astype(np.int64) ** 2 // 2, 0)
        order = np.argsort(-steep, kind="stable")
        finer[order[np.cumsum(more[order]) > _MOST_NODES - len(nodes.position)]] = False
        if not finer.any():
            break
        nodes = build_nodes(scan, np.where(finer, 2 * nodes.level, nodes.level).astype(np.uint8))
    return nodes


def _choose_rows(
    nodes: Nodes, caster: ScanCaster, lift: np.float32, size: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every node for itself while they are few; see `renderers.relight_nodes.choose_rows`."""
    if len(nodes.position) <= _MOST_ROWS:
        return every_row(len(nodes.position))
    fewer = Directions(_FEWER_DIRECTIONS).unit.astype(np.float32)
    sides = [_open_share(nodes.position + lift * n, n, caster, fewer) for n in (nodes.normal, -nodes.normal)]
    return choose_rows(nodes, np.stack(sides, axis=1), size, _MOST_ROWS)


def _open_share(origin: np.ndarray, normal: np.ndarray, caster: ScanCaster, unit: np.ndarray) -> np.ndarray:
    """(K,) float32: the share of a uniform sky's light that reaches points."""
    bits = _cast(caster, origin, normal, unit, named=np.zeros(len(unit), bool))[0]
    return _sum_open(bits, normal, unit) * np.float32(4 / len(unit))


def _area(scan: PreparedScan) -> float:
    corners = np.asarray(scan.positions, np.float64)[np.asarray(scan.triangles)]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(face, axis=1).sum() / 2)


def _cast(
    caster: ScanCaster, origin: np.ndarray, normal: np.ndarray, unit: np.ndarray, named: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Bits (R, D / 8) of the directions in which rows see the sky, and of those others that are `named` (D,) what is
    hit: row, direction, triangle (K,) and barycentrics (K, 3), by rows."""
    bits = np.zeros((len(origin), len(unit) // 8), np.uint8)
    hits = []
    threshold = np.arange(len(unit)) * 0.6180339887498949 % 1  # what is half transparent stops half of the directions
    for start in range(0, len(origin), _ROWS):
        rows = slice(start, start + _ROWS)
        row, direction = _above(normal[rows], unit)
        keep = named[direction]
        r, d = row[keep] + start, direction[keep]
        triangle, weights = caster.surfaces(origin[r], unit[d], threshold[d])
        free = triangle < 0
        hits.append((r[~free], d[~free], triangle[~free], weights[~free]))
        _set_bits(bits, r[free], d[free])
        r, d = row[~keep] + start, direction[~keep]
        free = ~caster.blocked(origin[r], unit[d], threshold[d])
        _set_bits(bits, r[free], d[free])
    return bits, tuple(np.concatenate(parts) for parts in zip(*hits, strict=True))


def _rows_hit(
    nodes: Nodes,
    row: np.ndarray,
    back: np.ndarray,
    scan: PreparedScan,
    triangle: np.ndarray,
    weights: np.ndarray,
    rays: np.ndarray,
) -> np.ndarray:
    """Row (K,) nearest to hits, of the side that a ray along (K, 3) meets; -1 where that side is dark."""
    corners = np.asarray(scan.positions)[np.asarray(scan.triangles)[triangle]]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = row[nodes.grid[_nearest(nodes.level, nodes.start, triangle, weights)]]
    return np.where(np.einsum("kx,kx->k", face, rays) > 0, back[front], front)


def _cluster(position: np.ndarray, normal: np.ndarray, open_sky: np.ndarray, size: float) -> np.ndarray:
    """Patch (R,) of each row: of one cube, one of six sides and like openness; as many as are allowed, or fewer."""
    edge = size / np.sqrt(_PATCHES)
    like = np.searchsorted(_OPENNESS, open_sky)
    while True:
        patch = cluster_places(position, normal, edge, like)
        if patch.max() < _PATCHES:
            return patch
        edge *= 1.1


def _colours(scan: PreparedScan, paint: ScanPaint, nodes: Nodes, some: np.ndarray) -> np.ndarray:
    """Linear albedo (K, 3) around some nodes (K,)."""
    triangle, weights = triangle_of(nodes, some)
    footprint = None
    if scan.uvs is not None:
        uvs = np.asarray(scan.uvs)[triangle]
        edges = np.stack([uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]], axis=2).astype(np.float64)
        footprint = edges / nodes.level[triangle].astype(np.float64)[:, None, None]
    return paint.colours(triangle, weights, footprint)


def _patch_light(bits, normal, patch, members, unit) -> np.ndarray:
    total = _sum_light(bits, normal, patch, len(members), unit)
    return np.round(total * (255 / members)[:, None]).astype(np.uint8)


@numba.njit(cache=True)
def _above(normal, unit):  # pragma: no cover - compiled
    """All pairs of a normal and a direction above its horizon."""
    row = np.empty(len(normal) * len(unit), np.int64)
    direction = np.empty(len(row), np.int64)
    n = 0
    for r in range(len(normal)):
        for d in range(len(unit)):
            if normal[r, 0] * unit[d, 0] + normal[r, 1] * unit[d, 1] + normal[r, 2] * unit[d, 2] > 0:
                row[n], direction[n] = r, d
                n += 1
    return row[:n], direction[:n]


@numba.njit(cache=True)
def _set_bits(bits, row, direction):  # pragma: no cover - compiled
    for k in range(len(row)):
        bits[row[k], direction[k] >> 3] |= np.uint8(1 << (direction[k] & 7))


@numba.njit(cache=True)
def _nearest(level, start, triangle, weights):  # pragma: no cover - compiled
    """Places in the grid of the nodes nearest to barycentrics."""
    out = np.empty(len(triangle), np.int64)
    for k in range(len(triangle)):
        t = triangle[k]
        a, b, c, wa, wb, wc = cell_of(level[t], weights[k, 1], weights[k, 2])
        out[k] = start[t] + (a if wa >= wb and wa >= wc else b if wb >= wc else c)
    return out


@numba.njit(cache=True)
def _sum_open(bits, normal, unit):  # pragma: no cover - compiled
    """(R,) float32, the sum of the cosines of directions in which rows see the sky."""
    total = np.zeros(len(bits), np.float32)
    for r in range(len(bits)):
        for d in range(len(unit)):
            if bits[r, d >> 3] >> (d & 7) & 1:
                total[r] += normal[r, 0] * unit[d, 0] + normal[r, 1] * unit[d, 1] + normal[r, 2] * unit[d, 2]
    return total


@numba.njit(cache=True)
def _sum_light(bits, normal, patch, count, unit):  # pragma: no cover - compiled
    total = np.zeros((count, len(unit)), np.float32)
    for r in range(len(bits)):
        p = patch[r]
        for d in range(len(unit)):
            if bits[r, d >> 3] >> (d & 7) & 1:
                total[p, d] += normal[r, 0] * unit[d, 0] + normal[r, 1] * unit[d, 1] + normal[r, 2] * unit[d, 2]
    return total
