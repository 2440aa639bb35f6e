"""draw_recipe(): the only dice of the project.

Image i is a pure function of (config, library, seed, i, attempt). Every concern (framing, camera, light, …) has a
generator of its own, so that a new light parameter leaves every camera where it was. Ranges: `synth.config`.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from synth.backgrounds import BackgroundEntry, PlateEntry, irradiance
from synth.camera import Camera, focal_px_from_35mm, look_at, matrix4
from synth.config import CameraRanges, FilmSettings, LightRanges, RenderConfig, engine_shares
from synth.recipe import Background, Engine, Film, Framing, Plate, SceneRecipe, Subject
from synth.scans import ScanEntry
from synth.splits import Split, Splits

#: Albedo of the grey subject that exposure is normalised for: between light skin and dark cloth.
_GREY_ALBEDO = 0.4
#: Centre of the triangular pitch distribution: people are mostly photographed from about eye height.
_PITCH_MODE_DEG = 5.0


#: Rounds of fitting the camera to the framing.
_FIT_ROUNDS = 80
#: Share of each round's correction that is applied: undamped, a wide lens close by swings between two places.
_DAMPING = 0.6


@dataclass(frozen=True)
class Library:
    """What recipes are drawn from: scans sorted by key, panoramas and plates sorted by hash."""

    scans: tuple[ScanEntry, ...]
    backgrounds: tuple[BackgroundEntry, ...]
    plates: tuple[PlateEntry, ...] = ()
    splits: Splits = field(default_factory=Splits)

    def within(self, split: Split) -> "Library":
        """Only the backgrounds that the people of a split may be seen with: its own; all of a kind it has none of."""
        panoramas, plates = (
            tuple(one for one in kind if self.splits.background.get(one.sha256, "train") == split) or kind
            for kind in (self.backgrounds, self.plates)
        )
        return replace(self, backgrounds=panoramas, plates=plates)


def stream(seed: int, index: int, attempt: int, concern: str) -> np.random.Generator:
    """The generator of one concern of one attempt at one image.

    `seed + index` and `default_rng([seed, index])` both collide between datasets; a spawn key does not.
    """
    key = (index, attempt, zlib.crc32(concern.encode()))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def scan_of_index(scan_count: int, seed: int, index: int) -> int:
    """Which scan image `index` shows: every `scan_count` consecutive images show each scan once.

    Arithmetic but for one permutation per round, so that coverage is even at every N and work can be dealt by scan.
    """
    return int(scan_order(scan_count, seed, index // scan_count)[index % scan_count])


def scan_order(scan_count: int, seed: int, round_number: int) -> np.ndarray:
    """The permutation of scans in one round of `scan_count` consecutive images."""
    key = (round_number, zlib.crc32(b"scan_order"))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)).permutation(scan_count)


def draw_recipe(config: RenderConfig, library: Library, seed: int, index: int, attempt: int = 0) -> SceneRecipe:
    """Decide image `index`. The scan depends on (seed, index) alone; a further attempt redraws all else."""

    def rng(concern: str) -> np.random.Generator:
        return stream(seed, index, attempt, concern)

    entry = library.scans[scan_of_index(len(library.scans), seed, index)]
    framing = draw_framing(config, entry, rng("framing"))
    camera = draw_camera(config, entry.facts.regions[framing], rng("camera"))
    split = library.splits.person.get(entry.person, "train")
    near = library.within(split)
    panorama = near.backgrounds[int(rng("background").integers(len(near.backgrounds)))]
    yaw_deg = float(rng("light").uniform(*config.light.yaw_deg))
    jitter_ev = float(rng("exposure").uniform(*config.light.exposure_jitter_ev))
    engine = draw_engine(config.film, stream(seed, index, 0, "engine"))  # an image keeps its engine when drawn again
    traced = engine != "relight"
    return SceneRecipe(
        seed=seed,
        index=index,
        attempt=attempt,
        split=split,
        framing=framing,
        normals=config.normals,
        outputs=config.outputs,
        camera=camera,
        subjects=(
            Subject(
                scan_id=entry.scan_id,
                scan_key=entry.key,
                person=entry.person,
                scan_from_file=entry.facts.scan_from_file,
            ),
        ),
        background=Background(
            background_id=panorama.background_id,
            sha256=panorama.sha256,
            yaw_deg=yaw_deg,
            width_px=panorama.width_px,
            plate=draw_plate(config, near, panorama, jitter_ev, rng("plate")),
        ),
        film=Film(
            engine=engine,
            spp=config.film.spp if traced else 0,
            denoise=config.film.denoise and traced,
            exposure_ev=neutral_exposure_ev(config.light, panorama, yaw_deg, camera) + jitter_ev,
            view_transform=config.film.view_transform,
            material=config.film.material,
            cycles_seed=int(rng("noise").integers(2**31)) if traced else 0,
        ),
    )


def draw_engine(film: FilmSettings, rng: np.random.Generator) -> Engine:
    """One of the config's engines by its share."""
    shares = engine_shares(film.engine)
    names, bounds = list(shares), np.cumsum(list(shares.values()))
    return names[int(np.searchsorted(bounds / bounds[-1], rng.random(), side="right"))]


def draw_framing(config: RenderConfig, entry: ScanEntry, rng: np.random.Generator) -> Framing:
    """A framing by weight among those the scan can do; a scan that can do none of the weighted ones does its widest."""
    possible = [name for name in ("full", "upper", "face") if name in entry.facts.regions]
    weights = np.array([getattr(config.framing, name) for name in possible])
    choice = rng.random()  # drawn in any case, so that the stream does not depend on the weights
    if weights.sum() == 0:
        return possible[0]
    return possible[int(np.searchsorted(np.cumsum(weights) / weights.sum(), choice, side="right"))]


def draw_camera(config: RenderConfig, region: Sequence[Sequence[float]], rng: np.random.Generator) -> Camera:
    """A camera that sees `region` (min xyz, max xyz; world, metres) as large as the drawn fill asks."""
    ranges = config.camera
    width, height = config.width, config.height
    low, high = np.log(ranges.focal_35mm[0]), np.log(ranges.focal_35mm[1])
    focal_px = focal_px_from_35mm(float(np.exp(rng.uniform(low, high))), width, height)
    yaw, pitch = np.radians(rng.uniform(*ranges.yaw_deg)), np.radians(_draw_pitch(ranges, rng))
    roll_deg = _triangular(rng, ranges.roll_deg, 0.0)
    truncated = rng.random() < ranges.truncation
    fill = rng.uniform(*(ranges.truncated_fill if truncated else ranges.fill))
    offset = rng.uniform(*ranges.offset, size=2)
    shift = rng.uniform(*ranges.center_shift, size=2) * (width, height)

    corners, target = _corners(np.asarray(region, np.float64))
    backwards = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    pose = look_at(target + backwards, target, roll_deg)
    offsets = (corners - target) @ pose[:3, :3]  # camera axes, relative to the target
    size = np.array([width, height])
    position, focal_px = _fit(offsets, focal_px, fill * size, offset, size, shift, ranges.min_distance_m)
    pose[:3, 3] = target + pose[:3, :3] @ position
    return Camera(
        width=width,
        height=height,
        focal_px=focal_px,
        center_px=(float(width / 2 + shift[0]), float(height / 2 + shift[1])),
        world_from_camera=matrix4(pose),
    )


def draw_plate(
    config: RenderConfig, library: Library, panorama: BackgroundEntry, jitter_ev: float, rng: np.random.Generator
) -> Plate | None:
    """A plate and its crop, or None where the panorama is to be seen.

    The crop has the frame's aspect, a size between the least that is not magnified too far and the largest that fits,
    by equal ratios, and lies anywhere.
    """
    if not library.plates:
        return None
    chosen, which, size, across, down, turned = rng.random(6)
    if chosen >= config.background.plates and not panorama.only_lights:
        return None
    entry = library.plates[int(which * len(library.plates))]
    largest = min(entry.width_px, entry.height_px * config.width / config.height)
    least = min(config.width / config.checks.max_plate_magnification, largest)
    width = min(largest, float(least * (largest / least) ** size))
    height = min(float(entry.height_px), width * config.height / config.width)
    left, top = float(across * (entry.width_px - width)), float(down * (entry.height_px - height))
    return Plate(
        plate_id=entry.background_id,
        sha256=entry.sha256,
        width_px=entry.width_px,
        height_px=entry.height_px,
        crop_px=(left, top, min(left + width, entry.width_px), min(top + height, entry.height_px)),
        mirrored=bool(turned < config.background.mirrored),
        shown_ev=jitter_ev if config.background.match_exposure else 0.0,
    )


def neutral_exposure_ev(ranges: LightRanges, panorama: BackgroundEntry, yaw_deg: float, camera: Camera) -> float:
    """Exposure, EV, that shows a grey subject facing the camera at the target value.

    The irradiance is averaged over normals that the camera sees: towards it, and 45 degrees up, left and right.
    """
    pose = np.array(camera.world_from_camera)
    right, up, back = pose[:3, 0], -pose[:3, 1], -pose[:3, 2]
    seen = np.stack([back, *((back + tilt) / np.sqrt(2) for tilt in (up, right, -right))])
    yaw = np.radians(yaw_deg)
    panorama_from_world = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    light = float(irradiance(panorama.irradiance_sh, seen @ panorama_from_world.T).mean())
    radiance = _GREY_ALBEDO * light / np.pi
    return float(np.log2(ranges.target_linear / radiance))


def _fit(
    points: np.ndarray,
    focal_px: float,
    span_px: np.ndarray,
    offset: np.ndarray,
    size_px: np.ndarray,
    shift_px: np.ndarray,
    min_distance_m: float,
) -> tuple[np.ndarray, float]:
    """Where a camera must stand, in its own axes, for points (K, 3) to span `span_px` of the frame, and its lens.

    offset places the points in the room that they leave, -0.5 at the left or top edge, 0.5 at the right or bottom.
    Nearer than `min_distance_m` the lens is made longer instead. Solved by repetition, for perspective makes span and
    place depend on each other; it settles to a pixel within a few rounds.
    """
    # Eight points by Python's own numbers: numpy's calls would take twenty times the time of what they add up.
    across, down, away = points.T.tolist()
    wanted, place, size, shift = span_px.tolist(), offset.tolist(), size_px.tolist(), shift_px.tolist()
    nearest = min(away)
    depth = [z - nearest for z in away]
    # From far away inwards: the span grows no faster than the nearest point comes near, so no round overshoots.
    near = 4 * float(np.ptp(points, axis=0).max() * max(1.0, focal_px / span_px.min()))
    slide = [0.0, 0.0]
    for _ in range(_FIT_ROUNDS):
        spans = [0.0, 0.0]
        for axis, along in enumerate((across, down)):
            seen = [(p - slide[axis]) / (d + near) * focal_px for p, d in zip(along, depth, strict=True)]
            low, high = min(seen), max(seen)
            spans[axis] = high - low
            off = place[axis] * (size[axis] - spans[axis]) - shift[axis] - (high + low) / 2
            slide[axis] -= _DAMPING * off * (near - nearest) / focal_px
        excess = max(spans[0] / wanted[0], spans[1] / wanted[1]) ** _DAMPING
        if near * excess >= min_distance_m:
            near *= excess
        else:
            near, focal_px = min_distance_m, focal_px / (excess * near / min_distance_m)
    return np.array([slide[0], slide[1], nearest - near]), focal_px


def _corners(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    grid = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(8, 3)
    return box[0] + grid * (box[1] - box[0]), box.mean(axis=0)


def _draw_pitch(ranges: CameraRanges, rng: np.random.Generator) -> float:
    return _triangular(rng, ranges.pitch_deg, _PITCH_MODE_DEG)


def _triangular(rng: np.random.Generator, bounds: tuple[float, float], mode: float) -> float:
    low, high = bounds
    if low == high:
        rng.random()  # keeps later draws of the stream where they are
        return low
    return float(rng.triangular(low, min(max(mode, low), high), high))
