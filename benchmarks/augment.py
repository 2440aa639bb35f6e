"""How far labels lie beside the picture after augmentation, ours and the official ones; the truth is a closed form.

    python benchmarks/augment.py [--samples 40]

An ellipsoid body, 2048 x 1536, is augmented to 1024 x 768. The picture is a pair of ramps of its own coordinates, and
in place of depth each coordinate is carried through once: so every pixel of the result says which point of the body
its colour shows and from which point its label comes. Normals are compared with the ellipsoid's at the point shown.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose train.py would be taken for the package

import numpy as np
import torch

from train.augment import Arrays, Augment, augment
from train.augment_presets import OURS, PRESETS, Recipe

#: What the project promises, as medians: pixels of the result, and degrees.
MOST_PX, MOST_DEG = 0.2, 0.2
_SIZE, _FRAME = (2048, 1536), (1024, 768)
#: Without colour, noise and compression: these would hide the ramps, and move nothing.
_STILL = replace(OURS, zoomed=1.0, turned=0.5, colour=0.0, blur=0.0, noise=0.0, jpeg=0.0, resample=0.0, plate=0.0)
_FOCAL, _CENTRE_PX = 2600.0, np.array([760.0, 1010.0])
_MIDDLE, _RADII = np.array([0.02, -0.03, 3.0]), np.array([0.42, 1.0, 0.25])


@dataclass(frozen=True)
class Errors:
    """Of one augmented sample, medians over the body: pixels between label and picture, degrees of normals."""

    apart_px: float
    normal_deg: float


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    print(f"{'recipe':<20} {'apart px: median':>17} {'worst':>7} {'normals deg: median':>20} {'worst':>7}")
    for name, recipe in recipes().items():
        found = [e for seed in range(arguments.samples) if (e := measure(recipe, seed)) is not None]
        apart, angle = [e.apart_px for e in found], [e.normal_deg for e in found]
        print(f"{name:<20} {np.median(apart):>17.3f} {max(apart):>7.3f} {np.median(angle):>20.3f} {max(angle):>7.3f}")
        if name == "ours":
            good = max(apart) < MOST_PX and max(angle) < MOST_DEG
            print(f"  {'PASS' if good else 'FAIL'}: every sample's median below {MOST_PX} px and {MOST_DEG} degrees")
    return 0 if good else 1


def recipes() -> dict[str, Recipe]:
    """Ours and the official ones, without their changes of colour."""
    official = {name: partial(recipe, colour=Augment()) for name, recipe in PRESETS.items() if "official" in name}
    return {"ours": partial(augment, how=_STILL), **official}


def measure(
    recipe: Recipe, seed: int, spoil: Callable[[Arrays], Arrays] = lambda made: made, shrink: int = 1
) -> Errors | None:
    """Errors of sample number `seed`; None where too little of the body is in the frame.

    spoil: a mistake made on purpose, to see that it is seen. shrink: of picture and frame, for tests.
    """
    body = scene(shrink)
    height, width = body.mask.shape[1:]
    frame = (_FRAME[0] // shrink, _FRAME[1] // shrink)
    v, u = (torch.from_numpy(a).float() for a in np.indices((height, width)) + 0.5)
    passes = []
    for carried in (u, v):
        labels = torch.where(body.mask, carried[None] + 1000, 0.0)  # far from 0, where a surface ends
        made = recipe(replace(body, depth=labels), frame, np.random.default_rng(seed), None)
        passes.append(spoil(made))
    made = passes[0]
    shown = _shown(made, (height, width))
    if shown is None:
        return None
    label = torch.stack([made.depth[0], passes[1].depth[0]]).numpy().astype(np.float64) - 1000
    across, down = np.gradient(shown, axis=2), np.gradient(shown, axis=1)  # picture pixels per pixel of the result
    jacobian = np.stack([across, down], axis=-1).transpose(1, 2, 0, 3)  # (H, W, 2, 2): (u, v) by (column, row)
    inside = made.mask[0].numpy() & _interior(made.mask[0].numpy())
    inside &= np.abs(np.linalg.det(jacobian)) > 1e-3
    if inside.sum() < 1000 / shrink**2:
        return None
    apart = np.linalg.solve(jacobian[inside], (label - shown).transpose(1, 2, 0)[inside][..., None])[..., 0]
    truth = _normals_at(shrink * shown.transpose(1, 2, 0)[inside])
    turn = np.linalg.inv(_rotation(np.median(jacobian[inside], axis=0)))  # directions of the picture in the frame
    truth[:, :2] = truth[:, :2] @ turn.T
    ours = made.normal.numpy().transpose(1, 2, 0)[inside].astype(np.float64) * [1, -1, -1]
    angle = np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(ours - truth, axis=1) / 2, 0, 1)))
    return Errors(float(np.median(np.linalg.norm(apart, axis=1))), float(np.median(angle)))


def scene(shrink: int = 1) -> Arrays:
    """The ellipsoid with its normals; the picture's red and green are its column and row, from 16 to 240."""
    size = (_SIZE[0] // shrink, _SIZE[1] // shrink)
    rows, columns = np.indices(size) + 0.5
    ramps = np.stack([columns / size[1], rows / size[0], 0 * rows]) * 224 + 16
    points = shrink * np.stack([columns, rows], axis=-1).reshape(-1, 2)
    normal = _normals_at(points).reshape(*size, 3)
    mask = np.isfinite(normal).all(-1)
    normal = np.where(mask[..., None], normal * [1, -1, -1], 0)  # to OpenGL's frame
    cu, cv = _CENTRE_PX / shrink
    return Arrays(
        rgb=torch.from_numpy(ramps).float(),
        alpha=torch.from_numpy(mask)[None].float(),
        mask=torch.from_numpy(mask)[None],
        depth=torch.zeros(1, *size),
        normal=torch.from_numpy(normal).permute(2, 0, 1).float(),
        trust=torch.from_numpy(mask)[None].float(),
        # One surface, whatever is carried in place of depth: with this lens no step is a jump.
        K=torch.tensor([[1.0, 0, cu], [0, 1.0, cv], [0, 0, 1]], dtype=torch.float64),
    )


def _normals_at(points: np.ndarray) -> np.ndarray:
    """(N, 3) unit, OpenCV camera frame, of the ellipsoid seen at (N, 2) points of the picture; NaN beside it."""
    rays = np.concatenate([(points - _CENTRE_PX) / _FOCAL, np.ones((len(points), 1))], axis=1)
    d, o = rays / _RADII, -_MIDDLE / _RADII
    a, b, c = (d * d).sum(1), (d * o).sum(1), (o * o).sum() - 1
    with np.errstate(invalid="ignore"):
        t = (-b - np.sqrt(b * b - a * c)) / a
    normal = (rays * t[:, None] - _MIDDLE) / _RADII**2
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _shown(made: Arrays, size: tuple[int, int]) -> np.ndarray | None:
    """(2, H, W) point of the picture that each pixel of the result shows, read off the ramps.

    None where colours were changed: brightness and contrast cannot be told from a shift.
    """
    ramps = made.rgb[:2].numpy().astype(np.float64)
    if float(made.rgb[2][made.mask[0]].sub(16).abs().max() if made.mask.any() else 99) > 1e-2:
        return None
    return (ramps - 16) / 224 * np.array([size[1], size[0]])[:, None, None]


def _interior(mask: np.ndarray, reach: int = 3) -> np.ndarray:
    """Pixels at least `reach` from the edge of the mask or of the frame, where ramps and slopes are whole."""
    inner = torch.nn.functional.max_pool2d(~torch.from_numpy(mask)[None, None].bool() * 1.0, 2 * reach + 1, 1, reach)
    inner = inner[0, 0].numpy() == 0
    inner[:reach], inner[-reach:], inner[:, :reach], inner[:, -reach:] = False, False, False, False
    return inner


def _rotation(matrix: np.ndarray) -> np.ndarray:
    """The nearest rotation or reflection."""
    u, _, vh = np.linalg.svd(matrix)
    return u @ vh


if __name__ == "__main__":
    sys.exit(main())
