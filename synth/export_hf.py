"""A folder for the Hugging Face Hub: Parquet files of each split, with pictures that its viewer shows, and a card.

One type a column, written down in every file, so that no reader infers it from the first rows. Depth and normals stay
the dataset's own EXR bytes. Next: `synth.export_papers` writes the card.
"""

import json
from dataclasses import dataclass
from functools import cache

import numpy as np

from synth.export_dest import is_there, publish
from synth.export_job import Job, Made
from synth.export_pictures import preview_bytes
from synth.recipe import canonical_json, sample_id
from synth.splits import SPLITS
from synth.store import Dataset
from synth.store_table import schema

#: What the Hub calls our splits.
HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}

#: Samples of a file: about 300 MB at 1024 x 768, which the Hub advises.
_FILE = 128
#: Rows that a reader must fetch to see one.
_ROW_GROUP = 16

#: Pictures: column and the member it is. Members that not every sample has are null there.
_IMAGES = {
    "image": "rgb.png",
    "alpha": "alpha.png",
    "instance": "instance.png",
    "albedo": "albedo.png",
    "trust": "trust.png",
}
_BYTES = {"depth_exr": "depth.exr", "normal_exr": "normal.exr"}
#: Columns of the index that a row repeats.
_FACTS = (
    "scans", "people", "background", "framing", "flags", "camera_distance_m", "camera_yaw_deg", "camera_pitch_deg",
    "covered", "depth_p50_m", "exposure_ev",
)  # fmt: skip

#: What each column is, for the card.
COLUMNS = {
    "sample_id": "name of the sample in the dataset",
    "image": "colour, sRGB 8 bit, PNG",
    "preview": "colour, depth and normals side by side, for people; a JPEG",
    "depth_exr": "bytes of an EXR: channel Y, planar z in metres, +inf where no subject",
    "normal_exr": "bytes of an EXR: channels R, G, B = x, y, z, camera frame x right, y down, z forward",
    "instance": "0 background, 1..N subjects; above 0 is the mask that labels hold for",
    "alpha": "soft coverage 0..255, for compositing, never supervision",
    "albedo": "the scan's colour without light; null where the dataset has none",
    "trust": "how far the geometry is to be believed, 255: no doubt; null where the dataset has none",
    "width": "columns, pixels",
    "height": "rows, pixels",
    "focal_px": "focal length, pixels",
    "center_px": "principal point (u, v); pixel centres lie at (col + 0.5, row + 0.5)",
    "world_from_camera": "4 x 4, rows first: maps camera points (OpenCV axes, metres) to the world",
    **{name: "of the index, see Distributions" for name in _FACTS},
    "recipe": "everything that was decided for the image, as one JSON text",
}


@dataclass(frozen=True)
class FileTask:
    """One Parquet file."""

    name: str
    first: int
    """Rank of the first sample."""
    positions: tuple[int, ...]


def arrange(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """By split, then by id."""
    splits = dataset.table(["split"])["split"].take(positions).to_pylist()
    return positions[np.argsort([SPLITS.index(split) for split in splits], kind="stable")]


def plan(job: Job, arranged: np.ndarray) -> list[FileTask]:
    """A file each; no file holds two splits."""
    splits = np.array(job.dataset.table(["split"])["split"].take(arranged).to_pylist())
    tasks = []
    for split, name in HUB_SPLITS.items():
        ranks = np.flatnonzero(splits == split)
        count = -(-len(ranks) // _FILE)
        for number in range(count):
            part = ranks[number * _FILE : (number + 1) * _FILE]
            file = f"data/{name}-{number:05d}-of-{count:05d}.parquet"
            tasks.append(FileTask(file, int(part[0]), tuple(arranged[part].tolist())))
    return tasks


def make(job: Job, task: FileTask) -> list[Made]:
    """Writes the file, unless it is there."""
    if not is_there(job.dest, task.name):
        publish(job.dest, task.name, [_parquet(job.dataset, task.positions)])
    return [Made(rank, task.name) for rank in range(task.first, task.first + len(task.positions))]


def finish(job: Job, arranged: np.ndarray, made: list[Made]) -> None:
    """Nothing is written of all samples together but the card."""


def _parquet(dataset: Dataset, positions: tuple[int, ...]) -> memoryview:
    """The bytes of a file. Row groups are written one by one, so that no more than one is in memory decoded."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    packed = [*_IMAGES, "preview", *_BYTES]  # compressed already
    compression = {name: "none" if name in packed else "zstd" for name in _schema().names}
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(sink, _schema(), compression=compression, use_dictionary=False) as writer:
        for start in range(0, len(positions), _ROW_GROUP):
            rows = [_row(dataset, position) for position in positions[start : start + _ROW_GROUP]]
            writer.write_table(pa.Table.from_pylist(rows, schema=_schema()))
    return memoryview(sink.getvalue()).cast("B")


def _row(dataset: Dataset, position: int) -> dict:
    members, sample = dataset.read_stored(position, verify=True)
    recipe, camera, facts = sample.recipe, sample.recipe.camera, dataset.row(position)
    name = sample_id(recipe.index)
    pictures = {
        column: {"bytes": members[member], "path": f"{name}.{member}"} if member in members else None
        for column, member in _IMAGES.items()
    }
    return {
        "sample_id": name,
        **pictures,
        "preview": {"bytes": preview_bytes(sample), "path": f"{name}.preview.jpg"},
        **{column: members[member] for column, member in _BYTES.items()},
        "width": camera.width,
        "height": camera.height,
        "focal_px": camera.focal_px,
        "center_px": list(camera.center_px),
        "world_from_camera": [list(row) for row in camera.world_from_camera],
        **{column: facts[column] for column in _FACTS},
        "recipe": canonical_json(recipe),
    }


@cache
def _schema():
    """Arrow types, and the same in the words of `datasets`, which alone knows what a picture is."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    own = {
        "width": pa.int32(),
        "height": pa.int32(),
        "focal_px": pa.float64(),
        "center_px": pa.list_(pa.float64()),
        "world_from_camera": pa.list_(pa.list_(pa.float64())),
    }
    types = {}
    for name in COLUMNS:
        if name in (*_IMAGES, "preview"):
            types[name] = image
        elif name in _FACTS:
            types[name] = schema().field(name).type
        else:
            types[name] = own.get(name, pa.binary() if name in _BYTES else pa.string())
    features = {name: {"_type": "Image"} if type_ == image else _feature(type_) for name, type_ in types.items()}
    about = json.dumps({"info": {"features": features}}, sort_keys=True)
    return pa.schema(list(types.items()), metadata={"huggingface": about})


def _feature(type_) -> dict:
    if str(type_).startswith("list"):
        return {"feature": _feature(type_.value_type), "_type": "List"}
    names = {"double": "float64", "float": "float32"}
    return {"dtype": names.get(str(type_), str(type_)), "_type": "Value"}
