"""Labels as pictures: which colours depth, normals, masks and coverage are shown in.

For eyes only: nothing here is stored with a dataset or trained on. Arrays in, uint8 arrays out, all pure. Next:
`synth.report_embed` puts the pictures into a page, `synth.report_sheet` onto a contact sheet.
"""

import numpy as np

from synth.camera import GL_FROM_CV
from synth.sample import Sample

#: Viridis as a polynomial of degree 6 in t, far 0 to near 1; rows: powers, columns: red, green, blue. Fit of the
#: public-domain table of matplotlib (M. Zucker, shadertoy WlfXRN). Lightness rises steadily, so grey prints work too.
_VIRIDIS = np.array(
    [
        (0.2777273272, 0.0054073445, 0.3340998053),
        (0.1050930431, 1.4046135299, 1.3845901626),
        (-0.3308618287, 0.2148475595, 0.0950951630),
        (-4.6342304990, -5.7991009734, -19.3324409563),
        (6.2282699363, 14.1799333668, 56.6905526007),
        (4.7763849977, -13.7451453777, -65.3530326334),
        (-5.4354558559, 4.6458526122, 26.3124352496),
    ]
)

#: Depth levels: 0 is no subject, 1 the far end of the range, 254 the near end, 255 no number.
_NEAR_LEVEL, _BAD_LEVEL = 254, 255
#: Share of the subject, percent, below and above which depth is clipped: one stray lock must not flatten a face.
_CLIPPED_PERCENT = 1.0

#: No subject, in depth and normals: neutral, darker than any depth.
NO_SUBJECT = (24, 24, 24)
#: A label that is no number.
NOT_A_NUMBER = (255, 0, 255)
#: Outline of the mask on top of the colour picture.
OUTLINE = (0, 255, 160)


def depth_colors() -> np.ndarray:
    """The colour of each level of `depth_levels`: (256, 3) uint8."""
    t = np.linspace(0, 1, _NEAR_LEVEL)[:, None]
    colors = np.clip(sum(c * t**power for power, c in enumerate(_VIRIDIS)), 0, 1)
    return np.concatenate([[NO_SUBJECT], np.round(255 * colors), [NOT_A_NUMBER]]).astype(np.uint8)


def measure_depth_range(sample: Sample) -> tuple[float, float] | None:
    """Near and far end, metres, of the colours: the 1st and 99th percentile of the subject's depth.

    None where no pixel of the subject has a finite depth.
    """
    depth = sample.depth_m[sample.mask & np.isfinite(sample.depth_m)]
    if not depth.size:
        return None
    near, far = np.percentile(depth, (_CLIPPED_PERCENT, 100 - _CLIPPED_PERCENT))
    return float(near), float(far)


def measure_depth_reach(sample: Sample) -> tuple[float, float] | None:
    """Nearest and farthest depth of the subject, metres, between which `depth_codes` counts.

    None where no pixel of the subject has a finite depth.
    """
    depth = sample.depth_m[sample.mask & np.isfinite(sample.depth_m)]
    return (float(depth.min()), float(depth.max())) if depth.size else None


def depth_codes(sample: Sample, height: int) -> np.ndarray:
    """Depth and instance as one picture, (h, w, 3) uint8 of at most `height` rows, for a page that makes points of it.

    Red and green are the high and the low byte of 65535 (z - near) / (far - near) over `measure_depth_reach`, blue is
    the instance; all 0 where no subject has a finite depth.
    """
    near, far = measure_depth_reach(sample) or (0.0, 1.0)
    depth, instance = shrink_labels(sample.depth_m, height), shrink_labels(sample.instance, height)
    seen = (instance > 0) & np.isfinite(depth)
    share = (np.where(seen, depth, near).astype(np.float64) - near) / max(far - near, 1e-9)
    code = np.round(65535 * share).astype(np.uint16)
    return np.stack([code >> 8, code & 255, np.where(seen, instance, 0)], axis=-1).astype(np.uint8)


def depth_levels(sample: Sample, height: int) -> np.ndarray:
    """Depth as a level of `depth_colors`: (h, w) uint8 of at most `height` rows.

    254 is the near end of `measure_depth_range`, 1 the far end, clipped between; 0 no subject; 255 where a subject has
    no finite depth or depth is no number, nowhere in a good sample.
    """
    near, far = measure_depth_range(sample) or (0.0, 1.0)
    depth, mask = shrink_labels(sample.depth_m, height), shrink_labels(sample.instance, height) > 0
    finite = np.isfinite(depth)
    nearness = (far - np.where(finite, depth, far)) / max(far - near, 1e-9)
    levels = 1 + np.round(np.clip(nearness, 0, 1) * (_NEAR_LEVEL - 1))
    bad = (finite != mask) | np.isnan(depth)
    return np.select([bad, finite], [_BAD_LEVEL, levels], 0).astype(np.uint8)


def depth_picture(sample: Sample) -> np.ndarray:
    """Depth as colour, (H, W, 3) uint8: near is bright yellow, far dark violet."""
    return depth_colors()[depth_levels(sample, sample.mask.shape[0])]


def normal_picture(normal: np.ndarray) -> np.ndarray:
    """Camera normals (H, W, 3) in the colours people know, uint8: 0.5 n + 0.5 of the OpenGL view.

    Stored normals have OpenCV axes; here red is right, green up, blue towards the viewer.
    """
    known = np.isfinite(normal).all(axis=-1)
    gl = np.where(known[..., None], normal, 0) @ GL_FROM_CV[:3, :3]
    picture = np.round(255 * np.clip(0.5 * gl + 0.5, 0, 1)).astype(np.uint8)
    picture[~gl.any(axis=-1)] = NO_SUBJECT
    picture[~known] = NOT_A_NUMBER
    return picture


def mask_picture(instance: np.ndarray) -> np.ndarray:
    """Instances (H, W) as grey, uint8: black background, the first subject white, further ones darker in turn."""
    count = max(int(instance.max()), 1)
    grey = np.round(np.linspace(255, 96, count)) if count > 1 else np.array([255.0])
    return np.concatenate([[0], grey]).astype(np.uint8)[instance]


def mask_edge(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask (H, W) that have a neighbour outside it, left, right, above or below: bool."""
    padded = np.pad(mask, 1, mode="edge")  # the frame's border is no silhouette
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def overlay_picture(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The colour picture (H, W, 3) with the mask's outline drawn on it."""
    picture = rgb.copy()
    picture[mask_edge(mask)] = OUTLINE
    return picture


def shrink_labels(array: np.ndarray, height: int) -> np.ndarray:
    """A label (H, W, …) at no more than `height` rows, each pixel the nearest of the original: labels never blend."""
    h, w = array.shape[:2]
    if h <= height:
        return array
    width = max(1, round(w * height / h))
    rows = ((np.arange(height) + 0.5) * h / height).astype(int)
    columns = ((np.arange(width) + 0.5) * w / width).astype(int)
    return array[rows[:, None], columns[None, :]]
