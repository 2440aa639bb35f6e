"""A dataset as a recording (.rrd) for the Rerun viewer: cameras, pictures, labels and points, one step a sample.

Rerun's package wants NumPy 2, which Blender's does not stand: it belongs into an environment of its own
(`pip install 'synth[rerun]'`), and is imported only here, when asked for.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from synth.errors import UserError
from synth.report_pictures import normal_picture
from synth.sample import Sample

#: Rows and columns between points: a quarter of a megapixel is enough to look at.
_EVERY = 2


def write_recording(dataset, positions: Iterable[int], path: Path, progress: Callable[[int], None]) -> None:
    """Writes the samples at `positions` of a `synth.store.Dataset`; the time line `sample` is their index.

    World: right-handed, z up, metres; cameras look along z with x right and y down, as Rerun's RDF. Depth is planar,
    metres, 0 where no subject. Raises UserError without the package.
    """
    rerun = load_rerun()
    recording = rerun.RecordingStream("synth")
    recording.save(path)
    recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    for done, position in enumerate(positions, 1):
        sample, members = dataset[int(position)], dataset.members(int(position))
        recording.set_time("sample", sequence=sample.recipe.index)
        for entity, value in _entities(rerun, sample, members["rgb.png"]):
            recording.log(entity, value)
        progress(done)
    recording.disconnect()


def load_rerun():
    """The package rerun-sdk. Raises UserError where it is missing."""
    try:
        import rerun
    except ImportError as error:
        raise UserError(
            "--rerun: the package rerun-sdk is missing; pip install 'synth[rerun]' into an environment of its own, for "
            "it wants NumPy 2 and Blender NumPy 1"
        ) from error
    return rerun


def _entities(rerun, sample: Sample, rgb_png: bytes) -> list[tuple[str, object]]:
    """(path, archetype) of one sample. Points stand in the camera's frame, outside of the pinhole's image plane."""
    camera = sample.recipe.camera
    world_from_camera = np.array(camera.world_from_camera)
    finite = np.isfinite(sample.depth_m)
    seen = np.zeros_like(finite)
    seen[::_EVERY, ::_EVERY] = finite[::_EVERY, ::_EVERY]
    lens = rerun.Pinhole(
        focal_length=camera.focal_px,
        principal_point=list(camera.center_px),
        width=camera.width,
        height=camera.height,
        camera_xyz=rerun.ViewCoordinates.RDF,
    )
    pose = rerun.Transform3D(translation=world_from_camera[:3, 3], mat3x3=world_from_camera[:3, :3])
    return [
        ("world/camera", pose),
        ("world/camera/points", rerun.Points3D(sample.pointmap()[seen], colors=sample.rgb[seen])),
        ("world/camera/image", lens),
        ("world/camera/image/rgb", rerun.EncodedImage(contents=rgb_png, media_type="image/png")),
        ("world/camera/image/depth", rerun.DepthImage(np.where(finite, sample.depth_m, 0), meter=1.0)),
        ("world/camera/image/instance", rerun.SegmentationImage(sample.instance)),
        ("normal", rerun.Image(normal_picture(sample.normal))),
        ("recipe", rerun.TextDocument(sample.recipe.model_dump_json(indent=1))),
    ]
