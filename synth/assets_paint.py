"""The texture of a demo body, painted by us.

No texture of a clothed person could be had under a licence that lets us hand it on. So: skin tinted by MakeHuman's CC0
maps of blood flow, lips and nails; eyes, brows and hair by position; cloth with weave, folds and stripes. Where cloth
and hair are is decided in `synth.assets_look`; the shape comes from `synth.assets_body`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from synth.assets_look import (
    Look,
    along_arm,
    brow_cover,
    hair_cover,
    is_arm,
    shirt_cover,
    soft_step,
    trousers_cover,
    value_noise,
)

SIZE = 2048
"""Sides of the texture, texels: about 1.5 texels per millimetre on the face."""
PADDING = 6
"""Texels by which islands grow, so that filtering at a seam finds no background."""


@dataclass(frozen=True)
class Canvas:
    """What all bodies share: texels in use, where on the body each lies, and noise there."""

    texel: np.ndarray  # (N,) int, flat index into the (SIZE, SIZE) picture
    base: np.ndarray  # (N, 3) decimetres, space `base`
    eye: np.ndarray  # (N,) bool
    shoe: np.ndarray  # (N,) bool
    blush: np.ndarray  # (N,) 0..1
    lips: np.ndarray  # (N,) 0..1
    nails: np.ndarray  # (N,) 0..1
    mouth: np.ndarray  # (N,) 0..1
    fine: np.ndarray  # (N,) 0..1 noise, millimetres
    coarse: np.ndarray  # (N,) 0..1 noise, centimetres
    strand: np.ndarray  # (N,) 0..1 noise, thin and long
    nearest: np.ndarray  # (SIZE * SIZE,) int, which of the N texels colours this one


def prepare_canvas(
    base: np.ndarray,
    uv: np.ndarray,
    quads: np.ndarray,
    quads_uv: np.ndarray,
    shoe: np.ndarray,
    read: Callable[[str], bytes],
) -> Canvas:
    """Rasterise the UV map once. base (V, 3), uv (T, 2), quads and quads_uv (F, 4), shoe (V,) bool."""
    owner, weights = _rasterise(uv, quads_uv)
    texel = np.flatnonzero(owner >= 0)
    triangle = _triangles(quads)[owner[texel]]  # (N, 3)
    w = weights[texel]
    point = sum(w[:, i, None] * base[triangle[:, i]] for i in range(3))
    eye_uv = (uv[:, 0] > 0.765) & (uv[:, 1] > 0.855)
    eye = eye_uv[_triangles(quads_uv)[owner[texel]][:, 0]]
    blush = (_mask(read("textures/sss.png"))[texel] - 77.0) / 40.0
    return Canvas(
        texel=texel,
        base=point,
        eye=eye,
        shoe=shoe[triangle[:, 0]],
        blush=np.clip(blush, 0.0, 1.0),
        lips=_mask(read("textures/mpfb_lips.jpg"))[texel] / 255.0,
        nails=_mask(read("textures/mpfb_fingernails.jpg"))[texel] / 255.0,
        mouth=_mask(read("textures/mpfb_inside-mouth.jpg"))[texel] / 255.0,
        fine=value_noise(point * 45.0, seed=1),
        coarse=0.6 * value_noise(point * 3.0, seed=2) + 0.4 * value_noise(point * 9.0, seed=3),
        strand=value_noise(point * [70.0, 9.0, 70.0], seed=4),
        nearest=_nearest(texel),
    )


def paint(canvas: Canvas, look: Look) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8 texture, sRGB, first row at the top."""
    base = canvas.base
    colour = _skin(canvas, look)
    hair = hair_cover(base, look, 0.05, ragged=canvas.strand - 0.5)
    brow = brow_cover(base) * (0.3 + 0.6 * canvas.strand)
    hair_colour = np.array(look.hair) * (0.72 + 0.5 * canvas.strand)[:, None]
    colour = _over(colour, hair_colour, np.maximum(hair, brow))
    weave = _weave(canvas.texel)
    cloth_shade = (0.86 + 0.16 * canvas.coarse + 0.10 * weave)[:, None]
    denim = np.array(look.trousers) * cloth_shade * _denim(canvas)[:, None]
    colour = _over(colour, denim, trousers_cover(base, look, 0.02))
    colour = _over(colour, _shirt_colour(base, look) * cloth_shade, shirt_cover(base, look, 0.02))
    sole = soft_step(-7.95, base[:, 1], 0.02)
    sock = soft_step(base[:, 1], -7.2 - 0.2 * np.clip(base[:, 2], 0.0, 1.0), 0.02)
    pale = np.array([222.0, 220.0, 214.0]) * cloth_shade
    shoe = _over(np.array(look.shoes) * cloth_shade, pale, np.maximum(sole, sock))
    colour = np.where(canvas.shoe[:, None], shoe, colour)
    colour = np.where(canvas.eye[:, None], _eye(base, look, canvas.fine), colour)
    return np.floor(np.clip(colour, 0.0, 255.0) + 0.5).astype(np.uint8)[canvas.nearest].reshape(SIZE, SIZE, 3)


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as PNG."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=6)
    return out.getvalue()


def _skin(canvas: Canvas, look: Look) -> np.ndarray:
    skin = np.array(look.skin, float)
    shade = 0.95 + 0.06 * canvas.coarse + 0.05 * canvas.fine
    colour = skin * shade[:, None]
    colour = _over(colour, skin * [0.98, 0.74, 0.70] * shade[:, None], 0.75 * canvas.blush)
    colour = _over(colour, skin * [0.82, 0.52, 0.52], 0.6 * canvas.lips)
    colour = _over(colour, skin * [0.45, 0.22, 0.22], canvas.mouth)
    return _over(colour, skin * [1.06, 0.98, 0.95] + 8.0, 0.7 * canvas.nails)


def _eye(base: np.ndarray, look: Look, fine: np.ndarray) -> np.ndarray:
    """Iris of 6 mm and pupil of 2 mm radius about the eyeball's axis, which looks along +z."""
    dx, dy = np.abs(base[:, 0]) - 0.315, base[:, 1] - 7.285
    radius = np.sqrt(dx * dx + dy * dy)
    front = soft_step(base[:, 2], 1.25, 0.01)
    white = np.array([226.0, 220.0, 214.0]) * (0.97 + 0.05 * fine)[:, None]
    iris = np.array(look.eyes) * (0.75 + 0.6 * fine)[:, None]
    colour = _over(white, iris * 0.45, front * soft_step(0.066, radius, 0.006))
    colour = _over(colour, iris, front * soft_step(0.056, radius, 0.006))
    return _over(colour, np.array([12.0, 10.0, 10.0]), front * soft_step(0.024, radius, 0.004))


def _shirt_colour(base: np.ndarray, look: Look) -> np.ndarray:
    first, second = np.array(look.shirt, float), np.array(look.shirt2, float)
    arm = is_arm(base)  # a sleeve's stripes run round the arm
    along = _triangle_wave(np.where(arm, along_arm(base), base[:, 1]), 0.7)
    across = _triangle_wave(np.where(arm, base[:, 2], base[:, 0]), 0.7)
    if look.pattern == "plain":
        share = 0.0 * along
    elif look.pattern == "stripes":
        share = soft_step(along, 0.5, 0.04)
    else:
        share = 0.5 * (soft_step(along, 0.55, 0.04) + soft_step(across, 0.55, 0.04))
    return _over(np.broadcast_to(first, base.shape), second, share)


def _denim(canvas: Canvas) -> np.ndarray:
    worn = np.clip(1.0 - np.abs(canvas.base[:, 1] + 3.0) / 3.0, 0.0, 1.0) * soft_step(canvas.base[:, 2], 0.5, 0.6)
    return 0.94 + 0.16 * worn * canvas.coarse + 0.08 * canvas.strand


def _over(under: np.ndarray, upper: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return under + (upper - under) * cover[:, None]


def _triangle_wave(x: np.ndarray, period: float) -> np.ndarray:
    phase = x / period - np.floor(x / period)
    return 1.0 - np.abs(2.0 * phase - 1.0)


def _weave(texel: np.ndarray) -> np.ndarray:
    """(N,) 0..1: threads two texels wide, over and under."""
    row, column = texel // SIZE, texel % SIZE
    over = ((row // 2) + (column // 2)) % 2
    return np.where(over == 0, row % 2, 1 - column % 2) * 1.0


def _triangles(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _rasterise(uv: np.ndarray, quads_uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(owner, weights): per texel the triangle over its centre or -1, (SIZE²,), and barycentric weights (SIZE², 3)."""
    owner = np.full((SIZE, SIZE), -1, np.int64)
    weights = np.zeros((SIZE, SIZE, 3))
    corners = np.stack([uv[:, 0] * SIZE, (1.0 - uv[:, 1]) * SIZE], axis=1)[_triangles(quads_uv)]  # (F, 3, xy)
    low = np.maximum(np.floor(corners.min(axis=1) - 0.5).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=1) + 0.5).astype(int), SIZE)
    for face, ((ax, ay), (bx, by), (cx, cy)) in enumerate(corners.tolist()):
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        (x0, y0), (x1, y1) = low[face], high[face]
        x, y = np.arange(x0, x1)[None, :] + 0.5, np.arange(y0, y1)[:, None] + 0.5
        wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        wa = 1.0 - wb - wc
        inside = (wa >= -1e-9) & (wb >= -1e-9) & (wc >= -1e-9)
        owner[y0:y1, x0:x1][inside] = face
        weights[y0:y1, x0:x1][inside] = np.stack([wa, wb, wc], axis=2)[inside]
    return owner.ravel(), weights.reshape(-1, 3)


def _nearest(texel: np.ndarray) -> np.ndarray:
    """(SIZE²,) for each texel the painted one that colours it; islands grow by PADDING, the rest takes the first."""
    source = np.full((SIZE, SIZE), -1, np.int64)
    source.ravel()[texel] = np.arange(len(texel))
    for _ in range(PADDING):
        grown = source.copy()
        for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            moved = np.roll(source, shift, axis=axis)
            grown = np.where(grown < 0, moved, grown)
        source = grown
    return np.maximum(source, 0).ravel()


def _mask(data: bytes) -> np.ndarray:
    """(SIZE²,) grey values 0..255 of a picture of MakeHuman's map."""
    with Image.open(io.BytesIO(data)) as picture:
        if picture.size != (SIZE, SIZE):
            raise ValueError(f"MakeHuman's masks are {SIZE} x {SIZE}, this one is {picture.size}")
        return np.asarray(picture.convert("RGB"), np.float64)[..., 0].ravel()
