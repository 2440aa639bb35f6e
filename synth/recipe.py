"""SceneRecipe: everything that was decided for one image, and nothing that was not.

A recipe holds values, never ranges (those are `synth.config`), no path, host or time: the same recipe is the
same picture anywhere. Drawn by `synth.randomize`, rendered by `renderers`.
"""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from synth.camera import IDENTITY4, Camera, Matrix4
from synth.splits import Split

RECIPE_VERSION = 1

Framing = Literal["full", "upper", "face"]
Engine = Literal["cycles", "eevee", "relight", "analytic"]
ViewTransform = Literal["Standard", "AgX"]
Material = Literal["diffuse", "authored"]
Normals = Literal["smooth", "geometric"]
Output = Literal["albedo", "trust", "pointmap"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Subject(_Value):
    """A scan placed in the scene."""

    scan_id: str
    """Name of the scan in its library."""
    scan_key: str
    """Content address of the prepared scan: what `synth.scans` and every renderer look it up by."""
    person: str
    """Who is seen; splits are by person."""
    world_from_scan: Matrix4 = IDENTITY4
    """Places the prepared scan (metres, z up, lowest point at 0) in the world; rigid."""
    scan_from_file: Matrix4
    """What ingestion did to the file's own coordinates: units, up axis, centring."""


class Plate(_Value):
    """A flat photo that is seen behind the subject in the panorama's stead; it lights nothing."""

    plate_id: str
    """Name of the plate in its library."""
    sha256: str
    """Hash of the picture's bytes."""
    width_px: int = Field(gt=0)
    """Columns of the upright picture."""
    height_px: int = Field(gt=0)
    """Rows of the upright picture."""
    crop_px: tuple[float, float, float, float]
    """What of it fills the frame: left, top, right, bottom; the picture spans [0, width_px] x [0, height_px]."""
    mirrored: bool
    """Whether left and right are exchanged."""
    shown_ev: float
    """The photo is shown brighter by this than it is, EV."""

    @model_validator(mode="after")
    def _inside(self) -> "Plate":
        left, top, right, bottom = self.crop_px
        if not (0 <= left < right <= self.width_px and 0 <= top < bottom <= self.height_px):
            raise ValueError(f"crop_px {self.crop_px} is no part of {self.width_px} x {self.height_px}")
        return self


class Background(_Value):
    """What lights the subject, and is seen behind it unless a plate is."""

    background_id: str
    """Name of the background in its library."""
    sha256: str
    """Hash of the picture's bytes."""
    kind: Literal["hdri"] = "hdri"
    """`hdri`: an equirectangular panorama that also lights the scene."""
    yaw_deg: float
    """The panorama is turned by this angle about world z, counter-clockwise seen from above."""
    width_px: int = Field(gt=0)
    """Width of the panorama: with the lens it tells how far the background is magnified."""
    plate: Plate | None = Field(None, exclude_if=lambda plate: plate is None)
    """What is seen instead of the panorama; left out of the JSON where the panorama is seen."""

    @property
    def seen_id(self) -> str:
        """Name of what is seen."""
        return self.background_id if self.plate is None else self.plate.plate_id


class Film(_Value):
    """From light to 8-bit colour."""

    engine: Engine
    """Which renderer makes the colour."""
    spp: int = Field(ge=0)
    """Paths per pixel of the colour render; 0 where the engine is relight, which traces none."""
    denoise: bool
    """Whether OpenImageDenoise cleans the colour; labels are never denoised. Relight makes no noise."""
    exposure_ev: float
    """Linear light is multiplied by 2 ** exposure_ev before the view transform."""
    view_transform: ViewTransform
    """`Standard`: the sRGB transfer function, clipped; no look. `AgX`: Blender's filmic default."""
    material: Material
    """`diffuse`: the scan's colour on a matte surface; `authored`: as the file says."""
    cycles_seed: int = Field(ge=0, lt=2**31)
    """Cycles' noise seed; 0 where the engine is relight."""

    @model_validator(mode="after")
    def _can_be_made(self) -> "Film":
        relit = self.engine == "relight"
        if relit and self.material != "diffuse":
            raise ValueError(f"material {self.material}: relight knows matte surfaces only")
        if relit != (self.spp == 0):
            raise ValueError(f"spp {self.spp}: 0 for relight, else at least 1")
        return self


class SceneRecipe(_Value):
    """One image, decided."""

    version: Literal[1] = RECIPE_VERSION
    seed: int = Field(ge=0)
    """Seed of the dataset."""
    index: int = Field(ge=0)
    """Which image of the dataset."""
    attempt: int = Field(ge=0)
    """0 at first, one more after each refusal of this index."""
    split: Split = "train"
    """Which split the subject's person and the background belong to."""
    framing: Framing
    """How much of the subject was asked for."""
    normals: Normals
    """`smooth`: corner normals as the scan has them, interpolated; `geometric`: those of the triangles."""
    outputs: tuple[Output, ...] = Field((), exclude_if=lambda outputs: not outputs)
    """What the sample holds besides the triplet, sorted by name; left out of the JSON where it is empty."""
    camera: Camera
    subjects: tuple[Subject, ...] = Field(min_length=1, max_length=255)
    """Subject k has instance k + 1."""
    background: Background
    film: Film

    @property
    def sample_id(self) -> str:
        """The index, zero-padded: the sample's name everywhere."""
        return sample_id(self.index)


def sample_id(index: int) -> str:
    """Name of image `index`: members of its sample are `<sample_id>.rgb.png` and so on."""
    return f"{index:08d}"


def canonical_json(value: BaseModel | dict | list) -> str:
    """The one spelling of a value: sorted keys, no spaces, shortest float repr. NaN and infinity raise."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_sha256(value: BaseModel | dict | list) -> str:
    """Hash of `canonical_json`, hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
