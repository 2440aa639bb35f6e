"""What the surface under each pixel centre is like: its colour without light, and how far its geometry is believed.

Read off prepared scans at the hits of `renderers.raycast`; no light, no chance, no Blender. Colour follows
`renderers.blender_scene`: a texture, else vertex colours, else the material's plain colour.

Trust is a property of the scan (`synth.scans_trust`): it knows rims, smeared textures, thin walls and unruly normals,
and nothing of the person. 255 says that the mesh gives no reason for doubt, not that it is right.
"""

import numpy as np

from renderers.film import srgb_from_linear, to_8bit
from renderers.raycast import Labels
from renderers.surface_texture import Pyramid, linear_codes, load_pyramid
from synth.camera import Camera, pixel_rays
from synth.scans import PreparedScan

#: A surface seen nearer to edge-on than this cosine has the footprint of one seen at it.
_GRAZING = 0.02


class ScanPaint:
    """The colours of one prepared scan, reusable for any number of views; textures are loaded when first seen.

    most_px: as `renderers.surface_texture.load_pyramid` takes it.
    """

    def __init__(self, scan: PreparedScan, most_px: int | None = None):
        self.scan = scan
        self._most_px = most_px
        self._pyramids: dict[tuple[str, bool], Pyramid] = {}

    def colours(self, triangle: np.ndarray, weights: np.ndarray, uv_per_pixel: np.ndarray | None) -> np.ndarray:
        """Linear colours (K, 3) at points given by triangle (K,) and barycentrics (K, 3).

        uv_per_pixel (K, 2, 2) as `Pyramid.look_up` takes it; None where the scan has no texture.
        """
        scan = self.scan
        material = np.asarray(scan.material)[triangle]
        colour = np.empty((len(triangle), 3), np.float32)
        for k in np.unique(material):
            of_k = np.flatnonzero(material == k)
            facts = scan.facts.materials[k]
            if facts.texture is not None:
                uv = np.einsum("kc,kcx->kx", weights[of_k], np.asarray(scan.uvs)[triangle[of_k]], dtype=np.float64)
                colour[of_k] = self.pyramid(k).look_up(uv, uv_per_pixel[of_k])
            elif scan.colors is not None:
                corners = linear_codes()[np.asarray(scan.colors)[triangle[of_k]][..., :3]]
                colour[of_k] = np.einsum("kc,kcx->kx", weights[of_k], corners)
            else:
                colour[of_k] = facts.base_color[:3]
        return colour

    def pyramid(self, material: int) -> Pyramid:
        """The texture of a material that has one."""
        facts = self.scan.facts.materials[material]
        key = (facts.texture, facts.alpha)
        if key not in self._pyramids:
            same = [m.texture == facts.texture for m in self.scan.facts.materials]
            uvs = np.asarray(self.scan.uvs)[np.array(same)[np.asarray(self.scan.material)]]
            path = self.scan.folder / "textures" / facts.texture
            self._pyramids[key] = load_pyramid(path, uvs, self.scan.alpha(material), self._most_px)
        return self._pyramids[key]


def lookup_albedo(camera: Camera, labels: Labels, placed: list[tuple[ScanPaint, np.ndarray]]) -> np.ndarray:
    """(H, W, 3) uint8 sRGB: the colour of what the pixel centres see, without light; 0 where no subject.

    placed: as `renderers.raycast.cast_labels` was given them, paint instead of casters. A picture is averaged over the
    pixel's footprint on the triangle seen, so that it does not twinkle from view to view.
    """
    albedo = np.zeros((*camera.shape, 3), np.uint8)
    for number, (paint, world_from_scan) in enumerate(placed, start=1):
        mask = labels.instance == number
        if not mask.any():
            continue
        triangle, weights = labels.triangle[mask], labels.weights[mask]
        uv_per_pixel = None
        if paint.scan.uvs is not None:
            camera_from_scan = np.linalg.inv(np.array(camera.world_from_camera)) @ world_from_scan
            uv_per_pixel = _uv_per_pixel(camera, mask, labels.depth_m[mask], triangle, paint.scan, camera_from_scan)
        albedo[mask] = to_8bit(srgb_from_linear(paint.colours(triangle, weights, uv_per_pixel)))
    return albedo


def lookup_trust(labels: Labels, scans: list[PreparedScan]) -> np.ndarray:
    """(H, W) uint8: trust in the geometry seen, interpolated between vertices; 0 where no subject."""
    trust = np.zeros(labels.instance.shape, np.uint8)
    for number, scan in enumerate(scans, start=1):
        mask = labels.instance == number
        corners = np.asarray(scan.trust)[np.asarray(scan.triangles)[labels.triangle[mask]]]
        trust[mask] = np.floor(np.sum(labels.weights[mask] * corners, axis=1) + 0.5)
    return trust


def _uv_per_pixel(
    camera: Camera,
    mask: np.ndarray,
    depth_m: np.ndarray,
    triangle: np.ndarray,
    scan: PreparedScan,
    camera_from_scan: np.ndarray,
) -> np.ndarray:
    """Change of (u, v) per pixel to the right and down, (K, 2, 2), on the planes of the triangles seen at `mask`.

    Homan Igehy, Tracing Ray Differentials, 1999: the ray's change, projected onto the plane along the ray.
    """
    corners = np.asarray(scan.positions, np.float64)[np.asarray(scan.triangles)[triangle]] @ camera_from_scan[:3, :3].T
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    face = np.cross(edge1, edge2)
    area = np.maximum(np.einsum("kx,kx->k", face, face), 1e-30)
    rays = pixel_rays(camera)[mask]
    towards = np.einsum("kx,kx->k", face, rays)
    least = _GRAZING * np.sqrt(area * np.einsum("kx,kx->k", rays, rays))
    towards = np.where(towards < 0, -1, 1) * np.maximum(np.abs(towards), least)
    # Rays are scaled to z = 1: one pixel to the right adds (1 / focal_px, 0, 0).
    along = face[:, :2] / (camera.focal_px * towards[:, None])  # (K, 2): right, down
    moved = -rays[:, :, None] * along[:, None, :]
    moved[:, [0, 1], [0, 1]] += 1 / camera.focal_px
    moved *= depth_m[:, None, None].astype(np.float64)  # (K, 3, 2) metres
    barycentric = np.stack([np.cross(edge2, face), np.cross(face, edge1)], axis=1) / area[:, None, None]
    uvs = np.asarray(scan.uvs)[triangle].astype(np.float64)
    edges_uv = np.stack([uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]], axis=2)  # (K, uv, edge)
    return edges_uv @ (barycentric @ moved)
