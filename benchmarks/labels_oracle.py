"""What labels ought to be: a double-precision rasteriser over the source mesh, for `benchmarks/labels.py`.

Shares no code with `renderers.raycast`: triangles are taken to pixels instead of rays to triangles, by homogeneous
edge functions (Olano and Greer 1997), which need no clipping at the camera and let no ray slip between neighbours.
Geometry: vertices and authored normals as the user's file spells them, carried by the recipe's scan_from_file in
float64, where its text (OBJ) or trimesh (PLY, glTF) gives them; which vertices make a triangle, UVs, materials and
normals that ingestion made are the prepared arrays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from synth.camera import Camera, transform_points
from synth.scans import PreparedScan

#: A surface is there from this opacity on, of 255.
_OPAQUE = 127.5
#: Candidate pixels of one chunk: 100 MB of temporaries.
_CHUNK = 1 << 20
#: Prepared vertices further than this from every vertex of the file are no copies of them, metres.
_SAME_M = 1e-5
#: Prepared normals further than this from every normal of the file at their place were made anew, degrees.
_SAME_DEG = 1.0
#: Makes vertices a millimetre apart as different as opposite normals, so that place decides first.
_PLACE_WEIGHT = 2000.0
#: Triangles in part nearer than this to the camera's plane have no bounding box worth having, metres.
_NEAR_M = 1e-6


@dataclass(frozen=True, eq=False)
class Source:
    """A scan's surface for the oracle, frame scan, float64. V, T of the prepared scan."""

    positions: np.ndarray
    """(V, 3), metres."""
    normals: np.ndarray
    """(T, 3, 3) per corner."""
    origin: str
    """Which of these are the file's own, and how far the prepared ones are from them."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the pixel centres see; H, W of the camera, camera frame, float64."""

    depth_m: np.ndarray
    """(H, W) planar z; +inf where nothing is."""
    normal: np.ndarray
    """(H, W, 3) unit, towards the camera; 0 where nothing is."""
    met_alpha: np.ndarray
    """(H, W) bool, rays that met a material with an alpha picture, at the surface seen or before it."""


@dataclass(frozen=True, eq=False)
class _Fragments:
    """Crossings of F rays with triangles: flat pixel, triangle, barycentrics (F, 3), planar depth."""

    pixel: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "_Fragments":
        return _Fragments(self.pixel[chosen], self.triangle[chosen], self.weights[chosen], self.depth[chosen])


def load_source(scan: PreparedScan, path: Path) -> Source:
    """A prepared scan's vertices, and its normals where it keeps authored ones, as its file spells them.

    Matched by place, and normals by place and direction. What cannot be read here or does not match stays as prepared.
    """
    prepared, prepared_normals = (np.asarray(a, np.float64) for a in (scan.positions, scan.normals))
    own = _read_corners(path)
    if own is None:
        return Source(prepared, prepared_normals, "no second reader for its format: all as prepared")
    scan_from_file = np.array(scan.facts.scan_from_file)
    usable = np.isfinite(own[0]).all(axis=1)
    vertices = transform_points(scan_from_file, own[0][usable])
    distance, nearest = cKDTree(vertices).query(prepared)
    worst = float(distance.max())
    origin = f"vertices {worst * 1e3:.5f} mm from the file's at most"
    if worst > _SAME_M:
        return Source(prepared, prepared_normals, f"{origin}: all as prepared")
    positions = vertices[nearest]
    if own[1] is None or scan.facts.normals != "authored":
        return Source(positions, prepared_normals, f"{origin}, normals made at ingestion")
    rotation = scan_from_file[:3, :3] / np.cbrt(np.linalg.det(scan_from_file[:3, :3]))
    length = np.linalg.norm(own[1][usable], axis=1, keepdims=True)
    normals = np.nan_to_num(own[1][usable] / np.where(length > 0, length, 1)) @ rotation.T
    place = positions[np.asarray(scan.triangles)].reshape(-1, 3)
    tree = cKDTree(np.concatenate([vertices * _PLACE_WEIGHT, normals], axis=1))
    distance, nearest = tree.query(np.concatenate([place * _PLACE_WEIGHT, prepared_normals.reshape(-1, 3)], axis=1))
    degrees = np.degrees(2 * np.arcsin(np.minimum(distance / 2, 1)))
    origin += f", normals {degrees.max():.4f} degrees at most (median {np.median(degrees):.4f})"
    if degrees.max() > _SAME_DEG:
        return Source(positions, prepared_normals, f"{origin}: normals as prepared")
    return Source(positions, normals[nearest].reshape(-1, 3, 3), origin)


def rasterise(camera: Camera, scan: PreparedScan, source: Source, world_from_scan: np.ndarray) -> Seen:
    """First surface of opacity one half or more at every pixel centre, and its normal.

    world_from_scan: (4, 4), rigid. Normals: interpolated corner normals, turned over where the ray meets the
    inside of the face; one that still leans away from the ray loses its part along the ray, so is seen edge-on.
    """
    camera_from_scan = np.linalg.inv(np.array(camera.world_from_camera)) @ world_from_scan
    corners = transform_points(camera_from_scan, source.positions)[np.asarray(scan.triangles)]  # (T, 3, 3)
    every = _join(list(_fragments(camera, corners)))
    tested = np.array([material.alpha for material in scan.facts.materials])[np.asarray(scan.material)[every.triangle]]
    solid = _is_solid(scan, every, tested)
    height, width = camera.shape
    first = every[solid]
    first = first[np.lexsort((first.depth, first.pixel))]
    first = first[np.append(True, first.pixel[1:] != first.pixel[:-1])[: len(first.pixel)]]
    depth = np.full(height * width, np.inf)
    depth[first.pixel] = first.depth
    met = np.zeros(height * width, bool)
    met[every.pixel[tested & (every.depth <= depth[every.pixel])]] = True
    normal = np.zeros((height * width, 3))
    normal[first.pixel] = _shade(camera, corners, source.normals @ camera_from_scan[:3, :3].T, first)
    return Seen(depth.reshape(height, width), normal.reshape(height, width, 3), met.reshape(height, width))


def _read_corners(path: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """(N, 3) float64 places and authored normals in the file's axes (glTF: z up), node transforms applied.

    The normals are None where the file has none. None for FBX.
    """
    suffix = path.suffix.lower()
    if suffix == ".obj":
        return _read_obj(path)
    if suffix == ".ply":
        return np.asarray(trimesh.load(path, process=False).vertices, np.float64), None
    if suffix in (".glb", ".gltf"):
        return _read_gltf(path)
    return None


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Places and normals of the corners that faces use, each pair once; all places where there are no normals."""
    lines = path.read_bytes().splitlines()
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith(b"v ")], np.float64)
    normals = np.array([line.split()[1:4] for line in lines if line.startswith(b"vn ")], np.float64)
    corners = {corner for line in lines if line.startswith(b"f ") for corner in line.split()[1:]}
    pairs = [corner.split(b"/") for corner in corners]
    if len(normals) == 0 or any(len(pair) < 3 for pair in pairs):
        return vertices, None
    # From 1, or backwards: as Python's own negative indices, as long as vertices stand before all faces.
    place, direction = (np.array([int(pair[k]) for pair in pairs]) for k in (0, 2))
    return vertices[place - (place > 0)], normals[direction - (direction > 0)]


def _read_gltf(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Places and normals of all nodes' meshes, z up: scan_from_file starts from there."""
    scene = trimesh.load_scene(path, process=False)
    places, normals = [], []
    for node in scene.graph.nodes_geometry:
        scene_from_node, name = scene.graph[node]
        mesh = scene.geometry[name]
        linear = scene_from_node[:3, :3]
        places.append(transform_points(scene_from_node, np.asarray(mesh.vertices, np.float64)))
        # The mesh's own, before trimesh moves it and makes normals of its own.
        normals.append(np.asarray(mesh.vertex_normals, np.float64) @ np.linalg.inv(linear))
    return tuple(np.concatenate(a)[:, [0, 2, 1]] * (1, -1, 1) for a in (places, normals))


def _fragments(camera: Camera, corners: np.ndarray) -> Iterator[_Fragments]:
    """All crossings of rays through pixel centres with triangles (T, 3, 3), camera frame, in chunks.

    A ray d crosses where d . (b x c), d . (c x a) and d . (a x b) have one sign: they are the crossing's barycentrics
    but for a factor. Neighbours compute the same numbers for a shared edge, so one of them has the ray.
    """
    planes = np.cross(corners[:, [1, 2, 0]], corners[:, [2, 0, 1]])  # (T, 3 edges, 3)
    volume = np.sum(corners[:, 0] * planes[:, 0], axis=-1)
    planes *= np.sign(volume)[:, None, None]
    low, size = _boxes(camera, corners)
    size[volume == 0] = 0
    wanted = np.flatnonzero(size.prod(axis=1))
    counts = size[wanted].prod(axis=1)
    ends = np.cumsum(counts)
    start = 0
    while start < len(wanted):
        stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _CHUNK, side="right")))
        some, some_counts = wanted[start:stop], counts[start:stop]
        triangle = np.repeat(some, some_counts)
        place = np.arange(some_counts.sum()) - np.repeat(np.cumsum(some_counts) - some_counts, some_counts)
        down, across = np.divmod(place, size[triangle, 0])
        yield _inside(camera, corners, planes, triangle, low[triangle] + np.stack([across, down], axis=1))
        start = stop


def _boxes(camera: Camera, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First (column, row) and size (columns, rows) of the pixel centres that each triangle may cover: (T, 2) each."""
    frame = np.array([camera.width, camera.height])
    z = corners[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = corners[..., :2] / z[..., None] * camera.focal_px + np.array(camera.center_px)
        # A millionth of a pixel to spare: the edge functions decide.
        low, high = np.ceil(uv.min(axis=1) - 0.5 - 1e-6), np.floor(uv.max(axis=1) - 0.5 + 1e-6)
    beside = (z.min(axis=1) < _NEAR_M) & (z.max(axis=1) > 0)
    low[beside], high[beside] = 0, frame - 1
    low[z.max(axis=1) <= 0], high[z.max(axis=1) <= 0] = 0, -1
    low, high = np.clip(low, 0, frame).astype(np.int64), np.clip(high, -1, frame - 1).astype(np.int64)
    return low, np.maximum(high - low + 1, 0)


def _inside(
    camera: Camera, corners: np.ndarray, planes: np.ndarray, triangle: np.ndarray, at: np.ndarray
) -> _Fragments:
    """Those of the candidates (triangle, (column, row)) whose ray crosses the triangle before the camera."""
    x = (at[:, 0] + 0.5 - camera.center_px[0]) / camera.focal_px
    y = (at[:, 1] + 0.5 - camera.center_px[1]) / camera.focal_px
    left = np.arange(len(triangle))
    for edge in range(3):
        a, b, c = planes[triangle[left], edge].T
        left = left[a * x[left] + b * y[left] + c >= 0]
    triangle, at, x, y = triangle[left], at[left], x[left], y[left]
    a, b, c = np.moveaxis(planes[triangle], -1, 0)  # (F, 3 edges) each
    weights = a * x[:, None] + b * y[:, None] + c
    total = weights.sum(axis=1)
    kept = total > 0
    weights, triangle, at = weights[kept] / total[kept, None], triangle[kept], at[kept]
    depth = np.sum(weights * corners[triangle][..., 2], axis=1)
    return _Fragments(at[:, 1] * camera.width + at[:, 0], triangle, weights, depth)


def _is_solid(scan: PreparedScan, fragments: _Fragments, tested: np.ndarray) -> np.ndarray:
    """Fragments that stop their ray: (F,) bool; tested, which of them have a material with an alpha picture."""
    solid = ~tested
    for number, material in enumerate(scan.facts.materials):
        if not material.alpha:
            continue
        of_it = np.flatnonzero(np.asarray(scan.material)[fragments.triangle] == number)
        corner_uv = np.asarray(scan.uvs)[fragments.triangle[of_it]].astype(np.float64)
        uv = (fragments.weights[of_it, :, None] * corner_uv).sum(axis=1)
        solid[of_it] = _bilinear(np.asarray(scan.alpha(number)), uv) >= _OPAQUE
    return solid


def _bilinear(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values of (h, w), row 0 on top, at uv (F, 2), v up: texel centres at half numbers, the picture repeats."""
    h, w = picture.shape
    column, row = uv[:, 0] * w - 0.5, (1.0 - uv[:, 1]) * h - 0.5
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    right_share, low_share = column - left, row - top
    upper = picture[top % h, left % w] * (1 - right_share) + picture[top % h, (left + 1) % w] * right_share
    lower = picture[(top + 1) % h, left % w] * (1 - right_share) + picture[(top + 1) % h, (left + 1) % w] * right_share
    return upper * (1 - low_share) + lower * low_share


def _shade(camera: Camera, corners: np.ndarray, normals: np.ndarray, hits: _Fragments) -> np.ndarray:
    """Normals (F, 3), unit, camera frame, by the policy that `rasterise` states."""
    row, column = np.divmod(hits.pixel, camera.width)
    ray = np.stack([column + 0.5, row + 0.5], axis=1) - np.array(camera.center_px)
    ray = np.concatenate([ray / camera.focal_px, np.ones((len(ray), 1))], axis=1)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    three = corners[hits.triangle]
    face = np.cross(three[:, 1] - three[:, 0], three[:, 2] - three[:, 0])
    normal = (hits.weights[..., None] * normals[hits.triangle]).sum(axis=1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where(length < 1e-6, face, normal)  # corner normals that cancel: the face is the best there is
    normal *= np.where(np.sum(face * ray, axis=1) > 0, -1.0, 1.0)[:, None]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    along = np.sum(normal * ray, axis=1, keepdims=True)
    normal = np.where(along > 0, normal - along * ray, normal)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _join(parts: list[_Fragments]) -> _Fragments:
    if not parts:
        return _Fragments(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    names = ("pixel", "triangle", "weights", "depth")
    return _Fragments(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
