"""What of a mesh is the person: floating fragments and turntable discs go, repeated faces too.

A part is a set of faces that hang together over welded vertices. Hair cards, eyes, clothes and second people are parts
as well: a part goes only where it is small and away from all that is large, or where it is a plate that the rest stands
on. Called by `synth.scans_surface`; everything that goes is counted.
"""

from dataclasses import dataclass

import numpy as np

#: Parts with this share of the largest part's area are people, clothes, hair.
_LARGE = 0.05
#: Smaller parts stay where they are this near to a large one, as a share of its diagonal: glasses, lashes, buttons.
_NEAR = 0.03
#: A plate: thinner than this share of its width, and its longer side at most twice its shorter.
_THIN, _ROUND = 0.08, 2.0
#: Points of the large parts that nearness is measured to.
_MOST_POINTS = 50_000
#: Parts with this share of the largest part's area are people by themselves.
_PERSON = 0.3


@dataclass(frozen=True, eq=False)
class _Parts:
    of_face: np.ndarray
    """(T,) number of each face's part."""
    area: np.ndarray
    """(K,)."""
    low: np.ndarray
    """(K, 3)."""
    high: np.ndarray
    """(K, 3)."""


def faces_of_person(positions: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, str | None]:
    """(T,) bool, the faces that belong to the person, and what the others are; places (T, 3) numbers of positions.

    positions: (P, 3), finite, by place.
    """
    parts = _find_parts(positions, places)
    kept = np.ones(len(parts.area), bool)
    plates = _plates(parts)
    kept[plates] = False
    large = kept & (parts.area >= _LARGE * parts.area[kept].max(initial=0))
    if not large.any():
        return np.ones(len(places), bool), None
    small = np.flatnonzero(kept & ~large & (parts.area > 0))
    kept[small] = _near(positions, places, parts, small, large)
    fragments = len(small) - int(kept[small].sum())
    said = [f"{fragments} fragment{'s' * (fragments > 1)}"] if fragments else []
    said += ["a platform" if len(plates) == 1 else f"{len(plates)} platforms"] if len(plates) else []
    return kept[parts.of_face], " and ".join(said) or None


def repeated_faces(places: np.ndarray) -> np.ndarray:
    """(T,) bool: faces whose three places, in any order, an earlier face has already."""
    ordered = np.sort(places, axis=1).astype(np.int64)
    order = np.lexsort(ordered.T)
    again = np.zeros(len(places), bool)
    same = (ordered[order[1:]] == ordered[order[:-1]]).all(axis=1)  # lexsort is stable: the first comes first
    again[order[1:][same]] = True
    return again


def sizes_of_people(positions: np.ndarray, triangles: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N, 3) extents of the largest parts of a mesh; positions (V, 3), triangles (T, 3), places (T, 3)."""
    by_place = np.zeros((int(places.max()) + 1, 3))
    by_place[places] = positions[triangles]
    parts = _find_parts(by_place, places)
    people = parts.area >= _PERSON * parts.area.max()
    return (parts.high - parts.low)[people]


def _find_parts(positions: np.ndarray, places: np.ndarray) -> _Parts:
    from scipy.sparse import coo_matrix  # with the render extra; readers do without
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([places[:, [0, 1]], places[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(positions),) * 2)
    count, of_place = connected_components(graph, directed=False)
    of_face = of_place[places[:, 0]]
    a, b, c = (positions[places[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    order = np.argsort(of_place, kind="stable")
    starts = np.searchsorted(of_place[order], np.arange(count))
    return _Parts(
        of_face=of_face,
        area=np.bincount(of_face, area, count),
        low=np.minimum.reduceat(positions[order], starts),
        high=np.maximum.reduceat(positions[order], starts),
    )


def _plates(parts: _Parts) -> np.ndarray:
    """Numbers of flat parts on which all else stands: at one end of y or z, and wider than what stands there."""
    size = parts.high - parts.low
    found = []
    for number in np.flatnonzero(parts.area >= _LARGE * parts.area.max()):
        axis = int(np.argmin(size[number]))
        across = [k for k in range(3) if k != axis]
        wide, narrow = size[number][across].max(), size[number][across].min()
        if axis == 0 or size[number][axis] > _THIN * wide or wide > _ROUND * narrow:
            continue
        others = np.arange(len(parts.area)) != number
        if not others.any():
            continue
        rest = others & (parts.area >= _LARGE * parts.area[others].max())
        low, high = parts.low[rest].min(axis=0), parts.high[rest].max(axis=0)
        middle = (parts.low[number][axis] + parts.high[number][axis]) / 2
        at_an_end = middle < low[axis] + 0.1 * (high - low)[axis] or middle > high[axis] - 0.1 * (high - low)[axis]
        wider = (size[number][across] >= 0.9 * (high - low)[across]).all()
        tall = (high - low)[axis] >= 0.5 * (high - low)[across].max()  # else it is a cape or a fan
        if at_an_end and wider and tall:
            found.append(number)
    return np.array(found, int)


def _near(positions: np.ndarray, places: np.ndarray, parts: _Parts, small: np.ndarray, large: np.ndarray) -> np.ndarray:
    """(K,) bool: which small parts have a point near a large one, or near a small one that has."""
    from scipy.spatial import cKDTree

    if len(small) == 0:
        return np.zeros(0, bool)
    low, high = parts.low[large].min(axis=0), parts.high[large].max(axis=0)
    reach = _NEAR * float(np.linalg.norm(high - low))
    rank = np.full(len(parts.area), -1)
    rank[small] = np.arange(len(small))
    of_face = rank[parts.of_face]
    pieces = np.repeat(of_face[of_face >= 0], 3)
    points = positions[places[of_face >= 0].ravel()]
    base = np.unique(places[large[parts.of_face]])
    tree = cKDTree(positions[base[:: max(1, len(base) // _MOST_POINTS)]])
    kept = np.zeros(len(small), bool)
    kept[pieces[tree.query(points, distance_upper_bound=reach)[0] <= reach]] = True
    while kept.any() and not kept.all():  # hair on hair
        chain = cKDTree(points[kept[pieces]])
        new = np.zeros(len(small), bool)
        new[pieces[chain.query(points, distance_upper_bound=reach / 3)[0] <= reach / 3]] = True
        if not (new & ~kept).any():
            break
        kept |= new
    return kept
