"""Backgrounds: picture files become a BackgroundLibrary of prepared panoramas, with a verdict for every file.

A prepared panorama is a plain float32 array that every engine reads, so that no other reader ever sees a
stranger's picture. With it come the figures that exposure is drawn from. Next: `synth.backgrounds_hdr` reads
Radiance files, `synth.randomize` chooses, `renderers.panorama` looks into them.
"""

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import OpenEXR
from pydantic import BaseModel, ConfigDict

from synth.backgrounds_hdr import BadPicture, read_hdr
from synth.errors import UserError

#: Goes into the address of every prepared panorama: a changed preparation is a changed file.
PREPARE_VERSION = 1

#: Rec. 709 luminance of linear RGB.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)

_LARGEST_PX = 16384
_SMALLEST_PX = 64
#: Resampling rings a little below 0 beside lamps (five of Blender's own eight panoramas); more is no picture.
_MAX_NEGATIVE = 0.05
_FLAT_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}


class BadBackgrounds(UserError):
    """No usable background; the message is one line for the user."""


class BackgroundEntry(BaseModel):
    """One panorama of a library."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    background_id: str
    """Name, from the file's stem."""
    sha256: str
    """Hash of the picture file's bytes; the prepared panorama lies under it."""
    width_px: int
    height_px: int
    irradiance_sh: tuple[float, ...]
    """Nine coefficients of luminance irradiance, see `irradiance`."""


@dataclass(frozen=True)
class BackgroundVerdict:
    """What became of one file."""

    path: str
    verdict: Literal["accepted", "refused", "ignored"]
    reason: str


@dataclass(frozen=True)
class BackgroundLibrary:
    """Usable panoramas, sorted by hash, and what was said of every file."""

    entries: tuple[BackgroundEntry, ...]
    verdicts: tuple[BackgroundVerdict, ...]
    store: Path


def load_backgrounds(
    files: Sequence[Path], cache: Path, progress: Callable[[int, int, str], None] | None = None
) -> BackgroundLibrary:
    """Prepare panoramas (`.hdr`, `.exr`) among `files` into `<cache>/backgrounds`.

    Raises BadBackgrounds when none is usable, with the first reasons.
    """
    store = cache / "backgrounds"
    entries: dict[str, BackgroundEntry] = {}
    verdicts = []
    for done, path in enumerate(files):
        if progress:
            progress(done, len(files), path.name)
        try:
            entry, reason = _prepare(path, store)
        except BadPicture as error:
            kind = "ignored" if path.suffix.lower() not in {".hdr", ".exr", *_FLAT_PICTURES} else "refused"
            verdicts.append(BackgroundVerdict(path.name, kind, str(error)))
            continue
        if entry.sha256 in entries:
            verdicts.append(
                BackgroundVerdict(path.name, "ignored", f"same content as {entries[entry.sha256].background_id}")
            )
            continue
        entries[entry.sha256] = entry
        verdicts.append(BackgroundVerdict(path.name, "accepted", reason))
    if not entries:
        said = "; ".join(f"{v.path}: {v.reason}" for v in verdicts[:3]) or "no files"
        raise BadBackgrounds(f"no usable background ({said}); give a folder of .hdr or .exr panoramas")
    return BackgroundLibrary(_unique_names(entries), tuple(verdicts), store)


def background_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted; dot-files left out. Raises BadBackgrounds if it is no folder."""
    if not folder.is_dir():
        raise BadBackgrounds(f"{folder}: no such folder of backgrounds")
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def load_panorama(store: Path, sha256: str) -> np.ndarray:
    """The prepared panorama (h, w, 3) float32, linear Rec. 709, row 0 the zenith, memory-mapped."""
    return np.load(_folder(store, sha256) / "panorama.npy", mmap_mode="r", allow_pickle=False)


def irradiance(coefficients: Sequence[float], normals: np.ndarray) -> np.ndarray:
    """Luminance irradiance on surfaces of given normals (..., 3), panorama frame (z up).

    Nine spherical-harmonics coefficients suffice for diffuse surfaces (Ramamoorthi and Hanrahan 2001); ringing
    behind a small sun can go below zero, hence the floor at a tenth of the mean.
    """
    band = np.array([np.pi, *[2 * np.pi / 3] * 3, *[np.pi / 4] * 5])
    value = _harmonics(np.asarray(normals, np.float64)) @ (band * np.asarray(coefficients))
    mean = np.pi * coefficients[0] * 0.28209479
    return np.maximum(value, 0.1 * mean)


def directions(width: int, height: int) -> np.ndarray:
    """Unit directions (height, width, 3) through the texel centres of an equirectangular panorama.

    z up; the centre column looks along +x, columns to the left turn towards +y: Blender's convention.
    """
    azimuth = np.pi - (np.arange(width) + 0.5) / width * 2 * np.pi
    polar = (np.arange(height) + 0.5) / height * np.pi
    out = np.empty((height, width, 3))
    out[..., 0] = np.sin(polar)[:, None] * np.cos(azimuth)[None, :]
    out[..., 1] = np.sin(polar)[:, None] * np.sin(azimuth)[None, :]
    out[..., 2] = np.cos(polar)[:, None]
    return out


def _prepare(path: Path, store: Path) -> tuple[BackgroundEntry, str]:
    suffix = path.suffix.lower()
    if suffix in _FLAT_PICTURES:
        raise BadPicture("plate: not yet (a flat picture cannot light a scene)")
    if suffix not in (".hdr", ".exr"):
        raise BadPicture("not a picture of a kind this version reads (.hdr, .exr)")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"cannot be read ({error.strerror})") from error
    sha256 = hashlib.sha256(data).hexdigest()
    folder = _folder(store, sha256)
    facts_file = folder / "facts.json"
    if not facts_file.is_file():
        panorama = read_hdr(data) if suffix == ".hdr" else _read_exr(data)
        _check_panorama(panorama)
        _write(folder, panorama)
    facts = json.loads(facts_file.read_text())
    darkened = facts.pop("negative_texels")
    entry = BackgroundEntry(background_id=_slug(path.stem), sha256=sha256, **facts)
    reason = f"panorama {entry.width_px} x {entry.height_px}"
    return entry, reason + (f", {darkened} texels of negative light set to 0" if darkened else "")


def _check_panorama(panorama: np.ndarray) -> None:
    height, width = panorama.shape[:2]
    if not np.isfinite(panorama).all():
        raise BadPicture("holds NaN or infinite values")
    if (panorama < 0).mean() > _MAX_NEGATIVE:
        raise BadPicture(f"{(panorama < 0).mean():.0%} of its values are negative light")
    if width != 2 * height:
        raise BadPicture(f"{width} x {height} is not 2:1, so not an equirectangular panorama")
    if width < _SMALLEST_PX:
        raise BadPicture(f"{width} x {height} is too small (at least {_SMALLEST_PX} wide)")
    if float(panorama.max()) < 1e-6:
        raise BadPicture("is black: it would light nothing")


def _write(folder: Path, panorama: np.ndarray) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    negative = int((panorama < 0).any(axis=-1).sum())
    panorama = np.ascontiguousarray(np.maximum(panorama, 0), dtype=np.float32)
    np.save(temporary / "panorama.npy", panorama, allow_pickle=False)
    height, width = panorama.shape[:2]
    facts = {
        "width_px": width,
        "height_px": height,
        "irradiance_sh": _project(panorama),
        "negative_texels": negative,
    }
    (temporary / "facts.json").write_text(json.dumps(facts))
    try:
        os.rename(temporary, folder)
    except OSError:
        if not (folder / "facts.json").is_file():  # anything but "another process was first"
            raise
        for file in temporary.iterdir():
            file.unlink()
        temporary.rmdir()


def _folder(store: Path, sha256: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise BadPicture(f"{sha256!r} is not a sha256")
    return store / f"{sha256[:32]}-v{PREPARE_VERSION}"


def _read_exr(data: bytes) -> np.ndarray:
    try:
        header = OpenEXR.File(io.BytesIO(data), header_only=True).header()
        (x0, y0), (x1, y1) = (tuple(int(v) for v in corner) for corner in header["dataWindow"])
        if not (0 < x1 - x0 + 1 <= _LARGEST_PX and 0 < y1 - y0 + 1 <= _LARGEST_PX):
            raise BadPicture(f"its header claims {x1 - x0 + 1} x {y1 - y0 + 1} pixels")
        channels = OpenEXR.File(io.BytesIO(data)).channels()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadPicture):
            raise
        raise BadPicture(f"not a readable EXR ({error})") from error
    for name in ("RGB", "RGBA"):
        if name in channels:
            return channels[name].pixels[..., :3].astype(np.float32)
    raise BadPicture(f"EXR without R, G, B channels (has {', '.join(sorted(channels)) or 'none'})")


def _project(panorama: np.ndarray) -> list[float]:
    """Spherical-harmonics coefficients of the panorama's luminance, by solid angle."""
    luminance = panorama @ LUMINANCE
    height, width = luminance.shape
    solid_angle = np.sin((np.arange(height) + 0.5) / height * np.pi) * (np.pi / height) * (2 * np.pi / width)
    coefficients = np.zeros(9)
    columns = directions(width, 2)[0, :, :2]  # row 0 of two: sin(polar) = 1 / sqrt(2)
    for row in range(height):  # row by row: a 16k panorama's basis would not fit
        polar = (row + 0.5) / height * np.pi
        d = np.empty((width, 3))
        d[:, :2] = columns * np.sqrt(2) * np.sin(polar)
        d[:, 2] = np.cos(polar)
        coefficients += (luminance[row].astype(np.float64) @ _harmonics(d)) * solid_angle[row]
    return [float(c) for c in coefficients]


def _harmonics(d: np.ndarray) -> np.ndarray:
    """Real spherical harmonics up to degree 2 of unit directions (..., 3): (..., 9)."""
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    return np.stack(
        [
            np.full_like(x, 0.28209479),
            0.48860251 * y,
            0.48860251 * z,
            0.48860251 * x,
            1.09254843 * x * y,
            1.09254843 * y * z,
            0.31539157 * (3 * z * z - 1),
            1.09254843 * x * z,
            0.54627422 * (x * x - y * y),
        ],
        axis=-1,
    )


def _slug(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[:80] or "background"


def _unique_names(entries: dict[str, BackgroundEntry]) -> tuple[BackgroundEntry, ...]:
    ordered = [entries[key] for key in sorted(entries)]
    names = [entry.background_id for entry in ordered]
    return tuple(
        e.model_copy(update={"background_id": f"{e.background_id}-{e.sha256[:8]}"})
        if names.count(e.background_id) > 1
        else e
        for e in ordered
    )
