"""What is known about a scan once it is prepared, and what became of each file: the values of `synth.scans`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from synth.camera import Matrix4
from synth.recipe import Framing
from synth.scans_files import printable

#: Part of every key: raise it when the same file would be prepared differently.
IMPORTER_VERSION = 3

#: Names out of strangers' files stand in reasons and warnings, which go to a terminal.
_Line = Annotated[str, AfterValidator(printable)]
Vec3 = tuple[float, float, float]
Colour = Literal["texture", "vertex", "none"]
ScanKind = Literal["full", "bust", "head"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ScanMaterial(_Facts):
    """A material slot of a prepared scan."""

    texture: str | None
    """File name inside `textures/`; several materials may share one. None: the surface has `base_color`."""
    alpha: bool
    """The picture's alpha channel cuts the surface out; it is in `alpha/<material index>.npy`."""
    base_color: tuple[float, float, float, float]
    """Linear colour of surfaces without a texture and without vertex colours; it does not tint a texture."""
    metallic: float
    roughness: float


class ScanFacts(_Facts):
    """What is known about a prepared scan: `facts.json`."""

    importer_version: int
    kind: ScanKind
    """`full` body, `bust` (head and shoulders) or `head`."""
    height_m: float = Field(gt=0)
    """From the lowest point to the highest, metres."""
    vertices: int
    faces: int
    """Triangles."""
    colour: Colour
    """Where colour comes from; `none` is shown as clay."""
    texture_px: int | None
    """Width of the widest texture, pixels."""
    normals: Literal["authored", "smooth"]
    """Corner normals of the file, or angle-weighted ones over welded positions."""
    scan_from_file: Matrix4
    """The file's own coordinates (z up for glTF and FBX, as written for OBJ and PLY) to frame scan."""
    bounds: tuple[Vec3, Vec3]
    """Least and greatest x, y, z in frame scan, metres."""
    regions: dict[Framing, tuple[Vec3, Vec3]]
    """For each framing that the scan allows, the box (least, greatest x, y, z) that the camera must frame."""
    materials: tuple[ScanMaterial, ...] = Field(min_length=1)
    changes: tuple[str, ...]
    """What was done to the file's content, in order."""
    warnings: tuple[str, ...]
    """What the user should look at."""
    licence: str | None
    """As the file states it."""
    attribution: str | None
    """As the file states it."""
    no_ai: bool = False
    """A paper beside the file speaks against use for machine learning."""
    non_commercial: bool = False
    """A paper beside the file allows non-commercial use only."""
    no_sharing: bool = False
    """A paper beside the file forbids to hand the scan on, or its licence is known for it."""


class ScanEntry(_Facts):
    """A usable scan."""

    scan_id: str
    """Its name in this library."""
    person: str
    """Who is seen; splits are by person."""
    key: str
    """Content address of the prepared scan."""
    facts: ScanFacts


class Verdict(_Facts):
    """What became of one file."""

    path: _Line
    """Relative to its scans folder, with forward slashes."""
    scan_id: str | None
    verdict: Literal["accepted", "refused", "ignored"]
    reason: _Line
    warnings: tuple[_Line, ...] = ()
    height_m: float | None = None
    faces: int | None = None
    colour: Colour | None = None
    kind: str | None = None
    person: str | None = None
    texture_px: int | None = None
    licence: str | None = None
