"""make_card(): README.md and croissant.json that describe one committed version of a dataset.

The same version gives the same bytes; no path, host or clock is in them. They lie beside the data and are part of no
hash. What is read of the version: `synth.card_subject`. What is written: `synth.card_readme`, for the Hugging Face Hub
`synth.card_front`, for machines `synth.card_croissant`.
"""

from dataclasses import dataclass
from pathlib import Path

from synth.card_croissant import croissant_json
from synth.card_front import front_matter
from synth.card_readme import readme_text, warnings_of
from synth.card_subject import read_subject
from synth.errors import UserError
from synth.report_file import replacing
from synth.store import Dataset

#: Stands in every README that `publish_card` may replace.
_MARK = "<!-- written by synth dataset card -->"


@dataclass(frozen=True)
class Card:
    """A card, finished."""

    files: dict[str, bytes]
    """By name."""
    warnings: tuple[str, ...]
    """What stands at its top, one line each."""


def make_card(dataset: Dataset) -> Card:
    """The card of a committed version. Raises UserError with one line where there is none, or it contradicts itself."""
    subject = read_subject(dataset)
    warnings = tuple(warnings_of(subject.rights))
    return card_of(front_matter(subject), readme_text(subject, warnings), croissant_json(subject), warnings)


def card_of(front: str, text: str, croissant: str, warnings: tuple[str, ...]) -> Card:
    """A card of its parts."""
    readme = f"{front}\n{_MARK}\n\n{text}"
    return Card(files={"README.md": readme.encode(), "croissant.json": croissant.encode()}, warnings=warnings)


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
