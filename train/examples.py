"""What predictions are held against: examples of a dataset, or of a folder in the layout of the official readers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from synth.errors import UserError
from synth.export_sapiens import opengl_normal, read_labels, sapiens_names
from synth.sample import Sample
from synth.store import Dataset


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
        normal=opengl_normal(sample.normal),
        groups={"framing": recipe.framing, "person": people, "background": background},
    )


def dataset_examples(dataset: Dataset, positions: np.ndarray) -> Iterator[Example]:
    """Examples at positions, in their order."""
    return (example_of(dataset.read(int(position))) for position in positions)


def folder_names(folder: Path) -> list[str]:
    """Stems of a folder in the official layout.

    THuman2 and Hi4D are evaluated from such folders. Raises UserError when there are none.
    """
    found = sapiens_names(folder)
    if not found:
        raise UserError(f"{folder}: no dataset, and no evaluation folder: rgb/NAME.png with mask/NAME.png are expected")
    return found


def folder_examples(folder: Path, names: list[str]) -> Iterator[Example]:
    """Examples of `rgb/ mask/` and, where there, `depth/*.npy` (metres) and `normal/*.npy|npz` (OpenGL frame)."""
    for name in names:
        labelled = read_labels(folder, name)
        mask, found = labelled.mask > 0, {}
        for kind, labels in (("depth", labelled.depth), ("normal", labelled.normal)):
            if labels is not None:
                mask = mask & np.isfinite(labels.reshape(*mask.shape, -1)).all(-1)
                labels = labels.astype(np.float32)
            found[kind] = labels
        yield Example(name, labelled.rgb, mask, **found)
