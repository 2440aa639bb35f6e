"""What a demo body wears, and where on the body that is. No texture is touched here.

Regions are soft masks over points (N, 3) of space `base`: MakeHuman's unmorphed mesh, y up, z forward, decimetres, in
A-pose. `soft` is half the width of an edge in decimetres: coarse for moving vertices, fine for painting texels. Only
polynomials, integer noise and square roots: every machine gets the same bytes. Next: `synth.assets_paint` paints with
them, `synth.assets_body` raises cloth and hair with them.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

#: The hairline, side view: nape, behind the ear, over it, sideburn, temple, forehead; read off the base mesh.
_HAIRLINE_Z = [-0.6, -0.1, 0.2, 0.28, 0.72, 0.8, 0.95, 1.2, 1.5]
_HAIRLINE_Y = [6.25, 6.4, 6.6, 7.42, 7.42, 7.1, 7.45, 7.8, 7.86]

Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]


class Look(BaseModel):
    """Colours (sRGB, 0..255) and cut of what a demo body wears."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    skin: Colour
    hair: Colour
    eyes: Colour
    shirt: Colour
    shirt2: Colour
    trousers: Colour
    shoes: Colour
    pattern: Literal["plain", "stripes", "check"] = "plain"
    sleeve: float = Field(0.45, ge=0.2, le=1)
    """Share of the arm that the sleeve covers."""
    leg: float = Field(1.0, ge=0.35, le=1)
    """Share of the leg that the trousers cover."""
    hair_dm: float = Field(0.15, ge=0, le=0.6)
    """Thickness of the hair, decimetres."""
    hairline: float = Field(0.0, ge=-0.5, le=0.5)
    """How far the hairline lies above a young adult's, decimetres."""


def shirt_cover(base: np.ndarray, look: Look, soft: float) -> np.ndarray:
    """(N,) 0..1: collar to hip, and down the arms as far as `look.sleeve` says."""
    x, y, z = np.abs(base[:, 0]), base[:, 1], base[:, 2]
    from_neck = np.sqrt(x * x + (z - 0.2) ** 2) - 0.86  # the collar is a ring about the neck's axis
    below = 5.75 - 0.45 * np.clip(z + 0.3, 0.0, 1.0) - y  # higher at the nape than at the throat
    collar = soft_step(np.maximum(from_neck, below), 0.0, soft) * (y < 6.1)
    hem = soft_step(y, 0.25, soft)
    cuff = soft_step(-2.9 + 3.45 * look.sleeve, along_arm(base), soft)
    return collar * hem * np.where(is_arm(base), cuff, 1.0)


def along_arm(base: np.ndarray) -> np.ndarray:
    """(N,) decimetres down the arm: -2.85 at the shoulder, -0.58 at the elbow, 0.96 at the middle of the hand."""
    return 0.65 * np.abs(base[:, 0]) - 0.75 * base[:, 1]


def is_arm(base: np.ndarray) -> np.ndarray:
    """(N,) bool: beyond the armhole's seam."""
    return (np.abs(base[:, 0]) > 2.0) & (base[:, 1] > 1.0)


def trousers_cover(base: np.ndarray, look: Look, soft: float) -> np.ndarray:
    """(N,) 0..1: waist down to where `look.leg` says."""
    x, y = np.abs(base[:, 0]), base[:, 1]
    return soft_step(0.9, y, soft) * soft_step(y, -0.4 - 7.2 * look.leg, soft) * (x < 3.6)


def hair_cover(base: np.ndarray, look: Look, soft: float, ragged: np.ndarray | float = 0.0) -> np.ndarray:
    """Above a hairline that falls from the brow over the temples to the ears, and behind them to the nape."""
    x, y, z = np.abs(base[:, 0]), base[:, 1], base[:, 2]
    line = np.interp(z, _HAIRLINE_Z, _HAIRLINE_Y)
    line = line + look.hairline * np.clip(z, 0.0, 1.0)
    ear = (x > 0.6) & (y > 6.78) & (y < 7.38) & (z > 0.22) & (z < 0.74)
    return np.where(ear, 0.0, soft_step(y, line + 0.12 * ragged, soft))


def brow_cover(base: np.ndarray) -> np.ndarray:
    """(N,) 0..1: the eyebrows."""
    x, y, z = np.abs(base[:, 0]), base[:, 1], base[:, 2]
    arch = 7.53 + 0.16 * np.clip(x - 0.12, 0.0, 0.26) - 0.4 * np.clip(x - 0.38, 0.0, 1.0)
    thickness = 0.042 - 0.07 * np.clip(x - 0.25, 0.0, 0.35)
    reach = soft_step(x, 0.14, 0.06) * soft_step(0.55, x, 0.05) * (z > 1.0)
    return soft_step(thickness, np.abs(y - arch), 0.022) * reach


def soft_step(high: np.ndarray | float, low: np.ndarray | float, soft: float) -> np.ndarray:
    """0 where high is below low by `soft`, 1 where above by `soft`, smooth between."""
    t = np.clip((np.asarray(high) - low) / (2.0 * soft) + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def value_noise(point: np.ndarray, seed: int) -> np.ndarray:
    """(...,) smooth noise in [0, 1] at points (..., 3), one lattice cell per unit. Integer hash: no generator."""
    cell = np.floor(point)
    t = point - cell
    t = t * t * (3.0 - 2.0 * t)
    lattice = cell.astype(np.int64)
    total = np.zeros(point.shape[:-1])
    for corner in range(8):
        side = [(corner >> axis) & 1 for axis in range(3)]
        weight = 1.0
        for axis in range(3):
            weight = weight * (t[..., axis] if side[axis] else 1.0 - t[..., axis])
        total += weight * _hash(*(lattice[..., axis] + side[axis] for axis in range(3)), seed)
    return total


def _hash(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: int) -> np.ndarray:
    """(N,) in [0, 1): a multiply-and-shift mix of lattice coordinates, in wrapping uint32."""
    h = x.astype(np.uint32) * np.uint32(0x8DA6B343) + y.astype(np.uint32) * np.uint32(0xD8163841)
    h += z.astype(np.uint32) * np.uint32(0xCB1AB31F) + np.uint32(seed * 0x9E3779B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return (h ^ (h >> np.uint32(16))).astype(np.float64) / 4294967296.0
