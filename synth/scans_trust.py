"""Trust: how far a scan's own geometry is to be believed, one number per vertex, from measures of the mesh itself.

Four measures, each 0..1, multiplied: nearness of open edges, stretched texture, thin walls, and normals as unruly as
hair's. Arrays in, array out; `synth.scans_prepare` stores it, `renderers.surface` shows it per pixel.

What it cannot know: whether a smooth closed surface is the person. A hole that was filled without a trace, a limb
that moved between two photographs, skin that a program smoothed, glasses and hair modelled as a solid: all that looks
like good geometry and is trusted. It is a property of the mesh, not a probability, and it does not compare scans.
"""

import numpy as np
from scipy.spatial import cKDTree

#: Metres from an open edge at which trust is whole again; at the edge it is 0. Reconstructions curl and thin out
#: where they end, for the photographs that should have carried them end there too: about a centimetre on bodies.
_RIM_M = 0.015
#: Open edges that lie on another open edge within this distance, metres, are a seam of rounded numbers, not a rim.
_CRACK_M = 1e-4
#: Texels per metre in the worst direction, as a share of the scan's median: from the first on nothing is amiss (heads
#: and hands have their own scale), at the second the picture is smeared, as over a filled hole.
_TEXELS_WHOLE, _TEXELS_NONE = 0.25, 0.05
#: Wall thickness, metres: below the first the two sides are noise of one another (scanners are good for about a
#: millimetre), from the second on it is an ear.
_WALL_NONE_M, _WALL_WHOLE_M = 0.001, 0.003
#: Scatter of triangles' normals about their linear trend within a centimetre, averaged over two, degrees. Measured: 2
#: to 5 on bodies and heads (median), 21 on carved locks (95th percentile), 22 on ears and eyelids (99th); a noise of
#: 2 mm on a mesh of 2.5 mm gives 33, one of 1 mm gives 22.
_SCATTER_WHOLE_DEG, _SCATTER_NONE_DEG = 22.0, 34.0
#: Distance between the points at which walls and scatter are measured, metres, so that the density of a mesh does not
#: matter, and how many there are at most: very large scans are measured more coarsely.
_SPACING_M, _MAX_POINTS = 0.004, 250_000
#: Points of a neighbourhood: at the spacing above they reach 11 mm.
_NEIGHBOURS = 24
#: Neighbourhoods that are fitted at once, for memory.
_CHUNK = 32_768


def measure_trust(
    positions: np.ndarray,
    triangles: np.ndarray,
    uvs: np.ndarray | None,
    welded: np.ndarray,
    material: np.ndarray | None = None,
) -> np.ndarray:
    """(V,) uint8 trust in the geometry at each vertex: 255 is believable, 0 is not; equal for welded vertices.

    positions (V, 3) metres, triangles (T, 3), uvs (T, 3, 2) or None, welded (V,) numbers of places as
    `synth.scans_surface.weld` gives them; material (T,): texture scales are compared within each, None: there is one.
    """
    corners = positions[triangles].astype(np.float64)
    places = welded[triangles]
    count = int(welded.max()) + 1
    points = np.zeros((count, 3))
    points[welded] = positions
    trust = rim_trust(points, places)
    if uvs is not None:
        trust *= texture_trust(corners, uvs, places, count, material)
    spread, facing = _spread_points(corners)
    unruly = np.minimum(wall_trust(spread, facing), scatter_trust(spread, facing))
    # The mean of a few points: what one of them meets by chance must not show as a dot.
    _, nearest = cKDTree(spread).query(points, k=min(4, len(spread)))
    trust *= unruly[np.reshape(nearest, (count, -1))].mean(axis=1)
    return np.floor(255 * trust[welded] + 0.5).astype(np.uint8)


def rim_trust(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(P,) 0 on open edges, 1 from 15 mm on. points (P, 3) metres, places (T, 3) corners of the triangles in them."""
    edges = np.sort(np.concatenate([places[:, [0, 1]], places[:, [1, 2]], places[:, [2, 0]]]), axis=1)
    keys, uses = np.unique(edges[:, 0] * len(points) + edges[:, 1], return_counts=True)
    start, end = np.divmod(keys[uses == 1], len(points))
    start, end = points[start], points[end]
    apart = _apart(start, end)
    start, end = start[apart], end[apart]
    if not len(start):
        return np.ones(len(points))
    # Long edges get points in between, a quarter of the reach apart.
    steps = np.ceil(np.linalg.norm(end - start, axis=1) / (_RIM_M / 4)).astype(int) + 1
    owner = np.repeat(np.arange(len(start)), steps)
    share = (np.arange(len(owner)) - np.repeat(np.cumsum(steps) - steps, steps)) / np.maximum(steps[owner] - 1, 1)
    rim = start[owner] + share[:, None] * (end - start)[owner]
    distance, _ = cKDTree(rim).query(points, distance_upper_bound=_RIM_M)
    return _ramp(distance, 0.0, _RIM_M)


def texture_trust(
    corners: np.ndarray, uvs: np.ndarray, places: np.ndarray, count: int, material: np.ndarray | None
) -> np.ndarray:
    """(count,) how far the texture's scale in its worst direction is the usual one; 1 where no scale can be told.

    corners (T, 3, 3) metres, uvs (T, 3, 2). The mean over the triangles at a place, weighted by their area.
    """
    scale, area = _texture_scale(corners, uvs)
    trust = np.ones(len(scale))
    material = np.zeros(len(scale), np.int64) if material is None else np.asarray(material)
    for k in np.unique(material):
        of_k = material == k
        usual = _weighted_median(scale[of_k], area[of_k])
        if usual > 0:  # else the picture gives one colour, and tells nothing
            trust[of_k] = _ramp(scale[of_k] / usual, _TEXELS_NONE, _TEXELS_WHOLE)
    weight = np.repeat(area, 3)
    total = np.bincount(places.ravel(), weight * np.repeat(trust, 3), count)
    weight = np.bincount(places.ravel(), weight, count)
    return np.where(weight > 0, total / np.maximum(weight, 1e-300), 1.0)


def wall_trust(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(N,) low where a surface of opposite normal lies within 3 mm behind; points (N, 3) metres, normals (N, 3) unit.

    Sought at once by place and direction: 10 mm are worth a difference of normals of length 1.
    """
    reach = 0.01
    spacing = max(_SPACING_M, _typical_spacing(points))
    tree = cKDTree(np.hstack([points, reach * normals]))
    behind = points - normals * (_WALL_WHOLE_M / 2)
    limit = np.hypot(np.hypot(_WALL_WHOLE_M / 2, 1.5 * spacing), reach)
    distance, found = tree.query(np.hstack([behind, -reach * normals]), distance_upper_bound=limit)
    trust = np.ones(len(points))
    met = np.flatnonzero(np.isfinite(distance))
    other = found[met]
    offset = points[met] - points[other]
    opposite = np.sum(normals[met] * normals[other], axis=1) < -0.5
    # Along the other side's normal: its plane is what counts, not how the points happen to lie upon it.
    thickness = -np.sum(offset * normals[other], axis=1)
    lateral = np.linalg.norm(offset + thickness[:, None] * normals[other], axis=1)
    wall = opposite & (thickness > -_CRACK_M) & (lateral < 1.5 * spacing)
    trust[met[wall]] = _ramp(thickness[wall], _WALL_NONE_M, _WALL_WHOLE_M)
    return trust


def scatter_trust(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(N,) low where normals scatter about their linear trend all over some two centimetres, as on hair.

    A fold turns normals steadily and is followed by the trend; a crease or the rim of an ear is narrow, which the mean
    over the neighbourhood forgives. points (N, 3) metres, evenly spread; normals (N, 3) unit.
    """
    reach = 3 * max(_SPACING_M, _typical_spacing(points))
    tree = cKDTree(points)
    some, facing = points[::4], normals[::4]  # as many neighbours among these then reach twice as far
    scatter = np.zeros(len(some))
    for start in range(0, len(some), _CHUNK):
        part = slice(start, start + _CHUNK)
        distance, near = tree.query(some[part], k=min(_NEIGHBOURS, len(points)), distance_upper_bound=reach)
        inside = np.isfinite(distance)
        near = np.where(inside, near, 0)
        # The far side of an ear is no neighbour.
        alike = inside & (np.einsum("nkc,nc->nk", normals[near], facing[part]) > 0)
        scatter[part] = _scatter(points[near] - some[part, None], normals[near], alike.astype(np.float64))
    _, near = cKDTree(some).query(points, k=min(_NEIGHBOURS, len(some)))
    scatter = scatter[np.reshape(near, (len(points), -1))].mean(axis=1)
    return 1 - _ramp(np.degrees(scatter), _SCATTER_WHOLE_DEG, _SCATTER_NONE_DEG)


def _scatter(offsets: np.ndarray, normals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Root mean square of normals (n, k, 3) about their best linear function of the offsets (n, k, 3): (n,) radians."""
    total = np.maximum(weights.sum(axis=1), 1)[:, None, None]
    x = offsets - np.sum(weights[..., None] * offsets, axis=1, keepdims=True) / total
    y = normals - np.sum(weights[..., None] * normals, axis=1, keepdims=True) / total
    xw = weights[..., None] * x
    # No BLAS and no LAPACK: on matrices this small their threads wait for one another far longer than they compute.
    within = np.einsum("nkx,nky->nxy", xw, x) / total
    # Neighbours lie on a sheet: without a little more, nothing is known across it.
    ridge = 1e-3 * np.trace(within, axis1=1, axis2=2) + 1e-12
    across = np.einsum("nkx,nkc->nxc", xw, y) / total
    slope = np.einsum("nxy,nyc->nxc", _inverse(within + ridge[:, None, None] * np.eye(3)), across)
    left = y - np.einsum("nkx,nxc->nkc", x, slope)
    return np.sqrt(np.sum(weights[..., None] * left**2, axis=(1, 2)) / total[:, 0, 0])


def _inverse(symmetric: np.ndarray) -> np.ndarray:
    """Inverses of positive definite matrices (n, 3, 3), by cross products of their rows."""
    a, b, c = np.moveaxis(symmetric, 1, 0)
    adjugate = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=2)
    return adjugate / np.einsum("nx,nx->n", a, adjugate[:, :, 0])[:, None, None]


def _spread_points(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) spread evenly over triangles (T, 3, 3), with the triangles' unit normals (N, 3).

    The triangles' own, for corner normals are smoothed: what is unruly is hidden by them. Not by chance: equal steps of
    area along the list of triangles, and within each the R2 sequence (Roberts 2018).
    """
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(face, axis=1) / 2
    reached = np.cumsum(area)
    count = int(np.clip(reached[-1] / _SPACING_M**2, min(2 * len(area), 1000), _MAX_POINTS))
    number = np.arange(count)
    owner = np.searchsorted(reached, (number + 0.5) * reached[-1] / count).clip(0, len(area) - 1)
    a, b = (0.5 + number * 0.7548776662466927) % 1, (0.5 + number * 0.5698402909980532) % 1
    over = a + b > 1
    a, b = np.where(over, 1 - a, a), np.where(over, 1 - b, b)
    weights = np.stack([1 - a - b, a, b], axis=1)
    return np.einsum("nk,nkc->nc", weights, corners[owner]), _unit(face[owner])


def _texture_scale(corners: np.ndarray, uvs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UV per metre along the worst direction (T,), and area (T,), of triangles (T, 3, 3) with uvs (T, 3, 2)."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.maximum(np.linalg.norm(edge1, axis=1), 1e-12)
    along = np.sum(edge1 * edge2, axis=1) / length
    across = np.maximum(np.linalg.norm(np.cross(edge1, edge2), axis=1) / length, 1e-12)
    du1, du2 = np.moveaxis(np.diff(uvs.astype(np.float64), axis=1), 1, 0)
    du2 = du1 + du2
    by_x = du1 / length[:, None]  # (T, 2): uv per metre along the first edge, and across it
    by_y = (du2 - by_x * along[:, None]) / across[:, None]
    squares = np.sum(by_x**2 + by_y**2, axis=1)
    determinant = np.abs(by_x[:, 0] * by_y[:, 1] - by_x[:, 1] * by_y[:, 0])
    root = np.sqrt(np.maximum(squares**2 - 4 * determinant**2, 0))
    return determinant / np.sqrt(np.maximum((squares + root) / 2, 1e-300)), length * across / 2


def _apart(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(E,) bool: open edges (E, 3) to (E, 3) that no other open edge lies upon."""
    if len(start) < 2:
        return np.ones(len(start), bool)
    flip = (start > end)[:, 0]
    ends = np.hstack([np.where(flip[:, None], end, start), np.where(flip[:, None], start, end)])
    distance, _ = cKDTree(ends).query(ends, k=2, distance_upper_bound=_CRACK_M)
    return ~np.isfinite(distance[:, 1])


def _typical_spacing(points: np.ndarray) -> float:
    some = points[:: max(1, len(points) // 500)]
    distance, _ = cKDTree(points).query(some, k=2)
    return float(np.median(distance[:, 1]))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, reached[-1] / 2).clip(0, len(order) - 1)]])


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to low, 1 from high on, straight in between; inf is 1."""
    return np.clip((np.minimum(values, 1e9) - low) / (high - low), 0, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
