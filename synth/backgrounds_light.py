"""How much light a panorama sheds, in nine numbers: what exposure is drawn from.

Frame `panorama`: z up; the centre column looks along +x, columns to the left turn towards +y: Blender's convention.
"""

from collections.abc import Sequence

import numpy as np

#: Rec. 709 luminance of linear RGB.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def project_light(panorama: np.ndarray) -> list[float]:
    """Nine spherical-harmonics coefficients of a panorama's (h, w, 3) luminance, by solid angle."""
    luminance = panorama @ LUMINANCE
    height, width = luminance.shape
    solid_angle = np.sin((np.arange(height) + 0.5) / height * np.pi) * (np.pi / height) * (2 * np.pi / width)
    coefficients = np.zeros(9)
    columns = directions(width, 2)[0, :, :2]  # row 0 of two: sin(polar) = 1 / sqrt(2)
    for row in range(height):  # row by row: a 16k panorama's basis would not fit
        polar = (row + 0.5) / height * np.pi
        d = np.empty((width, 3))
        d[:, :2] = columns * np.sqrt(2) * np.sin(polar)
        d[:, 2] = np.cos(polar)
        coefficients += (luminance[row].astype(np.float64) @ _harmonics(d)) * solid_angle[row]
    return [float(c) for c in coefficients]


def irradiance(coefficients: Sequence[float], normals: np.ndarray) -> np.ndarray:
    """Luminance irradiance on surfaces of given normals (..., 3), panorama frame (z up).

    Nine spherical-harmonics coefficients suffice for diffuse surfaces (Ramamoorthi and Hanrahan 2001); ringing
    behind a small sun can go below zero, hence the floor at a tenth of the mean.
    """
    band = np.array([np.pi, *[2 * np.pi / 3] * 3, *[np.pi / 4] * 5])
    value = _harmonics(np.asarray(normals, np.float64)) @ (band * np.asarray(coefficients))
    mean = np.pi * coefficients[0] * 0.28209479
    return np.maximum(value, 0.1 * mean)


def directions(width: int, height: int) -> np.ndarray:
    """Unit directions (height, width, 3) through the texel centres of an equirectangular panorama.

    z up; the centre column looks along +x, columns to the left turn towards +y: Blender's convention.
    """
    azimuth = np.pi - (np.arange(width) + 0.5) / width * 2 * np.pi
    polar = (np.arange(height) + 0.5) / height * np.pi
    out = np.empty((height, width, 3))
    out[..., 0] = np.sin(polar)[:, None] * np.cos(azimuth)[None, :]
    out[..., 1] = np.sin(polar)[:, None] * np.sin(azimuth)[None, :]
    out[..., 2] = np.cos(polar)[:, None]
    return out


def _harmonics(d: np.ndarray) -> np.ndarray:
    """Real spherical harmonics up to degree 2 of unit directions (..., 3): (..., 9)."""
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    return np.stack(
        [
            np.full_like(x, 0.28209479),
            0.48860251 * y,
            0.48860251 * z,
            0.48860251 * x,
            1.09254843 * x * y,
            1.09254843 * y * z,
            0.31539157 * (3 * z * z - 1),
            1.09254843 * x * z,
            0.54627422 * (x * x - y * y),
        ],
        axis=-1,
    )
