"""Light that can be rendered: finite and not negative. What is mended is counted; what is mostly broken is refused.

Cycles spreads one NaN over the picture, and the exposure of a panorama with one infinite texel would be 0.
"""

import numpy as np

from synth.backgrounds_picture import BadPicture

#: Share of texels that may be NaN or infinite: an unfilled nadir is a few per cent, more is no panorama.
_MOST_BROKEN = 0.05
#: Share of texels that may be negative in some channel: a map of normals has three quarters.
_MOST_NEGATIVE = 0.5
#: Resampling rings a little below 0 beside lamps (five of Blender's own eight panoramas): that needs no warning.
_RINGING_TEXELS, _RINGING_LIGHT = 0.05, 0.01
#: The sun in cd/m^2 is 1.6e9, and no unit that panoramas come in is smaller.
_BRIGHTEST = 1e10
#: Light that no exposure would show as intended: a map of zeros with noise.
_DARKEST = 1e-6
_FILL_ROUNDS = 1024


def clean_light(panorama: np.ndarray) -> tuple[np.ndarray, list[str], list[str]]:
    """A panorama (h, w, 3) as finite light, float32; notes and warnings on what was changed.

    NaN and -inf become the mean of their nearest sound neighbours, +inf the greatest finite value, negative values 0. A
    float32 array is changed in place: of 16k it takes 1.6 GB. Raises BadPicture when too much of it is broken, or all
    of it is black.
    """
    panorama = np.require(panorama, np.float32, ["C", "W"])
    warnings = _mend(panorama)
    notes = _remove_negative(panorama, warnings)
    if float(panorama.max()) < _DARKEST:
        raise BadPicture("is black: it would light nothing")
    return panorama, notes, warnings


def _mend(panorama: np.ndarray) -> list[str]:
    """Replaces what is not finite or brighter than any sun, in place; returns warnings."""
    broken = ~np.isfinite(panorama).all(axis=-1)
    if broken.mean() > _MOST_BROKEN:
        raise BadPicture(f"{broken.mean():.0%} of its texels are NaN or infinite")
    warnings = []
    endless, missing = np.isposinf(panorama), (np.isnan(panorama) | np.isneginf(panorama)).any(axis=-1)
    if broken.any():
        # `where` instead of picking them out: a copy of 16k is 1.6 GB.
        brightest = min(float(panorama.max(where=np.isfinite(panorama), initial=0.0)), _BRIGHTEST)
        panorama[endless] = brightest
        if endless.any():
            warnings.append(
                f"{int(endless.any(axis=-1).sum())} infinite texels set to the greatest value, {brightest:g}"
            )
    glaring = (panorama > _BRIGHTEST).any(axis=-1)
    if glaring.any():
        np.minimum(panorama, np.float32(_BRIGHTEST), out=panorama)  # keeps NaN, which is filled below
        warnings.append(f"{int(glaring.sum())} texels brighter than {_BRIGHTEST:g} set to that")
    if missing.any():
        warnings.append(f"{int(missing.sum())} NaN texels filled from their neighbours")
        _fill(panorama, missing)
    return warnings


def _fill(panorama: np.ndarray, missing: np.ndarray) -> None:
    """Fills texels (h, w) bool from the rim inwards, each with the mean of its sound neighbours; wraps at the seam."""
    height, width = missing.shape
    missing = missing.copy()
    y, x = np.nonzero(missing)
    for _ in range(_FILL_ROUNDS):
        total, count = np.zeros((len(y), 3)), np.zeros(len(y))
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            at = np.clip(y + dy, 0, height - 1), (x + dx) % width
            sound = ~missing[at]
            total[sound] += panorama[at][sound]
            count += sound
        done = count > 0
        panorama[y[done], x[done]] = total[done] / count[done][:, None]
        missing[y[done], x[done]] = False
        y, x = y[~done], x[~done]
        if len(y) == 0:
            return
    panorama[y, x] = panorama[~missing].mean(axis=0, dtype=np.float64)


def _remove_negative(panorama: np.ndarray, warnings: list[str]) -> list[str]:
    """Sets negative light to 0, in place; ringing is a note, more adds to `warnings`."""
    negative = (panorama < 0).any(axis=-1)
    count, share = int(negative.sum()), float(negative.mean())
    if share > _MOST_NEGATIVE:
        raise BadPicture(f"{share:.0%} of its texels are negative light")
    if count == 0:
        return []
    lost = -float(np.minimum(panorama[negative], 0).sum(dtype=np.float64))
    np.maximum(panorama, 0, out=panorama)
    said = f"{count} texels of negative light set to 0"
    if share <= _RINGING_TEXELS and lost <= _RINGING_LIGHT * float(panorama.sum(dtype=np.float64)):
        return [said]
    warnings.append(said)
    return []
