"""Normals of large pictures from overlapping windows: the model sees each at its own resolution.

Only for normals: they are the same in any crop. Relative depth of a window has a scale and shift of its own.
"""

import itertools

import numpy as np

from train.predict import Maps, Predictor, unit

#: Share of a window that overlaps the next.
_OVERLAP = 0.25


def predict_tiled(predictor: Predictor, picture: np.ndarray, batch: int) -> Maps:
    """Maps of a (H, W, 3) picture; where windows overlap they fade into each other."""
    height, width = (min(side, n) for side, n in zip(predictor.size, picture.shape[:2], strict=True))
    corners = list(itertools.product(starts(picture.shape[0], height), starts(picture.shape[1], width)))
    windows = (picture[y : y + height, x : x + width] for y, x in corners)
    total = np.zeros((*picture.shape[:2], 3), np.float32)
    weight = np.outer(_ramp(height), _ramp(width))[..., None].astype(np.float32)
    for (y, x), maps in zip(corners, predictor.predict(windows, batch), strict=True):
        total[y : y + height, x : x + width] += weight * maps.normal
    return Maps(normal=unit(total))


def starts(length: int, window: int) -> list[int]:
    """Where windows begin so that they cover a length, evenly, overlapping by a quarter at least."""
    if length <= window:
        return [0]
    count = int(np.ceil((length - window) / (window * (1 - _OVERLAP)))) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def _ramp(length: int) -> np.ndarray:
    """(length,) weights: small at both ends, 1 in the middle."""
    middle = np.minimum(np.arange(length) + 1, np.arange(length, 0, -1))
    return np.clip(middle / max(1.0, _OVERLAP * length), 0, 1)
