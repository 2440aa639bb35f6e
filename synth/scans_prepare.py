"""RawMesh to prepared scan: decide, then write `<store>/<key>/`, the one form that every renderer reads.

positions.npy triangles.npy normals.npy material.npy trust.npy, with a texture uvs.npy and textures/, with vertex
colours colors.npy, where alpha matters alpha/, and facts.json. Shapes and frames: `synth.scans.PreparedScan`. The
folder appears as a whole or not at all; the same content gives the same bytes.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from synth.camera import matrix4, transform_points
from synth.recipe import canonical_json
from synth.scans_cap import cap_pictures
from synth.scans_colour import Picture
from synth.scans_facts import IMPORTER_VERSION, ScanFacts, ScanMaterial
from synth.scans_files import new_sibling
from synth.scans_geometry import measure_regions, place_mesh
from synth.scans_holes import describe_holes
from synth.scans_paint import Painted, Source, paint_mesh
from synth.scans_raw import RawMaterial, RawMesh
from synth.scans_surface import clean_surface

#: Linear albedo of what has no colour: unpainted clay or stone, neither black nor burnt in any light.
CLAY = (0.50, 0.46, 0.42, 1.0)
_CLAY_ROUGHNESS = 0.85
#: What Blender's importers turn to z up, as the format says.
_Z_UP_FORMATS = (".glb", ".gltf", ".fbx")


def prepare_scan(mesh: RawMesh, source: Source, target: Path) -> ScanFacts:
    """Writes the prepared scan of a mesh to `target`; who comes first wins. Raises BadScan."""
    surface = clean_surface(mesh, keep_all=source.override.parts == "all")
    painted = paint_mesh(surface.mesh, surface.welded, source)
    mesh = painted.mesh
    placement = place_mesh(
        mesh.positions, mesh.triangles, surface.welded, source.suffix in _Z_UP_FORMATS, source.override
    )
    positions = transform_points(placement.scan_from_file, mesh.positions).astype(np.float32)
    rotation = placement.scan_from_file[:3, :3] / np.cbrt(np.linalg.det(placement.scan_from_file[:3, :3]))
    normals = _unit(mesh.normals.astype(np.float64) @ rotation.T).astype(np.float32)
    regions = measure_regions(positions, placement.kind, placement.head_m)
    capped = cap_pictures(painted.pictures, positions[mesh.triangles], mesh.uvs, mesh.material, regions)
    painted = replace(painted, pictures=capped.pictures, changes=(*painted.changes, *capped.changes))
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


def _arrays(painted: Painted, positions: np.ndarray, normals: np.ndarray, welded: np.ndarray) -> dict[str, np.ndarray]:
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


def _materials(painted: Painted) -> tuple[ScanMaterial, ...]:
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
