"""RawMesh: what a file holds, in the file's own coordinates, before anything is decided about it.

An importer makes it (`renderers.importers.probe`, handed to `synth.scans` as an argument so that nothing here needs
Blender); `synth.scans_prepare` turns it into a prepared scan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class BadScan(ValueError):
    """A scan that cannot be used. The message is one line that needs no path before it to be understood."""


class NoMesh(BadScan):
    """A file of a kind that may hold a mesh, but holds something else."""


class HostLimit(BadScan):
    """A scan that needs more time or memory than it was given here: elsewhere it may be usable."""


class ImporterBroken(RuntimeError):
    """The importer itself does not work on this machine; no verdict about any scan follows from it."""


@dataclass(frozen=True)
class RawPicture:
    """A picture that a material uses as its colour."""

    name: str
    """As the file writes it: a relative or absolute path of any system, a URI, or a label of an embedded picture."""
    data: bytes | None = None
    """Its bytes as stored, where the mesh file holds them itself; None when `name` is to be looked for."""


@dataclass(frozen=True)
class RawMaterial:
    """A material slot."""

    name: str
    picture: RawPicture | None
    alpha: bool
    """The file says that the picture's alpha channel matters."""
    base_color: tuple[float, float, float, float]
    """Linear; of surfaces without a picture."""
    metallic: float
    roughness: float


@dataclass(frozen=True, eq=False)
class RawMesh:
    """All surfaces of a file as one triangle mesh. V vertices, T triangles."""

    positions: np.ndarray
    """(V, 3) float64, the file's unit and axes; z is up for glTF and FBX. NaN and inf may occur."""
    triangles: np.ndarray
    """(T, 3) int32, counter-clockwise seen from outside, if the file is right."""
    normals: np.ndarray | None
    """(T, 3, 3) float32 per corner, as authored; None where the file has none. Any length, NaN may occur."""
    uvs: np.ndarray | None
    """(T, 3, 2) float32 per corner, v up: (0, 0) is the bottom left of the picture. NaN may occur."""
    colors: np.ndarray | None
    """(T, 3, 4) uint8 per corner, sRGB with linear alpha."""
    material: np.ndarray
    """(T,) uint16, index into materials."""
    materials: tuple[RawMaterial, ...]
    """At least one."""
    v_trusted: bool = True
    """False where the format leaves the direction of v open (PLY): then the picture decides."""
    notes: tuple[str, ...] = ()
    """What the user should know about the import."""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What was taken off the positions while they were in single precision; they hold it again."""


#: (mesh file, folder that nothing may be read outside of) -> RawMesh. Raises BadScan, ImporterBroken.
Probe = Callable[[Path, Path], RawMesh]
