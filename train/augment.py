"""Augmentation that is geometrically right: picture, labels and lens change together, once.

One affine map says where each pixel of the result lies in the stored picture. The picture is filtered over that
pixel's footprint; labels are looked up at its centre, among neighbours on the same surface, never across a silhouette.
Scaling and moving change K, not z; turning the picture turns normals as rolling the camera does.

Every choice comes from the generator that is passed in. Named ranges, and the official recipes for comparison:
`train.augment_presets`.
"""

import io
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


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
    arrays: Arrays, size: tuple[int, int], rng: np.random.Generator, plate: Tensor | None, how: Augment
) -> Arrays:
    """A sample as `how` says, in a frame of (H, W) = `size`.

    plate: (3, h, w) float32 0..255 to put behind the person; None for none. The draws do not depend on it.
    """
    if rng.random() < how.plate and plate is not None:
        arrays = replace_background(arrays, plate)
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
    step = math.sqrt(abs(np.linalg.det(picture_from_frame[:2, :2])))
    colour = _sample_colour(torch.cat([arrays.rgb, arrays.alpha * 255]), size, picture_from_frame, step)
    mask, labels = _sample_labels(arrays, size, picture_from_frame, step)
    turn = np.linalg.inv(picture_from_frame[:2, :2]) * step  # directions in the picture -> in the frame, y down
    x, y = labels[1], -labels[2]
    normal = torch.stack([turn[0, 0] * x + turn[0, 1] * y, -(turn[1, 0] * x + turn[1, 1] * y), labels[3]])
    return Arrays(
        rgb=colour[:3],
        alpha=colour[3:] / 255,
        mask=mask,
        depth=labels[:1],
        normal=torch.where(mask, F.normalize(normal, dim=0), 0.0).float(),
        trust=labels[4:],
        K=_move_lens(arrays.K, picture_from_frame, step),
    )


def replace_background(arrays: Arrays, plate: Tensor) -> Arrays:
    """The person before another picture, by soft alpha, with no fringe of the old background.

    plate: (3, h, w) 0..255; its middle is scaled to fill the picture.
    """
    height, width = arrays.rgb.shape[-2:]
    scale = max(height / plate.shape[1], width / plate.shape[2])
    behind = F.interpolate(
        plate[None], (max(height, round(plate.shape[1] * scale)), max(width, round(plate.shape[2] * scale))),
        mode="bilinear", antialias=True,
    )[0]  # fmt: skip
    top, left = (behind.shape[1] - height) // 2, (behind.shape[2] - width) // 2
    behind = behind[:, top : top + height, left : left + width]
    person = _grown(arrays.rgb, arrays.alpha >= 0.996)
    return replace(arrays, rgb=arrays.alpha * person + (1 - arrays.alpha) * behind)


def _grown(rgb: Tensor, opaque: Tensor, reach: int = 4) -> Tensor:
    """The person's own colour carried outwards over the soft edge, where the picture holds a mixture."""
    known, colour = opaque.float(), rgb * opaque
    for _ in range(reach):
        weight = F.avg_pool2d(known[None], 3, 1, 1)[0]
        spread = F.avg_pool2d(colour[None], 3, 1, 1)[0] / weight.clamp_min(1e-6)
        new = (known == 0) & (weight > 0)
        colour, known = torch.where(new, spread, colour), torch.where(new, 1.0, known)
    return torch.where(known > 0, colour, rgb)


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


def _centres(size: tuple[int, int], picture_from_frame: np.ndarray) -> tuple[Tensor, Tensor]:
    """(H, W) u and (H, W) v in the picture of the frame's pixel centres."""
    v, u = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5, indexing="ij")
    m = picture_from_frame
    return (
        torch.from_numpy(m[0, 0] * u + m[0, 1] * v + m[0, 2]),
        torch.from_numpy(m[1, 0] * u + m[1, 1] * v + m[1, 2]),
    )


def _sample_colour(colour: Tensor, size: tuple[int, int], picture_from_frame: np.ndarray, step: float) -> Tensor:
    """(C, H, W) means over the frame's pixels: halved while they are larger than two, then 2 x 2 points in each."""
    u_scale = 1.0
    while step >= 2 and min(colour.shape[-2:]) >= 2:
        colour = F.avg_pool2d(colour[None], 2, ceil_mode=True, count_include_pad=False)[0]
        step, u_scale = step / 2, u_scale / 2
    fine = 2 if step > 1 else 1
    half = np.diag([1 / fine, 1 / fine, 1])
    u, v = _centres((fine * size[0], fine * size[1]), picture_from_frame @ half)
    grid = torch.stack([2 * u * u_scale / colour.shape[2] - 1, 2 * v * u_scale / colour.shape[1] - 1], dim=-1)
    sampled = F.grid_sample(colour[None], grid[None].float(), mode="bilinear", align_corners=False)
    return (F.avg_pool2d(sampled, fine) if fine > 1 else sampled)[0]


def _sample_labels(
    arrays: Arrays, size: tuple[int, int], picture_from_frame: np.ndarray, step: float
) -> tuple[Tensor, Tensor]:
    """((1, H, W) mask, (5, H, W) depth, normal, trust) at the frame's pixel centres.

    Of the four neighbours those count that lie on the surface of the nearest one: depth apart by less than six pixels'
    width and a centimetre. That is linear interpolation inside a surface and none across edges.
    """
    mask, values = arrays.mask, torch.cat([arrays.depth, arrays.normal, arrays.trust])
    u, v = _centres(size, picture_from_frame)
    left, top = torch.floor(u - 0.5), torch.floor(v - 0.5)
    right_share, low_share = (u - 0.5 - left), (v - 0.5 - top)
    height, width = mask.shape[-2:]
    taps, weights, inside = [], [], []
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = (left + dx).long(), (top + dy).long()
            within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            taps.append(values.flatten(1)[:, flat])  # (5, H, W)
            inside.append(within & mask.flatten()[flat])
            weights.append((right_share if dx else 1 - right_share) * (low_share if dy else 1 - low_share))
    weight, tap, hit = torch.stack(weights).float(), torch.stack(taps), torch.stack(inside)  # (4, ...)
    nearest = weight.argmax(0, keepdim=True)
    found = hit.gather(0, nearest)[0]
    reference = tap[:, 0].gather(0, nearest)
    tolerance = 0.01 + 6 * reference / float(arrays.K[0, 0])
    weight = weight * (hit & ((tap[:, 0] - reference).abs() < tolerance))
    mean = (tap * weight[:, None]).sum(0) / weight.sum(0).clamp_min(1e-6)
    return found[None], torch.where(found, mean, 0.0)


def _move_lens(K: Tensor, picture_from_frame: np.ndarray, step: float) -> Tensor:
    """K of the frame: focal length in its pixels, principal point where the picture's has gone."""
    centre = np.linalg.solve(picture_from_frame, np.array([K[0, 2], K[1, 2], 1.0]))
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
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    across = F.conv2d(F.pad(rgb[None], (reach, reach, 0, 0), mode="replicate"), kernel, groups=3)
    down = F.pad(across, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(down, kernel.transpose(2, 3), groups=3)[0]


def _through_jpeg(rgb: Tensor, quality: int) -> Tensor:
    pixels = rgb.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()  # (H, W, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float()  # (3, H, W)
