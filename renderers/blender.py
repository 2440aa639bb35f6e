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
from renderers.frame import build_sample, render_background, subject_window
from renderers.kernel import cpu_kernel
from renderers.panorama import light_panorama
from renderers.proof import check_depth, check_subject
from renderers.raycast import ScanCaster, cast_labels
from renderers.surface import ScanPaint
from synth.backgrounds import load_panorama
from synth.camera import Camera
from synth.errors import UserError
from synth.recipe import Material, SceneRecipe
from synth.sample import Sample
from synth.scans import PreparedScan, load_prepared
from synth.scratch import scratch_folder

#: Radiance above which an indirect path is clamped, in units of the displayed white: fireflies, not light.
_CLAMP_INDIRECT = 10.0


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
        window = subject_window(camera, placed)
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
        covered = premultiplied[..., 3] >= 1
        background = render_background(recipe, panorama, self._background_store, ~covered)
        self._plate = None if recipe.background.plate is None else background
        return build_sample(recipe, labels, premultiplied, background, placed)

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
            self._retired.append(blender_scene.light_world(self._world, light_panorama(panorama)))
            self._panorama = (wanted, panorama)
        blender_scene.turn_world(self._world, recipe.background.yaw_deg)
        return self._panorama[1]

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
