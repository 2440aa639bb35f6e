"""Plates against brute force: areas averaged in linear light, brightness kept by the film, not half a pixel off."""

import numpy as np
import pytest
from PIL import Image
from worlds import KEY, make_recipe, plate_of

from renderers.film import develop
from renderers.panorama import shrink_panorama
from renderers.plate import render_plate
from renderers.resample import overlap_shares, resample
from synth.backgrounds_photo import SRGB8_LINEAR, linear_from_srgb8
from synth.recipe import Plate, canonical_json

FINE = 64


def picture(height=45, width=60) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (height, width, 3)).astype(np.uint8)


def plate(pixels: np.ndarray, crop, **changes) -> Plate:
    h, w = pixels.shape[:2]
    return Plate(**{"plate_id": "p", "sha256": KEY * 2, "width_px": w, "height_px": h, "crop_px": crop,
                    "mirrored": False, "shown_ev": 0.0, **changes})  # fmt: skip


def brute_force(pixels: np.ndarray, crop, shape, power=None) -> np.ndarray:
    """The mean over FINE x FINE points of each pixel's area, of a picture of square texels."""
    light = linear_from_srgb8(pixels).astype(np.float64) if power is None else pixels / 255.0
    left, top, right, bottom = crop
    v = top + (np.arange(shape[0] * FINE) + 0.5) / (shape[0] * FINE) * (bottom - top)
    u = left + (np.arange(shape[1] * FINE) + 0.5) / (shape[1] * FINE) * (right - left)
    fine = light[np.floor(v).astype(int)[:, None], np.floor(u).astype(int)[None, :]]
    out = fine.reshape(shape[0], FINE, shape[1], FINE, 3).mean(axis=(1, 3))
    return out if power is None else out**power


CROPS = [((0, 0, 60, 45), (15, 20)), ((3.3, 1.7, 57.1, 42.05), (11, 13)), ((10.25, 5.5, 41.5, 36.75), (25, 25))]


@pytest.mark.parametrize(("crop", "shape"), CROPS)
def test_minified_pixels_are_means_of_their_areas(crop, shape):
    pixels = picture()
    shown = render_plate(pixels, plate(pixels, crop), shape, 0.0)
    expected = brute_force(pixels, crop, shape)
    assert np.abs(shown - expected).max() < 0.012 and np.abs(shown - expected).mean() < 0.0025
    wrong = {
        "half a texel right": brute_force(np.roll(pixels, 1, axis=1), crop, shape),
        "averaged in sRGB": brute_force(pixels, crop, shape, power=2.2),
        "mirrored": expected[:, ::-1],
        "upside down": expected[::-1],
    }
    for name, other in wrong.items():
        assert np.abs(shown - other).mean() > 0.02, name
    mirrored = render_plate(pixels, plate(pixels, crop, mirrored=True), shape, 0.0)
    np.testing.assert_array_equal(mirrored, shown[:, ::-1])


def test_magnified_pixels_are_interpolated_about_texel_centres():
    rows, columns = np.indices((30, 40)) + 0.5
    ramp = np.stack([columns * 6, rows * 8, columns * 2 + rows * 3], axis=-1)
    crop, shape = (8.5, 6.25, 23.5, 17.5), (45, 60)
    light = resample(ramp, overlap_shares(crop[1], crop[3], 45, 30), overlap_shares(crop[0], crop[2], 60, 40))
    u = crop[0] + (np.arange(60) + 0.5) / 60 * 15
    v = crop[1] + (np.arange(45) + 0.5) / 45 * 11.25
    np.testing.assert_allclose(light[..., 0], np.broadcast_to(u * 6, shape), rtol=1e-5)
    np.testing.assert_allclose(light[..., 1], np.broadcast_to((v * 8)[:, None], shape), rtol=1e-5)
    off = np.abs(light[..., 0] - np.broadcast_to((u + 0.5) * 6, shape)).min()
    assert off > 2.9, "half a pixel would show"


@pytest.mark.parametrize(("low", "high", "count", "size"), [(0, 60, 60, 60), (0, 7, 70, 7), (0.3, 59.9, 7, 60)])
def test_shares_add_up_and_one_to_one_is_the_identity(low, high, count, size):
    shares = overlap_shares(low, high, count, size).toarray()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert (shares >= 0).all()
    if count == size:
        np.testing.assert_array_equal(shares, np.eye(size))


def test_a_large_plate_is_made_in_blocks_that_do_not_show():
    pixels = picture(500, 700)
    shown = render_plate(pixels, plate(pixels, (100.0, 50.0, 400.0, 450.0)), (200, 150), 0.0)
    top = render_plate(pixels, plate(pixels, (100.0, 50.0, 400.0, 150.0)), (50, 150), 0.0)
    np.testing.assert_allclose(shown[:50], top, atol=1e-6)
    box = linear_from_srgb8(pixels[50:450, 100:400]).reshape(200, 2, 150, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shown, box, atol=1e-6)


@pytest.mark.parametrize("exposure_ev", [-14.3, -2.0, 0.0, 0.37, 9.1])
def test_a_plate_keeps_every_one_of_its_colours_through_the_film(exposure_ev):
    pixels = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=-1)
    light = render_plate(pixels, plate(pixels, (0, 0, 16, 16)), (16, 16), exposure_ev)
    film = make_recipe(exposure_ev=exposure_ev).film
    np.testing.assert_array_equal(develop(light, film), pixels)
    brighter = develop(render_plate(pixels, plate(pixels, (0, 0, 16, 16), shown_ev=1.0), (16, 16), exposure_ev), film)
    expected = np.interp(np.clip(SRGB8_LINEAR[pixels] * 2, 0, 1), SRGB8_LINEAR, np.arange(256))
    assert np.abs(brighter - expected).max() <= 1


def test_a_recipe_of_another_picture_is_refused():
    pixels = picture()
    with pytest.raises(ValueError, match="its recipe says"):
        render_plate(pixels[:-1], plate(pixels, (0, 0, 60, 45)), (9, 12), 0.0)
    for crop in ((0, 0, 61, 45), (-1, 0, 60, 45), (5, 0, 5, 45), (0, 9, 60, 8)):
        with pytest.raises(ValueError, match="no part of"):
            plate(pixels, crop)


def test_the_analytic_renderer_shows_that_a_plate_is_there_and_keeps_the_labels(balls):
    from renderers.analytic import AnalyticRenderer

    subject = make_recipe().subjects[0].model_copy(update={"scan_key": balls.entries[0].key})
    recipe = make_recipe().model_copy(update={"subjects": (subject,)})
    renderer = AnalyticRenderer(balls.store)
    before, after = renderer.render(recipe), renderer.render(plate_of(recipe))
    for name in ("alpha", "instance", "depth_m", "normal"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert (before.rgb != after.rgb)[before.alpha == 0].any()
    assert "plate" not in canonical_json(recipe) and '"plate":{' in canonical_json(plate_of(recipe))


@pytest.mark.parametrize(("size", "factor"), [((510, 1020), 3), ((509, 1019), 3), ((64, 128), 4), ((64, 128), 7)])
def test_a_panorama_of_any_size_shrinks_by_about_the_factor_and_keeps_its_light(size, factor):
    panorama = np.random.default_rng(0).uniform(0, 1, (*size, 3)).astype(np.float32)
    small = shrink_panorama(panorama, factor)
    assert size[1] / factor <= small.shape[1] + 1 <= 2 * size[1] / factor + 2
    np.testing.assert_allclose(small.mean(axis=(0, 1)), panorama.mean(axis=(0, 1)), atol=2e-3)
    picked = np.asarray(Image.fromarray(np.uint8(panorama * 255)).resize(small.shape[1::-1], Image.NEAREST)) / 255
    assert small.std() < 0.75 * picked.std(), "texels were picked, not averaged"
