"""What a report says in figures: of one sample, and of a dataset. Values only, ready for JSON.

Pictures are `synth.report_pictures`; the page that shows both is `synth.report_page`.
"""

from collections import Counter
from itertools import chain

import numpy as np

from synth.camera import FULL_FRAME_DIAGONAL_MM, Camera, cropped, distance_from_z
from synth.report_pictures import measure_depth_range, measure_depth_reach
from synth.sample import Sample, background_magnification, subject_window


def measure_sample(sample: Sample, row: dict) -> dict:
    """Facts of one sample, by the names that the page's filter knows.

    row: what the dataset's index says of it. Angles in degrees, lengths in metres, `share` and `distance` of visible
    subject pixels; `distance` is the median length of the rays to them, None where no depth is finite. `depth` and
    `reach` turn the colours of the depth and cloud pictures back into metres. `seconds` is what making it took.
    """
    recipe, camera = sample.recipe, sample.recipe.camera
    yaw, pitch, roll = camera_angles_deg(camera)
    return {
        "index": recipe.index,
        "split": recipe.split,
        "scan": [subject.scan_id for subject in recipe.subjects],
        "person": [subject.person for subject in recipe.subjects],
        "background": recipe.background.seen_id,
        "framing": recipe.framing,
        "flag": list(row["flags"]),
        "width": camera.width,
        "height": camera.height,
        "focal": camera.focal_px * FULL_FRAME_DIAGONAL_MM / float(np.hypot(camera.width, camera.height)),
        "focal_px": camera.focal_px,
        "center": list(camera.center_px),
        "distance": _median_distance(sample),
        "depth": measure_depth_range(sample),
        "reach": measure_depth_reach(sample),
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "exposure": recipe.film.exposure_ev,
        "seconds": row["seconds"],
        "engine": f"{recipe.film.engine}, {recipe.film.spp} spp" if recipe.film.spp else recipe.film.engine,
        "share": float(sample.mask.mean()),
        "magnification": background_magnification(recipe),
        "refused": [f"{reason}: {detail}" for _, reason, detail in row["refused"]],
    }


def camera_angles_deg(camera: Camera) -> tuple[float, float, float]:
    """Yaw, pitch and roll, degrees, as `synth.config.CameraRanges` means them.

    Yaw is the direction from which the camera looks, about world z, 0..360; pitch is positive where it looks down;
    roll is positive clockwise about the viewing axis. The inverse of `synth.camera.look_at`.
    """
    rotation = np.array(camera.world_from_camera)[:3, :3]
    right, down, forward = rotation.T
    yaw = np.degrees(np.arctan2(-forward[1], -forward[0])) % 360
    pitch = np.degrees(np.arcsin(np.clip(-forward[2], -1, 1)))
    roll = np.degrees(np.arctan2(-right[2], -down[2]))
    return float(yaw), float(pitch), float(roll)


def measure_dataset(dataset) -> dict:
    """Counts over all samples of a dataset, from columns of its index alone: no pixel, no record is read.

    Returns `samples`, `root`, `complete`, and Counters: `scan`, `person`, `background`, `framing`, `split`, `flag` (of
    samples), `refused` (of attempts, by reason).
    """
    lists = {"scan": "scans", "person": "people", "flag": "flags", "refused": "refused"}
    counts = {name: Counter(dataset.column(name)) for name in ("background", "framing", "split")}
    counts |= {name: Counter(chain.from_iterable(dataset.column(column))) for name, column in lists.items()}
    return {"samples": len(dataset), "root": dataset.root, "complete": dataset.complete, **counts}


def columns_of(facts: list[dict]) -> dict[str, dict]:
    """Facts of samples by name, as the page reads them: {"at": one value a sample, and "words" where these are names}.

    Names stand in `words` once, sorted, and in `at` as numbers into it: a hundred thousand samples have few. Figures
    are rounded to four decimals.
    """
    return {name: _column([said[name] for said in facts]) for name in facts[0]}


def _column(values: list) -> dict:
    if not any(isinstance(x, str | list) for x in values) or any(_is_numbers(x) for x in values):
        return {"at": [_rounded(value) for value in values]}
    words = sorted(set(chain.from_iterable([value] if isinstance(value, str) else value for value in values)))
    number = {word: k for k, word in enumerate(words)}
    at = [number[value] if isinstance(value, str) else [number[word] for word in value] for value in values]
    return {"words": words, "at": at}


def _is_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and not isinstance(value[0], str)


def _rounded(value: float | tuple | None) -> float | list | None:
    if value is None:
        return None
    return [round(x, 4) for x in value] if isinstance(value, list | tuple) else round(value, 4)


def _median_distance(sample: Sample) -> float | None:
    seen = sample.mask & np.isfinite(sample.depth_m)
    if not seen.any():
        return None
    window = subject_window(seen)  # of most frames the smaller part
    distance = distance_from_z(cropped(sample.recipe.camera, window), sample.depth_m[window])
    return float(np.median(distance[seen[window]]))
