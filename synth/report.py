"""Reports for people: a gallery page and a contact sheet of a dataset.

What is said of a sample is `synth.report_facts`, in which colours it is shown `synth.report_pictures`, how the page is
put together `synth.report_page`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from synth.errors import UserError
from synth.report_embed import embed_pictures
from synth.report_facts import evenly_spaced, measure_dataset, measure_sample
from synth.report_file import replacing
from synth.report_page import page_end, page_start, sample_block
from synth.report_sheet import write_contact_sheet

__all__ = ["write_contact_sheet", "write_gallery"]

#: Up to so many samples are shown at up to the first height, pixels; more at the second: a page stays below ~50 MB.
_FEW, _HIGH, _LOW = 100, 1024, 640


def write_gallery(
    dataset, path: Path, limit: int | None = None, progress: Callable[[int, int], None] | None = None
) -> None:
    """One self-contained HTML page of a `synth.store.Dataset`, or of anything with its len, [], row, column and root.

    limit: at most so many samples, evenly spaced from the first to the last; None shows all. One sample is held at a
    time. progress(done, total) is called after each. The same dataset gives the same bytes.
    """
    positions = evenly_spaced(len(dataset), limit)
    if not positions:
        raise UserError(f"{path}: no gallery of a dataset without samples")
    height = _HIGH if len(positions) <= _FEW else _LOW
    facts = []
    with replacing(path) as file:
        file.write(page_start(_name(dataset), measure_dataset(dataset), len(positions)))
        for done, position in enumerate(positions, 1):
            facts.append(_write_sample(file, dataset, position, height))
            if progress:
                progress(done, len(positions))
        file.write(page_end(facts))


def _write_sample(file: BinaryIO, dataset, position: int, height: int) -> dict:
    """Writes the pictures of one sample, returns its facts, and forgets it."""
    sample = dataset[position]
    pictures = embed_pictures(sample, height)
    file.write(sample_block(pictures))
    return measure_sample(sample, dataset.row(position)) | {"pictures": list(pictures)}


def _name(dataset) -> str:
    """The name of the dataset's folder; never its path, which is nobody's business once the page is passed on."""
    return Path(getattr(dataset, "path", "dataset")).resolve().name
