"""Textures in several tiles: `skin_1001.jpg, skin_1002.jpg` (UDIM) or `skin_u1_v1.png` beside one mesh.

Tile (u, v) is seen by the faces whose UVs lie in [u, u + 1] x [v, v + 1]. Every tile becomes a material of its own,
so that no renderer needs to know of tiles: textures repeat, and a face lies in one tile.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from synth.scans_raw import RawMaterial, RawMesh

Tile = tuple[int, int]

_NAME = re.compile(r"(?P<set>.*?)(?:[._-]?u(?P<u>\d{1,2})_v(?P<v>\d{1,2})|[._-](?P<udim>1[0-9]{3}))", re.IGNORECASE)
#: How material libraries write "any tile".
ANY_TILE = re.compile(r"<udim>|%\(udim\)d|<uvtile>", re.IGNORECASE)


def tile_of(picture: Path) -> tuple[str, Tile] | None:
    """(name of the set in lower case, tile counted as its name counts) of a picture; None if it is no tile."""
    match = _NAME.fullmatch(picture.stem)
    if match is None:
        return None
    if match["udim"]:
        number = int(match["udim"]) - 1001
        return (match["set"].casefold(), (number % 10, number // 10)) if number >= 0 else None
    return match["set"].casefold(), (int(match["u"]), int(match["v"]))


def find_tiles(picture: Path, files: Iterable[Path]) -> dict[Tile, Path]:
    """All tiles of the set that a picture belongs to, counted from (0, 0); empty where it is the only one."""
    own = tile_of(picture)
    if own is None:
        return {}
    found = {}
    for file in sorted(files):
        if file.parent == picture.parent and file.suffix.casefold() == picture.suffix.casefold():
            other = tile_of(file)
            if other is not None and other[0] == own[0]:
                found.setdefault(other[1], file)
    # u1_v1 or u0_v0: exporters do not agree where to start.
    first = 0 if any(0 in tile for tile in found) or _counts_from_zero(picture) else 1
    return {(u - first, v - first): file for (u, v), file in found.items()} if len(found) > 1 else {}


def split_tiles(mesh: RawMesh, tiles: Mapping[Tile, Path]) -> tuple[RawMesh, tuple[Path | None, ...]]:
    """The mesh with a material for every tile that its faces use, and each material's picture.

    Faces of a tile without a picture get a material without one.
    """
    place = np.floor(mesh.uvs.astype(np.float64).mean(axis=1)).astype(np.int64)  # (T, 2)
    pictured = [tile for tile in sorted(tiles) if (place == tile).all(axis=1).any()]
    material = np.full(len(place), len(pictured), np.uint16)
    for number, tile in enumerate(pictured):
        material[(place == tile).all(axis=1)] = number
    pictures: list[Path | None] = [tiles[tile] for tile in pictured]
    names = [f"tile {1001 + u + 10 * v}" for u, v in pictured]
    if (material == len(pictured)).any():
        pictures.append(None)
        names.append("tiles without a picture")
    plain = RawMaterial("", None, False, (0.8, 0.8, 0.8, 1.0), 0.0, 0.5)
    return replace(mesh, material=material, materials=tuple(replace(plain, name=name) for name in names)), tuple(
        pictures
    )


def _counts_from_zero(picture: Path) -> bool:
    return _NAME.fullmatch(picture.stem)["udim"] is not None
