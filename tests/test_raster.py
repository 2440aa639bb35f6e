"""Drawing meets what rays meet: held against every triangle tried one by one, and against Embree."""

import numpy as np
import pytest
from test_raycast import prepared

from renderers import raycast
from renderers.raster import Pixels, barycentrics, draw, flatten
from renderers.raycast import ScanCaster, cast_labels
from renderers.raycast_exact import intersect
from synth.camera import Camera, matrix4, pixel_rays

CAMERA = Camera(width=40, height=30, focal_px=35.0, center_px=(19.2, 15.7), world_from_camera=matrix4(np.eye(4)))
EVERY = Pixels(np.arange(30 * 40, dtype=np.int32).reshape(30, 40))


def soup(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all sizes, facing all ways, through each other, some beyond the frame."""
    rng = np.random.default_rng(3)
    middle = rng.uniform([-2.5, -2, 3], [2.5, 2, 6], (count, 1, 3))
    positions = (middle + rng.normal(size=(count, 3, 3)) * rng.uniform(0.05, 0.8, (count, 1, 1))).reshape(-1, 3)
    return positions, np.arange(3 * count).reshape(count, 3)


def nearest_one_by_one(positions, triangles, directions):
    """(R,) triangle met first from the origin, -1 for none: Moeller and Trumbore for each alone."""
    best, met = np.full(len(directions), np.inf), np.full(len(directions), -1)
    for t, (a, b, c) in enumerate(positions[triangles]):
        across = np.cross(directions, c - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / (across @ (b - a))
            u = (across @ -a) * scale
            normal = np.cross(-a, b - a)
            v = (directions @ normal) * scale
            depth = (normal @ (c - a)) * scale
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (depth > 0) & (depth < best)
        best[hit], met[hit] = depth[hit], t
    return met


def test_each_ray_meets_what_it_meets_when_every_triangle_is_tried():
    positions, triangles = soup()
    offsets = np.array([[0.0, 0.0], [-0.5, -0.5], [1.3, 0.2], [-0.1, -1.45]])
    pixels = Pixels(EVERY.number, offsets=offsets)
    flat = flatten(positions, CAMERA, np.eye(4))
    met = draw(flat, triangles, pixels)
    weights = barycentrics(met, flat, triangles, pixels.number, pixels.corner, offsets)
    for ray, offset in enumerate(offsets):
        rays = pixel_rays(CAMERA).reshape(-1, 3) + np.append(offset / CAMERA.focal_px, 0)
        wanted = nearest_one_by_one(positions, triangles, rays)
        np.testing.assert_array_equal(met[:, ray], wanted)
        hit = wanted >= 0
        assert 0.2 < hit.mean() < 0.95
        _, exact = intersect(np.zeros(3), rays[hit], wanted[hit], positions, triangles)
        np.testing.assert_allclose(weights[hit, ray], exact, atol=1e-5)
        assert not weights[~hit, ray].any()


def test_pixels_of_a_window_that_are_not_wanted_are_left_out_and_the_others_see_the_same():
    positions, triangles = soup()
    flat = flatten(positions, CAMERA, np.eye(4))
    whole = draw(flat, triangles, EVERY).reshape(30, 40)
    wanted = np.random.default_rng(0).random((11, 17)) < 0.4
    number = np.where(wanted, np.cumsum(wanted).reshape(wanted.shape) - 1, -1).astype(np.int32)
    some = draw(flat, triangles, Pixels(number, corner=(9, 12)))
    np.testing.assert_array_equal(some[:, 0], whole[9:20, 12:29][wanted])


def test_no_ray_slips_between_triangles_that_share_an_edge():
    """A wall of thin fans around corners that lie exactly on pixel centres, edges along rows, columns and diagonals."""
    focal, (cx, cy) = CAMERA.focal_px, CAMERA.center_px
    rows, columns = np.meshgrid(np.arange(2, 28), np.arange(2, 38), indexing="ij")
    x, y = (columns + 0.5 - cx) / focal * 2.0, (rows + 0.5 - cy) / focal * 2.0
    positions = np.stack([x, y, np.full(x.shape, 2.0)], axis=-1).reshape(-1, 3)
    at = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (v.ravel() for v in (at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([d, a, c], 1)])
    met = draw(flatten(positions, CAMERA, np.eye(4)), triangles, EVERY).reshape(30, 40)
    assert (met[3:27, 3:37] >= 0).all()


def test_what_is_beside_the_camera_is_left_to_rays():
    positions, _ = soup()
    positions[0, 2] = -1.0
    assert flatten(positions, CAMERA, np.eye(4)) is None
    behind = np.eye(4)
    behind[2, 3] = 4.5
    assert ScanCaster(prepared(*soup())).nearest(CAMERA, behind, EVERY) is None


@pytest.mark.parametrize("policy", ["smooth", "geometric"])
def test_labels_are_those_of_rays(monkeypatch, policy):
    caster = ScanCaster(prepared(*soup()))
    drawn = cast_labels(CAMERA, [(caster, np.eye(4))], policy)
    monkeypatch.setattr(raycast, "flatten", lambda *_: None)
    cast = cast_labels(CAMERA, [(caster, np.eye(4))], policy)
    same = drawn.triangle == cast.triangle  # Embree's single precision decides otherwise at a silhouette
    assert same.mean() > 0.995 and (drawn.instance > 0).mean() > 0.2
    for name in ("depth_m", "normal", "weights", "back", "leaning"):
        np.testing.assert_array_equal(getattr(drawn, name)[same], getattr(cast, name)[same])
