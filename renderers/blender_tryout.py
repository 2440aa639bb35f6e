"""The child of `renderers.tryout`: prepared scans through Cycles, one after the other.

`python -m renderers.blender_tryout STORE KEY...` says `ready`, then `ok KEY` or `bad KEY reason` for each, on standard
output. What aborts, hangs or bloats the process leaves its key unsaid.
"""

import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np

from renderers import blender_scene
from synth.camera import Camera, look_at, matrix4
from synth.scans import BadScan, PreparedScan, load_prepared

_WIDTH, _HEIGHT, _SPP = 48, 64, 1
_FOCAL_PX = 90.0


def main(store: Path, keys: list[str]) -> None:
    """Renders every scan once, in the light of a grey sky."""
    scene = blender_scene.clear_scene()
    camera, world = blender_scene.build_camera(), blender_scene.build_world()
    blender_scene.light_world(world, np.ones((8, 16, 3), np.float32))
    scene.render.engine, scene.cycles.samples = "CYCLES", _SPP
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.use_compositing = scene.render.use_sequencer = False
    scene.render.image_settings.file_format = "OPEN_EXR"
    _say("ready")
    with tempfile.TemporaryDirectory(prefix="synth-tryout-") as folder:
        scene.render.filepath = str(Path(folder, "frame.exr"))
        for key in keys:
            try:
                _render(load_prepared(store, key), camera)
            except BadScan as error:
                _say(f"bad {key} {error}")
            else:
                _say(f"ok {key}")


def _render(scan: PreparedScan, camera: bpy.types.Object) -> None:
    obj = blender_scene.build_scan(scan, "authored")
    low, high = np.array(scan.facts.bounds)
    middle, size = (low + high) / 2, float(np.linalg.norm(high - low))
    pose = look_at(middle + np.array([1.5 * size, 0, 0]), middle, 0.0)
    center = (_WIDTH / 2, _HEIGHT / 2)
    blender_scene.aim_camera(
        camera,
        Camera(width=_WIDTH, height=_HEIGHT, focal_px=_FOCAL_PX, center_px=center, world_from_camera=matrix4(pose)),
    )
    bpy.ops.render.render(write_still=True)
    blender_scene.remove_scan(obj)


def _say(text: str) -> None:
    print("\n" + text, flush=True)  # Blender's own lines may lack their end


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
