"""Which triangles are wound against their neighbours, so that a mesh has one outside. Used by `synth.scans_surface`."""

import numpy as np

#: Share of a piece's area up to which the faces wound differently are the wrong ones; nearer to one half, as when half
#: of a body was mirrored, neither side is right by being more, and the volume decides.
_MINORITY = 0.35


def faces_to_turn(positions: np.ndarray, triangles: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(T,) bool, triangles to turn so that neighbours of one connected piece agree.

    positions (V, 3), triangles (T, 3), places (T, 3): numbers of the corners' places, equal across seams. Pieces that
    agree already are left alone, whichever way they face; so are those with one side only, as a Moebius strip has.
    """
    piece, other = _sides(places)
    if not other.any():
        return other
    corners = positions[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    count = int(piece.max()) + 1
    share = np.bincount(piece, area * other, count) / np.maximum(np.bincount(piece, area, count), 1e-300)
    turn_other = np.where(share < _MINORITY, True, _is_outwards(corners, cross, area, piece, count, other))
    turn_other[share > 1 - _MINORITY] = False
    mixed = (share > 0) & (share < 1)
    return np.where(turn_other[piece], other, ~other) & mixed[piece]


def _sides(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) number of each triangle's piece, and (T,) bool: wound against the piece's first triangle.

    Every triangle stands twice in a graph, as it is and turned; an edge joins the two ways in which neighbours agree.
    A piece with two sides falls into two components, one of which holds each of its triangles as they should be.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(places)
    start, end = places.T.ravel(), np.roll(places, -1, axis=1).T.ravel()
    face = np.tile(np.arange(count), 3)
    forward = start < end
    keys = np.minimum(start, end).astype(np.int64) * (int(places.max()) + 1) + np.maximum(start, end)
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.append(True, keys[order][1:] != keys[order][:-1]))
    # Where three sheets meet, no two of them are neighbours.
    pairs = first[np.diff(np.append(first, len(order))) == 2]
    a, b = order[pairs], order[pairs + 1]
    clash = forward[a] == forward[b]  # the shared edge runs the same way in both
    rows = np.concatenate([face[a], face[a] + count])
    columns = np.concatenate([face[b] + count * clash, face[b] + count * ~clash])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(2 * count, 2 * count))
    component = connected_components(graph, directed=False)[1]
    as_is, turned = component[:count], component[count:]
    # A piece's two components by the lower number; equal where the piece has one side only.
    _, piece = np.unique(np.minimum(as_is, turned), return_inverse=True)
    return piece, as_is > turned


def _is_outwards(
    corners: np.ndarray, cross: np.ndarray, area: np.ndarray, piece: np.ndarray, count: int, other: np.ndarray
) -> np.ndarray:
    """(count,) bool: each piece faces away from its middle once its `other` triangles are turned."""
    middle = corners.mean(axis=1)
    total = np.maximum(np.bincount(piece, area, count), 1e-300)
    centre = np.stack([np.bincount(piece, area * middle[:, k], count) / total for k in range(3)], axis=1)
    facing = np.einsum("tx,tx->t", middle - centre[piece], cross) * np.where(other, -1, 1)
    return np.bincount(piece, facing, count) > 0
