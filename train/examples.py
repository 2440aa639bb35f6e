"""What predictions are held against: examples of a dataset, or of a folder in the layout of the official readers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from synth.errors import UserError
from synth.sample import Sample
from synth.store import Dataset
from synth.picture import read_picture

#: OpenCV's camera frame to OpenGL's, which Sapiens' normals are in: x right, y up, z towards the camera.
_GL = np.array([1, -1, -1], np.float32)


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with its truth. Labels mean something only where `mask` is set."""

    name: str
    rgb: np.ndarray
    """(H, W, 3) uint8, sRGB."""
    mask: np.ndarray
    """(H, W) bool, person pixels with labels."""
    depth: np.ndarray | None
    """(H, W) float32, planar z, metres; None where the folder has none."""
    normal: np.ndarray | None
    """(H, W, 3) float32 unit, OpenGL camera frame."""
    groups: dict[str, str] = field(default_factory=dict)
    """What figures are broken down by, e.g. {"framing": "face", "person": "james", "background": "sunset"}."""


def example_of(sample: Sample) -> Example:
    """A dataset's sample with its labels as Sapiens has them."""
    recipe = sample.recipe
    background = recipe.background.plate.plate_id if recipe.background.plate else recipe.background.background_id
    people = "+".join(sorted(subject.person for subject in recipe.subjects))
    return Example(
        name=f"{recipe.index:08d}",
        rgb=sample.rgb,
        mask=sample.mask,
        depth=sample.depth_m,
        normal=sample.normal.astype(np.float32) * _GL,
        groups={"framing": recipe.framing, "person": people, "background": background},
    )


def dataset_examples(dataset: Dataset, positions: np.ndarray) -> Iterator[Example]:
    """Examples at positions, in their order."""
    return (example_of(dataset.read(int(position))) for position in positions)


def folder_names(folder: Path) -> list[str]:
    """Stems of a folder in the official layout: those that `rgb/` and `mask/` both have, sorted.

    THuman2 and Hi4D are evaluated from such folders. Raises UserError when there are none.
    """
    stems = [{path.stem for path in (folder / part).glob("*.png")} for part in ("rgb", "mask")]
    found = sorted(stems[0] & stems[1])
    if not found:
        raise UserError(f"{folder}: no dataset, and no evaluation folder: rgb/NAME.png with mask/NAME.png are expected")
    return found


def folder_examples(folder: Path, names: list[str]) -> Iterator[Example]:
    """Examples of `rgb/ mask/` and, where there, `depth/*.npy` (metres) and `normal/*.npy|npz` (OpenGL frame)."""
    for name in names:
        rgb = read_picture(folder / "rgb" / f"{name}.png")
        mask = read_picture(folder / "mask" / f"{name}.png", "L") > 0
        depth = _array(folder / "depth" / f"{name}.npy", rgb.shape[:2])
        normal = _array(folder / "normal" / f"{name}.npy", rgb.shape)
        if normal is None:
            normal = _array(folder / "normal" / f"{name}.npz", rgb.shape)
        if mask.shape != rgb.shape[:2]:
            raise UserError(f"{folder}/mask/{name}.png: is {mask.shape}, its picture {rgb.shape[:2]} (height, width)")
        for labels in (depth, normal):
            if labels is not None:
                mask = mask & np.isfinite(labels.reshape(*mask.shape, -1)).all(-1)
        yield Example(name, rgb, mask, depth, normal)


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded["normal"] if path.suffix == ".npz" else loaded
        if array.shape != shape or array.dtype.kind != "f":
            raise UserError(f"{path}: {array.dtype} of {array.shape}, expected floats of {shape}")
        return array.astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: not a readable array: {error}") from error
