"""What relight's samples show of the scan's colour, against closed form."""

import dataclasses

import numpy as np
import pytest
from test_raycast import card
from test_surface import CAMERA, POSE, painted

from renderers.film import srgb_from_linear
from renderers.raycast import ScanCaster, cast_labels
from renderers.relight_colour import colours
from renderers.surface import ScanPaint


def look(scan, taps=4):
    """Codes (K, 3), 0 to 255, of the card's pixels, and u and v (K, 2) there."""
    labels = cast_labels(CAMERA, [(ScanCaster(scan), POSE)])
    seen = labels.instance > 0
    triangle, weights = labels.triangle[seen], labels.weights[seen]
    scan_from_camera = np.array(CAMERA.world_from_camera)
    linear = colours(ScanPaint(scan), triangle, weights, CAMERA, scan_from_camera, taps)
    uv = None if scan.uvs is None else np.einsum("kc,kcx->kx", weights, scan.uvs[triangle])
    return 255 * srgb_from_linear(linear), uv


def test_one_material_without_a_picture_has_its_base_colour():
    scan = card()
    material = scan.facts.materials[0].model_copy(update={"base_color": (0.1, 0.4, 0.9, 1.0)})
    scan = dataclasses.replace(scan, facts=scan.facts.model_copy(update={"materials": (material,)}))
    found, _ = look(scan)
    expected = 255 * srgb_from_linear(np.array([0.1, 0.4, 0.9]))
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=0.01)


@pytest.mark.parametrize("taps", [1, 4])
@pytest.mark.parametrize("size", [64, 256, 1024])
def test_a_ramp_is_seen_where_its_codes_are(tmp_path, taps, size):
    """Magnified, at its size and reduced, between two pictures of the pyramid: codes across and down."""
    ramp = np.linspace(20, 220, size)
    rgb = np.zeros((size, size, 3))
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = ramp[None, :], ramp[::-1, None], 120
    found, uv = look(painted(tmp_path, np.round(rgb).astype(np.uint8)), taps)
    inside = (np.abs(uv - 0.5) < 0.45).all(axis=1)
    assert inside.sum() > 300
    expected = np.stack([20 + 200 * uv[:, 0], 20 + 200 * uv[:, 1], np.full(len(uv), 120)], axis=1)
    assert np.abs(found - expected)[inside].max() < 2.0


def test_a_checkerboard_far_finer_than_pixels_is_its_mean_light(tmp_path):
    rgb = np.zeros((2048, 2048, 3), np.uint8)
    rgb[::2, ::2], rgb[1::2, 1::2] = 255, 255
    found, uv = look(painted(tmp_path, rgb))
    inside = (np.abs(uv - 0.5) < 0.4).all(axis=1)
    np.testing.assert_allclose(found[inside], 255 * srgb_from_linear(np.array(0.5)), atol=1.0)
