"""Labels by ray casting: the first opaque surface under every pixel centre, exactly.

Drawing finds the nearest triangle, Embree what lies behind transparent ones and what rays from elsewhere meet; the hit
is then computed in double precision from the triangle itself, so depth is as exact as the mesh. Surfaces whose alpha is
below one half are looked through. The only user of embreex.
"""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from renderers.raster import Pixels, barycentrics, draw, flatten
from renderers.raycast_exact import intersect, window_rays, write_labels
from synth.camera import Camera
from synth.recipe import Normals
from synth.scans import PreparedScan

#: A surface is there from this alpha on: Cycles' own threshold for its depth pass.
ALPHA_THRESHOLD = 0.5
#: A normal farther from its triangle's than this is counted: the scan's normals and its surface tell different tales.
LEANING_DEG = 60.0
#: Alpha this near to 0 or 1 is taken for it by nearly every path.
_CLEAR = 0.02
#: More transparent layers than this on one ray are no hair but a broken file; the ray then sees what comes next.
_MAX_LAYERS = 32
#: A ray that has passed a surface goes on from so far behind it, metres.
_STEP_M = 2e-5


@dataclass(frozen=True, eq=False)
class Labels:
    """What the pixel centres see; H, W of the camera. See synth.sample.Sample for units and frames."""

    depth_m: np.ndarray
    normal: np.ndarray
    instance: np.ndarray
    triangle: np.ndarray
    """(H, W) int32, the triangle seen, counted in the scan of the instance; -1 where no subject."""
    weights: np.ndarray
    """(H, W, 3) float32, barycentrics of the point seen in that triangle; 0 where no subject."""
    back: np.ndarray
    """(H, W) bool, where the surface seen is the inside of the mesh: its normal was turned over."""
    leaning: np.ndarray
    """(H, W) bool, where the normal is more than LEANING_DEG from that of the triangle."""
    veiled: np.ndarray
    """(H, W) bool, where the ray met alpha between 0.02 and 0.98, on what it sees or before: Cycles takes such a
    surface or leaves it by chance, so its depth proves nothing there."""


class ScanCaster:
    """An acceleration structure over one prepared scan, reusable for any number of views."""

    def __init__(self, scan: PreparedScan):
        self.scan = scan
        self._positions = np.asarray(scan.positions, np.float64)
        self._triangles = np.asarray(scan.triangles)
        self._alpha = {k: scan.alpha(k) for k, material in enumerate(scan.facts.materials) if material.alpha}
        self._scene = EmbreeScene(robust=True)  # robust: no ray slips between two triangles
        TriangleMesh(self._scene, np.array(scan.positions, np.float32), np.array(scan.triangles, np.int32))

    @property
    def opaque(self) -> bool:
        """Whether nothing of the scan lets rays through."""
        return not self._alpha

    def nearest(self, camera: Camera, scan_from_camera: np.ndarray, pixels: Pixels) -> np.ndarray | None:
        """Triangles (K, S) that rays from the camera meet first, whatever their alpha, -1 for none; None where the scan
        is too near to be drawn."""
        flat = self.flatten(camera, scan_from_camera)
        return None if flat is None else draw(flat, self._triangles, pixels)

    def flatten(self, camera: Camera, scan_from_camera: np.ndarray) -> np.ndarray | None:
        """The scan's vertices in the picture, as `renderers.raster.flatten` has them."""
        return flatten(self._positions, camera, scan_from_camera)

    def nearest_points(self, flat: np.ndarray, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
        """Triangles (K, S) that rays meet first, whatever their alpha, -1 for none, and barycentrics (K, S, 3) float32
        of the points met. flat: of `flatten`."""
        met = draw(flat, self._triangles, pixels)
        return met, barycentrics(met, flat, self._triangles, pixels.number, pixels.corner, pixels.offsets)

    def first_opaque(
        self, camera: Camera, scan_from_camera: np.ndarray, window: tuple[slice, slice]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Triangles (h, w) int32 that rays through the pixel centres of a window meet first, transparent ones not
        counted; -1 for none. Also (h, w) bool, which rays are veiled: see Labels."""
        rows, columns = window
        shape = rows.stop - rows.start, columns.stop - columns.start
        number = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape)
        seen = self.nearest(camera, scan_from_camera, Pixels(number, (rows.start, columns.start)))
        veiled = np.zeros(shape, bool)
        if seen is None or not self.opaque:
            edges = rows.start, rows.stop, columns.start, columns.stop
            directions = window_rays(*edges, camera.focal_px, camera.center_px, scan_from_camera)
            origin = np.ascontiguousarray(scan_from_camera[:3, 3])
            seen = self._meet(np.broadcast_to(origin, directions.shape), directions) if seen is None else seen.ravel()
            self._look_through(seen, veiled.reshape(-1), origin, directions)
        return seen.reshape(shape), veiled

    def write_labels(
        self,
        labels: Labels,
        number: int,
        seen: np.ndarray,
        camera: Camera,
        scan_from_camera: np.ndarray,
        corner: tuple[int, int],
        policy: Normals,
    ) -> None:
        """Fills in labels where triangles `seen` (h, w), in a window from row and column `corner` on, are the nearest.

        `smooth`: interpolated corner normals, as a renderer shades with; where interpolation leans away from the ray at
        a rim, the nearest direction that is seen edge-on. `geometric`: the triangle's own. Turned over where the ray
        meets a back face.
        """
        write_labels(
            number, seen, *corner, camera.focal_px, camera.center_px, scan_from_camera,
            self._positions, self._triangles, np.asarray(self.scan.normals), policy == "smooth",
            np.cos(np.radians(LEANING_DEG)), labels.depth_m, labels.normal, labels.instance,
            labels.triangle, labels.weights, labels.back, labels.leaning,
        )  # fmt: skip

    def surfaces(
        self, origins: np.ndarray, directions: np.ndarray, threshold: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What rays from origins (R, 3) along unit directions (R, 3), float32, frame scan, meet first.

        threshold: (R,) alpha from which on a surface stops each ray, in place of one half. Returns triangles (R,)
        int32, -1 where nothing is met, and barycentrics (R, 3) float32, in single precision: for light, not for labels.
        """
        triangle, weights, depth = self._nearest(origins, directions)
        if not self._alpha:
            return triangle, weights
        threshold = np.full(len(origins), ALPHA_THRESHOLD) if threshold is None else threshold
        rays = np.flatnonzero(triangle >= 0)
        for _ in range(_MAX_LAYERS):
            rays = rays[self.alpha_at(triangle[rays], weights[rays]) < threshold[rays]]
            if rays.size == 0:
                break
            depth[rays] += _STEP_M
            beyond = origins[rays] + depth[rays, None] * directions[rays]
            triangle[rays], weights[rays], further = self._nearest(beyond, directions[rays])
            depth[rays] += further
            rays = rays[triangle[rays] >= 0]
        return triangle, weights

    def blocked(self, origins: np.ndarray, directions: np.ndarray, threshold: np.ndarray) -> np.ndarray:
        """(R,) bool, whether `surfaces` would meet any; a little faster where all is opaque."""
        if self._alpha:
            return self.surfaces(origins, directions, threshold)[0] >= 0
        return self._scene.run(origins, directions, query="OCCLUDED") >= 0

    def alpha_at(self, triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Alpha 0..1 (K,) of the surface at triangles (K,) and barycentrics (K, 3)."""
        alpha = np.ones(len(triangle))
        material = np.asarray(self.scan.material)[triangle] if self._alpha else None
        for k, picture in self._alpha.items():
            of_k = material == k
            uvs = np.asarray(np.asarray(self.scan.uvs)[triangle[of_k]], np.float64)
            alpha[of_k] = _lookup(picture, np.einsum("kc,kcx->kx", weights[of_k], uvs)) / 255
        return alpha

    def _nearest(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = self._scene.run(origins, directions, output=1)
        weights = np.stack([1 - found["u"] - found["v"], found["u"], found["v"]], axis=1)
        return found["primID"], weights, found["tfar"]

    def _meet(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        return self._scene.run(origins.astype(np.float32), directions.astype(np.float32))

    def _look_through(self, seen: np.ndarray, veiled: np.ndarray, origin: np.ndarray, directions: np.ndarray) -> None:
        """Puts what comes next in place of triangles (R,) that are transparent where rays (R, 3) from one origin meet
        them; -1 where nothing does. Marks veiled ones (R,)."""
        rays = np.flatnonzero(seen >= 0)
        if self.opaque:
            return
        for _ in range(_MAX_LAYERS):
            depth, weights = intersect(origin, directions[rays], seen[rays], self._positions, self._triangles)
            alpha = self.alpha_at(seen[rays], weights)
            veiled[rays[(alpha > _CLEAR) & (alpha < 1 - _CLEAR)]] = True
            clear = alpha < ALPHA_THRESHOLD
            rays, start = rays[clear], depth[clear] * (1 + 1e-6) + 1e-6
            if rays.size == 0:
                return
            seen[rays] = self._meet(origin + directions[rays] * start[:, None], directions[rays])
            rays = rays[seen[rays] >= 0]
        seen[rays] = -1


def cast_labels(
    camera: Camera,
    placed: list[tuple[ScanCaster, np.ndarray]],
    normals: Normals = "smooth",
    window: tuple[slice, slice] | None = None,
) -> Labels:
    """Depth, normals and instances at the pixel centres of scans placed by world_from_scan (4x4, rigid).

    Returns depth (H, W) float32 with +inf where nothing is, normals (H, W, 3) float32 with 0, instances uint8 with 0.
    window: rows and columns outside of which no subject is; rays are cast only inside. None: the frame.
    """
    window = window or (slice(0, camera.height), slice(0, camera.width))
    corner = window[0].start, window[1].start
    labels = _no_labels(camera)
    for number, (caster, world_from_scan) in enumerate(placed, start=1):
        scan_from_camera = np.linalg.inv(world_from_scan) @ np.array(camera.world_from_camera)
        seen, veiled = caster.first_opaque(camera, scan_from_camera, window)
        labels.veiled[window] |= veiled
        caster.write_labels(labels, number, seen, camera, scan_from_camera, corner, normals)
    return labels


def _no_labels(camera: Camera) -> Labels:
    shape = camera.shape
    return Labels(
        depth_m=np.full(shape, np.inf, np.float32),
        normal=np.zeros((*shape, 3), np.float32),
        instance=np.zeros(shape, np.uint8),
        triangle=np.full(shape, -1, np.int32),
        weights=np.zeros((*shape, 3), np.float32),
        back=np.zeros(shape, bool),
        leaning=np.zeros(shape, bool),
        veiled=np.zeros(shape, bool),
    )


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
