"""Sample: the arrays of one image with its recipe, and the check that decides whether it may be kept.

Labels are stated per pixel centre; see `synth.camera` for frames. `synth.codec` turns a sample into bytes and
back; the check looks at what came back, so that nothing is kept that was only good before rounding.
"""

from dataclasses import dataclass

import numpy as np

from synth.camera import Camera, cropped, cross, pixel_slopes, points_from_depth
from synth.config import CheckLimits
from synth.recipe import SceneRecipe

#: Half floats are 2^-11 apart below 1, so a stored unit normal is off by at most about 1e-3.
_UNIT_TOLERANCE = 2e-3
#: The same rounding may turn a grazing normal away from the camera by this cosine.
_FACING_TOLERANCE = 2e-3
#: Normals two pixels apart that differ by more than 15 degrees lie on a fold or an edge.
_SLOW_COSINE = np.cos(np.radians(15.0))
#: Depth that changes by more than this share of itself from pixel to pixel tells of no surface.
_MOST_STEP = 0.05
#: Rows whose normals are held against the depth, of so many, where there are more than that: a quarter of a large
#: picture tells of a whole that is wrong.
_STRIP_ROWS, _STRIP_EVERY, _ALL_ROWS = 8, 32, 320
#: sRGB of the (1, 0, 1) that Blender shows for a missing picture, under any light: green far below red and blue.
_MAGENTA_GREEN = 0.15


class BadSample(Exception):
    """A sample that must not be kept. `reason` is one of a small set of names, counted in reports."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        return BadSample, (self.reason, self.detail)


@dataclass(frozen=True)
class LabelCounts:
    """How many of the subject's pixels have labels that a trainer may want to know of."""

    back_faces: int
    """The inside of an open mesh is seen; its normals were turned over."""
    leaning_normals: int
    """The normal is more than 60 degrees from that of its triangle."""
    unproven_depth: int
    """The ray met alpha between 0.02 and 0.98: the colour render's own depth is left to chance there, so that it proves
    nothing."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and its labels. H, W are the recipe's camera's."""

    recipe: SceneRecipe
    rgb: np.ndarray
    """(H, W, 3) uint8, sRGB."""
    alpha: np.ndarray
    """(H, W) uint8, soft coverage of the subjects, 0..255; for compositing, never supervision."""
    instance: np.ndarray
    """(H, W) uint8, 0 background, k the k-th subject of the recipe."""
    depth_m: np.ndarray
    """(H, W) float32, planar z, metres; +inf where no subject."""
    normal: np.ndarray
    """(H, W, 3) float32, unit, camera frame (x right, y down, z forward), towards the camera; 0 where no subject."""
    counts: LabelCounts
    albedo: np.ndarray | None = None
    """(H, W, 3) uint8, sRGB: the scan's colour without light; 0 where no subject. Only where recipe.outputs says so."""
    trust: np.ndarray | None = None
    """(H, W) uint8, how far the geometry is to be believed, 255: no reason to doubt it; 0 where no subject. Only where
    recipe.outputs says so; `synth.scans_trust` says what it cannot know."""

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool, where a subject is: derived, so that it cannot disagree."""
        return self.instance > 0

    def pointmap(self) -> np.ndarray:
        """(H, W, 3) float32 points seen, camera frame, metres; all three +inf where no subject.

        Derived from depth and the lens, whatever recipe.outputs says: there is no second truth to store.
        """
        points = points_from_depth(self.recipe.camera, self.depth_m)
        return np.where(np.isfinite(self.depth_m)[..., None], points, np.inf).astype(np.float32)


def check(sample: Sample, limits: CheckLimits) -> tuple[str, ...]:
    """Refuse a sample whose labels disagree or whose picture is useless; return its flags.

    Raises BadSample with a named reason. Flags (`soft_background`, `truncated`, `leaning_normals`) describe, they do
    not refuse.
    """
    _check_arrays(sample)
    _check_labels(sample, limits)
    _check_outputs(sample)
    _check_counts(sample)
    _check_subject(sample, limits)
    _check_picture(sample, limits)
    flags = []
    if is_soft(sample.recipe, limits):
        flags.append("soft_background")
    mask = sample.mask
    if border_share(mask) > 0:
        flags.append("truncated")
    if sample.counts.leaning_normals > limits.max_leaning * np.count_nonzero(mask):
        flags.append("leaning_normals")
    return tuple(flags)


def background_magnification(recipe: SceneRecipe) -> float:
    """Pixels per texel of what is seen behind, at the image centre: above 1 it is stretched.

    An equirectangular panorama of width N has N texels per turn; a pixel spans 1 / focal_px radians.
    """
    plate = recipe.background.plate
    if plate is not None:
        return recipe.camera.width / (plate.crop_px[2] - plate.crop_px[0])
    return 2 * np.pi * recipe.camera.focal_px / recipe.background.width_px


def is_soft(recipe: SceneRecipe, limits: CheckLimits) -> bool:
    """Whether the background is magnified so far that a sharp person before it gives itself away."""
    plate = recipe.background.plate
    limit = limits.max_magnification if plate is None else limits.max_plate_magnification
    # The drawn crop may be magnified exactly as far as allowed: rounding must not flag it.
    return background_magnification(recipe) > limit * (1 + 1e-9)


def border_share(mask: np.ndarray) -> float:
    """Share of the frame's border pixels that the mask covers."""
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(border.mean())


def subject_window(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest box that holds a mask (H, W) bool; empty where the mask is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def normal_error_deg(sample: Sample) -> np.ndarray:
    """Angles, degrees, between stored normals and those derived from depth: (K,), where both can be compared; of
    a subject taller than 320 pixels in strips of 8 rows out of every 32.

    Flips and swapped axes show here though every normal is unit and faces the camera.
    """
    whole = sample.mask
    window = subject_window(whole)
    count = -(-(window[0].stop - window[0].start) // _STRIP_EVERY)
    some = strips(window, count, _STRIP_ROWS, _ALL_ROWS)
    rows = np.array([range(*strip.indices(len(whole))) for strip, _ in some])  # (strips, rows)
    x, y = pixel_slopes(sample.recipe.camera)
    mask, depth_m, normal = (array[rows, window[1]] for array in (whole, sample.depth_m, sample.normal))
    return _angles_deg(x[window[1]], y[rows], mask, depth_m, normal)


def strips(window: tuple[slice, slice], count: int, rows: int, most: int) -> list[tuple[slice, slice]]:
    """`count` windows of so many rows, evenly spread over one; that one where it has at most `most` rows. A median over
    them tells as much as over all."""
    of_rows, columns = window
    if of_rows.stop - of_rows.start <= most:
        return [window]
    starts = np.linspace(of_rows.start, of_rows.stop - rows, count).astype(int).tolist()
    return [(slice(start, start + rows), columns) for start in starts]


def angles_to_depth_deg(camera: Camera, mask: np.ndarray, depth_m: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Angles, degrees, (K,), of the mask's normals (H, W, 3), camera frame, to those derived from depth (H, W).

    Compared only where the normals turn slowly from pixel to pixel: a difference of depths says nothing about a lock
    of hair. Depth outside of the mask must be infinite.
    """
    window = subject_window(mask)
    x, y = pixel_slopes(cropped(camera, window))
    return _angles_deg(x, y, mask[window], depth_m[window], normal[window])


def _angles_deg(x: np.ndarray, y: np.ndarray, mask: np.ndarray, depth_m: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """`angles_to_depth_deg` of one picture or of many at once: masks and depths (..., H, W), normals (..., H, W, 3),
    slopes x (W,) and y (..., H) of the pixels' rays.

    A normal of the depth is what `synth.camera.normals_from_depth` says; only those that are compared are found.
    """
    z = np.where(mask, depth_m, np.nan).astype(np.float64)
    points = x * z, y[..., None] * z, z
    along = [p[..., 1:-1, 2:] - p[..., 1:-1, :-2] for p in points]  # to the right
    down = [p[..., 2:, 1:-1] - p[..., :-2, 1:-1] for p in points]
    most = 2 * _MOST_STEP * z[..., 1:-1, 1:-1]
    valid = (np.abs(along[2]) < most) & (np.abs(down[2]) < most) & _turns_slowly(normal)
    a = cross(*(np.stack([d[valid] for d in way], axis=1) for way in (down, along)))  # (K, 3)
    b = normal[..., 1:-1, 1:-1, :][valid].astype(np.float64)
    return np.degrees(np.arctan2(_length(cross(a, b)), np.einsum("kx,kx->k", a, b)))


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("...x,...x->...", vectors, vectors))


def _any_outside(array: np.ndarray, window: tuple[slice, slice]) -> bool:
    """Whether an array (H, W, 3) float32 is other than 0 outside of a window."""
    bits = array.view(np.uint32)  # integers are held against 0 a lot faster, but not 0 against -0
    return np.count_nonzero(bits) != np.count_nonzero(bits[window]) and (
        np.count_nonzero(array) != np.count_nonzero(array[window])
    )


def _turns_slowly(normal: np.ndarray) -> np.ndarray:
    """Where the normals (..., H, W, 3) on both sides of a pixel, across and down, are within 15 degrees of each other:
    (..., H - 2, W - 2) bool, of all but the outermost pixels."""
    across = np.einsum("...x,...x->...", normal[..., 1:-1, 2:, :], normal[..., 1:-1, :-2, :])
    down = np.einsum("...x,...x->...", normal[..., 2:, 1:-1, :], normal[..., :-2, 1:-1, :])
    return (across > _SLOW_COSINE) & (down > _SLOW_COSINE)


def _check_arrays(sample: Sample) -> None:
    h, w = sample.recipe.camera.shape
    expected = {
        "rgb": ((h, w, 3), np.uint8),
        "alpha": ((h, w), np.uint8),
        "instance": ((h, w), np.uint8),
        "depth_m": ((h, w), np.float32),
        "normal": ((h, w, 3), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        array = getattr(sample, name)
        if array.shape != shape or array.dtype != dtype:
            raise BadSample("shape", f"{name} is {array.dtype}{array.shape}, not {np.dtype(dtype)}{shape}")


def _check_counts(sample: Sample) -> None:
    subject = np.count_nonzero(sample.instance)
    for name, count in vars(sample.counts).items():
        if not 0 <= count <= subject:
            raise BadSample("counts", f"{name} counts {count} of the subject's {subject} pixels")


def _check_labels(sample: Sample, limits: CheckLimits) -> None:
    mask = sample.mask
    if not mask.any():
        raise BadSample("no_subject", "no pixel shows a subject")
    if sample.instance.max() > len(sample.recipe.subjects):
        raise BadSample("instance", f"instance {sample.instance.max()} of {len(sample.recipe.subjects)} subjects")
    window = subject_window(mask)
    seen, depth, normal = mask[window], sample.depth_m[window], sample.normal[window]
    infinite = np.count_nonzero(sample.depth_m == np.inf)
    if not np.array_equal(np.isfinite(depth), seen) or infinite != mask.size - np.count_nonzero(mask):
        wrong = np.count_nonzero(np.isfinite(sample.depth_m) != mask)
        raise BadSample("mask_depth", f"mask and finite depth differ on {wrong} pixels")
    if (depth[seen] <= 0).any():
        raise BadSample("depth_sign", "depth behind the camera")
    length = _length(normal)
    if length[~seen].any() or _any_outside(sample.normal, window):
        raise BadSample("mask_normal", "normals outside the mask")
    length = length[seen]
    if not np.all(np.abs(length - 1) < _UNIT_TOLERANCE):
        raise BadSample("normal_length", f"normals of length {length.min():.3f} to {length.max():.3f}")
    x, y = (slopes.astype(np.float32) for slopes in pixel_slopes(cropped(sample.recipe.camera, window)))
    facing = normal[..., 0] * x + normal[..., 1] * y[:, None] + normal[..., 2]
    facing /= np.sqrt(1 + x**2 + y[:, None] ** 2)
    if (facing > _FACING_TOLERANCE).any():
        raise BadSample("normal_away", f"{int((facing > _FACING_TOLERANCE).sum())} normals face away from the camera")
    error = normal_error_deg(sample)
    if error.size and np.median(error) > limits.max_normal_error_deg:
        raise BadSample("normal_depth", f"normals are {np.median(error):.1f} degrees (median) off those of the depth")


def _check_outputs(sample: Sample) -> None:
    """Further labels are there exactly where the recipe says so, and hold nothing outside of the subjects."""
    h, w = sample.recipe.camera.shape
    for name, shape in (("albedo", (h, w, 3)), ("trust", (h, w))):
        array, asked = getattr(sample, name), name in sample.recipe.outputs
        if (array is not None) != asked:
            raise BadSample("outputs", f"{name} is {'missing' if asked else 'there, though not asked for'}")
        if array is None:
            continue
        if array.shape != shape or array.dtype != np.uint8:
            raise BadSample("shape", f"{name} is {array.dtype}{array.shape}, not uint8{shape}")
        if array[~sample.mask].any():
            raise BadSample(f"mask_{name}", f"{name} outside the mask")


def _check_subject(sample: Sample, limits: CheckLimits) -> None:
    mask = sample.mask
    covered = np.count_nonzero(mask) / mask.size
    if covered < limits.min_subject:
        raise BadSample("too_small", f"subjects cover {covered:.2%} of the frame")
    if covered > limits.max_subject:
        raise BadSample("too_large", f"subjects cover {covered:.2%} of the frame")
    touched = border_share(mask)
    if touched > limits.max_border:
        raise BadSample("cut_off", f"subjects touch {touched:.0%} of the border")


def _check_picture(sample: Sample, limits: CheckLimits) -> None:
    mask = sample.mask
    window = subject_window(mask)
    person = sample.rgb[window][mask[window]]
    red, green, blue = np.ascontiguousarray(person.T).astype(np.float32) / 255
    luma = np.float32(0.2126) * red + np.float32(0.7152) * green + np.float32(0.0722) * blue
    if luma.mean() < limits.min_brightness:
        raise BadSample("black", f"mean brightness {luma.mean():.3f} on the subject")
    if luma.mean() > limits.max_brightness:
        raise BadSample("burnt", f"mean brightness {luma.mean():.3f} on the subject")
    clipped = float(np.mean((red == 1) & (green == 1) & (blue == 1)))
    if clipped > limits.max_clipped:
        raise BadSample("burnt", f"{clipped:.0%} of the subject is clipped white")
    if luma.std() < limits.min_contrast:
        raise BadSample("flat", f"brightness varies by {luma.std():.4f} on the subject")
    magenta = (np.minimum(red, blue) > 0.2) & (green < _MAGENTA_GREEN * np.minimum(red, blue))
    if magenta.mean() > limits.max_magenta:
        raise BadSample("magenta", f"{magenta.mean():.1%} of the subject is the colour of a missing picture")
