"""Colour and trust of the surface against closed form; Blender's own diffuse colour stands in tests/test_blender.py."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from test_raycast import CARD_UVS, card
from worlds import make_camera

from renderers.film import srgb_from_linear
from renderers.raycast import ScanCaster, cast_labels
from renderers.surface import ScanPaint, lookup_albedo, lookup_trust
from renderers.surface_texture import Pyramid, draw_used_texels, linear_codes
from synth.scans import PreparedScan

CAMERA = make_camera(eye=(2.5, 0.0, 0.5), roll_deg=0.0, center_px=(48, 64))
POSE = np.eye(4)


def painted(folder, rgb, alpha=False, **more) -> PreparedScan:
    """The card with a picture (h, w, 3) uint8 on it."""
    (folder / "textures").mkdir()
    Image.fromarray(rgb).save(folder / "textures" / "0.png")
    scan = card(uvs=CARD_UVS, folder=folder, **more)
    material = scan.facts.materials[0].model_copy(update={"texture": "0.png"})
    facts = scan.facts.model_copy(update={"colour": "texture", "materials": (material,)})
    return dataclasses.replace(scan, facts=facts)


def look(scan, camera=CAMERA):
    labels = cast_labels(camera, [(ScanCaster(scan), POSE)])
    return lookup_albedo(camera, labels, [(ScanPaint(scan), POSE)]), labels


def test_sRGB_codes_and_their_light_are_inverse():
    np.testing.assert_array_equal(np.round(255 * srgb_from_linear(linear_codes().astype(np.float64))), np.arange(256))


def test_a_plain_surface_has_its_base_colour_and_nothing_is_black():
    albedo, labels = look(card())
    assert (albedo[labels.instance == 1] == 188).all()  # sRGB of 0.5
    assert not albedo[labels.instance == 0].any() and albedo.dtype == np.uint8


def test_vertex_colours_are_mixed_as_light(tmp_path):
    colors = np.zeros((2, 3, 4), np.uint8)
    colors[CARD_UVS[..., 0] == 1] = 255  # from black at the left to white at the right
    albedo, labels = look(dataclasses.replace(card(), colors=colors))
    row = albedo[64][labels.instance[64] == 1]
    light = linear_codes()[row[:, 0]]
    assert np.abs(light - (np.arange(len(row)) + 0.5) / len(row)).max() < 0.03


def test_a_picture_stands_upright_and_is_not_mirrored(tmp_path):
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:32, :32], rgb[:32, 32:], rgb[32:, :32], rgb[32:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
    albedo, labels = look(painted(tmp_path, rgb))
    rows, columns = np.nonzero(labels.instance)
    (top, bottom), (left, right) = (
        np.percentile(rows, (20, 80)).astype(int),
        np.percentile(columns, (20, 80)).astype(int),
    )
    seen = [tuple(albedo[r, c]) for r in (top, bottom) for c in (left, right)]
    assert seen == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


@pytest.mark.parametrize("eye", [(2.5, 0.0, 0.5), (0.5, 2.4, 0.5), (12.0, 3.0, 2.0)])
def test_fine_checks_become_their_mean_light_from_everywhere(tmp_path, eye):
    checks = np.indices((1024, 1024)).sum(axis=0) % 2 * 255
    scan = painted(tmp_path, np.repeat(checks[..., None], 3, -1).astype(np.uint8))
    albedo, labels = look(scan, make_camera(eye=eye, roll_deg=20.0))
    seen = albedo[labels.instance == 1].astype(int)
    assert len(seen) > 30 and np.abs(seen - 188).max() <= 2  # half of the light, not half of the code


def test_a_soft_picture_is_exact_at_the_pixel_centre(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    albedo, labels = look(painted(tmp_path, np.stack([ramp, ramp.T, 255 - ramp], -1)))
    mask = (labels.instance == 1) & (labels.weights.min(axis=-1) > 0.03)
    uv = np.einsum("kc,kcx->kx", labels.weights[mask], CARD_UVS[labels.triangle[mask]])
    expected = np.stack([256 * uv[:, 0], 256 * (1 - uv[:, 1]), 256 * (1 - uv[:, 0])], axis=-1) - (0.5, 0.5, 0.5)
    assert np.abs(albedo[mask] - expected).max() < 1.1 and mask.sum() > 300


def test_gaps_of_an_atlas_do_not_bleed_into_its_seams():
    rgb = np.full((256, 256, 3), (0, 255, 0), np.uint8)
    rgb[100:150, 100:150] = (200, 0, 0)
    square = np.array([[(100, 100), (150, 100), (150, 150)], [(100, 100), (150, 150), (100, 150)]]) / 256
    uvs = square * (1, -1) + (0, 1)
    pyramid = Pyramid(rgb, draw_used_texels((256, 256), uvs))
    edge = np.stack([np.full(50, 100.2) / 256, 1 - np.arange(100.5, 150) / 256], axis=1)
    for pixel in (1.0, 3.0, 7.0):
        colour = pyramid.look_up(edge, np.tile(np.eye(2) * pixel / 256, (50, 1, 1)))
        assert colour[:, 1].max() < 0.05 and np.abs(colour[:, 0] - linear_codes()[200]).max() < 0.05


def test_a_picture_repeats():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (37, 50, 3), dtype=np.uint8)
    pyramid = Pyramid(rgb, np.full(rgb.shape[:2], 255, np.uint8))
    uv = rng.uniform(0, 1, (100, 2))
    footprint = np.tile(np.eye(2) * 0.001, (100, 1, 1))
    elsewhere = pyramid.look_up(uv + np.array([3, -2]), footprint)
    np.testing.assert_allclose(pyramid.look_up(uv, footprint), elsewhere, atol=1e-5)


def test_hidden_texels_do_not_count(tmp_path):
    rgb = np.full((64, 64, 3), (0, 0, 255), np.uint8)
    rgb[::2] = (255, 0, 0)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[::2] = 255
    pyramid = Pyramid(rgb, alpha)
    colour = pyramid.look_up(np.full((1, 2), 0.4), np.eye(2)[None] / 8)
    np.testing.assert_allclose(colour, [[1, 0, 0]], atol=0.02)


def test_trust_is_interpolated_between_vertices():
    scan = dataclasses.replace(card(), trust=np.array([0, 200, 200, 0], np.uint8))
    labels = cast_labels(CAMERA, [(ScanCaster(scan), POSE)])
    trust = lookup_trust(labels, [scan])
    assert trust.dtype == np.uint8 and not trust[labels.instance == 0].any()
    row = trust[64][labels.instance[64] == 1].astype(float)
    assert np.abs(row - 200 * (np.arange(len(row)) + 0.5) / len(row)).max() < 4


def test_each_subject_has_its_own_surface():
    near = np.eye(4)
    near[0, 3] = 0.5
    small, large = card(size=0.2), card(size=0.6)
    bright = small.facts.materials[0].model_copy(update={"base_color": (1.0, 1.0, 1.0, 1.0)})
    small = dataclasses.replace(small, facts=small.facts.model_copy(update={"materials": (bright,)}))
    large = dataclasses.replace(large, trust=np.full(4, 9, np.uint8))
    labels = cast_labels(CAMERA, [(ScanCaster(large), POSE), (ScanCaster(small), near)])
    albedo = lookup_albedo(CAMERA, labels, [(ScanPaint(large), POSE), (ScanPaint(small), near)])
    trust = lookup_trust(labels, [large, small])
    for number, (colour, value) in enumerate([(188, 9), (255, 255)], start=1):
        of = labels.instance == number
        assert of.sum() > 20 and (albedo[of] == colour).all() and (trust[of] == value).all()
