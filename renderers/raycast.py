"""Labels by ray casting: the first opaque surface under every pixel centre, exactly.

Embree finds the triangle; the hit is then recomputed in double precision from the triangle itself, so depth is as
exact as the mesh. Surfaces whose alpha is below one half are looked through. The only user of embreex.
"""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from synth.camera import Camera, pixel_rays
from synth.scans import PreparedScan

#: A surface is there from this alpha on: Cycles' own threshold for its depth pass.
ALPHA_THRESHOLD = 0.5
#: More transparent layers than this on one ray are no hair but a broken file; the ray then sees what comes next.
_MAX_LAYERS = 32


@dataclass(frozen=True)
class Labels:
    """What the pixel centres see; H, W of the camera. See synth.sample.Sample for units and frames."""

    depth_m: np.ndarray
    normal: np.ndarray
    instance: np.ndarray
    back: np.ndarray
    """(H, W) bool, where the surface seen is the inside of the mesh: its normal was turned over."""


@dataclass(frozen=True)
class _Hits:
    """Hits of R rays on one mesh: triangle (-1 for none), depth along the given directions, barycentrics (R, 3)."""

    triangle: np.ndarray
    depth: np.ndarray
    weights: np.ndarray


class ScanCaster:
    """An acceleration structure over one prepared scan, reusable for any number of views."""

    def __init__(self, scan: PreparedScan):
        self.scan = scan
        self._positions = np.asarray(scan.positions, np.float64)
        self._triangles = np.asarray(scan.triangles)
        self._alpha = {k: scan.alpha(k) for k, material in enumerate(scan.facts.materials) if material.alpha}
        self._scene = EmbreeScene(robust=True)  # robust: no ray slips between two triangles
        TriangleMesh(self._scene, np.array(scan.positions, np.float32), np.array(scan.triangles, np.int32))

    def first_hits(self, origin: np.ndarray, directions: np.ndarray) -> _Hits:
        """First opaque hits from one origin (3,) along directions (R, 3), both in frame scan, float64."""
        count = len(directions)
        triangle = np.full(count, -1, np.int64)
        depth = np.full(count, np.inf)
        weights = np.zeros((count, 3))
        rays = np.arange(count)
        start = np.zeros(count)
        for _ in range(_MAX_LAYERS if self._alpha else 1):
            found, t, w = self._cast(origin, directions[rays], start)
            hit = found >= 0
            rays, found, t, w = rays[hit], found[hit], t[hit], w[hit]
            solid = self._opaque(found, w)
            triangle[rays[solid]], depth[rays[solid]], weights[rays[solid]] = found[solid], t[solid], w[solid]
            rays, start = rays[~solid], t[~solid] * (1 + 1e-6) + 1e-6
            if rays.size == 0:
                break
        return _Hits(triangle, depth, weights)

    def normals(self, hits: _Hits, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shading normals (R, 3) of hits, unit, frame scan, towards the ray's origin; and which are back faces (R,).

        Interpolated corner normals, as a renderer shades with; turned over where the ray meets a back face. Where
        interpolation leans away from the ray at a rim, the nearest direction that is seen edge-on.
        """
        corners = self._positions[self._triangles[hits.triangle]]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal = np.einsum("rk,rkc->rc", hits.weights, np.asarray(self.scan.normals[hits.triangle], np.float64))
        broken = np.linalg.norm(normal, axis=-1) < 1e-6
        normal[broken] = face[broken]
        back = np.sum(face * directions, axis=-1) > 0
        normal[back] *= -1
        view = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-30)
        leaning = np.maximum(np.sum(normal * view, axis=-1, keepdims=True), 0)
        normal -= leaning * view
        return normal / np.linalg.norm(normal, axis=-1, keepdims=True), back

    def _cast(self, origin, directions, start):
        """Triangle, depth and barycentrics of the first hit of each ray beyond `start`, exact for the triangle hit."""
        origins = origin + directions * start[:, None]
        ids = self._scene.run(origins.astype(np.float32), directions.astype(np.float32)).astype(np.int64)
        t = np.full(len(ids), np.inf)
        weights = np.zeros((len(ids), 3))
        hit = ids >= 0
        corners = self._positions[self._triangles[ids[hit]]]
        t[hit], weights[hit] = _intersect(origin, directions[hit], corners)
        return ids, t, weights

    def _opaque(self, triangles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        opaque = np.ones(len(triangles), bool)
        if not self._alpha:
            return opaque
        material = np.asarray(self.scan.material[triangles])
        for k, picture in self._alpha.items():
            of_k = material == k
            uv = np.einsum("rk,rkc->rc", weights[of_k], np.asarray(self.scan.uvs[triangles[of_k]], np.float64))
            opaque[of_k] = _lookup(picture, uv) >= 255 * ALPHA_THRESHOLD
        return opaque


def cast_labels(camera: Camera, placed: list[tuple[ScanCaster, np.ndarray]]) -> Labels:
    """Depth, normals and instances at the pixel centres of scans placed by world_from_scan (4x4, rigid).

    Returns depth (H, W) float32 with +inf where nothing is, normals (H, W, 3) float32 with 0, instances uint8 with 0.
    """
    rays_camera = pixel_rays(camera).reshape(-1, 3)
    world_from_camera = np.array(camera.world_from_camera)
    depth = np.full(len(rays_camera), np.inf)
    normal = np.zeros((len(rays_camera), 3))
    instance = np.zeros(len(rays_camera), np.uint8)
    back = np.zeros(len(rays_camera), bool)
    for number, (caster, world_from_scan) in enumerate(placed, start=1):
        scan_from_camera = np.linalg.inv(world_from_scan) @ world_from_camera
        directions = rays_camera @ scan_from_camera[:3, :3].T
        hits = caster.first_hits(scan_from_camera[:3, 3], directions)
        # Rays are scaled to z = 1, so depth along them is planar depth.
        nearer = np.flatnonzero(hits.depth < depth)
        hits = _Hits(hits.triangle[nearer], hits.depth[nearer], hits.weights[nearer])
        depth[nearer] = hits.depth
        normal_scan, back[nearer] = caster.normals(hits, directions[nearer])
        normal[nearer] = normal_scan @ scan_from_camera[:3, :3]
        instance[nearer] = number
    shape = camera.shape
    return Labels(
        depth_m=depth.reshape(shape).astype(np.float32),
        normal=normal.reshape(*shape, 3).astype(np.float32),
        instance=instance.reshape(shape),
        back=back.reshape(shape),
    )


def _intersect(origin: np.ndarray, directions: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameter and barycentrics with the triangles' planes; barycentrics are clipped into the triangle.

    directions (R, 3), corners (R, 3, 3), float64. Moeller and Trumbore 1997.
    """
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(directions, edge2)
    s = origin - corners[:, 0]
    q = np.cross(s, edge1)
    determinant = np.sum(edge1 * p, axis=-1)
    determinant = np.where(np.abs(determinant) < 1e-300, 1e-300, determinant)
    u = np.sum(s * p, axis=-1) / determinant
    v = np.sum(directions * q, axis=-1) / determinant
    weights = np.clip(np.stack([1 - u - v, u, v], axis=-1), 0, 1)
    weights /= weights.sum(axis=-1, keepdims=True)
    # The depth of the clipped point: a plane seen edge-on has no exact depth, a point of the triangle has.
    point = np.einsum("rk,rkc->rc", weights, corners)
    t = np.sum((point - origin) * directions, axis=-1) / np.sum(directions * directions, axis=-1)
    return t, weights


def _lookup(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear values of a picture (h, w), row 0 on top, at uv (R, 2), v up, repeating: as Cycles filters textures."""
    h, w = picture.shape
    x = uv[:, 0] * w - 0.5
    y = (1 - uv[:, 1]) * h - 0.5
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    x0, y0 = x0.astype(np.int64), y0.astype(np.int64)
    value = np.zeros(len(uv))
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            value += wy * wx * picture[(y0 + dy) % h, (x0 + dx) % w]
    return value
