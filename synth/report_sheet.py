"""The contact sheet: the pictures and labels of a few samples as one PNG, to be looked at or pasted into a mail."""

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synth.errors import UserError
from synth.report_file import replacing
from synth.report_pictures import depth_picture, normal_picture
from synth.sample import Sample

#: Colours of the sheet: a neutral dark page, so that no picture is judged against a tint.
_PAGE, _TEXT, _FAINT = (17, 17, 17), (230, 230, 230), (150, 150, 150)
_MARGIN, _GAP, _BETWEEN = 28, 26, 3
_CAPTION_PX, _FONT_PX = 30, 16


def write_contact_sheet(samples: Iterable[Sample], path: Path, columns: int = 3, tile_height: int = 344) -> None:
    """A PNG of RGB | depth | normals, and albedo | trust where there, with captions, `columns` samples in a row.

    tile_height: pixels. The defaults show 12 portraits of 3:4 at about 2400 pixels wide. One sample is held at a time;
    raises UserError when there is none.
    """
    cells = list(map(partial(_cell, tile_height=tile_height), samples))
    if not cells:
        raise UserError(f"{path}: no contact sheet of no sample")
    columns = min(columns, len(cells))
    width, height = max(cell.width for cell in cells), max(cell.height for cell in cells)
    rows = math.ceil(len(cells) / columns)
    sheet = Image.new(
        "RGB",
        (
            2 * _MARGIN + columns * width + (columns - 1) * _GAP,
            2 * _MARGIN + rows * height + (rows - 1) * _GAP,
        ),
        _PAGE,
    )
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        sheet.paste(cell, (_MARGIN + column * (width + _GAP), _MARGIN + row * (height + _GAP)))
    with replacing(path) as file:
        sheet.save(file, "PNG")


def _cell(sample: Sample, tile_height: int) -> Image.Image:
    """A sample's pictures with its caption above."""
    arrays = [sample.rgb, depth_picture(sample), normal_picture(sample.normal), sample.albedo, sample.trust]
    tiles = [_tile(array, tile_height) for array in arrays if array is not None]
    width = sum(tile.width for tile in tiles) + _BETWEEN * (len(tiles) - 1)
    cell = Image.new("RGB", (width, _CAPTION_PX + tile_height), _PAGE)
    _draw_caption(cell, sample)
    left = 0
    for tile in tiles:
        cell.paste(tile, (left, _CAPTION_PX))
        left += tile.width + _BETWEEN
    return cell


def _tile(array: np.ndarray, height: int) -> Image.Image:
    h, w = array.shape[:2]
    return Image.fromarray(array).resize((max(1, round(w * height / h)), height), Image.Resampling.LANCZOS)


def _draw_caption(cell: Image.Image, sample: Sample) -> None:
    """Id and scan at the left, framing at the right; a name too long is cut."""
    font = ImageFont.load_default(_FONT_PX)
    draw = ImageDraw.Draw(cell)
    recipe = sample.recipe
    framing = recipe.framing
    room = cell.width - draw.textlength(framing, font) - 16
    x = draw.textlength(recipe.sample_id, font) + 12
    draw.text((0, 4), recipe.sample_id, _FAINT, font)
    names = _printable(" + ".join(subject.scan_id for subject in recipe.subjects))
    draw.text((x, 4), _fit(names, room - x, draw, font), _TEXT, font)
    draw.text((cell.width, 4), framing, _FAINT, font, anchor="ra")


def _fit(text: str, room: float, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> str:
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength(text + "…", font) > room:
        text = text[:-1]
    return text + "…" if text else ""


def _printable(text: str) -> str:
    """Names come from strangers: line breaks and control characters would wander over the sheet."""
    return "".join(c if c.isprintable() else " " for c in text[:200])
