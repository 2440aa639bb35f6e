"""Two samples of one recipe: what is identical, equivalent or different, by constructed deviations."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import ball_sample, make_camera, make_recipe

from synth.version_compare import compare_samples, psnr_db

SAMPLE = ball_sample(make_recipe(make_camera(192, 256, 300.0)))


def changed(name: str, change) -> object:
    array = getattr(SAMPLE, name).copy()
    return replace(SAMPLE, **{name: change(array)})


def noisy(rgb: np.ndarray, steps: int, share: float) -> np.ndarray:
    hit = np.random.default_rng(1).random(rgb.shape) < share
    return (rgb.astype(int) + steps * hit).clip(0, 255).astype(np.uint8)


def turned(normal: np.ndarray, degrees: float) -> np.ndarray:
    """About the camera's x axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (normal @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])).astype(np.float32)


def one_column_more(instance: np.ndarray) -> np.ndarray:
    return np.maximum(instance, np.roll(instance, 1, axis=1))


@pytest.mark.parametrize(
    ("other", "verdict", "named"),
    [
        (SAMPLE, "IDENTICAL", ""),
        (changed("rgb", lambda a: noisy(a, 1, 0.2)), "EQUIVALENT", ""),
        (changed("rgb", lambda a: noisy(a, 12, 1.0)), "DIFFERENT", "colour"),
        (changed("alpha", lambda a: noisy(a, 1, 0.5)), "EQUIVALENT", ""),
        (changed("alpha", lambda a: noisy(a, 9, 0.5)), "DIFFERENT", "alpha"),
        (changed("depth_m", lambda a: a * np.float32(1 + 2e-6)), "EQUIVALENT", ""),
        (changed("depth_m", lambda a: a * np.float32(1 + 2e-4)), "DIFFERENT", "depth"),
        (changed("normal", lambda a: turned(a, 0.02)), "EQUIVALENT", ""),
        (changed("normal", lambda a: turned(a, 1)), "DIFFERENT", "normals"),
        (changed("normal", lambda a: a * np.float32([1, -1, 1])), "DIFFERENT", "normals"),
        (changed("instance", one_column_more), "DIFFERENT", "mask"),
    ],
)
def test_verdicts(other, verdict, named):
    comparison = compare_samples(SAMPLE, other)
    assert comparison.verdict == verdict, comparison.figures
    assert all(named in fault for fault in comparison.faults)


def test_one_mask_pixel_is_forgiven_and_one_value_is_not_identical():
    instance = SAMPLE.instance.copy()
    instance[0, 0] = 1
    assert compare_samples(SAMPLE, replace(SAMPLE, instance=instance)).verdict == "EQUIVALENT"
    nan = changed("depth_m", lambda a: np.where(SAMPLE.mask, np.nan, a).astype(np.float32))
    assert compare_samples(SAMPLE, nan).verdict == "DIFFERENT"
    with pytest.raises(ValueError, match="pixels against"):
        compare_samples(SAMPLE, ball_sample())


def test_psnr_of_one_step_is_the_known_figure():
    a = np.full((8, 8, 3), 100, np.uint8)
    assert psnr_db(a, a + 1) == pytest.approx(20 * np.log10(255)) and psnr_db(a, a) == np.inf
