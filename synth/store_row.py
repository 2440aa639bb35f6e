"""make_row(): what is written down about a finished sample, for the index and for whoever asks later."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from synth.recipe import SceneRecipe, canonical_sha256
from synth.sample import Sample, background_magnification, border_share
from synth.store_record import Row, content_hash
from synth.store_shard import locate


def make_row(
    sample: Sample,
    members: Mapping[str, bytes],
    *,
    flags: Sequence[str],
    env_id: str,
    seconds: float,
    refused: Sequence[tuple[int, str, str]],
) -> dict:
    """The row of a sample as JSON values; offsets are those in its fragment until it is sealed.

    sample: as decoded from `members`, checked. env_id: of `Run.add_environment`. refused: the attempts before this
    one, as (attempt, reason, detail).
    """
    recipe, mask = sample.recipe, sample.mask
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    offsets, _ = locate({name: len(data) for name, data in members.items()})
    row = Row(
        id=recipe.sample_id,
        index=recipe.index,
        members={name: (offset, len(members[name]), digests[name]) for name, offset in offsets.items()},
        content_sha256=content_hash(digests),
        recipe_sha256=canonical_sha256(recipe),
        pixels_sha256=pixel_hashes(sample),
        env_id=env_id,
        seconds=seconds,
        split=recipe.split,
        scans=tuple(subject.scan_id for subject in recipe.subjects),
        people=tuple(subject.person for subject in recipe.subjects),
        background=recipe.background.seen_id,
        flags=tuple(flags),
        attempt=recipe.attempt,
        refused=tuple((attempt, reason, detail[:1000]) for attempt, reason, detail in refused),
        framing=recipe.framing,
        width=recipe.camera.width,
        height=recipe.camera.height,
        focal_px=recipe.camera.focal_px,
        exposure_ev=recipe.film.exposure_ev,
        background_yaw_deg=recipe.background.yaw_deg,
        magnification=background_magnification(recipe),
        covered=float(mask.mean()),
        border=border_share(mask),
        depth_p50_m=float(np.median(sample.depth_m[mask])),
        **vars(sample.counts),
        **_camera_columns(recipe),
    )
    return row.model_dump(mode="json")


def _camera_columns(recipe: SceneRecipe) -> dict[str, float]:
    """Where the camera stands around the first subject."""
    pose = np.array(recipe.camera.world_from_camera)
    offset = pose[:3, 3] - np.array(recipe.subjects[0].world_from_scan)[:3, 3]  # metres, world
    down = -pose[2, 2]  # sine of the angle that the viewing direction, camera z, falls below the horizon
    return {
        "camera_distance_m": float(np.linalg.norm(offset)),
        "camera_yaw_deg": float(np.degrees(np.arctan2(offset[1], offset[0])) % 360),
        "camera_pitch_deg": float(np.degrees(np.arcsin(np.clip(down, -1, 1)))),
    }


def pixel_hashes(sample: Sample) -> dict[str, str]:
    """By array, sha256 of its values (C order, little endian), whatever they are encoded as."""
    arrays = {
        "rgb": sample.rgb,
        "depth": sample.depth_m,
        "normal": sample.normal,
        "instance": sample.instance,
        "alpha": sample.alpha,
        "albedo": sample.albedo,
        "trust": sample.trust,
    }
    return {
        name: hashlib.sha256(np.ascontiguousarray(array, array.dtype.newbyteorder("<"))).hexdigest()
        for name, array in arrays.items()
        if array is not None
    }
