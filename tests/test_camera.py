"""The camera's arithmetic against geometry done another way."""

import numpy as np
import pytest
from pydantic import ValidationError
from worlds import make_camera

from synth.camera import (
    GL_FROM_CV,
    Camera,
    distance_from_z,
    focal_px_from_35mm,
    look_at,
    matrix4,
    normals_from_depth,
    pixel_rays,
    points_from_depth,
    project,
    transform_points,
    z_from_distance,
)


def test_projection_undoes_unprojection_at_every_pixel_centre():
    camera = make_camera()
    depth = np.random.default_rng(0).uniform(0.5, 9.0, camera.shape)
    world = transform_points(np.array(camera.world_from_camera), points_from_depth(camera, depth))
    uv, z = project(camera, world)
    rows, columns = np.indices(camera.shape)
    np.testing.assert_allclose(uv[..., 0], columns + 0.5, atol=1e-9)
    np.testing.assert_allclose(uv[..., 1], rows + 0.5, atol=1e-9)
    np.testing.assert_allclose(z, depth, atol=1e-9)


@pytest.mark.parametrize(
    ("point", "where"),
    [((1, 0, 3), "right"), ((-1, 0, 3), "left"), ((0, 1, 3), "below"), ((0, -1, 3), "above")],
)
def test_camera_axes_are_opencv(point, where):
    camera = Camera(width=100, height=80, focal_px=90, center_px=(50, 40), world_from_camera=matrix4(np.eye(4)))
    (u, v), z = project(camera, np.array(point, float))
    assert z == 3
    assert {"right": u > 50, "left": u < 50, "below": v > 40, "above": v < 40}[where]


def test_look_at_keeps_the_world_upright_and_the_target_on_the_axis():
    camera = make_camera(roll_deg=0.0)
    (u, v), _ = project(camera, np.array([0, 0, 0.5]))
    np.testing.assert_allclose((u, v), camera.center_px, atol=1e-9)
    (_, v_up), _ = project(camera, np.array([0, 0, 1.0]))
    assert v_up < v


def test_positive_roll_turns_the_camera_clockwise_so_the_picture_turns_back():
    camera = make_camera(roll_deg=20.0)
    (u_up, v_up), _ = project(camera, np.array([0, 0, 1.0]))
    assert u_up < camera.center_px[0] and v_up < camera.center_px[1]


def test_looking_straight_down_is_an_error():
    with pytest.raises(ValueError, match="straight"):
        look_at(np.array([0, 0, 2.0]), np.zeros(3))


def test_a_mirrored_pose_is_refused():
    with pytest.raises(ValidationError, match="rotation"):
        make_camera().model_copy().model_validate(
            {**make_camera().model_dump(), "world_from_camera": matrix4(np.diag([-1.0, 1, 1, 1]))}
        )


def test_distance_and_depth_are_inverse_and_keep_infinity():
    camera = make_camera()
    depth = np.full(camera.shape, 2.0)
    depth[0, 0] = np.inf
    distance = distance_from_z(camera, depth)
    assert np.isinf(distance[0, 0]) and (distance >= 2).all() and np.isfinite(distance).sum() == distance.size - 1
    np.testing.assert_allclose(z_from_distance(camera, distance), depth)


def test_normals_from_depth_of_a_slanted_plane_are_exact():
    camera = make_camera()
    normal = np.array([0.3, -0.4, -0.866])
    normal /= np.linalg.norm(normal)
    depth = 3.0 * normal[2] / (pixel_rays(camera) @ normal)
    derived = normals_from_depth(camera, depth)[1:-1, 1:-1]
    assert np.degrees(np.arccos(np.clip(derived @ normal, -1, 1))).max() < 1e-4


def test_facing_wall_has_normal_minus_z():
    camera = make_camera()
    derived = normals_from_depth(camera, np.full(camera.shape, 2.0))[1:-1, 1:-1]
    np.testing.assert_allclose(derived, np.broadcast_to((0, 0, -1.0), derived.shape), atol=1e-12)


def test_gl_from_cv_is_its_own_inverse():
    np.testing.assert_array_equal(GL_FROM_CV @ GL_FROM_CV, np.eye(4))


def test_focal_equivalent_is_by_diagonal():
    assert focal_px_from_35mm(43.27, 768, 1024) == pytest.approx(1280)
