"""View transforms and compositing against their definitions."""

import numpy as np
import pytest
from worlds import make_recipe

from renderers.film import composite, develop, srgb_from_linear, to_8bit


def film(**values):
    return make_recipe(**values).film


def test_srgb_at_known_points():
    linear = np.array([0.0, 0.0031308, 0.18, 0.21404, 1.0, 7.0, -1.0])
    np.testing.assert_allclose(srgb_from_linear(linear), [0, 0.04045, 0.4614, 0.5, 1, 1, 0], atol=2e-4)


def test_exposure_is_a_power_of_two_before_the_transform():
    linear = np.full((2, 2, 3), 0.05, np.float32)
    np.testing.assert_array_equal(develop(linear, film(exposure_ev=2.0)), develop(linear * 4, film()))


def test_compositing_is_over():
    subject, alpha = np.full((1, 3, 3), 0.2, np.float32), np.array([[0.0, 0.5, 1.0]], np.float32)
    out = composite(subject * alpha[..., None], alpha, np.ones((1, 3, 3), np.float32))
    np.testing.assert_allclose(out[0, :, 0], [1.0, 0.6, 0.2], atol=1e-6)


def test_rounding_is_to_nearest():
    assert to_8bit(np.array([0.0, 0.4 / 255, 0.6 / 255, 1.0])).tolist() == [0, 0, 1, 255]


def test_agx_keeps_grey_and_rolls_off_highlights():
    pytest.importorskip("PyOpenColorIO", reason="AgX needs OpenColorIO (extra: render)")
    values = np.array([0.0, 0.18, 1.0, 16.0], np.float32)
    shown = develop(np.repeat(values[None, :, None], 3, axis=-1), film(view_transform="AgX"))[0, :, 1]
    assert shown[0] == 0 and abs(int(shown[1]) - 118) <= 1 and 190 < shown[2] < 205 and shown[3] > 240
