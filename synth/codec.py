"""Sample <-> bytes: the members a sample has on disk, their order and their encodings.

PNG for 8-bit arrays; EXR depth as float32 PXR24 in channel `Y` (other names load as zeros in common readers);
EXR normals as half ZIP in `R,G,B`. Measured errors of the encodings: below 2^-16 of the depth, 0.023 degrees.
Encoding is deterministic: the same sample gives the same bytes with the same encoder versions.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
import OpenEXR
from PIL import Image
from pydantic import ValidationError

from synth.exr import half_exr
from synth.png import png_bytes, png_pixels
from synth.recipe import SceneRecipe, canonical_json
from synth.sample import BadSample, LabelCounts, Sample, subject_window

#: The value of each half float, by its bits.
_FLOATS = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)

#: Members in the order they stand in a shard: pictures first, then labels, so that a subset is one range.
MEMBERS = ("rgb.png", "alpha.png", "instance.png", "depth.exr", "normal.exr", "albedo.png", "trust.png", "json")
OPTIONAL = ("albedo.png", "trust.png")

#: What each member means, repeated in every dataset's manifest.
MEMBER_FACTS = {
    "rgb.png": {"quantity": "colour", "encoding": "sRGB 8 bit"},
    "alpha.png": {"quantity": "soft coverage", "range": "0..255", "use": "compositing, not supervision"},
    "instance.png": {"quantity": "instance", "background": "0", "subjects": "1..N in recipe order"},
    "depth.exr": {
        "quantity": "planar z",
        "unit": "metre",
        "background": "inf",
        "codec": "exr/f32/pxr24",
        "channel": "Y",
        "max_rel_error": 2.0**-16,
    },
    "normal.exr": {
        "quantity": "unit normal",
        "frame": "camera: x right, y down, z forward",
        "towards": "camera",
        "background": "0",
        "codec": "exr/f16/zip",
        "channels": "R,G,B = x,y,z",
    },
    "albedo.png": {"quantity": "colour without light", "encoding": "sRGB 8 bit", "background": "0"},
    "trust.png": {"quantity": "trust in the geometry", "range": "0..255, 255 believable", "background": "0"},
    "json": {"quantity": "camera, provenance and recipe"},
}


class BadBytes(ValueError):
    """Stored bytes that are not a sample; the message names the member."""


def encode_sample(sample: Sample, flags: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The sample's members in stored order: {extension: bytes}."""
    members = {
        "rgb.png": png_bytes(sample.rgb),
        "alpha.png": png_bytes(sample.alpha),
        "instance.png": png_bytes(sample.instance),
        "depth.exr": exr_bytes({"Y": sample.depth_m}, OpenEXR.PXR24_COMPRESSION),
        "normal.exr": half_exr(_halves(sample.normal, subject_window(sample.mask))),
    }
    if sample.albedo is not None:
        members["albedo.png"] = png_bytes(sample.albedo)
    if sample.trust is not None:
        members["trust.png"] = png_bytes(sample.trust)
    members["json"] = canonical_json(sample_json(sample.recipe, sample.counts, flags)).encode()
    return members


def sample_json(recipe: SceneRecipe, counts: LabelCounts, flags: tuple[str, ...]) -> dict:
    """The `.json` member: one fixed schema, the recipe inside as one string so that readers can infer types."""
    camera = recipe.camera
    return {
        "id": recipe.sample_id,
        "index": recipe.index,
        "split": recipe.split,
        "scans": [subject.scan_id for subject in recipe.subjects],
        "people": [subject.person for subject in recipe.subjects],
        "background": recipe.background.seen_id,
        "width": camera.width,
        "height": camera.height,
        "focal_px": camera.focal_px,
        "center_px": list(camera.center_px),
        "world_from_camera": [list(row) for row in camera.world_from_camera],
        "flags": list(flags),
        "counts": asdict(counts),
        "recipe": canonical_json(recipe),
    }


def decode_recipe(data: bytes) -> SceneRecipe:
    """The recipe of a `.json` member. Raises BadBytes."""
    try:
        recipe = SceneRecipe.model_validate_json(json.loads(data)["recipe"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise BadBytes(f"json: {' '.join(str(error).split())[:200]}") from error
    return recipe


def _decode_counts(data: bytes) -> LabelCounts:
    try:
        counts = LabelCounts(**json.loads(data)["counts"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadBytes(f"json: counts: {' '.join(str(error).split())[:200]}") from error
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in vars(counts).values()):
        raise BadBytes("json: counts are no integers")
    return counts


class StoredSample:
    """A sample's stored bytes, each member decoded when it is asked for, on every call anew.

    Whoever puts away one array before asking for the next finds it still in the processor's cache. Shapes, dtypes and
    units are those of `synth.sample.Sample`. All methods raise BadBytes when their member is broken or of another size:
    sizes come from the recipe and are compared with a picture's header before its pixels are decoded.
    out: contiguous memory of the array's shape and dtype, which is filled and returned; ValueError for any other.
    """

    def __init__(self, members: Mapping[str, bytes]):
        """members: {extension: bytes}. Raises BadBytes when one is missing, or there is no recipe in them."""
        missing = [name for name in MEMBERS if name not in members and name not in OPTIONAL]
        if missing:
            raise BadBytes(f"{missing[0]}: missing")
        self.members, self.recipe = members, decode_recipe(members["json"])

    def counts(self) -> LabelCounts:
        return _decode_counts(self.members["json"])

    def rgb(self, out: np.ndarray | None = None) -> np.ndarray:
        return self._png("rgb.png", out, 3)

    def alpha(self) -> np.ndarray:
        return self._png("alpha.png")

    def instance(self, out: np.ndarray | None = None) -> np.ndarray:
        return self._png("instance.png", out)

    def depth_m(self) -> np.ndarray:
        return _read_exr("depth.exr", self.members["depth.exr"], "Y", self._shape).astype(np.float32, copy=False)

    def normal(self) -> np.ndarray:
        """(H, W, 3) as stored: float16, in another's files perhaps float32."""
        return _read_exr("normal.exr", self.members["normal.exr"], "RGB", (*self._shape, 3))

    def albedo(self) -> np.ndarray | None:
        return self._png("albedo.png", None, 3) if "albedo.png" in self.members else None

    def trust(self, out: np.ndarray | None = None) -> np.ndarray | None:
        """None leaves `out` as it is."""
        return self._png("trust.png", out) if "trust.png" in self.members else None

    def sample(self, lean: bool = False) -> Sample:
        """All of it. lean: for training: no albedo, normals as the half floats that are stored; a quarter less time."""
        instance, normal = self.instance(), self.normal()
        return Sample(
            recipe=self.recipe,
            rgb=self.rgb(),
            alpha=self.alpha(),
            instance=instance,
            depth_m=self.depth_m(),
            normal=normal.astype(np.float16, copy=False) if lean else _floats(normal, subject_window(instance > 0)),
            counts=self.counts(),
            albedo=None if lean else self.albedo(),
            trust=self.trust(),
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.recipe.camera.shape

    def _png(self, name: str, out: np.ndarray | None = None, *channels: int) -> np.ndarray:
        return _read_png(name, self.members[name], (*self._shape, *channels), out)


def decode_sample(members: Mapping[str, bytes]) -> Sample:
    """The inverse of `encode_sample`. Raises BadBytes when a member is missing, broken or of another size."""
    return StoredSample(members).sample()


def _halves(normal: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    return _convert(normal, window, np.float16, lambda some: some.astype(np.float16))


def _floats(normal: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """As float32: from a table, for numpy converts halves one by one in five times the time."""
    if normal.dtype != np.float16:
        return normal.astype(np.float32, copy=False)
    return _convert(normal, window, np.float32, lambda some: _FLOATS[some.view(np.uint16)])


def _convert(
    normal: np.ndarray, window: tuple[slice, slice], dtype: type, convert: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Normals (H, W, 3) of another type; where they are all 0 outside of the subject's window, only those inside are
    converted."""
    bits = normal.view(f"u{normal.itemsize}")
    if np.count_nonzero(bits) != np.count_nonzero(bits[window]):
        return convert(normal)
    out = np.zeros(normal.shape, dtype)
    out[window] = convert(normal[window])
    return out


def with_flags(members: Mapping[str, bytes], sample: Sample, flags: tuple[str, ...]) -> dict[str, bytes]:
    """The same members, those of `sample`, with the flags that a check has given since."""
    return {**members, "json": canonical_json(sample_json(sample.recipe, sample.counts, flags)).encode()}


def stored(sample: Sample) -> tuple[dict[str, bytes], Sample]:
    """A sample's bytes and the sample a reader will get from them. Raises BadSample if they cannot be read back."""
    members = encode_sample(sample)
    try:
        return members, decode_sample(members)
    except BadBytes as error:
        raise BadSample("encoding", str(error)) from error


def _read_png(name: str, data: bytes, shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8: quickly where the file is one of ours, by Pillow where it is another's."""
    if out is not None and (out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous):
        raise ValueError(f"{name}: memory of {out.dtype} {out.shape}, expected contiguous uint8 {shape}")
    pixels = png_pixels(data, shape, out)
    if pixels is not None:
        return pixels
    mode, size = "L" if len(shape) == 2 else "RGB", (shape[1], shape[0])
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode != mode or image.size != size:
                raise BadBytes(f"{name}: {image.mode} {image.size}, expected {mode} {size}")
            out = np.empty(shape, np.uint8) if out is None else out
            out[:] = image
            return out
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadBytes(f"{name}: not a readable PNG ({error})") from error


def exr_bytes(channels: dict[str, np.ndarray], compression: object) -> bytes:
    """An EXR of (H, W) channels, or of (H, W, 3) ones named `RGB`; float16 or float32 as the arrays are."""
    buffer = io.BytesIO()
    header = {"compression": compression, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name: np.ascontiguousarray(array) for name, array in channels.items()}).write(buffer)
    return buffer.getvalue()


def _read_exr(name: str, data: bytes, channel: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        header = OpenEXR.File(io.BytesIO(data), header_only=True).header()
        (x0, y0), (x1, y1) = (tuple(int(v) for v in corner) for corner in header["dataWindow"])
        if (y1 - y0 + 1, x1 - x0 + 1) != shape[:2]:
            raise BadBytes(f"{name}: {x1 - x0 + 1} x {y1 - y0 + 1} pixels, expected {shape[1]} x {shape[0]}")
        pixels = OpenEXR.File(io.BytesIO(data)).channels()[channel].pixels
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, BadBytes):
            raise
        raise BadBytes(f"{name}: not a readable EXR with channel {channel} ({error})") from error
    if pixels.shape != shape:
        raise BadBytes(f"{name}: channel {channel} has shape {pixels.shape}, expected {shape}")
    return pixels
