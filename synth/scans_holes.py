"""Holes of a scan that stands: said in one line where they are large enough to be seen, silent about what is usual.

Open edges join to rims. Usual are the rim that a neck, a chest or trousers end with at the bottom, rims of clothes and
hair that lie on other parts, and rims of small parts. Arrays in, a line out. Used by `synth.scans_prepare`.
"""

import numpy as np

#: Metres around: an eye socket has 0.09, a nostril 0.04.
_NOTABLE_M = 0.10
#: A rim is the bottom's where it starts within the first share of the height and its middle lies below the second.
_BOTTOM, _LOW = 0.10, 0.25
#: A rim is covered where most of it lies this near to another part, metres: sleeves, collars, hair on a head.
_COVERED_M, _MOST = 0.03, 0.6
#: Parts with less of the area than this have rims of their own: cards of hair, lashes, buttons, tongues.
_LARGE = 0.05


def describe_holes(positions: np.ndarray, triangles: np.ndarray, welded: np.ndarray) -> tuple[str, ...]:
    """How many holes there are and how far the largest reaches around; nothing where there is nothing to say.

    positions (V, 3) metres, z up, lowest at 0; triangles (T, 3); welded (V,) numbers of places, equal across seams.
    """
    places = welded[triangles]
    points = np.full((int(welded.max()) + 1, 3), np.inf)  # vertices of no face are nowhere
    points[places] = positions[triangles]
    edges = _open_edges(places)
    if len(edges) == 0:
        return ()
    rim, around_m, low, middle = _rims(points, edges)
    height = float(np.ptp(positions[:, 2]))
    at_bottom = (low < _BOTTOM * height) & (middle < _LOW * height)
    holes = np.flatnonzero((around_m >= _NOTABLE_M) & ~at_bottom)
    if len(holes) == 0:
        return ()
    part, large = _parts(points, places)
    found = [around_m[k] for k in holes if _is_open(points, np.unique(edges[rim == k]), part, large)]
    if not found:
        return ()
    many = "a hole" if len(found) == 1 else f"{len(found)} holes, the largest"
    return (f"{many} of {100 * max(found):.0f} cm around",)


def _open_edges(places: np.ndarray) -> np.ndarray:
    """(E, 2) edges that belong to one triangle only; places (T, 3)."""
    edges = np.sort(np.concatenate([places[:, [0, 1]], places[:, [1, 2]], places[:, [2, 0]]]), axis=1)
    keys = edges[:, 0] * (int(places.max()) + 1) + edges[:, 1]
    order = np.argsort(keys, kind="stable")
    new = np.append(True, keys[order][1:] != keys[order][:-1])
    alone = new & np.append(new[1:], True)
    return edges[order[alone]]


def _rims(points: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(E,) rim of each open edge; (K,) length around, lowest height and mean height of each rim."""
    from scipy.sparse import coo_matrix  # with the render extra; readers do without
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(len(points),) * 2)
    _, rim = np.unique(connected_components(graph, directed=False)[1][edges[:, 0]], return_inverse=True)
    ends = points[edges]  # (E, 2, 3)
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    around = np.bincount(rim, length)
    low = np.full(len(around), np.inf)
    np.minimum.at(low, rim, ends[:, :, 2].min(axis=1))
    middle = np.bincount(rim, length * ends[:, :, 2].mean(axis=1)) / np.maximum(around, 1e-12)
    return rim, around, low, middle


def _parts(points: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) number of each place's connected part, and (K,) bool: which of them are large."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([places[:, [0, 1]], places[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(points),) * 2)
    count, part = connected_components(graph, directed=False)
    a, b, c = (points[places[:, k]] for k in range(3))
    area = np.bincount(part[places[:, 0]], np.linalg.norm(np.cross(b - a, c - a), axis=1), count)
    return part, area >= _LARGE * area.sum()


def _is_open(points: np.ndarray, rim: np.ndarray, part: np.ndarray, large: np.ndarray) -> bool:
    """Whether a rim, given by its places, belongs to a large part and lies on no other part."""
    from scipy.spatial import cKDTree

    own = part[rim[0]]
    if not large[own]:
        return False
    near = (points >= points[rim].min(axis=0) - _COVERED_M).all(axis=1)
    near &= (points <= points[rim].max(axis=0) + _COVERED_M).all(axis=1) & (part != own)
    if not near.any():
        return True
    covered = cKDTree(points[near]).query(points[rim], distance_upper_bound=_COVERED_M)[0] <= _COVERED_M
    return bool(covered.mean() < _MOST)
