"""How exact the stored labels are, against a double-precision oracle on the source mesh; what the naive way gives.

Labels go their whole way: cast_labels -> Sample -> synth.codec.stored() -> the sample that a reader gets. The oracle
(`labels_oracle`) is a rasteriser of its own. The same table for Cycles' Z and Normal passes of an ordinary colour
render shows why labels are not taken from there. Exit status 1 when an aim is missed.

    .venv/bin/python benchmarks/labels.py --scans demo/assets/scans
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np
import OpenEXR
from labels_oracle import Seen, Source, load_source, rasterise
from quiet import quiet

from renderers import blender_scene
from renderers.importers import probe
from renderers.panorama import shrink_panorama
from renderers.raycast import ScanCaster, cast_labels
from renderers.trial import write_holed_ball
from synth.assets import bpy_hdris
from synth.backgrounds import BackgroundLibrary, load_backgrounds, load_panorama
from synth.camera import project
from synth.codec import stored
from synth.config import RenderConfig, load_config
from synth.randomize import Library, draw_recipe
from synth.recipe import SceneRecipe
from synth.sample import LabelCounts, Sample
from synth.scans import PreparedScan, ScanLibrary, default_cache, load_library, load_prepared

GROUPS = ("interior", "rim", "alpha-tested")
#: Pixels from the mask's border or from a depth edge that are rim.
_RIM_PX = 2
#: Depths of neighbours further apart than this many pixel footprints are an edge: steeper than 83 degrees.
_EDGE_FOOTPRINTS = 8.0
#: Depth errors are scaled to this distance.
_AT_MM = 3000.0
_NAIVE_SPP = 16
_HOLED_IMAGES = 2
_NO_DEPTH = 1e9
#: Half floats: a stored unit normal is off by at most 1e-3 in length.
_UNIT_TOLERANCE = 2e-3
_DEPTH_RECIPES = 2000
#: Vertices of a scan whose depths stand for all in the range of distances.
_DEPTH_VERTICES = 1000


@dataclass
class Tally:
    """Errors collected over frames, by group."""

    depth_mm: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    normal_deg: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in GROUPS})
    mask_differs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0))
    inconsistent: int = 0

    def add(self, sample: Sample, seen: Seen) -> None:
        """Holds one frame's labels against the oracle's."""
        mask, depth_m, normal = sample.mask, sample.depth_m.astype(np.float64), sample.normal.astype(np.float64)
        truth = np.isfinite(seen.depth_m)
        length = np.linalg.norm(normal, axis=-1)
        finite = np.isfinite(depth_m)
        whole = finite & (depth_m > 0) & (np.abs(length - 1) < _UNIT_TOLERANCE)
        none = np.isposinf(depth_m) & (length == 0)
        self.inconsistent += int((~np.where(mask, whole, none)).sum())
        rim = _rim(seen.depth_m, sample.recipe.camera.focal_px)
        groups = {"alpha-tested": seen.met_alpha, "rim": rim & ~seen.met_alpha}
        groups["interior"] = ~seen.met_alpha & ~rim
        for name, group in groups.items():
            self.mask_differs[name] += int((group & (mask != truth)).sum())
            both = group & mask & truth & finite & (length > 0)
            error = np.abs(depth_m[both] / seen.depth_m[both] - 1)
            self.depth_mm[name].append(error * _AT_MM)
            self.normal_deg[name].append(_angles_deg(normal[both], seen.normal[both]))

    def report(self, title: str) -> None:
        """Prints the table."""
        print(f"\n{title}")
        print(f"{'':<14}{'':>9} |  depth error, mm at 3 m    |  normals, degrees           | mask")
        print(f"{'':<14}{'pixels':>9} |   median    p99.9      max |   median    p99.9      max  | differs")
        for name in GROUPS:
            depth, normal = _quantiles(self.depth_mm[name]), _quantiles(self.normal_deg[name])
            count = sum(map(len, self.depth_mm[name]))
            print(f"{name:<14}{count:>9} | {depth[0]:>8.4f} {depth[1]:>8.3f} {depth[2]:>8.2f}", end="")
            print(f" | {normal[0]:>8.4f} {normal[1]:>8.3f} {normal[2]:>8.2f}  | {self.mask_differs[name]:>7}")
        print(f"pixels where mask, depth and normal disagree among themselves: {self.inconsistent}")


def main() -> None:
    """Prints the tables and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=Path, required=True, nargs="+")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--cycles-images", type=int, default=6, help="how many of them Cycles renders too, at least 1")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=1024)
    args = parser.parse_args()
    config = load_config(None, {"width": args.width, "height": args.height})
    skies = load_backgrounds(list(bpy_hdris().values()), default_cache())
    folders = [folder.absolute() for folder in args.scans]
    scans = load_library(folders, default_cache(), probe)
    print(f"{args.images} frames of scans and {_HOLED_IMAGES} of a ball with holes, {args.width} x {args.height}")
    ours, naive, costs = Tally(), Tally(), []
    with tempfile.TemporaryDirectory(prefix="labels-") as scratch:
        holed_folder = write_holed_ball(Path(scratch, "holed"))
        holed = load_library([holed_folder], Path(scratch, "cache"), probe)
        cycles = CyclesPasses(Path(scratch, "frame.exr"), skies)
        for library, roots, images in ((scans, folders, args.images), (holed, [holed_folder], _HOLED_IMAGES)):
            for index in range(images):
                recipe = draw_recipe(config, Library(library.entries, skies.entries), seed=0, index=index)
                passes = cycles if index < max(1, args.cycles_images) else None
                costs += measure_frame(recipe, library, roots, passes, ours, naive)
    ours.report("Our labels as stored, against the oracle (depth error / depth * 3000 mm)")
    naive.report(f"Naive: Z and Normal pass of a colour render, {_NAIVE_SPP} spp, default filter, stored alike")
    library = Library(scans.entries, skies.entries)
    distances_m = measure_distances(config, library, scans.store)
    encoding = measure_encoding(draw_recipe(config, library, seed=0, index=0), distances_m)
    report_cost(costs)
    sys.exit(0 if print_verdicts(ours, encoding) else 1)


def measure_frame(
    recipe: SceneRecipe,
    library: ScanLibrary,
    roots: list[Path],
    passes: "CyclesPasses | None",
    ours: Tally,
    naive: Tally,
) -> list[tuple[float, float]]:
    """Adds a frame to both tallies. Core-seconds of our labels and of Cycles', where `passes` is to render it too."""
    subject = recipe.subjects[0]
    scan = load_prepared(library.store, subject.scan_key)
    source = load_source(scan, _path_of(library, roots, subject.scan_id))
    seen = rasterise(recipe.camera, scan, source, np.array(subject.world_from_scan))
    _print_frame(recipe, source, seen)
    sample, cost = cast_sample(recipe, scan)
    ours.add(sample, seen)
    if passes is None:
        return []
    sample, cycles_cost = passes.render(recipe, scan)
    naive.add(sample, seen)
    return [(cost, cycles_cost)]


def cast_sample(recipe: SceneRecipe, scan: PreparedScan) -> tuple[Sample, float]:
    """Our labels as a reader of the store gets them, and core-seconds of casting them, the second of two times."""
    placed = [(ScanCaster(scan), np.array(recipe.subjects[0].world_from_scan))]
    cast_labels(recipe.camera, placed)
    started = time.process_time()
    labels = cast_labels(recipe.camera, placed)
    cost = time.process_time() - started
    return _store(recipe, labels.instance, labels.depth_m, labels.normal), cost


class CyclesPasses:
    """Blender with one scan before a panorama, as anybody would set it up."""

    def __init__(self, exr: Path, skies: BackgroundLibrary):
        self._exr, self._skies = exr, skies
        scene = self._scene = blender_scene.clear_scene()
        self._camera = blender_scene.build_camera()
        self._world = blender_scene.build_world()
        self._loaded: bpy.types.Object | None = None
        render = scene.render
        render.engine = "CYCLES"
        render.use_persistent_data = True
        render.use_compositing = render.use_sequencer = False
        render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
        render.image_settings.color_depth = "32"
        render.image_settings.exr_codec = "NONE"
        render.filepath = str(exr)
        scene.view_layers[0].use_pass_z = scene.view_layers[0].use_pass_normal = True
        scene.cycles.use_adaptive_sampling = scene.cycles.use_denoising = False

    def render(self, recipe: SceneRecipe, scan: PreparedScan) -> tuple[Sample, float]:
        """Z and Normal of a colour render as a stored sample, and core-seconds of labels by Cycles alone: the second
        of two renders of 1 path a pixel without bounces, which is all that Z and Normal need."""
        subject = recipe.subjects[0]
        if self._loaded is not None:
            blender_scene.remove_scan(self._loaded)
        self._loaded = blender_scene.build_scan(scan, recipe.film.material)
        blender_scene.place(self._loaded, np.array(subject.world_from_scan))
        blender_scene.aim_camera(self._camera, recipe.camera)
        panorama = load_panorama(self._skies.store, recipe.background.sha256)
        replaced = blender_scene.light_world(self._world, shrink_panorama(panorama, max(1, panorama.shape[1] // 1024)))
        blender_scene.turn_world(self._world, recipe.background.yaw_deg)
        self._render(_NAIVE_SPP, bounces=4)
        if replaced is not None:
            bpy.data.images.remove(replaced)
        channels = OpenEXR.File(str(self._exr), separate_channels=True).channels()
        layer = self._scene.view_layers[0].name
        depth = channels[f"{layer}.Depth.Z"].pixels
        depth = np.where(depth < _NO_DEPTH, depth, np.float32(np.inf))
        world = np.stack([channels[f"{layer}.Normal.{axis}"].pixels for axis in "XYZ"], axis=-1).astype(np.float64)
        normal = (world @ np.array(recipe.camera.world_from_camera)[:3, :3]).astype(np.float32)
        self._render(1, bounces=0)
        return _store(recipe, np.isfinite(depth).astype(np.uint8), depth, normal), self._render(1, bounces=0)

    def _render(self, spp: int, bounces: int) -> float:
        self._scene.cycles.samples, self._scene.cycles.max_bounces = spp, bounces
        started = time.process_time()
        with quiet():
            bpy.ops.render.render(write_still=True)
        return time.process_time() - started


def measure_distances(config: RenderConfig, library: Library, store: Path) -> tuple[float, float]:
    """Least and greatest depth, metres, of subjects within the frame, over many recipes; printed."""
    points = {}
    for entry in library.scans:
        positions = np.asarray(load_prepared(store, entry.key).positions, np.float64)
        points[entry.key] = positions[:: max(1, len(positions) // _DEPTH_VERTICES)]
    low, high = np.inf, 0.0
    for index in range(_DEPTH_RECIPES):
        recipe = draw_recipe(config, library, seed=1, index=index)
        uv, z = project(recipe.camera, points[recipe.subjects[0].scan_key])
        seen = z[(z > 0) & (uv >= 0).all(axis=1) & (uv <= (config.width, config.height)).all(axis=1)]
        if seen.size:
            low, high = min(low, float(seen.min())), max(high, float(seen.max()))
    print(f"\nDistances of the default ranges, {_DEPTH_RECIPES} recipes: {low:.3f} to {high:.2f} m")
    return low, high


def measure_encoding(recipe: SceneRecipe, distances_m: tuple[float, float]) -> np.ndarray:
    """Relative errors of random float32 depths, log-uniform, through the codec; printed, with random normals' angles.

    recipe: any; its camera gives the number of pixels. distances_m: widened to 0.45 .. 12 m where they are less.
    """
    low, high = min(0.45, distances_m[0]), max(12.0, distances_m[1])
    rng = np.random.default_rng(0)
    shape = recipe.camera.shape
    exact = np.exp(rng.uniform(np.log(low), np.log(high), shape))
    given = exact.astype(np.float32)
    normal = rng.normal(size=(*shape, 3))
    normal[..., 2] = -np.abs(normal[..., 2])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    back = _store(recipe, np.ones(shape, np.uint8), given, normal.astype(np.float32))
    read = back.depth_m.astype(np.float64)
    error = np.abs(read / given - 1).ravel()
    median, worst = np.median(error), error.max()
    angle = _quantiles([_angles_deg(back.normal.astype(np.float64), normal).ravel()])
    print(f"Encoding alone, {error.size} random pixels at {low:.3f} to {high:.2f} m:")
    print(f"  depth: median {median * 2**17:.3f} x 2^-17, worst {worst * 2**16:.4f} x 2^-16 of the distance", end="")
    print(f" ({median * _AT_MM:.4f} and {worst * _AT_MM:.4f} mm at 3 m)")
    rounded = np.abs(read / exact - 1).max()
    print(f"  against the double-precision depth, before the label's own float32: worst {rounded * 2**16:.4f} x 2^-16")
    print(f"  unit normals: median {angle[0]:.4f}, p99.9 {angle[1]:.4f}, max {angle[2]:.4f} degrees")
    return error


def report_cost(costs: list[tuple[float, float]]) -> None:
    """Prints core-seconds of our labels and of Cycles' at 1 spp: medians over frames."""
    ours, cycles = np.median(costs, axis=0)
    print(f"\nCost, core-seconds a frame (medians, scan loaded): cast_labels {ours:.2f}, ", end="")
    print(f"Cycles 1 spp for Z + Normal {cycles:.2f}: {cycles / ours:.2f} x ours")


def print_verdicts(ours: Tally, encoding: np.ndarray) -> bool:
    """PASS or FAIL for each aim; whether all passed."""
    aims = []
    for name in GROUPS:
        depth, normal = _quantiles(ours.depth_mm[name]), _quantiles(ours.normal_deg[name])
        aims.append((f"{name}: depth median, mm at 3 m", depth[0], 0.05))
        aims.append((f"{name}: depth p99.9, mm at 3 m", depth[1], 1.0))
        aims.append((f"{name}: normals median, degrees", normal[0], 0.03))
        aims.append((f"{name}: normals p99.9, degrees", normal[1], 1.0))
    aims.append(("encoding: depth median, 2^-17", float(np.median(encoding)) * 2**17, 1.0))
    aims.append(("encoding: depth worst, 2^-16", float(encoding.max()) * 2**16, 1.0))
    aims.append(("pixels where mask, depth, normal disagree", float(ours.inconsistent), 0.0))
    print()
    for aim, found, most in aims:
        print(f"{'PASS' if found <= most else 'FAIL'}  {aim}: {found:.4g} (at most {most:g})")
    return all(found <= most for _, found, most in aims)


def _store(recipe: SceneRecipe, instance: np.ndarray, depth_m: np.ndarray, normal: np.ndarray) -> Sample:
    """The sample that a reader gets of these labels; its colour is a flat grey."""
    grey = np.full((*instance.shape, 3), 128, np.uint8)
    alpha = (instance > 0).astype(np.uint8) * 255
    return stored(Sample(recipe, grey, alpha, instance, depth_m, normal, LabelCounts(0, 0, 0)))[1]


def _rim(depth_m: np.ndarray, focal_px: float) -> np.ndarray:
    """(H, W) bool, pixels within 2 px of the mask's border or of a depth edge, on both sides of it."""
    near = np.zeros(depth_m.shape, bool)
    for axis in (0, 1):
        a, b = (np.moveaxis(x, axis, 0) for x in (depth_m, near))
        here, there = np.isfinite(a[:-1]), np.isfinite(a[1:])
        with np.errstate(invalid="ignore"):
            jump = np.abs(a[1:] - a[:-1]) > _EDGE_FOOTPRINTS * np.minimum(a[1:], a[:-1]) / focal_px
        edge = (here != there) | (here & there & jump)
        b[:-1] |= edge
        b[1:] |= edge
    for _ in range(_RIM_PX - 1):
        padded = np.pad(near, 1)
        rows, columns = near.shape
        near = np.any([padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)
    return near


def _angles_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between vectors (..., 3) of any length, degrees; exact for small ones, where arccos is not."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1)))


def _quantiles(parts: list[np.ndarray]) -> tuple[float, float, float]:
    """Median, p99.9 and maximum; nan where there is nothing."""
    values = np.concatenate(parts) if parts else np.zeros(0)
    if values.size == 0:
        return np.nan, np.nan, np.nan
    return float(np.median(values)), float(np.percentile(values, 99.9)), float(values.max())


def _print_frame(recipe: SceneRecipe, source: Source, seen: Seen) -> None:
    hit = seen.depth_m[np.isfinite(seen.depth_m)]
    where = f"{hit.min():.2f} to {hit.max():.2f} m" if hit.size else "nothing in view"
    print(
        f"  {recipe.subjects[0].scan_id:<24} {recipe.framing:<6} {hit.size:>7} px, {where}; {source.origin}", flush=True
    )


def _path_of(library: ScanLibrary, roots: list[Path], scan_id: str) -> Path:
    name = next(v.path for v in library.verdicts if v.scan_id == scan_id)
    return next(root / name for root in roots if (root / name).is_file())


if __name__ == "__main__":
    main()
