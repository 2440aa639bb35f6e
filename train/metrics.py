"""The papers' metrics on person pixels, in numpy: per image, and pooled over all pixels of all images.

Depth as Eigen et al. 2014 define it, before and after the least-squares scale and shift of the v1 protocol; normals as
angles (Fouhey et al. 2013). Everything is float64.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

#: Degrees within which a normal counts.
WITHIN_DEG = (5.0, 11.25, 22.5, 30.0)
#: Width of a bin of the pooled histogram of angles: what the pooled median is exact to.
_BIN_DEG = 0.01


@dataclass(frozen=True)
class DepthError:
    """rmse_m: metres; abs_rel: mean |p - t| / t; delta: shares of pixels with max(p/t, t/p) < 1.25, 1.25^2, 1.25^3."""

    pixels: int
    rmse_m: float
    abs_rel: float
    delta: tuple[float, float, float]


@dataclass(frozen=True)
class NormalError:
    """Angles in degrees; within: shares of pixels below each of WITHIN_DEG."""

    pixels: int
    mean_deg: float
    median_deg: float
    rmse_deg: float
    within: tuple[float, float, float, float]


def align_depth(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """prediction * scale + shift with the scale and shift of least squared error on the mask's pixels.

    All (H, W). A prediction without any spread gets the target's mean.
    """
    p, t = prediction[mask].astype(np.float64), target[mask].astype(np.float64)
    if not p.size:
        return prediction.astype(np.float64)
    spread = ((p - p.mean()) ** 2).mean()
    scale = ((p - p.mean()) * (t - t.mean())).mean() / spread if spread > 1e-20 else 0.0
    return (prediction.astype(np.float64) - p.mean()) * scale + t.mean()


def depth_error(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> DepthError:
    """Of (H, W) depths in metres on the mask's pixels. Ratios count a prediction that is not positive as wrong.

    Raises ValueError when the mask is empty: an image without a person has no error.
    """
    p, t = prediction[mask].astype(np.float64), target[mask].astype(np.float64)
    if not p.size:
        raise ValueError("no person pixel")
    ratio = np.where(p > 0, np.maximum(p / t, t / np.maximum(p, 1e-12)), np.inf)
    return DepthError(
        pixels=int(p.size),
        rmse_m=float(np.sqrt(((p - t) ** 2).mean())),
        abs_rel=float((np.abs(p - t) / t).mean()),
        delta=tuple(float((ratio < 1.25**k).mean()) for k in (1, 2, 3)),
    )


def normal_angles(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,) degrees between (H, W, 3) vectors of any length on the mask's pixels; a zero prediction counts as 90."""
    p, t = prediction[mask].astype(np.float64), target[mask].astype(np.float64)
    # atan2 of sine and cosine: the arc cosine alone cannot tell 0 from 0.02 degrees in float32 inputs.
    sine = np.linalg.norm(np.cross(p, t), axis=1)
    return np.degrees(np.where(np.linalg.norm(p, axis=1) > 0, np.arctan2(sine, (p * t).sum(1)), np.pi / 2))


def normal_error(angles: np.ndarray) -> NormalError:
    """Of one image's angles in degrees. Raises ValueError when there are none."""
    if not angles.size:
        raise ValueError("no person pixel")
    return NormalError(
        pixels=int(angles.size),
        mean_deg=float(angles.mean()),
        median_deg=float(np.median(angles)),
        rmse_deg=float(np.sqrt((angles**2).mean())),
        within=tuple(float((angles < limit).mean()) for limit in WITHIN_DEG),
    )


def pool_depth(errors: Iterable[DepthError]) -> DepthError:
    """Over all pixels of several images, exactly."""
    errors = list(errors)
    weights = np.array([e.pixels for e in errors], np.float64)
    return DepthError(
        pixels=int(weights.sum()),
        rmse_m=float(np.sqrt(np.average([e.rmse_m**2 for e in errors], weights=weights))),
        abs_rel=float(np.average([e.abs_rel for e in errors], weights=weights)),
        delta=tuple(np.average([e.delta for e in errors], axis=0, weights=weights).tolist()),
    )


def angle_histogram(angles: np.ndarray) -> np.ndarray:
    """(18000,) counts per hundredth of a degree; those of several images add up."""
    return np.bincount(np.minimum((angles / _BIN_DEG).astype(np.int64), 17_999), minlength=18_000)


def pool_normals(errors: Iterable[NormalError], histogram: np.ndarray) -> NormalError:
    """Over all pixels of several images: exactly but for the median, which is the middle of its histogram's bin."""
    errors = list(errors)
    weights = np.array([e.pixels for e in errors], np.float64)
    median = np.searchsorted(np.cumsum(histogram), (histogram.sum() + 1) // 2)
    return NormalError(
        pixels=int(weights.sum()),
        mean_deg=float(np.average([e.mean_deg for e in errors], weights=weights)),
        median_deg=float((median + 0.5) * _BIN_DEG),
        rmse_deg=float(np.sqrt(np.average([e.rmse_deg**2 for e in errors], weights=weights))),
        within=tuple(np.average([e.within for e in errors], axis=0, weights=weights).tolist()),
    )
