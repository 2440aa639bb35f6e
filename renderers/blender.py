"""BlenderRenderer: colour by Cycles (or EEVEE), labels by ray casting on the same triangles.

Colour is path traced only inside the box of the subject, on transparent film; the background is looked up in the
panorama itself (`renderers.panorama`) and composited. Cycles' own depth, sampled at the pixel centre, is held against
the labels of every frame. Data goes in through `renderers.blender_scene`; passes come out through an uncompressed
EXR in memory, for headless Blender gives pixels to files only.
"""

import ctypes.util
import shutil
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import OpenEXR

from renderers import blender_scene
from renderers.blender_quiet import stdout_to
from renderers.core import Core
from renderers.denoise import Denoiser, denoise_light
from renderers.film import composite, develop, to_8bit
from renderers.kernel import cpu_kernel
from renderers.panorama import render_panorama, shrink_panorama
from renderers.plate import render_plate
from renderers.proof import check_depth, check_subject, count_labels
from renderers.raycast import Labels, ScanCaster, cast_labels
from renderers.surface import ScanPaint, lookup_albedo, lookup_trust
from synth.backgrounds import load_panorama, load_plate
from synth.camera import Camera, project
from synth.errors import UserError
from synth.recipe import Material, SceneRecipe
from synth.sample import Sample
from synth.scans import PreparedScan, load_prepared
from synth.scratch import scratch_folder

#: Pixels around the subject's box: Cycles' filter reaches 0.75 px, the denoiser likes a rim.
_MARGIN_PX = 8
#: Radiance above which an indirect path is clamped, in units of the displayed white: fireflies, not light.
_CLAMP_INDIRECT = 10.0
#: Width at which a panorama lights: 0.35 degrees a texel, finer than the sun. What is seen of it has its full size.
_LIGHT_PX = 1024


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A scan in Blender's memory and in the ray caster's."""

    key: str
    material: Material
    scan: PreparedScan
    caster: ScanCaster
    paint: ScanPaint
    obj: bpy.types.Object


@dataclass(frozen=True, eq=False)
class _Passes:
    """What Blender rendered of a window, (h, w) pixels."""

    colour: np.ndarray
    """(h, w, 4) linear, premultiplied."""
    albedo: np.ndarray | None
    """(h, w, 3) linear, premultiplied: the matte colour of what the paths of `colour` met first; Cycles only."""
    depth: np.ndarray
    """(h, w) planar z, metres; 1e10 where nothing is."""


class BlenderRenderer:
    """One Blender. Keeps the scans of the last recipe loaded, so that further views of them cost no set-up."""

    def __init__(
        self, scan_store: Path, background_store: Path, engine: str = "cycles", device: str = "cpu", threads: int = 0
    ):
        self._scan_store, self._background_store = scan_store, background_store
        self._engine, self._device = engine, device
        if engine == "eevee" and ctypes.util.find_library("EGL") is None:
            raise UserError("the eevee engine needs libEGL: apt-get install libegl1 (without it Blender aborts)")
        self._folder = scratch_folder(in_memory=True)
        self._scene = blender_scene.clear_scene()
        self._camera = blender_scene.build_camera()
        self._world = blender_scene.build_world()
        self._loaded: list[_Loaded] = []
        self._panorama: tuple[str, np.ndarray] | None = None
        self._plate: np.ndarray | None = None
        self._core = Core() if threads == 1 and device == "cpu" else None
        self._denoiser = Denoiser(threads)
        self._retired: list[bpy.types.Image | None] = []
        self._device_name = ""
        self._set_up(threads)

    def render(self, recipe: SceneRecipe) -> Sample:
        """Colour and labels of a recipe.

        Raises BadSample when no subject is in view, a scan is seen from its inside, or Cycles' depth disagrees.
        """
        camera = recipe.camera
        self._load_scans(recipe)
        poses = [np.array(subject.world_from_scan) for subject in recipe.subjects]
        placed = list(zip(self._loaded, poses, strict=True))
        window = _subject_window(camera, [(loaded.scan, pose) for loaded, pose in placed])
        labels = cast_labels(camera, [(loaded.caster, pose) for loaded, pose in placed], recipe.normals, window)
        check_subject(labels)
        panorama = self._load_panorama(recipe)
        for loaded, pose in placed:
            blender_scene.place(loaded.obj, pose)
        blender_scene.aim_camera(self._camera, camera)
        passes = self._render_passes(recipe, window)
        if self._engine == "cycles":
            check_depth(labels, passes.depth, window)
        premultiplied = np.zeros((*camera.shape, 4), np.float32)
        premultiplied[window] = passes.colour
        if self._denoises_light(recipe):
            premultiplied[window][..., :3] = denoise_light(passes.colour, passes.albedo, self._denoiser)
        alpha = np.clip(premultiplied[..., 3], 0, 1)
        linear = composite(premultiplied[..., :3], alpha, self._render_background(recipe, panorama, alpha < 1))
        return Sample(
            recipe=recipe,
            rgb=develop(linear, recipe.film),
            alpha=to_8bit(alpha),
            instance=labels.instance,
            depth_m=labels.depth_m,
            normal=labels.normal,
            counts=count_labels(labels),
            **_further_labels(recipe, labels, placed),
        )

    def environment(self) -> dict[str, str]:
        """Blender's build, the device, and the versions that labels and arrays depend on."""
        from importlib.metadata import version

        return {
            "renderer": f"blender-{self._engine}",
            "bpy": f"{bpy.app.version_string} {bpy.app.build_hash.decode()}",
            "device": self._device,
            **({"device_name": self._device_name} if self._device_name else {}),
            "cpu": cpu_kernel(),
            "embreex": version("embreex"),
            "oidn": self._denoiser.version,
            "numpy": np.__version__,
        }

    def save_blend(self, path: Path) -> None:
        """The scene of the last recipe as a file that opens in Blender, with all pictures packed inside.

        Its world is the panorama as it lights, at most 1024 texels wide; what is seen of it in a sample is sharper. A
        plate lies behind as a picture of the frame's size, put there by compositing.
        """
        self._scene.render.use_border = self._scene.render.use_crop_to_border = False
        with blender_scene.backdrop(self._scene, self._plate):
            for image in bpy.data.images:
                if image.packed_file is None and image.size[0]:
                    image.pack()
            bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, check_existing=False)

    def close(self) -> None:
        """Removes the folder in memory; the process should end soon after, Blender keeps what it allocated."""
        self._denoiser.close()
        if self._core is not None:
            self._core.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _set_up(self, threads: int) -> None:
        scene = self._scene
        render = scene.render
        render.engine = "CYCLES" if self._engine == "cycles" else "BLENDER_EEVEE_NEXT"
        render.film_transparent = True
        render.use_persistent_data = True
        render.threads_mode = "FIXED" if threads else "AUTO"
        if threads:
            render.threads = threads
        render.use_compositing = render.use_sequencer = False
        render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
        render.image_settings.color_depth = "32"
        render.image_settings.exr_codec = "NONE"
        render.filepath = str(self._folder / "frame.exr")
        scene.view_layers[0].use_pass_z = True
        scene.view_layers[0].use_pass_diffuse_color = self._engine == "cycles"
        cycles = scene.cycles
        cycles.use_adaptive_sampling = False
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 3, 2
        cycles.transparent_max_bounces = 32
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        cycles.denoising_quality = "BALANCED"
        cycles.denoising_prefilter = "FAST"
        cycles.use_light_tree = False  # one light, the world
        if self._device != "cpu":
            names = blender_scene.enable_device(self._device)
            if not names:
                raise UserError(f"no {self._device} device that Cycles can use; try --device cpu")
            self._device_name = ", ".join(sorted(set(names)))

    def _load_scans(self, recipe: SceneRecipe) -> None:
        wanted = [(subject.scan_key, recipe.film.material) for subject in recipe.subjects]
        if wanted == [(loaded.key, loaded.material) for loaded in self._loaded]:
            return
        for loaded in self._loaded:
            blender_scene.remove_scan(loaded.obj)
        self._loaded = []
        for key, material in wanted:
            scan = load_prepared(self._scan_store, key)
            obj = blender_scene.build_scan(scan, material)
            self._loaded.append(_Loaded(key, material, scan, ScanCaster(scan), ScanPaint(scan), obj))

    def _load_panorama(self, recipe: SceneRecipe) -> np.ndarray:
        wanted = recipe.background.sha256
        if self._panorama is None or self._panorama[0] != wanted:
            panorama = load_panorama(self._background_store, wanted)
            light = shrink_panorama(panorama, panorama.shape[1] // _LIGHT_PX)
            self._retired.append(blender_scene.light_world(self._world, light))
            self._panorama = (wanted, panorama)
        blender_scene.turn_world(self._world, recipe.background.yaw_deg)
        return self._panorama[1]

    def _render_background(self, recipe: SceneRecipe, panorama: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Linear colour (H, W, 3) behind the subject, where `wanted` (H, W); anything finite elsewhere."""
        plate = recipe.background.plate
        if plate is None:
            self._plate = None
            return render_panorama(panorama, recipe.camera, recipe.background.yaw_deg, wanted=wanted)
        pixels = load_plate(self._background_store, plate.sha256)
        self._plate = render_plate(pixels, plate, recipe.camera.shape, recipe.film.exposure_ev)
        return self._plate

    def _denoises_light(self, recipe: SceneRecipe) -> bool:
        """Whether the light is denoised by us. Cycles denoises what shines, and what a GPU renders, on the GPU."""
        return (
            recipe.film.denoise
            and self._engine == "cycles"
            and self._device == "cpu"
            and recipe.film.material == "diffuse"
        )

    def _render_passes(self, recipe: SceneRecipe, window: tuple[slice, slice]) -> _Passes:
        scene, camera, film = self._scene, recipe.camera, recipe.film
        _set_border(scene.render, camera, window)
        scene.cycles.samples = scene.eevee.taa_render_samples = film.spp
        scene.cycles.seed = film.cycles_seed
        scene.cycles.use_denoising = film.denoise and not self._denoises_light(recipe)
        scene.cycles.sample_clamp_indirect = _CLAMP_INDIRECT * 2.0**-film.exposure_ev
        with stdout_to(self._folder / "blender.log"):
            bpy.ops.render.render(write_still=True)
        bpy.data.batch_remove([image for image in self._retired if image is not None])
        self._retired = []
        channels = OpenEXR.File(scene.render.filepath, separate_channels=True).channels()
        layer = scene.view_layers[0].name
        depth = channels[f"{layer}.Depth.Z"].pixels
        expected = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        if depth.shape != expected:
            raise RuntimeError(f"Blender rendered {depth.shape} pixels, asked for {expected}")

        def stacked(name: str, parts: str) -> np.ndarray:
            return np.stack([channels[f"{layer}.{name}.{part}"].pixels for part in parts], axis=-1)

        albedo = stacked("DiffCol", "RGB") if self._engine == "cycles" else None
        return _Passes(stacked("Combined", "RGBA"), albedo, depth)


def _set_border(render: bpy.types.RenderSettings, camera: Camera, window: tuple[slice, slice]) -> None:
    """Renders only the window. Half a pixel inside, for Blender rounds the border's shares down to pixels."""
    rows, columns = window
    render.use_border = render.use_crop_to_border = True
    render.border_min_x = (columns.start + 0.5) / camera.width
    render.border_max_x = (columns.stop + 0.5) / camera.width
    render.border_min_y = (camera.height - rows.stop + 0.5) / camera.height
    render.border_max_y = (camera.height - rows.start + 0.5) / camera.height


def _subject_window(camera: Camera, placed: list[tuple[PreparedScan, np.ndarray]]) -> tuple[slice, slice]:
    """Rows and columns that hold all of the subjects, with a margin; the frame where one is beside the camera."""
    low, high = np.array([np.inf, np.inf]), np.array([-np.inf, -np.inf])
    for scan, world_from_scan in placed:
        points = np.asarray(scan.positions, np.float64) @ world_from_scan[:3, :3].T + world_from_scan[:3, 3]
        uv, z = project(camera, points)
        if (z <= 1e-3).any():
            return slice(0, camera.height), slice(0, camera.width)
        low, high = np.minimum(low, uv.min(axis=0)), np.maximum(high, uv.max(axis=0))
    size = np.array([camera.width, camera.height])
    x0, y0 = np.clip(np.floor(low) - _MARGIN_PX, 0, size - 1).astype(int)
    x1, y1 = np.clip(np.ceil(high) + _MARGIN_PX, 1, size).astype(int)
    return slice(int(y0), max(int(y1), int(y0) + 1)), slice(int(x0), max(int(x1), int(x0) + 1))


def _further_labels(
    recipe: SceneRecipe, labels: Labels, placed: list[tuple[_Loaded, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The labels that the recipe asks for besides the triplet, by the names that Sample gives them."""
    further = {}
    if "albedo" in recipe.outputs:
        further["albedo"] = lookup_albedo(recipe.camera, labels, [(loaded.paint, pose) for loaded, pose in placed])
    if "trust" in recipe.outputs:
        further["trust"] = lookup_trust(labels, [loaded.scan for loaded, _ in placed])
    return further
