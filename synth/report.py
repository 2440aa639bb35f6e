"""Reports for people: a gallery page and a contact sheet of a dataset.

Few samples are one self-contained page. More are a page and, beside it, a folder of packed pictures that it asks for
as they are looked at, which works from file:// too. What is said of a sample is `synth.report_facts`, in which colours
it is shown `synth.report_pictures`, how its pictures are made in several processes `synth.report_chunks`, how the page
is put together `synth.report_page`.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from synth.errors import UserError
from synth.report_chunks import Layout, make_shown
from synth.report_facts import measure_dataset
from synth.report_file import remove_folders, replacing, replacing_folder
from synth.report_page import Head, page_end, page_start
from synth.report_sheet import write_contact_sheet

__all__ = ["MOST", "write_contact_sheet", "write_gallery"]

#: Up to so many samples are one file, of about 15 MB at 1024 x 768; the first few of them in full size.
_ONE_FILE, _FEW = 64, 24
#: Heights, pixels: of the few, of the others in one file, of the samples of a folder (0.15 MB each).
_HIGH, _MIDDLE, _LOW = 1024, 640, 384
#: Height of a thumbnail, pixels.
_THUMBNAIL = 144
#: Most samples of a page: its figures alone are 18 MB then, which a browser opens in a second (benchmarks/view.py).
MOST = 100_000


def write_gallery(
    dataset,
    path: Path,
    positions: Sequence[int] | None = None,
    *,
    name: str,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """The page of a `synth.store.Dataset`, or of anything with its len, [], row, column, root and complete.

    positions: what is shown, ascending; None shows all. name: what the dataset is called on the page, never its path.
    workers: processes; 1 stays in this one and holds one sample at a time. progress(done, total) is called now and
    then. The same dataset gives the same bytes. Pictures of a folder lie in `data-<key>` beside the page. Raises
    UserError where there is nothing to show, or more than `MOST`.
    """
    positions = np.arange(len(dataset)) if positions is None else np.asarray(positions)
    _check_count(name, len(positions))
    path.parent.mkdir(parents=True, exist_ok=True)
    head = Head(name, len(positions), measure_dataset(dataset))
    if len(positions) <= _ONE_FILE:
        layout = Layout(height=_HIGH if len(positions) <= _FEW else _MIDDLE)
        with replacing(path) as file:
            file.write(page_start(head, None))
            facts = []
            for shown in make_shown(dataset, positions, layout, workers):
                file.write(shown.blocks)
                facts += shown.facts
                _tell(progress, len(facts), len(positions))
            file.write(page_end(facts, None))
        remove_folders(path.parent, keep=None)
        return
    folder = path.parent / f"data-{_key(dataset.root, positions)}"
    with replacing_folder(folder) as making:
        layout = Layout(height=_LOW, folder=making, tile=_tile(dataset))
        facts = []
        for shown in make_shown(dataset, positions, layout, workers):
            facts += shown.facts
            _tell(progress, len(facts), len(positions))
    with replacing(path) as file:
        file.write(page_start(head, folder.name))
        file.write(page_end(facts, folder.name, layout.tile))
    remove_folders(path.parent, keep=folder)


def _check_count(name: str, count: int) -> None:
    if not count:
        raise UserError(f"{name}: no gallery of a dataset without samples")
    if count > MOST:
        share = np.floor(1000 * MOST / count) / 1000
        raise UserError(f"{name}: {count:,} samples are more than the {MOST:,} of one page; --fraction {share:g} fits")


def _key(root: str, positions: np.ndarray) -> str:
    return hashlib.sha256(root.encode() + positions.astype("<i8").tobytes()).hexdigest()[:12]


def _tile(dataset) -> tuple[int, int]:
    """Width and height of thumbnails: the shape of the first sample."""
    h, w = dataset[0].recipe.camera.shape
    return max(1, round(_THUMBNAIL * w / h)), _THUMBNAIL


def _tell(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
