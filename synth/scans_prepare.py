"""RawMesh to prepared scan: decide, then write `<store>/<key>/`, the one form that every renderer reads.

positions.npy triangles.npy normals.npy material.npy trust.npy, with a texture uvs.npy and textures/, with vertex
colours colors.npy, where alpha matters alpha/, and facts.json. Shapes and frames: `synth.scans.PreparedScan`. The
folder appears as a whole or not at all; the same content gives the same bytes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from synth.camera import matrix4, transform_points
from synth.recipe import canonical_json
from synth.scans_colour import Picture, is_decisive, measure_agreement, read_picture
from synth.scans_facts import IMPORTER_VERSION, ScanFacts, ScanMaterial
from synth.scans_files import new_sibling
from synth.scans_geometry import measure_regions, place_mesh
from synth.scans_holes import describe_holes
from synth.scans_overrides import Override
from synth.scans_raw import RawMaterial, RawMesh
from synth.scans_surface import clean_surface
from synth.scans_tiles import Tile, split_tiles

#: Linear albedo of what has no colour: unpainted clay or stone, neither black nor burnt in any light.
CLAY = (0.50, 0.46, 0.42, 1.0)
_CLAY_ROUGHNESS = 0.85
#: What Blender's importers turn to z up, as the format says.
_Z_UP_FORMATS = (".glb", ".gltf", ".fbx")


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
class _Painted:
    """A mesh with its colour settled."""

    mesh: RawMesh
    colour: str
    pictures: tuple[Picture | None, ...]
    """Per material; None: base colour."""
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare_scan(mesh: RawMesh, source: Source, target: Path) -> ScanFacts:
    """Writes the prepared scan of a mesh to `target`; who comes first wins. Raises BadScan."""
    surface = clean_surface(mesh, keep_all=source.override.parts == "all")
    painted = _paint(surface.mesh, surface.welded, source)
    mesh = painted.mesh
    placement = place_mesh(
        mesh.positions, mesh.triangles, surface.welded, source.suffix in _Z_UP_FORMATS, source.override
    )
    positions = transform_points(placement.scan_from_file, mesh.positions).astype(np.float32)
    rotation = placement.scan_from_file[:3, :3] / np.cbrt(np.linalg.det(placement.scan_from_file[:3, :3]))
    normals = _unit(mesh.normals.astype(np.float64) @ rotation.T).astype(np.float32)
    regions = measure_regions(positions, placement.kind, placement.head_m)
    hole = describe_holes(positions, mesh.triangles, surface.welded)
    materials = _materials(painted)
    facts = ScanFacts(
        importer_version=IMPORTER_VERSION,
        kind=placement.kind,
        height_m=_round(np.ptp(positions[:, 2])),
        vertices=len(positions),
        faces=len(mesh.triangles),
        colour=painted.colour,
        texture_px=max((p.width for p in painted.pictures if p), default=None),
        normals=surface.normals_from,
        scan_from_file=matrix4(placement.scan_from_file),
        bounds=_box((positions.min(axis=0), positions.max(axis=0))),
        regions={framing: _box(box) for framing, box in regions.items()},
        materials=materials,
        changes=(*placement.changes, *surface.changes, *painted.changes),
        warnings=(*source.notes, *mesh.notes, *surface.warnings, *placement.warnings, *painted.warnings, *hole),
        licence=source.licence,
        attribution=source.attribution,
    )
    arrays = _arrays(painted, positions, normals, surface.welded)
    _write(target, facts, arrays, painted.pictures)
    return facts


def _arrays(painted: _Painted, positions: np.ndarray, normals: np.ndarray, welded: np.ndarray) -> dict[str, np.ndarray]:
    """What is stored of the mesh, by name; positions (V, 3) and normals (T, 3, 3) are in frame scan."""
    from synth.scans_trust import measure_trust  # its scipy comes with the render extra, which readers do without

    mesh = painted.mesh
    arrays = {"positions": positions, "triangles": mesh.triangles, "normals": normals, "material": mesh.material}
    uvs = None
    if painted.colour == "texture":
        arrays["uvs"] = mesh.uvs
        pictured = np.array([picture is not None for picture in painted.pictures])[mesh.material]
        uvs = np.where(pictured[:, None, None], mesh.uvs, 0)  # without a picture a scale means nothing
    if painted.colour == "vertex":
        arrays["colors"] = mesh.colors
    arrays["trust"] = measure_trust(positions, mesh.triangles, uvs, welded, mesh.material)
    return arrays


def _paint(mesh: RawMesh, welded: np.ndarray, source: Source) -> _Painted:
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
        return _Painted(mesh, "texture", pictures, tuple(changes), tuple(warnings))
    if mesh.colors is not None and np.ptp(mesh.colors[..., :3].reshape(-1, 3), axis=0).max() > 0:
        return _Painted(mesh, "vertex", pictures, tuple(changes), tuple(warnings))
    warnings.append("no colour: shown as clay grey")
    return _Painted(mesh, "none", pictures, tuple(changes), tuple(warnings))


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


def _materials(painted: _Painted) -> tuple[ScanMaterial, ...]:
    names = _file_names(painted.pictures)
    plain = painted.colour == "texture"  # beside textures, plain colours are meant; alone they are exporters' defaults
    return tuple(
        ScanMaterial(
            texture=name,
            alpha=picture is not None and picture.alpha is not None and material.alpha,
            base_color=_base_color(material) if plain and material.picture is None else CLAY,
            metallic=_share(material.metallic) if plain else 0.0,
            roughness=_share(material.roughness) if plain else _CLAY_ROUGHNESS,
        )
        for material, picture, name in zip(painted.mesh.materials, painted.pictures, names, strict=True)
    )


def _base_color(material: RawMaterial) -> tuple[float, float, float, float]:
    return tuple(_share(value) for value in material.base_color)


def _share(value: float) -> float:
    return _round(np.clip(np.nan_to_num(value), 0, 1))


def _file_names(pictures: tuple[Picture | None, ...]) -> list[str | None]:
    """Name of each material's picture; one that several materials use is stored once, under the first."""
    first: dict[bytes, str] = {}
    return [None if p is None else first.setdefault(p.data, f"{index}{p.suffix}") for index, p in enumerate(pictures)]


def _write(target: Path, facts: ScanFacts, arrays: dict[str, np.ndarray], pictures: tuple) -> None:
    with new_sibling(target) as folder:
        folder.mkdir()
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
        for index, (material, picture) in enumerate(zip(facts.materials, pictures, strict=True)):
            if picture is None:
                continue
            (folder / "textures").mkdir(exist_ok=True)
            (folder / "textures" / material.texture).write_bytes(picture.data)
            if material.alpha:
                (folder / "alpha").mkdir(exist_ok=True)
                np.save(folder / "alpha" / f"{index}.npy", np.ascontiguousarray(picture.alpha), allow_pickle=False)
        (folder / "facts.json").write_text(canonical_json(facts), encoding="utf-8")
        try:
            os.rename(folder, target)
        except OSError:
            if not (target / "facts.json").is_file():
                raise  # else someone else came first, with the same bytes


def _box(box: tuple[np.ndarray, np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(tuple(_round(value) for value in corner) for corner in box)


def _round(value: float) -> float:
    """To the micrometre: shortest spelling, and no difference that matters."""
    return round(float(value), 6)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
