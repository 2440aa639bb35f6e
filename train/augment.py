"""Augmentation that is geometrically right: picture, labels and lens change together, once.

One similarity map says where each pixel of the result lies in the stored picture; `train.resample` looks both up there.
Scaling and moving change K, not z; turning the picture turns normals as rolling the camera does.

Every choice comes from the generator that is passed in. Named ranges, and the official recipes for comparison:
`train.augment_presets`.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from train.composite import replace_background
from train.resample import Labels, sample_colour, sample_labels


@dataclass(frozen=True, eq=False)
class Arrays:
    """A sample on its way to the model. Labels are 0 where `mask` is not set."""

    rgb: Tensor
    """(3, H, W) float32, sRGB-encoded, 0..255."""
    alpha: Tensor
    """(1, H, W) float32, soft coverage of the person, 0..1."""
    mask: Tensor
    """(1, H, W) bool: person pixels with labels."""
    depth: Tensor
    """(1, H, W) float32, planar z, metres."""
    normal: Tensor
    """(3, H, W) float32, unit, OpenGL camera frame: x right, y up, z towards the camera."""
    trust: Tensor
    """(1, H, W) float32, 0..1."""
    K: Tensor
    """(3, 3) float64, pixel centres at half-integer coordinates: the picture spans [0, W] x [0, H]."""


#: Reads a picture to put behind people: (3, h, w) float32, 0..255.
Plate = Callable[[], Tensor]


@dataclass(frozen=True)
class Augment:
    """Probabilities and ranges; 0 and (1, 1) leave a sample alone."""

    zoom: tuple[float, float] = (1.0, 1.0)
    """How much closer than the whole picture, log-uniform; the window holds a pixel of the person near its middle."""
    zoomed: float = 0.0
    """Probability of a zoom."""
    flip: float = 0.0
    """Probability of a mirror image."""
    turn_deg: float = 0.0
    """Largest turn of the picture, either way, uniform."""
    turned: float = 0.0
    """Probability of a turn."""
    colour: float = 0.0
    """Probability of each of: brightness +-32, contrast and saturation 0.5..1.5, hue +-18 degrees."""
    blur: float = 0.0
    """Probability of a Gaussian blur, sigma 0.3..1.5 px."""
    noise: float = 0.0
    """Probability of Gaussian noise, sigma 1..8 of 255."""
    jpeg: float = 0.0
    """Probability of JPEG at quality 35..95."""
    resample: float = 0.0
    """Probability that the picture went through a size 0.3..0.9 of its own."""
    plate: float = 0.0
    """Probability of another background behind the person, where plates are given."""


def augment(
    arrays: Arrays, size: tuple[int, int], rng: np.random.Generator, plate: Plate | None, how: Augment
) -> Arrays:
    """A sample as `how` says, in a frame of (H, W) = `size`.

    plate: what to put behind the person, read only if it is needed; None for none. The draws do not depend on it.
    """
    if rng.random() < how.plate and plate is not None:
        arrays = replace(arrays, rgb=replace_background(arrays.rgb, arrays.alpha, plate()))
    arrays = resample(arrays, size, _draw_window(arrays, size, how, rng))
    return replace(arrays, rgb=photometric(arrays.rgb, how, rng))


def fit(arrays: Arrays, size: tuple[int, int]) -> Arrays:
    """The whole picture in a frame of (H, W) = `size`: aspect kept, centred, black around."""
    return resample(arrays, size, whole(arrays.rgb.shape[-2:], size))


def whole(shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(3, 3) map from the frame's pixels to the picture's, both spanning [0, W] x [0, H], that shows all of it."""
    step = max(shape[0] / size[0], shape[1] / size[1])
    return _window((shape[1] / 2, shape[0] / 2), size, step, 0.0, False)


def resample(arrays: Arrays, size: tuple[int, int], picture_from_frame: np.ndarray) -> Arrays:
    """The sample as the frame sees it. picture_from_frame: (3, 3) similarity, perhaps mirrored."""
    if arrays.rgb.shape[-2:] == torch.Size(size):  # nothing to interpolate: exact, and a tenth of the time
        if np.array_equal(picture_from_frame, np.eye(3)):
            return arrays
        if np.array_equal(picture_from_frame, [[-1, 0, size[1]], [0, 1, 0], [0, 0, 1]]):
            return _mirrored(arrays)
    step = math.hypot(*picture_from_frame[:2, 0])
    colour = sample_colour(torch.cat([arrays.rgb, arrays.alpha * 255]), size, picture_from_frame, step)
    stored = Labels(arrays.mask, arrays.depth, arrays.normal, arrays.trust)
    labels = sample_labels(stored, float(arrays.K[0, 0]), size, picture_from_frame, step)
    K = _move_lens(arrays.K, picture_from_frame, step)
    return Arrays(colour[:3], colour[3:] / 255, labels.mask, labels.depth, labels.normal, labels.trust, K)


def _mirrored(arrays: Arrays) -> Arrays:
    """Left for right: pixels, the directions of normals, and the lens."""
    names = ("rgb", "alpha", "mask", "depth", "normal", "trust")
    flipped = {name: getattr(arrays, name).flip(-1) for name in names}
    flipped["normal"][0].neg_()
    K = arrays.K.clone()
    K[0, 2] = arrays.rgb.shape[-1] - K[0, 2]
    return Arrays(**flipped, K=K)


def _draw_window(arrays: Arrays, size: tuple[int, int], how: Augment, rng: np.random.Generator) -> np.ndarray:
    """Which part of the picture the frame shows."""
    height, width = arrays.rgb.shape[-2:]
    step = max(height / size[0], width / size[1])
    zoom = math.exp(rng.uniform(*(math.log(z) for z in how.zoom))) if rng.random() < how.zoomed else 1.0
    turn = math.radians(rng.uniform(-how.turn_deg, how.turn_deg)) if rng.random() < how.turned else 0.0
    flip, offset, chosen = rng.random() < how.flip, rng.uniform(-0.3, 0.3, 2), rng.random()
    centre = middle = np.array([width / 2, height / 2])
    if zoom > 1:
        step /= zoom
        person = np.flatnonzero(arrays.mask.numpy())
        if person.size:
            row, column = divmod(int(person[int(chosen * person.size)]), width)
            window = step * np.array([size[1], size[0]])
            centre = np.array([column + 0.5, row + 0.5]) + offset * window
            if not turn:  # no black where there is a picture; a turned window could lose the person by it
                room = np.maximum((np.array([width, height]) - window) / 2, 0)
                centre = np.clip(centre, middle - room, middle + room)
    return _window(centre, size, step, turn, flip)


def _window(centre: tuple[float, float], size: tuple[int, int], step: float, turn: float, flip: bool) -> np.ndarray:
    """(3, 3): frame of (H, W) pixels, `step` picture pixels each, turned and mirrored about `centre` (u, v)."""
    c, s, mirror = math.cos(turn), math.sin(turn), -1.0 if flip else 1.0
    linear = step * np.array([[c * mirror, -s], [s * mirror, c]])
    moved = np.eye(3)
    moved[:2, :2] = linear
    moved[:2, 2] = np.asarray(centre) - linear @ [size[1] / 2, size[0] / 2]
    return moved


def _move_lens(K: Tensor, picture_from_frame: np.ndarray, step: float) -> Tensor:
    """K of the frame: focal length in its pixels, principal point where the picture's has gone."""
    moved_px = np.array([K[0, 2], K[1, 2]]) - picture_from_frame[:2, 2]
    centre = picture_from_frame[:2, :2].T @ moved_px / step**2
    moved = torch.eye(3, dtype=torch.float64)
    moved[0, 0], moved[1, 1] = K[0, 0] / step, K[1, 1] / step
    moved[0, 2], moved[1, 2] = centre[0], centre[1]
    return moved


def photometric(rgb: Tensor, how: Augment, rng: np.random.Generator) -> Tensor:
    """(3, H, W) with other colours, resampled, blurred, noisy, through JPEG, each with its probability."""
    do = rng.random(8) < [how.colour] * 4 + [how.resample, how.blur, how.noise, how.jpeg]
    brightness, contrast, saturation, hue = rng.uniform([-32, 0.5, 0.5, -18], [32, 1.5, 1.5, 18])
    size, sigma, spread, quality = rng.uniform([0.3, 0.3, 1, 35], [0.9, 1.5, 8, 95])
    if do[0]:
        rgb = rgb + brightness
    if do[1]:
        rgb = rgb * contrast
    rgb = rgb.clamp(0, 255)
    if do[2] or do[3]:
        rgb = _colour_turned(rgb, saturation if do[2] else 1.0, math.radians(hue) if do[3] else 0.0).clamp(0, 255)
    if do[4]:
        small = [max(1, round(side * size)) for side in rgb.shape[-2:]]
        smaller = F.interpolate(rgb[None], small, mode="bilinear", antialias=True)
        rgb = F.interpolate(smaller, rgb.shape[-2:], mode="bilinear", align_corners=False)[0]
    if do[5]:
        rgb = _blurred(rgb, sigma)
    if do[6]:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32)
        rgb = (rgb + float(spread) * torch.from_numpy(noise)).clamp(0, 255)
    return _through_jpeg(rgb, int(quality)) if do[7] else rgb


def _colour_turned(rgb: Tensor, saturation: float, hue: float) -> Tensor:
    """Chroma scaled and turned about grey, in Rec. 601 YIQ: linear, so that noise stays noise."""
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    c, s = saturation * math.cos(hue), saturation * math.sin(hue)
    change = torch.tensor([[1.0, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float32)
    return torch.einsum("ij,jhw->ihw", torch.linalg.inv(to_yiq) @ change @ to_yiq, rgb)


def _blurred(rgb: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    shares = (kernel / kernel.sum()).tolist()
    for axis, sides in ((2, (reach, reach, 0, 0)), (1, (0, 0, reach, reach))):
        wide, rgb = F.pad(rgb[None], sides, mode="replicate")[0], torch.zeros_like(rgb)
        for i, share in enumerate(shares):  # a tenth of a convolution's time on a CPU
            rgb.add_(wide.narrow(axis, i, rgb.shape[axis]), alpha=share)
    return rgb


def _through_jpeg(rgb: Tensor, quality: int) -> Tensor:
    pixels = rgb.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()  # (H, W, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float()  # (3, H, W)
