"""Noise leaves the light; the texture, the edge and what is outside stay as they were."""

import numpy as np
import pytest

pytestmark = pytest.mark.blender


@pytest.fixture(scope="module")
def denoiser():
    from renderers.denoise import Denoiser

    denoiser = Denoiser(threads=1)
    yield denoiser
    denoiser.close()


def world(seed: int = 0):
    """Smooth light on a texture of single pixels, seen in a disc with a soft edge; light, albedo, coverage, noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:160, :120]
    coverage = np.clip((50 - np.hypot(rows - 80, columns - 60)) / 2, 0, 1).astype(np.float32)
    light = (0.5 + rows / 160)[..., None] * np.array([1.0, 0.9, 0.8])
    texture = rng.uniform(0.1, 0.9, (160, 120, 3))
    noise = rng.gamma(4.0, 0.25, (160, 120, 1))  # mean 1, as 4 paths leave it
    albedo = (texture * coverage[..., None]).astype(np.float32)
    return light, albedo, coverage, noise


def test_light_is_cleaned_and_texture_kept(denoiser):
    from renderers.denoise import denoise_light

    light, albedo, coverage, noise = world()
    noisy = np.dstack([albedo * light * noise, coverage]).astype(np.float32)
    clean = denoise_light(noisy, albedo, denoiser)
    inside = coverage > 0
    before, after = (np.abs(x[..., :3] - albedo * light)[inside].mean() for x in (noisy, clean))
    assert after < before / 8
    # Without dividing the albedo out, single-pixel texture is noise to any denoiser.
    assert np.abs(denoiser(noisy[..., :3]) - albedo * light)[inside].mean() > 3 * after
    assert not clean[~inside].any()


def test_the_soft_edge_keeps_its_light(denoiser):
    from renderers.denoise import denoise_light

    light, albedo, coverage, noise = world()
    clean = denoise_light(np.dstack([albedo * light * noise, coverage]).astype(np.float32), albedo, denoiser)
    edge = (coverage > 0.05) & (coverage < 0.95)
    ratio = clean[edge] / (albedo * light)[edge]
    assert edge.sum() > 100 and abs(ratio.mean() - 1) < 0.03  # a dark or bright halo would show here


def test_what_has_no_albedo_is_left_alone(denoiser):
    from renderers.denoise import denoise_light

    shine = np.random.default_rng(1).uniform(0, 1, (64, 64, 4)).astype(np.float32)
    assert np.array_equal(denoise_light(shine, np.zeros((64, 64, 3), np.float32), denoiser), shine[..., :3])
    nothing = np.zeros((64, 64, 4), np.float32)
    assert not denoise_light(nothing, nothing[..., :3], denoiser).any()


def test_threads_change_no_byte(denoiser):
    from renderers.denoise import Denoiser

    picture = np.random.default_rng(2).gamma(1.0, 1.0, (200, 150, 3)).astype(np.float32)
    two = Denoiser(threads=2)
    assert np.array_equal(denoiser(picture), two(picture)) and np.array_equal(denoiser(picture), denoiser(picture))
    assert two.version.split(".")[0] == "2"
    two.close()
