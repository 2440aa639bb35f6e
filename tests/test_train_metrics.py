"""The papers' metrics against numbers by hand and brute force."""

import numpy as np
import pytest

from train.metrics import (
    align_depth,
    angle_histogram,
    depth_error,
    normal_angles,
    normal_error,
    pool_depth,
    pool_normals,
)

MASK = np.ones((1, 4), bool)


def test_depth_by_hand():
    t, p = np.array([[1.0, 2, 4, 8]]), np.array([[1.0, 2.4, 6, -1]])
    error = depth_error(p, t, MASK)
    assert error.rmse_m == pytest.approx(np.sqrt((0 + 0.16 + 4 + 81) / 4))
    assert error.abs_rel == pytest.approx((0 + 0.2 + 0.5 + 9 / 8) / 4)
    assert error.delta == (0.5, 0.75, 0.75)  # ratios 1, 1.2, 1.5 (< 1.5625), and a negative depth is never near


def test_only_the_mask_counts():
    t = np.array([[1.0, np.inf, np.nan, 3]])
    assert depth_error(t, t, np.array([[True, False, False, True]])).rmse_m == 0
    with pytest.raises(ValueError):
        depth_error(t, t, ~MASK)


def test_alignment_finds_scale_and_shift_and_no_more():
    rng = np.random.default_rng(0)
    t, mask = rng.uniform(1, 5, (20, 30)), rng.random((20, 30)) < 0.5
    assert depth_error(align_depth((t - 7) / 3, t, mask), t, mask).rmse_m < 1e-12
    p = rng.uniform(0, 1, t.shape)
    best = np.linalg.lstsq(np.stack([p[mask], np.ones(mask.sum())], 1), t[mask], rcond=None)[0]
    assert np.allclose(align_depth(p, t, mask), p * best[0] + best[1])
    assert np.allclose(align_depth(np.ones_like(t), t, mask)[mask], t[mask].mean())


def turned(normal: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return normal @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


@pytest.mark.parametrize("degrees", [0.0, 0.01, 4.9, 11.3, 30.1, 90.0, 180.0])
def test_angles(degrees):
    t = np.tile([0.0, 0.6, 0.8], (1, 4, 1))
    angles = normal_angles(3 * turned(t, degrees), t, MASK)
    assert angles == pytest.approx(np.full(4, degrees), abs=1e-6)


def test_a_zero_prediction_is_ninety_degrees_off():
    assert normal_angles(np.zeros((1, 4, 3)), np.tile([0.0, 0, 1], (1, 4, 1)), MASK) == pytest.approx(np.full(4, 90.0))


def test_normals_by_hand():
    error = normal_error(np.array([1.0, 5.0, 12.0, 40.0]))
    assert (error.mean_deg, error.median_deg) == (14.5, 8.5)
    assert error.rmse_deg == pytest.approx(np.sqrt((1 + 25 + 144 + 1600) / 4))
    assert error.within == (0.25, 0.5, 0.75, 0.75)  # strictly below


def test_pools_equal_the_whole():
    rng = np.random.default_rng(1)
    t = rng.uniform(1, 5, (7, 8, 9))
    p = t * rng.uniform(0.6, 1.6, t.shape)
    masks = rng.random(t.shape) < rng.uniform(0.2, 0.9, (7, 1, 1))
    pooled = pool_depth(depth_error(*triple) for triple in zip(p, t, masks, strict=True))
    whole = depth_error(p.reshape(56, 9), t.reshape(56, 9), masks.reshape(56, 9))
    assert pooled.pixels == whole.pixels
    assert pooled.rmse_m == pytest.approx(whole.rmse_m) and pooled.delta == pytest.approx(whole.delta)
    sets = [rng.uniform(0, 60, n) for n in (3, 500, 41)]
    pool = pool_normals(map(normal_error, sets), sum(map(angle_histogram, sets)))
    whole = normal_error(np.concatenate(sets))
    assert pool.mean_deg == pytest.approx(whole.mean_deg) and pool.rmse_deg == pytest.approx(whole.rmse_deg)
    assert pool.within == pytest.approx(whole.within)
    assert abs(pool.median_deg - whole.median_deg) <= 0.2  # the bin, and the gap between two of 544 angles
