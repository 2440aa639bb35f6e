"""make_card(): README.md and croissant.json that describe one committed version of a dataset.

The same version gives the same bytes; no path, host or clock is in them. They lie beside the data and are part of no
hash. The words are `synth.card_readme`, the head for the Hugging Face Hub `synth.card_front`, Croissant
`synth.card_croissant`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from synth.assets_manifest import load_manifest
from synth.card_croissant import croissant_json
from synth.card_front import front_matter
from synth.card_manifest import Origin, read_origin
from synth.card_measure import Figures, measure_version
from synth.card_readme import readme_text, warnings_of
from synth.card_rights import Right, rights_of_backgrounds, rights_of_scans
from synth.errors import UserError
from synth.report_file import replacing
from synth.store import Dataset
from synth.store_names import Place

#: Stands in every README that `publish_card` may replace.
_MARK = "<!-- written by synth dataset card -->"


@dataclass(frozen=True)
class Card:
    """A card, finished."""

    files: dict[str, bytes]
    """By name."""
    warnings: tuple[str, ...]
    """What stands at its top, one line each."""


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


def make_card(dataset: Dataset) -> Card:
    """The card of a committed version. Raises UserError with one line where there is none, or it contradicts itself."""
    subject = _read_subject(dataset)
    warnings = warnings_of(subject.rights)
    readme = f"{front_matter(subject)}\n{_MARK}\n\n{readme_text(subject, warnings)}"
    return Card(
        files={"README.md": readme.encode(), "croissant.json": croissant_json(subject).encode()},
        warnings=tuple(warnings),
    )


def publish_card(card: Card, folder: Path) -> list[Path]:
    """Writes the files of a card into a folder. Raises UserError before it replaces what people wrote."""
    readme = folder / "README.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if readme.exists() and _MARK.encode() not in readme.read_bytes():
            raise UserError(f"{readme}: was not written by `synth dataset card`; move it away, or give another --out")
        for name, data in card.files.items():
            with replacing(folder / name) as file:
                file.write(data)
    except OSError as error:
        raise UserError(f"{folder}: the card cannot be written ({error.strerror or error})") from error
    return [folder / name for name in card.files]


def name_of(place: Place) -> str:
    """The last part of where a dataset lies: the rest is nobody's business once the card is passed on."""
    last = place.rstrip("/").rsplit("/", 1)[-1] if isinstance(place, str) else place.resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.")[:100] or "dataset"


def _read_subject(dataset: Dataset) -> Subject:
    origin, figures = read_origin(dataset), measure_version(dataset)
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
