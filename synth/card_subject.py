"""What a card is about: all that its parts are written from, read once and checked.

Next: `synth.card_readme`, `synth.card_front` and `synth.card_croissant` write from it.
"""

import re
from dataclasses import dataclass

import numpy as np

from synth.assets_manifest import load_manifest
from synth.card_manifest import Origin, read_origin
from synth.card_measure import Figures, measure_version
from synth.card_rights import Right, rights_of_backgrounds, rights_of_scans
from synth.store import Dataset
from synth.store_names import Place


@dataclass(frozen=True, eq=False)
class Subject:
    """What a card is about: all that its parts are written from."""

    name: str
    """Of the dataset's folder, fit for a file name and BibTeX."""
    manifest: dict
    """Of the version, as read."""
    origin: Origin
    figures: Figures
    rights: tuple[Right, ...]
    all_shards: bool
    """Whether the folder's shards are those of this version and no others."""

    @property
    def number(self) -> str | None:
        """Of the version; None if it has no tag."""
        return self.origin.tag.number if self.origin.tag else None


def name_of(place: Place) -> str:
    """The last part of where a dataset lies: the rest is nobody's business once the card is passed on."""
    last = place.rstrip("/").rsplit("/", 1)[-1] if isinstance(place, str) else place.resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")[:100] or "dataset"


def read_subject(dataset: Dataset, positions: np.ndarray | None = None) -> Subject:
    """Of a committed version, or of some of its samples.

    Raises UserError with one line where there is none, or it contradicts itself.
    """
    origin, figures = read_origin(dataset), measure_version(dataset, positions)
    made, counts = origin.made, figures.counts
    rights = rights_of_scans(made.assets.scans, origin.recorded, counts["scans"])
    rights += rights_of_backgrounds(made.assets.backgrounds, load_manifest(), counts["background"])
    shards = {shard["path"].removeprefix("shards/") for shard in dataset.manifest["shards"]}
    return Subject(
        name=name_of(dataset.path),
        manifest=dataset.manifest,
        origin=origin,
        figures=figures,
        rights=tuple(rights),
        all_shards={name for name in dataset.folder.listing("shards") if name.endswith(".tar")} == shards,
    )
