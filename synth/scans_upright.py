"""Which way is up: the file's axis, a body that leans, a person upside down. Shape alone decides; no units.

Measured on seventeen real and authored scans; every one is found upright as it is, and all but a head with an open neck
are found upside down when they are turned over. Used by `synth.scans_geometry`.
"""

import numpy as np

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
#: A body this much longer than wide (root of the ratio of its principal moments; bodies 2.2 to 2.6, busts up to 1.9)
#: has an axis, and stands when that leans by less than this. Standing bodies and a statue in contrapposto: up to 4.7.
_ELONGATED, _LEANING_DEG, _LYING_DEG = 2.0, 15.0, 60.0
_SLABS = 64
_CELL = 0.012
#: Slabs (shares of the height, from an end) in which two legs are two parts, and a head with its neck is one.
_SHINS = (0.04, 0.20)
_LEGS = 0.5
_HEAD_TO_FEET = 0.7
#: Slabs at the ends whose hull areas are compared: a bust is cut where it is wide. Lower over upper end, measured:
#: busts 0.79 to 2.7, bodies 2.1 to 4.9, heads 0.59 to 1.1.
_END = (0.03, 0.15)
_NARROW = 0.45
#: Open edges lie at the cut: the lowest point of a neck or a chest.
_LEAST_OPEN, _HIGH = 20, 0.9


def turn_to_z(axis: str) -> np.ndarray:
    """(3, 3) rotation that turns an axis, `x` to `-z`, to z."""
    return np.array(_TO_Z[axis], np.float64)


def longest_axis(positions: np.ndarray) -> str:
    """`y` or `z`, whichever is longer, or `x` where it is much longer than both. positions (V, 3)."""
    x, y, z = np.ptp(positions, axis=0)
    if x > _LONG * max(y, z):
        return "x"
    return "y" if y >= z else "z"


def measure_lean(positions: np.ndarray, triangles: np.ndarray) -> tuple[float, np.ndarray]:
    """(degrees, rotation): how far a body's long axis is from z, and the smallest turn that stands it up.

    (0, identity) where the shape has no long axis, or lies. positions (V, 3), z up; triangles (T, 3).
    """
    corners = positions[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    centres = corners.mean(axis=1)
    weight = area / area.sum()
    offset = centres - np.einsum("i,ij->j", weight, centres)
    moments, axes = np.linalg.eigh(np.einsum("i,ij,ik->jk", weight, offset, offset))
    axis = axes[:, 2] * (1.0 if axes[2, 2] >= 0 else -1.0)
    lean = float(np.degrees(np.arccos(np.clip(axis[2], -1, 1))))
    if moments[2] < _ELONGATED**2 * moments[1] or not _LEANING_DEG <= lean <= _LYING_DEG:
        return 0.0, np.eye(3)
    return lean, _turn_between(axis, np.array([0.0, 0.0, 1.0]))


def why_upside_down(positions: np.ndarray, triangles: np.ndarray, places: np.ndarray) -> str | None:
    """What shows that a person stands on the head; None where nothing does. places: (T, 3) numbers of positions."""
    points = edge_points(positions, triangles)
    areas = hull_profile(points)
    low, high = (int(share * len(areas)) for share in _END)
    lower, upper = areas[low:high].max(), areas[::-1][low:high].max()
    lower_parted, upper_parted = _parted(points)
    if upper_parted - lower_parted > _LEGS:  # raised arms, or legs: those end in feet, and the other end in a head
        return "two legs at the top" if lower < _HEAD_TO_FEET * upper else None
    if lower_parted > _LEGS:
        return None
    if lower < _NARROW * upper:
        return "its wide end at the top"
    open_heights = _open_heights(positions, triangles, places)
    if lower < upper / _NARROW and len(open_heights) >= _LEAST_OPEN and np.percentile(open_heights, 10) > _HIGH:
        return "its cut at the top"
    return None


def _turn_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that takes unit vector `one` to `other`, which is not its opposite (Rodrigues)."""
    v = np.cross(one, other)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + one @ other)


def _parted(points: np.ndarray) -> tuple[float, float]:
    """Share of slabs near the lower and the upper end that hold two parts or more of like size."""
    from scipy import ndimage  # with the render extra; readers do without

    low, height = points[:, 2].min(), np.ptp(points[:, 2])
    slab = np.minimum(((points[:, 2] - low) / height * _SLABS).astype(np.int64), _SLABS - 1)
    cells = ((points[:, :2] - points[:, :2].min(axis=0)) / (_CELL * height)).astype(np.int64)
    ends = []
    first, last = (round(share * _SLABS) for share in _SHINS)
    for slabs in (range(first, last), range(_SLABS - last, _SLABS - first)):
        parted = 0
        for number in slabs:
            inside = cells[slab == number]
            if len(inside) == 0:
                continue
            inside = np.minimum(inside - inside.min(axis=0), 2000)
            grid = np.zeros(inside.max(axis=0) + 3, bool)
            grid[inside[:, 0] + 1, inside[:, 1] + 1] = True
            labels, _ = ndimage.label(ndimage.binary_dilation(grid), np.ones((3, 3)))
            sizes = np.bincount(labels.ravel())[1:]
            parted += int((sizes > 0.15 * sizes.max()).sum() >= 2)
        ends.append(parted / len(slabs))
    return ends[0], ends[1]


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
