"""RenderConfig: the ranges a user may turn, with units, defaults and the reason for each.

Nobody has published the ranges behind a human dense-prediction dataset; these are ours. Help texts, the JSON
schema and `synth config show` are made from the docstrings below. Next: `synth.randomize` draws from them.
"""

from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from synth.errors import UserError
from synth.recipe import Engine, Material, Normals, Output, ViewTransform


class BadConfig(UserError):
    """A configuration that cannot be used; the message is one line for the user."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is [low, high], got [{value[0]}, {value[1]}]")
    return value


def _listed(value: Any) -> Any:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def engine_shares(engine: str) -> dict[Engine, float]:
    """`relight:0.9,cycles:0.1` as shares by engine, adding up to 1, sorted by name; `cycles` is all of it.

    Raises ValueError with one line.
    """
    shares: dict[str, float] = {}
    for part in engine.split(","):
        name, colon, share = (text.strip() for text in part.partition(":"))
        if name not in get_args(Engine) or name in shares:
            what = "stands twice" if name in shares else f"is none of {', '.join(get_args(Engine))}"
            raise ValueError(f"engine {name!r} {what}")
        try:
            shares[name] = float(share) if colon else 1.0
        except ValueError:
            raise ValueError(f"engine {name!r}: its share {share!r} is no number") from None
        if not 0 < shares[name] <= 1 or ("," in engine and not colon):
            raise ValueError(f"engine {part.strip()!r}: expected NAME:SHARE with a share above 0, e.g. {_MIXTURE}")
    if abs(sum(shares.values()) - 1) > 1e-5:
        raise ValueError(f"shares of engines add up to {sum(shares.values()):g}, not 1, e.g. {_MIXTURE}")
    return dict(sorted(shares.items()))


def _one_spelling(engine: str) -> str:
    shares = engine_shares(engine)
    return next(iter(shares)) if len(shares) == 1 else ",".join(f"{name}:{share!r}" for name, share in shares.items())


_MIXTURE = "relight:0.9,cycles:0.1"
#: An engine, or a mixture of several; one wish has one spelling.
Engines = Annotated[str, AfterValidator(_one_spelling)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]
#: Sorted and without repeats, so that one wish has one spelling.
Outputs = Annotated[tuple[Output, ...], BeforeValidator(_listed), AfterValidator(lambda names: tuple(sorted({*names})))]


class _Ranges(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class FramingRanges(_Ranges):
    """How much of the subject is asked for; weights need not add up to 1. A head or bust gets only what it can."""

    full: float = Field(0.45, ge=0)
    """Weight of the whole body. Most pixels of Sapiens' training crops are bodies."""
    upper: float = Field(0.30, ge=0)
    """Weight of waist up."""
    face: float = Field(0.25, ge=0)
    """Weight of head and neck: what fine normals are learnt from."""

    @model_validator(mode="after")
    def _some_weight(self) -> "FramingRanges":
        if self.full + self.upper + self.face <= 0:
            raise ValueError("full, upper and face are all 0: nothing could be framed")
        return self


class CameraRanges(_Ranges):
    """The virtual camera."""

    focal_35mm: Range = (24.0, 135.0)
    """Focal length, mm, 35 mm equivalent by diagonal; log-uniform. From phone wide-angle to portrait lens."""
    yaw_deg: Range = (0.0, 360.0)
    """Direction from which the subject is seen, degrees about world z; uniform."""
    pitch_deg: Range = (-12.0, 35.0)
    """Elevation of the camera over the subject, degrees, positive looks down; triangular around 5 degrees."""
    roll_deg: Range = (-8.0, 8.0)
    """Rotation about the viewing axis, degrees; triangular around 0: hands are nearly level."""
    fill: Range = (0.55, 0.95)
    """Share of the frame (height or width, whichever binds) that the framed part of the subject spans; uniform."""
    offset: Range = (-0.5, 0.5)
    """Where the subject stands in the room that `fill` leaves, -0.5 left or top edge, 0.5 right or bottom; uniform."""
    truncation: Share = 0.15
    """Probability that the subject is deliberately cut by the frame."""
    truncated_fill: Range = (1.0, 1.35)
    """`fill` of a truncated picture."""
    center_shift: Range = (0.0, 0.0)
    """Principal point off the centre, share of the frame's width and height; uniform. 0 is an uncropped lens."""
    min_distance_m: float = Field(0.45, gt=0)
    """Nearest distance from the camera to the subject's framed part, metres; a shorter lens is lengthened instead."""

    @model_validator(mode="after")
    def _possible(self) -> "CameraRanges":
        if self.focal_35mm[0] <= 0:
            raise ValueError("focal_35mm must be positive")
        if not -80 <= self.pitch_deg[0] <= self.pitch_deg[1] <= 80:
            raise ValueError("pitch_deg must lie within [-80, 80]")
        if self.fill[0] <= 0 or self.truncated_fill[0] <= 0:
            raise ValueError("fill must be positive")
        return self


class LightRanges(_Ranges):
    """Light and exposure."""

    yaw_deg: Range = (0.0, 360.0)
    """Turn of the panorama about world z, degrees; uniform."""
    exposure_jitter_ev: Range = (-0.7, 0.7)
    """Exposure around the normalised one, EV; uniform. Photographs of people vary by about this much."""
    target_linear: float = Field(0.24, gt=0, le=1)
    """Linear value at which a grey subject (albedo 0.4) facing the camera is exposed; 0.18 is a light meter's grey."""


class BackgroundRanges(_Ranges):
    """What is seen behind the subject."""

    plates: Share = 0.5
    """Probability that a flat photo (plate) is seen, where the library has photos and panoramas; light always comes
    from a panorama. A library of photos alone always shows one."""
    mirrored: Share = 0.5
    """Probability that a plate is mirrored."""
    match_exposure: bool = False
    """Whether a plate is shown brighter or darker by `light.exposure_jitter_ev`, as the subject is. Off, since a photo
    is exposed already: what is white in it would turn grey."""


class FilmSettings(_Ranges):
    """From light to 8-bit colour."""

    engine: Engines = "cycles"
    """`cycles`: path tracing; `relight`: the same light for a fraction of the work, matte surfaces only
    (docs/relight.md); `eevee`: rasterised, needs EGL; `analytic`: ellipsoids instead of scans, no Blender. With shares
    the engine is drawn for every image: `relight:0.9,cycles:0.1`."""
    spp: int = Field(8, ge=1, le=65536)
    """Paths per pixel of Cycles' and EEVEE's colour; with the denoiser 8 are enough for matte people under a panorama:
    the texture takes no part in it. `--preset draft` has 4, `high` 32."""
    denoise: bool = True
    """Clean the light with OpenImageDenoise; labels never are."""
    view_transform: ViewTransform = "Standard"
    """`Standard`: sRGB, clipped, no look; `AgX`: Blender's default, rolls highlights off as film does."""
    material: Material = "diffuse"
    """`diffuse`: scan textures hold their own highlights; `authored`: the file's roughness and metalness, which relight
    does not know."""

    @model_validator(mode="after")
    def _relight_is_matte(self) -> "FilmSettings":
        if self.material != "diffuse" and "relight" in engine_shares(self.engine):
            raise ValueError(
                f"relight knows matte surfaces only, not {self.material} ones: another engine or material diffuse"
            )
        return self


class SplitShares(_Ranges):
    """How people, and backgrounds likewise, are dealt to splits; need not add up to 1, 0 is no such split."""

    train: float = Field(0.9, ge=0)
    """Share of what is learnt from."""
    val: float = Field(0.05, ge=0)
    """Share of what is looked at while learning."""
    test: float = Field(0.05, ge=0)
    """Share of what is looked at in the end."""

    @model_validator(mode="after")
    def _some_share(self) -> "SplitShares":
        if self.train + self.val + self.test <= 0:
            raise ValueError("train, val and test are all 0: nobody would be in any split")
        return self


class CheckLimits(_Ranges):
    """When a sample is refused. Shares are of the frame, of its border, or of the subject's pixels; no pixel counts."""

    min_subject: Share = 0.02
    """Least share of the frame that subjects cover."""
    max_subject: Share = 0.98
    """Greatest share of the frame that subjects cover."""
    max_border: Share = 0.75
    """Greatest share of the frame's border that subjects touch: more is a body part, not a person."""
    max_normal_error_deg: float = Field(10.0, gt=0)
    """Greatest median angle between the stored normals and those derived from depth: 0.1 to 5 for real scans (most for
    coarse meshes with smooth normals), 41 and more for a flipped axis."""
    max_leaning: Share = 0.005
    """Share of the subject's pixels whose normal is more than 60 degrees from its triangle's beyond which a sample is
    flagged `leaning_normals`: up to 0.0012 on real scans."""
    min_brightness: Share = 0.04
    """Least mean sRGB value on the subject; darker is black."""
    max_brightness: Share = 0.92
    """Greatest mean sRGB value on the subject; brighter is burnt."""
    max_clipped: Share = 0.25
    """Greatest share of the subject's pixels with all channels at 255."""
    min_contrast: float = Field(0.008, ge=0)
    """Least standard deviation of sRGB luma on the subject; less is flat."""
    max_magenta: Share = 0.02
    """Greatest share of the subject's pixels in the magenta that Blender gives to missing pictures."""
    max_magnification: float = Field(4.0, gt=0)
    """Pixels per texel of a panorama, at the image centre, beyond which a sample is flagged `soft_background`."""
    max_plate_magnification: float = Field(1.5, gt=0)
    """The same of a plate. Crops are drawn no smaller than this allows; a plate too small for it is flagged."""


class RenderConfig(_Ranges):
    """All that a user may turn. Stored with the dataset."""

    width: int = Field(768, ge=16, le=4096)
    """Columns of the picture, pixels. 768 x 1024 is Sapiens' native size."""
    height: int = Field(1024, ge=16, le=4096)
    """Rows of the picture, pixels."""
    normals: Normals = "smooth"
    """The normals of the labels. `smooth`: corner normals as authored, or made anew by angle where the file has none or
    they are nonsense; `geometric`: those of the triangles. The colour is shaded smoothly in any case."""
    outputs: Outputs = ()
    """What a sample holds besides colour, depth and normals: `albedo`, the scan's colour without light; `trust`, how
    far the scan's geometry is to be believed; `pointmap`, which every sample has: it is derived from depth and the lens
    when it is read, and never stored. A list, or names with commas."""
    framing: FramingRanges = FramingRanges()
    camera: CameraRanges = CameraRanges()
    light: LightRanges = LightRanges()
    background: BackgroundRanges = BackgroundRanges()
    film: FilmSettings = FilmSettings()
    splits: SplitShares = SplitShares()
    checks: CheckLimits = CheckLimits()


#: What a name stands for, by dotted key: more or fewer paths for the same picture; benchmarks/render.py has the price.
PRESETS: dict[str, dict[str, Any]] = {"draft": {"film.spp": 4}, "default": {}, "high": {"film.spp": 32}}


def load_config(path: Path | None, overrides: dict[str, Any], preset: str = "default") -> RenderConfig:
    """A preset, changed by a YAML file, changed by dotted overrides, e.g. {"film.spp": 8}.

    Raises BadConfig with one line that names the file or flag, the key and what is wrong with it.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = yaml.safe_load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BadConfig(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
        if not isinstance(tree, dict):
            raise BadConfig(f"{path}: expected keys and values, got {type(tree).__name__}")
    for dotted, value in PRESETS[preset].items():
        if not _has(tree, dotted):
            _set(tree, dotted, value)
    for dotted, value in overrides.items():
        _set(tree, dotted, value)
    try:
        return RenderConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise BadConfig(f"unknown config key {key!r}; `synth config show` lists them all") from error
        raise BadConfig(f"config key {key!r}: {first['msg']} (got {first['input']!r})") from error


def parse_override(text: str) -> tuple[str, Any]:
    """`path=value` of `--set` as (dotted path, value); the value is YAML, so `[24, 85]` is a range."""
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise BadConfig(f"--set {text!r}: expected path=value, e.g. film.spp=16")
    try:
        return dotted.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BadConfig(f"--set {text!r}: the value is not YAML") from error


def _has(tree: dict[str, Any], dotted: str) -> bool:
    for key in dotted.split("."):
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, leaf = dotted.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise BadConfig(f"config key {dotted!r}: {key!r} is a value, not a group")
    tree[leaf] = value
