"""The composited background against the definition of an equirectangular panorama."""

import numpy as np
import pytest
from worlds import make_camera

from renderers.panorama import render_panorama
from synth.backgrounds import directions
from synth.camera import pixel_rays


@pytest.mark.parametrize("yaw_deg", [0.0, 90.0, 213.0])
def test_a_panorama_of_directions_shows_directions(yaw_deg):
    panorama = directions(1024, 512).astype(np.float32)
    camera = make_camera()
    shown = render_panorama(panorama, camera, yaw_deg)
    yaw = np.radians(yaw_deg)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    rays = pixel_rays(camera) @ np.array(camera.world_from_camera)[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    np.testing.assert_allclose(shown @ turn.T, rays, atol=2e-3)


def test_a_fine_panorama_is_averaged_not_picked():
    checker = np.indices((1024, 2048)).sum(axis=0) % 2
    panorama = np.repeat(checker[..., None], 3, axis=-1).astype(np.float32)
    shown = render_panorama(panorama, make_camera(focal_px=40.0), 0.0)
    assert abs(shown.mean() - 0.5) < 0.01 and shown.std() < 0.05


def test_the_seam_and_the_poles_hold():
    camera = make_camera(
        eye=(0, 0, 0), target=(-1, 0, 0.001), focal_px=30.0
    )  # looks at the seam, sees both poles' rims
    panorama = np.ones((64, 128, 3), np.float32)
    np.testing.assert_allclose(render_panorama(panorama, camera, 0.0), 1.0, atol=1e-6)


@pytest.mark.parametrize("size", [(96, 128), (95, 127)])
def test_a_magnified_panorama_is_looked_up_at_every_other_pixel_and_looks_the_same(monkeypatch, size):
    import renderers.panorama as module

    panorama = np.random.default_rng(0).uniform(0, 1, (64, 128, 3)).astype(np.float32)  # noise: the worst case
    camera = make_camera(width=size[0], height=size[1], focal_px=120.0)  # 5.9 pixels a texel
    shown = render_panorama(panorama, camera, 25.0)
    monkeypatch.setattr(module, "_SMOOTH", np.inf)
    exact = render_panorama(panorama, camera, 25.0)
    assert shown.shape == exact.shape and not np.array_equal(shown, exact)
    assert np.abs(shown - exact).max() < 0.01
