"""A mesh cut into horizontal slabs: how wide it is at every height. Used to tell kinds and what is up."""

import numpy as np

_SLABS = 128
_DIRECTIONS = 16
#: Triangles beyond this number are thinned out evenly: 128 slabs are as full without them.
_MOST_TRIANGLES = 300_000


def edge_points(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Points along all edges, dense enough that big triangles leave no slab empty."""
    triangles = triangles[:: -(-len(triangles) // _MOST_TRIANGLES)]
    steps = int(np.clip(400_000 // max(1, 3 * len(triangles)), 1, 32))
    corners = positions[triangles]  # (T, 3, 3)
    share = (np.arange(steps) / steps)[:, None, None, None]
    return (corners + share * (np.roll(corners, -1, axis=1) - corners)).reshape(-1, 3)


def hull_profile(points: np.ndarray) -> np.ndarray:
    """(_SLABS,) convex-hull area of each horizontal slab, bottom first, over height squared.

    The hull is taken as the polygon of its supporting lines in 16 directions: at most 1.3 % too large for a disc.
    """
    low, height = points[:, 2].min(), np.ptp(points[:, 2])
    slab = np.minimum(((points[:, 2] - low) / height * _SLABS).astype(np.int64), _SLABS - 1)
    order = np.argsort(slab, kind="stable")
    found, starts = np.unique(slab[order], return_index=True)
    angle = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    step = 2 * np.pi / _DIRECTIONS
    support = np.empty((len(found), _DIRECTIONS))
    for i, a in enumerate(angle):
        reach = (points[:, 0] * np.cos(a) + points[:, 1] * np.sin(a))[order]
        support[:, i] = np.maximum.reduceat(reach, starts)
    edges = np.roll(support, 1, axis=1) + np.roll(support, -1, axis=1) - 2 * np.cos(step) * support
    areas = np.zeros(_SLABS)
    areas[found] = np.maximum(0.5 * (support * edges).sum(axis=1) / np.sin(step), 0) / height**2
    return areas
