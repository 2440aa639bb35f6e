"""A body that leans, as scans do whose program was never told where the floor is: stood up on its floor.

People bend, lunge and lean of their own: what counts is the floor, not the body. It is the side of the convex hull that
a body can stand on; a scan leans where that is not at its lowest point. Measured on eight bodies and a statue, tilted
by 8 to 50 degrees any way, upside down too, and bent at the hips by 15 to 90. Shape alone decides; no units. Used by
`synth.scans_geometry`.
"""

import numpy as np

#: Root of the ratio of the principal moments: standing bodies 2.2 to 2.6, bent by 80 degrees 1.8 to 2.1, busts to 1.9.
_ELONGATED = 2.0
#: Degrees. Long axes of standing bodies are up to 1.8 from vertical and from the upright of their floor, a statue's in
#: contrapposto 4.7; beyond the last nobody stands.
_UPRIGHT_DEG, _OFF_AXIS_DEG, _LYING_DEG = 6.0, 12.0, 60.0
#: Where floors are looked for, degrees about the long axis: who bends by 80 has the floor 36 off it.
_SEARCH_DEG = 45.0
#: Area of hull sides within a cone, over squared length: 0.023 to 0.038 under two feet, 0.17 under a plinth; at ends
#: that are no floor up to 0.005.
_FLOOR, _FLOOR_CONE_DEG = 0.012, 6.0
#: Who has this much to stand on as the file has it stands: people who bend 0.023 to 0.09; tilted by 8 degrees and more
#: 0.011 at most, in the median nothing.
_STANDS, _STANDING_CONE_DEG = 0.015, 4.0
#: Without a floor (on tiptoe, soles not scanned) the long axis decides, but only of a straight body that leans a lot
#: and stands on nothing: the ball of a foot is 0.002.
_STRAIGHT, _FALLING_DEG, _NOTHING = 2.15, 15.0, 0.001
#: Vertices of which the hull is taken, and sides that are tried as floor, largest first.
_MOST_POINTS, _MOST_SIDES = 200_000, 400
_UP = np.array([0.0, 0.0, 1.0])


def measure_lean(positions: np.ndarray, triangles: np.ndarray) -> tuple[float, np.ndarray]:
    """(degrees, rotation): how far a body is from standing along z, and the smallest turn that stands it up.

    (0, identity) where it stands, lies, or has no long axis. A body on its head is levelled on its head. positions
    (V, 3), z up; triangles (T, 3).
    """
    axis, elongation, length = _long_axis(positions, triangles)
    lean = _angle_deg(axis, _UP)
    if elongation < _ELONGATED or not _UPRIGHT_DEG <= lean <= _LYING_DEG:
        return 0.0, np.eye(3)
    sides, areas = _hull_sides(positions / length)
    support = max(areas[end * sides[:, 2] > _cos(_STANDING_CONE_DEG)].sum() for end in (1, -1))
    floor, upright = max((_find_floor(sides, areas, end * axis) for end in (1, -1)), key=lambda found: found[0])
    upright = upright if upright @ axis > 0 else -upright
    if floor < _FLOOR:
        upright = axis
        leans = support < _NOTHING and elongation >= _STRAIGHT and lean >= _FALLING_DEG
    else:
        lean = _angle_deg(upright, _UP)
        leans = support < _STANDS and _angle_deg(upright, axis) <= _OFF_AXIS_DEG
        leans &= _UPRIGHT_DEG <= lean <= _LYING_DEG
    return (lean, _turn_between(upright, _UP)) if leans else (0.0, np.eye(3))


def _long_axis(positions: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Long axis (3,) with z not negative, root of the ratio of the two longest moments, and length along the axis."""
    corners = positions[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    centres = corners.mean(axis=1)
    weight = area / area.sum()
    offset = centres - np.einsum("i,ij->j", weight, centres)
    moments, axes = np.linalg.eigh(np.einsum("i,ij,ik->jk", weight, offset, offset))
    axis = axes[:, 2] * (1.0 if axes[2, 2] >= 0 else -1.0)
    return axis, float(np.sqrt(moments[2] / moments[1])), float(np.ptp(positions @ axis))


def _hull_sides(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outward unit normals (S, 3) and areas (S,) of the convex hull's triangles."""
    from scipy.spatial import ConvexHull  # with the render extra; readers do without

    points = positions[:: -(-len(positions) // _MOST_POINTS)]
    hull = ConvexHull(points - points.mean(axis=0))  # map coordinates would drown qhull's tolerance
    a, b, c = np.moveaxis(hull.points[hull.simplices], 1, 0)
    return hull.equations[:, :3], np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _find_floor(sides: np.ndarray, areas: np.ndarray, down: np.ndarray) -> tuple[float, np.ndarray]:
    """Area of the widest floor near a direction, and what is upright on it; (0, -down) without one."""
    near = np.flatnonzero(sides @ down > _cos(_SEARCH_DEG))
    near = near[np.argsort(-areas[near], kind="stable")]
    if len(near) == 0:
        return 0.0, -down
    within = sides[near[:_MOST_SIDES]] @ sides[near].T > _cos(_FLOOR_CONE_DEG)
    best = int(np.argmax(within @ areas[near]))
    upright = -np.einsum("s,sx->x", areas[near][within[best]], sides[near][within[best]])
    return float(areas[near][within[best]].sum()), upright / np.linalg.norm(upright)


def _cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def _angle_deg(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ other, -1, 1))))


def _turn_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that takes unit vector `one` to `other`, which is not its opposite (Rodrigues)."""
    v = np.cross(one, other)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + one @ other)
