"""Prepared scans on disk: `<store>/<key>/` as memory-mapped arrays, checked before anyone indexes with them.

Written by `synth.scans_prepare`. Nothing is unpickled, and no index may point outside of its array: a damaged or
foreign cache is an error with a name, not a crash inside a ray caster.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from synth.scans_facts import ScanFacts
from synth.scans_raw import BadScan

_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan ready to be rendered, in frame `scan`: metres, z up, lowest point at 0. V vertices, T triangles."""

    facts: ScanFacts
    positions: np.ndarray
    """(V, 3) float32."""
    triangles: np.ndarray
    """(T, 3) int32, counter-clockwise seen from outside."""
    normals: np.ndarray
    """(T, 3, 3) float32, unit, per corner."""
    uvs: np.ndarray | None
    """(T, 3, 2) float32 per corner, v up: (0, 0) is the bottom left of the picture. None without textures."""
    material: np.ndarray
    """(T,) uint16, index into facts.materials."""
    colors: np.ndarray | None
    """(T, 3, 4) uint8 per corner, sRGB with linear alpha. Only where facts.colour is `vertex`."""
    trust: np.ndarray
    """(V,) uint8, how far the geometry is to be believed; 255: no reason not to. See `synth.scans_trust`."""
    folder: Path

    def alpha(self, material_index: int) -> np.ndarray | None:
        """(h, w) uint8 opacity of a material's texture, row 0 on top; None where the material is opaque."""
        if not self.facts.materials[material_index].alpha:
            return None
        return _load(self.folder / "alpha" / f"{material_index}.npy", np.uint8, (None, None))


def load_facts(store: Path, key: str) -> ScanFacts:
    """What is known about a prepared scan. Raises BadScan when it is not there or not readable."""
    if not _KEY.fullmatch(key):
        raise BadScan(f"{key!r} is not the key of a prepared scan")
    try:
        return ScanFacts.model_validate_json((store / key / "facts.json").read_bytes())
    except OSError as error:
        raise BadScan(f"prepared scan {key} is not in {store}; run `synth scans DIR` to prepare it") from error
    except ValidationError as error:
        raise BadScan(f"{store / key}: facts.json is damaged; delete the folder") from error


def load_prepared(store: Path, key: str) -> PreparedScan:
    """A prepared scan, memory-mapped. Raises BadScan when anything in it is not what it should be."""
    facts = load_facts(store, key)
    folder, v, t = store / key, facts.vertices, facts.faces
    scan = PreparedScan(
        facts=facts,
        positions=_load(folder / "positions.npy", np.float32, (v, 3)),
        triangles=_load(folder / "triangles.npy", np.int32, (t, 3)),
        normals=_load(folder / "normals.npy", np.float32, (t, 3, 3)),
        uvs=_load(folder / "uvs.npy", np.float32, (t, 3, 2)) if facts.colour == "texture" else None,
        material=_load(folder / "material.npy", np.uint16, (t,)),
        colors=_load(folder / "colors.npy", np.uint8, (t, 3, 4)) if facts.colour == "vertex" else None,
        trust=_load(folder / "trust.npy", np.uint8, (v,)),
        folder=folder,
    )
    if t == 0 or scan.triangles.min() < 0 or scan.triangles.max() >= v:
        raise BadScan(f"{folder}: triangles.npy points outside of positions.npy; delete the folder")
    if scan.material.max() >= len(facts.materials):
        raise BadScan(f"{folder}: material.npy names a material that is not there; delete the folder")
    for material in facts.materials:
        if material.texture is not None and not re.fullmatch(r"\d+\.(png|jpg)", material.texture):
            raise BadScan(f"{folder}: {material.texture!r} is not the name of a texture; delete the folder")
    return scan


def _load(path: Path, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadScan(f"{path}: cannot be read ({error}); delete its folder") from error
    fits = len(array.shape) == len(shape) and all(w in (None, h) for h, w in zip(array.shape, shape, strict=True))
    if array.dtype != dtype or not fits:
        raise BadScan(f"{path}: holds {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
    return array
