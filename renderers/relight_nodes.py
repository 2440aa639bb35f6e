"""Where on a scan light is known: a grid of nodes on every triangle, finer on large ones; shared along edges.

Between nodes light is interpolated. A node has a position and the shading normal there, so that a hard edge, where
normals differ, has several nodes in one place. Frame scan.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from synth.scans import PreparedScan

#: Distances below this are the same place, metres; also the rounding of keys of shared nodes.
_SAME_M = 2e-6
#: Normals are rounded to this when nodes are compared.
_SAME_NORMAL = 0.01
#: Rows that a node takes its light from, where there are fewer rows than nodes; and how many edges of a cluster's cube
#: a right angle between normals is worth, and the whole sky against none of it.
_BLENDED, _NORMAL_EDGES, _OPEN_EDGES = 4, 1.5, 4.0
#: A side of a node that sees less of the sky than this is never in one cluster with others.
HIDDEN = 0.03
#: A node whose share of the sky others miss by more than this stands for itself.
_MISSED = 0.05


@dataclass(frozen=True, eq=False)
class Nodes:
    """N nodes on the grids of T triangles."""

    position: np.ndarray
    """(N, 3) float32."""
    normal: np.ndarray
    """(N, 3) float32, unit."""
    level: np.ndarray
    """(T,) uint8, into how many parts each edge of a triangle is divided."""
    start: np.ndarray
    """(T,) int64, where the nodes of a triangle begin in `grid`."""
    grid: np.ndarray
    """(G,) int32, nodes by triangle: rows of constant share of corner 1, growing share of corner 2."""
    sample: np.ndarray
    """(N,) int64, one place of each node in `grid`."""


def grid_size(level: np.ndarray) -> np.ndarray:
    """Nodes of a triangle's grid."""
    level = level.astype(np.int64)
    return (level + 1) * (level + 2) // 2


def choose_levels(scan: PreparedScan, spacing_m: float, most: int) -> np.ndarray:
    """(T,) uint8, powers of two: the parts that bring each triangle's longest edge below `spacing_m`."""
    parts = np.maximum(longest_edges(scan) / spacing_m, 1.0)
    return np.minimum(2 ** np.ceil(np.log2(parts) - 0.2), most).astype(np.uint8)


def longest_edges(scan: PreparedScan) -> np.ndarray:
    """(T,) float32 metres."""
    corners = np.asarray(scan.positions)[np.asarray(scan.triangles)]
    longest = np.zeros(len(corners), np.float32)
    for k in range(3):
        edge = corners[:, k] - corners[:, (k + 1) % 3]
        np.maximum(longest, np.sqrt(np.einsum("kx,kx->k", edge, edge)), out=longest)
    return longest


def find_parts(scan: PreparedScan) -> np.ndarray:
    """(T,) int32: which pieces triangles belong to, of one material and connected by common places: an eyebrow, a
    shirt. Where a view goes from one to the other there is an edge, though depth and normal be the same."""
    triangles = np.asarray(scan.triangles)
    positions = np.asarray(scan.positions)
    places = np.unique(_hash(positions, np.zeros_like(positions)), return_inverse=True)[1].reshape(-1)[triangles]
    ends = np.concatenate([places[:, :2], places[:, 1:]])
    count = int(places.max()) + 1
    graph = coo_matrix((np.ones(len(ends), np.uint8), (ends[:, 0], ends[:, 1])), (count, count))
    piece = connected_components(graph, directed=False)[1][places[:, 0]].astype(np.int64)
    material = np.asarray(scan.material).astype(np.int64)
    both = piece * (int(material.max()) + 1) + material
    return np.unique(both, return_inverse=True)[1].reshape(-1).astype(np.int32)


def build_nodes(scan: PreparedScan, level: np.ndarray) -> Nodes:
    """The nodes of all triangles, those in one place with one normal made one."""
    sizes = grid_size(level)
    start = np.cumsum(sizes) - sizes
    triangles = np.asarray(scan.triangles)
    position, normal = _place(
        np.asarray(scan.positions), triangles, np.asarray(scan.normals), level, start, sizes.sum()
    )
    _, first, grid = np.unique(_hash(position, normal), return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # nodes in the order of triangles: neighbours lie close in memory
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    sample = first[order]
    return Nodes(position[sample], normal[sample], level, start, rank[grid].astype(np.int32), sample)


def triangle_of(nodes: Nodes, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One triangle of each of some nodes (K,), and its barycentrics there (K, 3) float32."""
    triangle = np.searchsorted(nodes.start, nodes.sample[some], side="right") - 1
    return triangle, _weights(nodes.level[triangle], nodes.sample[some] - nodes.start[triangle])


def every_row(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `choose_rows` returns where every node stands for itself."""
    every = np.arange(count, dtype=np.int32)
    return every, every[:, None], np.ones((count, 1), np.float32)


def choose_rows(
    nodes: Nodes, open_sky: np.ndarray, size_m: float, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which nodes stand for all (R,), about `most`, and of which of them every node takes how much.

    One of each small cube, side and openness stands for the others, and each node takes from the `_BLENDED` nearest in
    place, direction and openness, less from the farther, nothing from the last: so that what is taken changes smoothly,
    and a lid takes none of its light from the eye that lies in the dark right behind it. Nodes that see a lot more or
    less of the sky than what they take from, where one surface comes out of another, stand for themselves, up to
    half of `most` besides.

    open_sky: (N, 2) float32, share of a uniform sky's light that reaches a node's front and its back. Returns chosen
    nodes (R,) int32, by their numbers rows (N, B) int32, the nearest first, and shares (N, B) float32.
    """
    edge = size_m / np.sqrt(most)
    while True:
        cluster = cluster_places(nodes.position, nodes.normal, edge, (open_sky > HIDDEN) @ [1, 2])
        if cluster.max() < most:
            break
        edge *= 1.1
    members = np.bincount(cluster)
    middle = np.stack([np.bincount(cluster, nodes.position[:, x]) / members for x in range(3)], axis=1)
    order = np.lexsort((np.linalg.norm(nodes.position - middle[cluster], axis=1), cluster))
    chosen = order[np.cumsum(members) - members]
    unlike = [nodes.normal * _NORMAL_EDGES, open_sky * _OPEN_EDGES]
    places = np.concatenate([nodes.position / edge, *unlike], axis=1)
    distance, nearest = cKDTree(places[chosen]).query(places, _BLENDED + 1)
    share = (1 - distance[:, :-1] / np.maximum(distance[:, -1:], 1e-9)) ** 2
    share[share.sum(axis=1) <= 0] = 1
    share /= share.sum(axis=1, keepdims=True)
    row = nearest[:, :-1]
    off = np.abs(np.einsum("kb,kbs->ks", share, open_sky[chosen[row]]) - open_sky).max(axis=1)
    worst = np.argsort(-off, kind="stable")[: most // 2]
    missed = np.sort(worst[off[worst] > _MISSED])
    row[missed] = len(chosen) + np.arange(len(missed))[:, None]
    share[missed] = np.eye(1, _BLENDED)
    chosen = np.concatenate([chosen, missed])
    return chosen.astype(np.int32), row.astype(np.int32), share.astype(np.float32)


def cluster_places(position: np.ndarray, normal: np.ndarray, edge: float, kind: np.ndarray) -> np.ndarray:
    """Cluster (K,) int64 of each place: those in a cube of an edge, whose normals share main axis and sign, of one kind
    (K,), 0 to 3."""
    axis = np.argmax(np.abs(normal), axis=1)
    side = 2 * axis + (np.take_along_axis(normal, axis[:, None], 1)[:, 0] > 0)
    cube = np.floor((position - position.min(axis=0)) / edge).astype(np.int64)
    key = ((cube[:, 0] * (cube[:, 1].max() + 1) + cube[:, 1]) * (cube[:, 2].max() + 1) + cube[:, 2]) * 6 + side
    return np.unique(key * 4 + kind, return_inverse=True)[1].reshape(-1)


@numba.njit(cache=True)
def steepest(level, start, grid, value):  # pragma: no cover - compiled
    """(T,) float32: by how much a value of nodes (N,) differs at most between neighbours on the grid of a triangle."""
    out = np.zeros(len(level), np.float32)
    for t in range(len(level)):
        n, at, most = np.int64(level[t]), start[t], np.float32(0)
        for i in range(n):
            below = at + n + 1 - i
            for j in range(n - i):
                a, b, c = value[grid[at + j]], value[grid[at + j + 1]], value[grid[below + j]]
                most = max(most, abs(a - b), abs(b - c), abs(c - a))
            at = below
        out[t] = most
    return out


@numba.njit(cache=True)
def _place(positions, triangles, normals, level, start, count):  # pragma: no cover - compiled
    position = np.empty((count, 3), np.float32)
    normal = np.empty((count, 3), np.float32)
    for t in range(len(triangles)):
        at, n = start[t], level[t]
        for i in range(n + 1):
            for j in range(n + 1 - i):
                w1, w2 = i / n, j / n
                w0 = (n - i - j) / n
                length = 0.0
                for x in range(3):
                    position[at, x] = (
                        w0 * positions[triangles[t, 0], x]
                        + w1 * positions[triangles[t, 1], x]
                        + w2 * positions[triangles[t, 2], x]
                    )
                    value = w0 * normals[t, 0, x] + w1 * normals[t, 1, x] + w2 * normals[t, 2, x]
                    normal[at, x] = value
                    length += value * value
                length = np.sqrt(length)
                for x in range(3):
                    normal[at, x] = normal[at, x] / length if length > 1e-6 else normals[t, 0, x]
                at += 1
    return position, normal


@numba.njit(cache=True)
def _hash(position, normal):  # pragma: no cover - compiled
    """64 bits of each rounded position and normal: two of a million places share them once in ten million scans."""
    out = np.empty(len(position), np.uint64)
    for k in range(len(position)):
        value = np.uint64(0x9E3779B97F4A7C15)
        for x in range(6):
            part = position[k, x] / _SAME_M if x < 3 else normal[k, x - 3] / _SAME_NORMAL
            value ^= np.uint64(np.int64(np.round(part)))
            # The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
            value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            value = value ^ (value >> np.uint64(31))
        out[k] = value
    return out


@numba.njit(cache=True)
def _weights(level, number):  # pragma: no cover - compiled
    weights = np.empty((len(level), 3), np.float32)
    for k in range(len(level)):
        n, left, i = np.int64(level[k]), number[k], 0
        while left > n - i:
            left -= n - i + 1
            i += 1
        weights[k, 0] = (n - i - left) / n
        weights[k, 1] = i / n
        weights[k, 2] = left / n
    return weights


@numba.njit(cache=True, inline="always")
def cell_of(level, w1, w2):  # pragma: no cover - compiled
    """The cell of a triangle's grid at barycentrics: places in the grid of its three nodes, and their weights."""
    n = np.int64(level)
    a, b = w1 * n, w2 * n
    i = min(max(np.int64(a), 0), n - 1)
    j = min(max(np.int64(b), 0), n - 1 - i)
    fa, fb = a - i, b - j
    at = i * (n + 1) - i * (i - 1) // 2 + j
    below = at + n + 1 - i  # (i + 1, j)
    if fa + fb <= 1 or i + j >= n - 1:
        return at, below, at + 1, 1 - fa - fb, fa, fb
    return below + 1, at + 1, below, fa + fb - 1, 1 - fa, 1 - fb
