"""The compiled film gives the bytes of the plain one, at every step between two codes."""

import numpy as np
import pytest

from renderers.film import composite, develop, to_8bit
from renderers.film_compiled import _codes, coverage_8bit, develop_over
from synth.recipe import Film


def film(**changes) -> Film:
    return Film(
        **{"engine": "cycles", "spp": 1, "denoise": False, "exposure_ev": 0.0, "view_transform": "Standard",
           "material": "diffuse", "cycles_seed": 0, **changes}
    )  # fmt: skip


def plain(premultiplied: np.ndarray, background: np.ndarray, film: Film) -> np.ndarray:
    alpha = np.clip(premultiplied[..., 3], 0, 1)
    return develop(composite(premultiplied[..., :3], alpha, background), film)


@pytest.mark.parametrize("exposure_ev", [0.0, -2.37, 1.9])
def test_random_frames_are_equal(exposure_ev):
    rng = np.random.default_rng(0)
    premultiplied = rng.gamma(0.5, 0.7, (300, 400, 4)).astype(np.float32)
    premultiplied[..., 3] = rng.uniform(-0.1, 1.3, (300, 400))  # sums of shares may leave 0..1 by a rounding
    background = rng.gamma(0.3, 2.0, (300, 400, 3)).astype(np.float32)
    look = film(exposure_ev=exposure_ev)
    np.testing.assert_array_equal(develop_over(premultiplied, background, look), plain(premultiplied, background, look))


def test_every_float_around_every_step_is_equal():
    least = _codes()[0]
    assert (np.diff(least) > 0).all()
    bits = least.view(np.uint32).astype(np.int64)[:, None] + np.arange(-40, 41)
    values = bits.astype(np.uint32).view(np.float32)
    values = np.concatenate([values.ravel(), np.float32([0, -0.0, -1, 1, 2, np.inf, 1e-42, np.nextafter(1, 0)])])
    frame = np.zeros((1, len(values), 4), np.float32)
    frame[0, :, :3] = values[:, None]
    background = np.zeros((1, len(values), 3), np.float32)
    np.testing.assert_array_equal(develop_over(frame, background, film()), plain(frame, background, film()))


def test_other_view_transforms_are_left_to_the_plain_film():
    pytest.importorskip("PyOpenColorIO", reason="no OpenColorIO: pip install 'synth[render]'")
    rng = np.random.default_rng(1)
    frame, background = rng.random((20, 30, 4), np.float32), rng.random((20, 30, 3), np.float32)
    look = film(view_transform="AgX")
    np.testing.assert_array_equal(develop_over(frame, background, look), plain(frame, background, look))


def test_coverage_is_rounded_as_the_plain_film_rounds():
    frame = np.zeros((1, 4000, 4), np.float32)
    steps = (np.arange(256)[:, None] + np.array([0.5, 0.5 - 2e-5, 0.5 + 2e-5, 0.0])).ravel() / 255
    frame[0, :1024, 3], frame[0, 1024:, 3] = steps, np.random.default_rng(2).uniform(-0.2, 1.2, 2976)
    np.testing.assert_array_equal(coverage_8bit(frame), to_8bit(frame[..., 3]))
