"""What would poison training on Sapiens' official code: one list of rules, for exports and for `synth check`.

A rule looks at a sample as the official readers get it. Sections of their behaviour that a rule guards against are
named beside it; figures are the official ones unless a measurement is cited.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from synth.camera import GL_FROM_CV, Camera, cropped, matrix4, z_from_distance
from synth.sample import angles_to_depth_deg, strips, subject_window

#: Fewer mask pixels are dropped by v2; none at all raise IndexError in v1's bounding box and end the worker.
LEAST_PIXELS = 16
#: v2 drops a sample whose mask covers more of the frame.
MOST_COVERED = 0.96
#: v2 drops a sample with a nearer point, as z * 768 / focal_px at 1024 x 768: a canonical focal length.
LEAST_CANONICAL_Z = 0.04
#: |n| of a stored normal; half floats are off by 1e-3 at most. v1 and v2 normalise anew beyond 1e-6.
_UNIT_TOLERANCE = 2e-3
#: Median angle to the normals of the depth: 0.1 to 5 degrees for real scans, 41 and more for a flipped axis.
_MOST_ANGLE_DEG = 10.0
#: Taking distance for depth turns normals by degrees, the more the wider the lens (`benchmarks/exports.py`); less than
#: this does little harm.
_DISTANCE_GAIN_DEG = 1.0
#: Strips of a picture in which normals are held against the depth, and their rows.
_BANDS, _BAND_ROWS = 20, 6


@dataclass(frozen=True, eq=False)
class Labelled:
    """A sample as Sapiens' readers get it; dtypes are what the file has. None where a folder lacks the part."""

    rgb: np.ndarray
    """(H, W, 3) uint8, sRGB."""
    mask: np.ndarray
    """(H, W) uint8, 0 and 255."""
    depth: np.ndarray | None
    """(H, W) float32, planar z, metres; 0 outside of the mask: finite everywhere, and what pointmaps have there."""
    normal: np.ndarray | None
    """(H, W, 3) float32, unit, OpenGL camera frame: x right, y up, z towards the camera; 0 outside of the mask."""
    intrinsics: np.ndarray | None
    """(3, 3) float64, pixel centres at integer coordinates: a centred lens has cx = (W - 1) / 2."""
    camera_from_world: np.ndarray | None
    """(4, 4) float64, OpenCV axes, metres."""
    albedo: np.ndarray | None = None
    """(H, W, 3) uint8, sRGB."""

    def camera(self) -> Camera:
        """Our camera of the same rays. Raises ValueError where intrinsics or extrinsics are none or no camera's."""
        if self.intrinsics is None:
            raise ValueError("no intrinsics")
        k = np.asarray(self.intrinsics)
        pose = np.eye(4) if self.camera_from_world is None else np.linalg.inv(self.camera_from_world)
        if k.shape != (3, 3) or not np.allclose(k, [[k[0, 0], 0, k[0, 2]], [0, k[0, 0], k[1, 2]], [0, 0, 1]]):
            raise ValueError("no pinhole with square pixels")
        return Camera(
            width=self.mask.shape[1],
            height=self.mask.shape[0],
            focal_px=float(k[0, 0]),
            center_px=(float(k[0, 2]) + 0.5, float(k[1, 2]) + 0.5),
            world_from_camera=matrix4(pose),
        )


@dataclass(frozen=True)
class Fault:
    """Why a sample would poison training."""

    rule: str
    """Its name, counted in reports."""
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def find_faults(labelled: Labelled) -> list[Fault]:
    """All rules that a sample breaks; those of a later group only where the ones before are kept."""
    faults = list(_broken(labelled, FORM_RULES))
    if not faults:
        faults = list(_broken(labelled, FRAME_RULES))
        if labelled.mask.any() and all(fault.rule != "not_finite" for fault in faults):
            faults += _broken(labelled, LABEL_RULES)
    return faults


def _broken(labelled: Labelled, rules: Mapping[str, tuple[Callable, str]]) -> Iterator[Fault]:
    for name, (rule, _) in rules.items():
        detail = rule(labelled)
        if detail is not None:
            yield Fault(name, detail)


def _picture(it: Labelled) -> str | None:
    if it.rgb.dtype != np.uint8 or it.rgb.shape != (*it.mask.shape[:2], 3):
        return f"is {it.rgb.dtype}{it.rgb.shape}, its mask {it.mask.shape}"
    return None


def _mask_form(it: Labelled) -> str | None:
    if it.mask.dtype != np.uint8 or it.mask.ndim != 2:
        return f"is {it.mask.dtype}{it.mask.shape}, not uint8 (H, W)"
    others = int(((it.mask != 0) & (it.mask != 255)).sum())
    if others:
        return f"{others} pixels are neither 0 nor 255"
    return None


def _depth_form(it: Labelled) -> str | None:
    if it.depth is not None and (it.depth.dtype != np.float32 or it.depth.shape != it.mask.shape):
        return f"is {it.depth.dtype}{it.depth.shape}, not float32{it.mask.shape}"
    return None


def _normal_form(it: Labelled) -> str | None:
    if it.normal is not None and (it.normal.dtype != np.float32 or it.normal.shape != (*it.mask.shape, 3)):
        return f"is {it.normal.dtype}{it.normal.shape}, not float32{(*it.mask.shape, 3)}"
    return None


def _camera_form(it: Labelled) -> str | None:
    try:
        if it.intrinsics is not None:
            it.camera()
    except (ValueError, np.linalg.LinAlgError) as error:
        return " ".join(str(error).split())[:120]
    return None


def _few_pixels(it: Labelled) -> str | None:
    count = int((it.mask > 0).sum())
    if count < LEAST_PIXELS:
        return f"{count} pixels of the mask are set, {LEAST_PIXELS} are needed"
    return None


def _full_frame(it: Labelled) -> str | None:
    covered = float((it.mask > 0).mean())
    if covered > MOST_COVERED:
        return f"the mask covers {covered:.1%} of the frame, more than {MOST_COVERED:.0%}"
    return None


def _aspect(it: Labelled) -> str | None:
    height, width = it.mask.shape
    if 4 * width != 3 * height:
        return f"{width} x {height} is not 3:4 (width:height)"
    return None


def _not_finite(it: Labelled) -> str | None:
    for name, array in (("depth", it.depth), ("normal", it.normal)):
        if array is not None and not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            return f"{count} values of {name} are infinite or no number"
    return None


def _behind(it: Labelled) -> str | None:
    if it.depth is not None:
        count = int((it.depth[it.mask > 0] <= 0).sum())
        if count:
            return f"depth of {count} pixels is not positive"
    return None


def _flat_depth(it: Labelled) -> str | None:
    if it.depth is not None and np.ptp(it.depth[it.mask > 0]) == 0:
        return "all pixels have one depth"
    return None


def _too_near(it: Labelled) -> str | None:
    if it.depth is None or it.intrinsics is None:
        return None
    # The official frame is 768 wide, and fx grows with the frame: z * 768 / (fx * 768 / W).
    canonical = float(it.depth[it.mask > 0].min()) * it.mask.shape[1] / it.intrinsics[0, 0]
    if canonical < LEAST_CANONICAL_Z:
        return f"canonical z {canonical:.4f} is less than {LEAST_CANONICAL_Z}"
    return None


def _normal_length(it: Labelled) -> str | None:
    if it.normal is not None:
        length = np.linalg.norm(it.normal[it.mask > 0], axis=-1)
        if not np.all(np.abs(length - 1) < _UNIT_TOLERANCE):
            return f"normals have lengths {length.min():.3f} to {length.max():.3f}"
    return None


def _normal_frame(it: Labelled) -> str | None:
    angle = _angle_deg(it)
    if angle is None or angle <= _MOST_ANGLE_DEG or _distance(it):
        return None
    signs = min(_SIGNS, key=lambda signs: _angle_deg(it, signs))
    better = "".join("+-"[sign < 0] + axis for sign, axis in zip(signs, "xyz", strict=True))
    fits = f"; they fit as ({better})" if _angle_deg(it, signs) <= _MOST_ANGLE_DEG else ""
    return f"normals are {angle:.1f} degrees (median) off those of the depth{fits}"


def _distance(it: Labelled) -> str | None:
    angle = _angle_deg(it)
    if angle is None:
        return None
    as_distance = _angle_deg(it, is_distance=True)
    if as_distance is not None and as_distance + _DISTANCE_GAIN_DEG < angle and as_distance <= _MOST_ANGLE_DEG:
        return f"depth seems to be distance: normals are {angle:.1f} degrees off as z, {as_distance:.1f} as distance"
    return None


#: All eight ways to set the signs of a normal's axes.
_SIGNS = [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)]


def _angle_deg(it: Labelled, signs=(1, 1, 1), is_distance: bool = False) -> float | None:
    """Median angle between the normals (with other signs) and those of the depth (or of what is a distance).

    None where they cannot be held against each other.
    """
    if it.normal is None or it.depth is None or it.intrinsics is None:
        return None
    camera, to_ours = it.camera(), np.diag(signs) @ GL_FROM_CV[:3, :3]
    angles = []
    for window in strips(subject_window(it.mask > 0), _BANDS, _BAND_ROWS, 2 * _BANDS * _BAND_ROWS):
        band, mask = cropped(camera, window), it.mask[window] > 0
        depth = z_from_distance(band, it.depth[window]) if is_distance else it.depth[window]
        angles.append(angles_to_depth_deg(band, mask, np.where(mask, depth, np.inf), it.normal[window] @ to_ours))
    found = np.concatenate(angles)
    return float(np.median(found)) if found.size else None


#: Rule: (what finds it, what official training does with it). Of arrays that other rules take for granted:
FORM_RULES: dict[str, tuple[Callable[[Labelled], str | None], str]] = {
    "picture": (_picture, "cv2 gives another array than the labels'"),
    "mask_form": (_mask_form, "any value above 0 counts as the person"),
    "depth_form": (_depth_form, "float16 stops v1's rotation; another size shifts every label"),
    "normal_form": (_normal_form, "float16 loses accuracy; another size shifts every label"),
    "camera_form": (_camera_form, "np.loadtxt or the unprojection fails"),
}
#: Of the frame as a whole.
FRAME_RULES: dict[str, tuple[Callable[[Labelled], str | None], str]] = {
    "few_pixels": (_few_pixels, "an empty mask ends v1's worker; v2 drops less than 16 pixels"),
    "full_frame": (_full_frame, "v2 drops it"),
    "aspect": (_aspect, "v1 stretches it to 3:4; v2 validates on a stretched frame"),
    "not_finite": (_not_finite, "one NaN in the mask leaves v1's depth unnormalised, silently"),
}
#: Of labels in the mask.
LABEL_RULES: dict[str, tuple[Callable[[Labelled], str | None], str]] = {
    "behind": (_behind, "no camera sees it"),
    "flat_depth": (_flat_depth, "v1 does not normalise a depth of one value"),
    "too_near": (_too_near, "v2 drops it"),
    "normal_length": (_normal_length, "the readers normalise the whole map anew, and 0 stays 0"),
    "normal_frame": (_normal_frame, "the head learns another frame than the released ones"),
    "distance": (_distance, "v2 unprojects it as planar z"),
}
RULES = {**FORM_RULES, **FRAME_RULES, **LABEL_RULES}
