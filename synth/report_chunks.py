"""Samples as a page shows them, made chunk by chunk, in one process or several.

In one page a sample is a block of text. In a folder `000012.js` holds the pictures of `CHUNK` samples as one call of
the page's `receive`, for a page opened from a disk may run a script and show a picture but read no file; and
`000012.jpg` their thumbnails, a row each of colour, depth and normals. Next: `synth.report_embed`, the pictures.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from synth.errors import UserError
from synth.report_embed import TILES, embed_pictures, thumbnail_row
from synth.report_facts import measure_sample
from synth.report_page import CHUNK, json_bytes, sample_block

#: Most chunks that a process is given at a time: with each it is told where all samples lie.
_MOST_CHUNKS = 64
#: Pieces that every process is given at least, so that all end at about the same time.
_PIECES = 6
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Layout:
    """Where pictures go, and how large they are."""

    height: int
    """Rows of a picture at most, pixels."""
    folder: Path | None = None
    """Where chunks are written; None: blocks for one page."""
    tile: tuple[int, int] = (0, 0)
    """Width and height of a thumbnail in a folder's sheets, pixels."""


@dataclass(frozen=True)
class Shown:
    """Consecutive samples, ready to be shown."""

    facts: list[dict]
    """As `synth.report_facts.measure_sample` gives them, and the names of the pictures."""
    blocks: bytes
    """Their pictures in one page; empty where they are in a folder."""


def make_shown(dataset, positions: np.ndarray, layout: Layout, workers: int) -> Iterator[Shown]:
    """What is shown of the samples at `positions`, in that order; a folder's files are written on the way."""
    chunks = [positions[start : start + CHUNK].tolist() for start in range(0, len(positions), CHUNK)]
    if workers <= 1 or len(chunks) < 2:
        for number, chunk in enumerate(chunks):
            yield _make_chunk(dataset, layout, number, chunk)
        return
    workers = min(workers, len(chunks))
    size = max(1, min(_MOST_CHUNKS, len(chunks) // (_PIECES * workers)))
    tasks = [(first, chunks[first : first + size]) for first in range(0, len(chunks), size)]
    # spawn: the threads of an object store's client do not survive a fork; Ctrl-C is left to this process
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(workers, get_context("spawn"), ignore) as pool:
        try:
            for piece in pool.map(partial(_make_piece, dataset, layout), tasks):
                yield from piece
        except BrokenProcessPool as error:
            raise UserError("a process that made pictures was killed; run again with fewer --workers") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make_piece(dataset, layout: Layout, task: tuple[int, list[list[int]]]) -> list[Shown]:
    first, chunks = task
    return [_make_chunk(dataset, layout, first + k, chunk) for k, chunk in enumerate(chunks)]


def _make_chunk(dataset, layout: Layout, number: int, positions: list[int]) -> Shown:
    facts, pictures, rows = [], [], []
    for position in positions:
        shown, said, row = _make_sample(dataset, layout, position)
        pictures.append(shown)
        facts.append(said)
        rows.append(row)
    if layout.folder is None:
        return Shown(facts, b"".join(map(sample_block, pictures)))
    name = f"{number:06d}"
    (layout.folder / f"{name}.js").write_bytes(b"receive(%d,%s)\n" % (number, json_bytes(pictures)))
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.save(layout.folder / f"{name}.jpg", quality=_JPEG_QUALITY, subsampling=0)
    return Shown(facts, b"")


def _make_sample(dataset, layout: Layout, position: int) -> tuple[dict[str, str], dict, np.ndarray]:
    """Pictures, facts, and the row of thumbnails (tile height, `len(TILES)` * tile width, 3) of one sample."""
    sample = dataset[position]
    pictures = embed_pictures(sample, layout.height)
    facts = measure_sample(sample, dataset.row(position)) | {"pictures": list(pictures)}
    row = thumbnail_row(sample, layout.tile) if layout.folder else np.empty((0, len(TILES), 3), np.uint8)
    return pictures, facts, row
