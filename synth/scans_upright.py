"""Which way is up: the file's axis, and a person upside down. Shape alone decides; no units.

Measured on seventeen real and authored scans, each as it is and turned over: all are found but half a face, of which
nothing tells. What leans is levelled by `synth.scans_level`. Used by `synth.scans_geometry`.
"""

import numpy as np

from synth.scans_parts import sizes_of_people
from synth.scans_profile import edge_points, hull_profile

#: Turns the file's axis to z, right-handed; for y and z the x axis stays, as cameras' and modellers' axes differ.
_TO_Z = {
    "z": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "-z": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "y": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "-y": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    "x": [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
    "-x": [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
}
#: x is up only where it is this much longer than y and z: arms held out are nearly as long as a body.
_LONG = 1.8
_SLABS = 64
#: Cells in which parts of a slab are told apart, as a share of the height, and of the widest extent at least.
_CELL, _LEAST_CELL = 0.012, 1 / 512
#: Slabs (shares of the height, from an end) in which two legs are two parts of like size, and all else is one or three.
_LEGS, _LIKE = (0.05, 0.30), 0.4
#: Slabs of less hull area than this, over squared height, are hair, a cable or a splinter: passed over at an end, up to
#: a share of the height. Crowns of bodies start with 0.002 and more.
_SPLINTER, _MOST_SPLINTER = 0.0015, 0.15
#: What speaks for "upright" adds up (`_evidence`), measured: bodies 4.5 to 6.3, busts 2.4 to 3.4, a head with an open
#: neck 2.1; half a face 0.1, a bust that rolled by 37 degrees 0.4. Turned over all change sign.
_STRONG = 1.5
#: Who stands on two legs is not turned over for a tray above the head, and without legs both measures of the ends must
#: say so: an umbrella is wide, but not blunt.
_MOST_LEGS, _AGREEING = 0.5, 0.25
#: Open edges lie at the cut: the lowest point of a neck or a chest.
_LEAST_OPEN, _HIGH = 20, 0.9


def turn_to_z(axis: str) -> np.ndarray:
    """(3, 3) rotation that turns an axis, `x` to `-z`, to z."""
    return np.array(_TO_Z[axis], np.float64)


def longest_axis(positions: np.ndarray, triangles: np.ndarray, places: np.ndarray) -> str:
    """`y` or `z`, whichever is longer, or `x` where it is much longer than both, also of each person by itself.

    positions (V, 3), triangles (T, 3); places: (T, 3) numbers of positions, equal where they are.
    """
    x, y, z = np.ptp(positions, axis=0)
    if x > _LONG * max(y, z):  # two people side by side are wide, but neither of them lies
        people = sizes_of_people(positions, triangles, places)
        if (people[:, 0] > _LONG * people[:, 1:].max(axis=1)).all():
            return "x"
    return "y" if y >= z else "z"


def why_upside_down(positions: np.ndarray, triangles: np.ndarray, places: np.ndarray) -> str | None:
    """What shows that a person stands on the head; None where nothing does. places: (T, 3) numbers of positions."""
    legs, wide, blunt = _evidence(edge_points(positions, triangles))
    total = 2 * legs + wide + blunt
    if total <= -_STRONG and legs < -_MOST_LEGS:
        return "two legs at the top"
    if total <= -_STRONG and legs <= _MOST_LEGS and max(wide, blunt) < -_AGREEING:
        return "its wide end at the top"
    if total < 0 and legs <= _MOST_LEGS:
        open_heights = _open_heights(positions, triangles, places)
        if len(open_heights) >= _LEAST_OPEN and np.percentile(open_heights, 10) > _HIGH:
            return "its cut at the top"
    return None


def _evidence(points: np.ndarray) -> tuple[float, float, float]:
    """(legs, wide, blunt): what speaks for upright; negative speaks for upside down. points (P, 3).

    legs: -1 to 1, share of slabs with two like parts below, less that above. wide and blunt: people stand on soles, a
    plinth or a cut, wide at once, and end in the dome of a head, which widens as one goes down. So -2 to 2 the natural
    logarithm of the lower end's hull area over the upper's, and -1.5 to 1.5 that of how blunt the ends are, where an
    end is blunt that has at its tip as much area as further in.
    """
    areas = hull_profile(points)
    low, high = _from_tip(areas), _from_tip(areas[::-1])
    wide = np.log(low[:3].max() / high[:3].max())
    blunt = np.log((low[1] / low[7]) / (high[1] / high[7]))
    lower, upper = _paired(points)
    return lower - upper, float(np.clip(wide, -2, 2)), float(np.clip(blunt, -1.5, 1.5))


def _from_tip(areas: np.ndarray) -> np.ndarray:
    """(8,) hull areas of the first slabs that are more than a splinter."""
    most = int(_MOST_SPLINTER * len(areas))
    solid = np.flatnonzero(areas[: most + 1] >= _SPLINTER)
    start = int(solid[0]) if len(solid) else 0
    return np.maximum(areas[start : start + 8], 1e-4)


def _paired(points: np.ndarray) -> tuple[float, float]:
    """Share of slabs near the lower and near the upper end that hold two parts of like size, and no third."""
    low, height = points[:, 2].min(), np.ptp(points[:, 2])
    slab = np.minimum(((points[:, 2] - low) / height * _SLABS).astype(np.int64), _SLABS - 1)
    across = points[:, :2] - points[:, :2].min(axis=0)
    cells = (across / max(_CELL * height, _LEAST_CELL * across.max())).astype(np.int64)
    first, last = (round(share * _SLABS) for share in _LEGS)
    lower = [_is_pair(cells[slab == number]) for number in range(first, last)]
    upper = [_is_pair(cells[slab == _SLABS - 1 - number]) for number in range(first, last)]
    return float(np.mean(lower)), float(np.mean(upper))


def _is_pair(cells: np.ndarray) -> bool:
    """Whether the cells (N, 2) of a slab's outline fall into two parts of like size."""
    from scipy import ndimage  # with the render extra; readers do without

    if len(cells) == 0:
        return False
    cells = cells - cells.min(axis=0)
    grid = np.zeros(cells.max(axis=0) + 3, bool)
    grid[cells[:, 0] + 1, cells[:, 1] + 1] = True
    labels, _ = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_dilation(grid)), np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    return int((sizes > _LIKE * sizes.max()).sum()) == 2


def _open_heights(positions: np.ndarray, triangles: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Heights of open edges, 0 at the lowest point and 1 at the highest."""
    edges = np.concatenate([places[:, [0, 1]], places[:, [1, 2]], places[:, [2, 0]]])
    starts = np.concatenate([triangles[:, 0], triangles[:, 1], triangles[:, 2]])
    edges.sort(axis=1)
    keys = edges[:, 0] * (int(places.max()) + 1) + edges[:, 1]
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    heights = positions[starts[first[counts == 1]], 2]
    low = positions[:, 2].min()
    return (heights - low) / np.ptp(positions[:, 2])
