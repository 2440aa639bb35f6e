"""A cleaned mesh and its colour: pictures that the file names, one beside it, vertex colours, or none.

What a picture is, and whether it belongs to a mesh: `synth.scans_colour`. `synth.scans_prepare` stores the outcome.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from synth.scans_colour import Picture, is_decisive, measure_agreement, read_picture
from synth.scans_overrides import Override
from synth.scans_raw import RawMesh
from synth.scans_tiles import Tile, split_tiles


@dataclass(frozen=True)
class Source:
    """A mesh file with what it may use, settled before anything is imported."""

    suffix: str
    pictures: Mapping[str, Path]
    """Files of the pictures that the mesh names, by the name it uses."""
    beside: Path | None
    """A picture that is not named but lies there; used when nothing else gives colour."""
    trust_beside: bool
    """Without proof from the picture its v is taken as v up: true for OBJ, whose v always is."""
    notes: tuple[str, ...]
    licence: str | None
    attribution: str | None
    tiles: Mapping[Tile, Path] = field(default_factory=dict)
    """Where `beside` is one of a set of tiles: all of them."""
    override: Override = field(default_factory=Override)
    """What the user said about it."""


@dataclass(frozen=True, eq=False)
class Painted:
    """A mesh with its colour settled."""

    mesh: RawMesh
    colour: str
    pictures: tuple[Picture | None, ...]
    """Per material; None: base colour."""
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def paint_mesh(mesh: RawMesh, welded: np.ndarray, source: Source) -> Painted:
    """Colour from the first source that has some; see `synth.scans_colour` for the order."""
    changes: list[str] = []
    warnings: list[str] = []
    pictures: tuple[Picture | None, ...] = tuple(None for _ in mesh.materials)
    used = set(np.unique(mesh.material).tolist())
    if mesh.uvs is not None:
        mesh = _clean_uvs(mesh, warnings)
        pictures = _referenced(mesh, source, used, warnings)
        if any(pictures) and not mesh.v_trusted:
            mesh, _ = _settle_v(mesh, welded, next(p for p in pictures if p), True, changes)
        elif not any(pictures) and source.beside is not None:
            mesh, pictures = _beside(mesh, welded, source, changes, warnings)
    elif any(m.picture for m in mesh.materials) or source.beside is not None:
        warnings.append("there is a picture, but the mesh has no UVs to place it with")
    if any(pictures):
        plain = [mesh.materials[i].name for i in sorted(used) if pictures[i] is None]
        if plain:
            warnings.append(f"materials without a picture have one plain colour: {', '.join(plain[:8])}")
        return Painted(mesh, "texture", pictures, tuple(changes), tuple(warnings))
    if mesh.colors is not None and np.ptp(mesh.colors[..., :3].reshape(-1, 3), axis=0).max() > 0:
        return Painted(mesh, "vertex", pictures, tuple(changes), tuple(warnings))
    warnings.append("no colour: shown as clay grey")
    return Painted(mesh, "none", pictures, tuple(changes), tuple(warnings))


def _clean_uvs(mesh: RawMesh, warnings: list[str]) -> RawMesh:
    bad = ~np.isfinite(mesh.uvs).all(axis=2)
    if bad.any():
        warnings.append(f"{int(bad.sum())} corners with broken UVs: set to 0")
        mesh = replace(mesh, uvs=np.where(bad[..., None], np.float32(0), mesh.uvs))
    if np.ptp(mesh.uvs.reshape(-1, 2), axis=0).max() == 0:
        warnings.append("all UVs are the same point: the picture gives one colour")
    return mesh


def _referenced(mesh: RawMesh, source: Source, used: set[int], warnings: list[str]) -> tuple[Picture | None, ...]:
    """Pictures that the file names or holds, per material; each that is missing or broken is named."""
    read: dict[str | bytes, Picture | None] = {}
    found = []
    for index, material in enumerate(mesh.materials):
        wanted = material.picture if index in used else None
        if wanted is None:
            found.append(None)
            continue
        address = wanted.data if wanted.data is not None else wanted.name
        if address not in read:
            read[address] = _read(wanted.name, wanted.data, source, warnings)
        found.append(read[address])
    return tuple(found)


def _read(name: str, data: bytes | None, source: Source, warnings: list[str]) -> Picture | None:
    if data is None:
        file = source.pictures.get(name)
        if file is None:
            warnings.append(f"picture {name[:200]!r} is missing")
            return None
        data = file.read_bytes()
    try:
        return read_picture(data)
    except ValueError as error:
        warnings.append(f"picture {name[:200]!r} {error}")
        return None


def _beside(
    mesh: RawMesh, welded: np.ndarray, source: Source, changes: list[str], warnings: list[str]
) -> tuple[RawMesh, tuple[Picture | None, ...]]:
    """A picture that only lies beside the mesh, if the mesh bears it out."""
    none = tuple(None for _ in mesh.materials)
    if source.tiles and (tiled := _tiled(mesh, source, changes, warnings)) is not None:
        return tiled
    picture = _read(source.beside.name, source.beside.read_bytes(), source, warnings)
    if picture is None:
        return mesh, none
    mesh, settled = _settle_v(mesh, welded, picture, source.trust_beside, changes)
    if not settled:
        warnings.append(f"picture {source.beside.name!r} lies beside, but the UVs do not show that it belongs here")
        return mesh, none
    changes.append(f"colour from {source.beside.name!r} beside the mesh")
    return mesh, tuple(picture for _ in mesh.materials)


def _tiled(
    mesh: RawMesh, source: Source, changes: list[str], warnings: list[str]
) -> tuple[RawMesh, tuple[Picture | None, ...]] | None:
    """The mesh with a picture for each tile its UVs lie in; None where they lie in one only."""
    tiled, files = split_tiles(mesh, source.tiles)
    if sum(file is not None for file in files) < 2:
        return None
    pictures = tuple(file and _read(file.name, file.read_bytes(), source, warnings) for file in files)
    changes.append(f"colour from {sum(p is not None for p in pictures)} tiles such as {source.beside.name!r}")
    return tiled, pictures


def _settle_v(
    mesh: RawMesh, welded: np.ndarray, picture: Picture, trust: bool, changes: list[str]
) -> tuple[RawMesh, bool]:
    """The mesh with v up as the picture tells, and whether that (or trust in the format) settled it."""
    as_is, flipped = measure_agreement(mesh, welded[mesh.triangles], picture.small)
    score = f"picture and mesh agree by {as_is:.2f} as is, {flipped:.2f} upside down"
    if not is_decisive(as_is, flipped):
        if trust:
            changes.append(f"v taken as up ({score})")
        return mesh, trust
    if as_is >= flipped:
        changes.append(f"v is up ({score})")
        return mesh, True
    changes.append(f"v was down: turned ({score})")
    return replace(mesh, uvs=(mesh.uvs * np.float32([1, -1]) + np.float32([0, 1]))), True
