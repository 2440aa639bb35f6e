"""What a mesh is, and where it stands: up axis, kind, unit, believable height, and what a camera may frame.

Unit metadata is worthless (native heights of real scans run from 0.006 to 495), so everything is decided by shape:
how big the head is against the whole. Arrays in, values out; no files. The surface itself is `synth.scans_surface`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from synth.camera import transform_points
from synth.scans_level import measure_lean
from synth.scans_overrides import Override
from synth.scans_profile import edge_points, hull_profile
from synth.scans_upright import longest_axis, turn_to_z, why_upside_down

Kind = Literal["full", "bust", "head"]
Box = tuple[np.ndarray, np.ndarray]

#: Horizontal hull area of a head over the square of its height, crown to chin: 0.57 on a real head and a real bust, so
#: that area alone tells how many heads tall the whole is, wherever beard, hair or a bent neck hide the chin.
_HEAD_SQUARE = 0.57
#: The crown has become a head where going 40 % deeper widens it by less than 10 %.
_DEEPER, _WIDER = 1.4, 1.1
#: Hair and noise above the crown are thinner than this share of the height.
_CROWN = 0.03
#: A body is 6 to 8 heads tall, a toddler 4.5, a bust at most 3. Measured head shares: bodies 0.11-0.15, busts 0.5-0.6.
_FULL_HEAD_SHARE = 0.25
#: Nobody's head is smaller; a raised hand or a splinter above the crown is.
_LEAST_HEAD_SHARE = 0.09
#: Bodies with a broad hat: median hull area over height squared is 0.02-0.065 on bodies, 0.12 and more on busts.
_FULL_MEDIAN = 0.045
#: Below the neck a bust grows again by more than this (real busts: 1.7, 2.0, 4.6).
_SHOULDER_GROWTH = 1.3
#: Head and neck together, in heads.
_HEAD_AND_NECK = 1.25
#: A head's half width and half depth are below this, in heads.
_HEAD_RADIUS = 0.8
#: Head over height where the user says what it is and the profile says otherwise.
_USUAL_HEAD = {"full": 0.13, "bust": 0.55, "head": 1.0}
_NAMED_UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "in": 0.0254, "mm": 0.001}
_UNITS = {"metres": 1.0, "decimetres": 0.1, "centimetres": 0.01, "inches": 0.0254, "millimetres": 0.001}
#: Metres: (least believable, assumed when no unit gives a believable one, greatest believable).
_BELIEVABLE_HEIGHT = (0.9, 1.70, 2.3)
_BELIEVABLE_CHIN = (0.15, 0.24, 0.34)
#: A head may be a face only, or come with its neck.
_BELIEVABLE_HEAD = (0.13, 0.26, 0.45)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a mesh goes, and why."""

    kind: Kind
    scan_from_file: np.ndarray
    """(4, 4) float64: the file's coordinates to metres, z up, lowest point at 0, bounding box centred in x and y."""
    head_m: float
    """Height of the head, crown to chin, metres."""
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def place_mesh(
    positions: np.ndarray, triangles: np.ndarray, places: np.ndarray, z_is_up: bool, override: Override
) -> Placement:
    """Decides kind, up axis and unit of a mesh. positions (V, 3), finite, all used; triangles (T, 3).

    places: (V,) numbers of positions, equal where they are. z_is_up: the format says so (glTF, FBX); otherwise shape
    decides. What the override says is not measured.
    """
    positions = positions.astype(np.float64)
    turn, changes, warnings = _stand_up(positions, triangles, places[triangles], z_is_up, override)
    upright = transform_points(turn, positions)
    height = float(np.ptp(upright[:, 2]))
    kind, head = measure_kind(hull_profile(edge_points(upright, triangles)))
    if override.kind is not None and override.kind != kind:
        kind, head = override.kind, _USUAL_HEAD[override.kind]
    scale, said = _choose_size(height, kind, head, override)
    changes.append(said)
    low, high = upright.min(axis=0), upright.max(axis=0)
    move = np.diag([scale, scale, scale, 1.0])
    move[:3, 3] = -scale * np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    changes.append("centred in x, y by the bounding box, lowest point at 0")
    return Placement(kind, move @ turn, head * height * scale, tuple(changes), tuple(warnings))


def _stand_up(
    positions: np.ndarray, triangles: np.ndarray, places: np.ndarray, z_is_up: bool, override: Override
) -> tuple[np.ndarray, list[str], list[str]]:
    """(4, 4) rotation that stands a mesh up, what was done, and what the user should look at."""
    axis = override.up or ("z" if z_is_up else longest_axis(positions, triangles, places))
    turn, changes = np.eye(4), []
    turn[:3, :3] = turn_to_z(axis)
    if override.up is not None:
        return turn, [f"{axis} is up, as scans.yaml says"], []
    if not z_is_up:
        changes.append(f"{axis} is up in the file: {'kept' if axis == 'z' else 'turned'}")
    lean, level = measure_lean(transform_points(turn, positions), triangles)
    if lean:
        turn[:3, :3] = level @ turn[:3, :3]
        changes.append(f"leaned by {lean:.0f} degrees: levelled (`up` in scans.yaml keeps it)")
    shown = why_upside_down(transform_points(turn, positions), triangles, places)
    if shown is not None and z_is_up:
        return turn, changes, [f"seems upside down ({shown}); `up: -z` in scans.yaml turns it over"]
    if shown is not None:
        turn[:3, :3] = turn_to_z("-z") @ turn[:3, :3]
        changes.append(f"upside down ({shown}): turned over")
    return turn, changes, []


def _choose_size(height: float, kind: Kind, head: float, override: Override) -> tuple[float, str]:
    """Metres per native unit, and how that was decided."""
    if override.height_m is not None:
        return override.height_m / height, f"scaled to {override.height_m:.3f} m, as scans.yaml says"
    if override.unit is not None:
        scale = _NAMED_UNITS[override.unit]
        return scale, f"unit {override.unit}, as scans.yaml says: height {height * scale:.3f} m"
    what, size, believable = "height", height, _BELIEVABLE_HEAD if kind == "head" else _BELIEVABLE_HEIGHT
    if kind == "bust":
        what, size, believable = "crown to chin", head * height, _BELIEVABLE_CHIN
    scale, unit = choose_scale(size, believable)
    metres = f"{what} {size * scale:.3f} m"
    if unit is None:
        return scale, f"no unit gives a believable size (native height {height:.4g}): scaled to {metres}"
    return scale, f"unit taken as {unit}: {metres}"


def measure_kind(areas: np.ndarray) -> tuple[Kind, float]:
    """Kind of a person from the profile of hull areas, and the head's share of the height, crown to chin, at most 1.

    areas: (N,) horizontal convex-hull area of N equal slabs from the lowest to the crown, over height squared.
    """
    down = areas[::-1]
    depth = (np.arange(len(down)) + 1) / len(down)
    widest = np.maximum.accumulate(down)
    deeper = widest[np.minimum((depth * _DEEPER * len(down)).astype(int) - 1, len(down) - 1)]
    saturated = (depth >= _CROWN) & (deeper <= _WIDER * widest)
    head = float(np.clip(np.sqrt(deeper[np.argmax(saturated)] / _HEAD_SQUARE), _LEAST_HEAD_SHARE, 1.0))
    if head < _FULL_HEAD_SHARE or np.median(areas) < _FULL_MEDIAN:
        return "full", min(head, 0.2)
    return ("bust" if _has_shoulders(down, depth) else "head"), head


def choose_scale(size: float, believable: tuple[float, float, float]) -> tuple[float, str | None]:
    """Metres per native unit, and the unit that makes a size believable; None when none does.

    believable: least, usual and greatest size in metres; of several units the one nearest to usual wins.
    """
    least, usual, greatest = believable
    fits = {name: f for name, f in _UNITS.items() if least <= size * f <= greatest}
    if not fits:
        return usual / size, None
    name = min(fits, key=lambda unit: abs(np.log(size * fits[unit] / usual)))
    return fits[name], name


def measure_regions(positions: np.ndarray, kind: Kind, head_m: float) -> dict[str, Box]:
    """What a camera may frame, by framing, as boxes (min xyz, max xyz) in frame scan; positions (V, 3) there."""
    whole = positions.min(axis=0), positions.max(axis=0)
    if kind == "head":
        return {"face": whole}
    top = float(whole[1][2])
    floor = max(0.0, top - _HEAD_AND_NECK * head_m)
    # Shoulders, raised hands and bent backs may be as high as the chin: stay near the crown's axis.
    crown = positions[positions[:, 2] > top - 0.3 * head_m, :2]
    axis = (crown.min(axis=0) + crown.max(axis=0)) / 2
    near = np.linalg.norm(positions[:, :2] - axis, axis=1) <= _HEAD_RADIUS * head_m
    near &= positions[:, 2] >= top - head_m
    face = _box_above(positions[near] if near.any() else positions, top - head_m, floor)
    if kind == "bust":
        return {"upper": whole, "face": face}
    return {"full": whole, "upper": _box_above(positions, 0.5 * top, 0.5 * top), "face": face}


def _box_above(positions: np.ndarray, height: float, floor: float) -> Box:
    """Box of the points above a height, reaching down to a floor."""
    part = positions[positions[:, 2] >= height]
    low, high = part.min(axis=0), part.max(axis=0)
    low[2] = floor
    return low, high


def _has_shoulders(down: np.ndarray, depth: np.ndarray) -> bool:
    """Whether a profile, crown first, narrows to a neck and grows again."""
    smooth = np.convolve(np.pad(down, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    start = int(np.argmax(depth > 0.15))  # past the crown's own growth
    above = np.maximum.accumulate(smooth[start:])
    below = np.maximum.accumulate(smooth[: start - 1 : -1])[::-1]
    return bool(((above > 1.08 * smooth[start:]) & (below > _SHOULDER_GROWTH * smooth[start:])).any())
