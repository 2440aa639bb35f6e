"""Where a scan's colour comes from, and which way up its pictures lie.

Order: what the file refers to, then a picture beside the mesh by its name, then vertex colours, then none. Maps of
normals, gloss, occlusion and the like are never colour. A picture that the file did not name is believed only when
it agrees with the mesh. Bytes come out; `synth.scans_prepare` writes them.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from synth.scans_discover import without_detail
from synth.scans_files import MESH_SUFFIXES, is_picture, is_picture_folder, picture_folders
from synth.scans_raw import RawMesh
from synth.scans_tiles import tile_of

#: 16384 x 16384: beyond every scan texture; a few kB can promise far more (decompression bombs).
MAX_PIXELS = 2**28
_COLOUR_WORDS = {"dif", "diff", "diffuse", "albedo", "basecolor", "color", "colour", "col", "a"}
_OTHER_WORDS = {"norm", "normal", "normals", "nrm", "nor", "nmap", "gloss", "glossiness", "spec", "specular",
                "rough", "roughness", "metal", "metallic", "metalness", "orm", "occlusion", "ao", "mask", "disp",
                "displacement", "height", "bump", "tangent", "opacity", "emissive", "cavity", "curvature",
                "thickness", "sss", "preview", "thumb", "thumbnail", "screenshot"}  # fmt: skip
_MESH_FOLDER = re.compile(r"scenes?|source|mesh(?:es)?|models?|geometry|obj|fbx|ply", re.IGNORECASE)
#: Side of the picture that is compared with the mesh: texels average out noise, features stay.
_COMPARE_PX = 512
#: Rows of a large picture that are looked at at a time.
_STRIP = 256
_MOST_TRIANGLES = 60_000
_LEAST_SEAMS = 40
#: Agreement of picture and mesh, measured: right 0.70 to 1.6, upside down -0.3 to 0.9 and at least 0.25 less than
#: right, wrong pictures -0.1 to 0.54.
_AGREES, _DECISIVE = 0.65, 0.15
#: What Pillow raises about bad pictures; the warning only where warnings are errors.
_UNREADABLE = (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError,
               Image.DecompressionBombWarning)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that can be read, ready to be stored."""

    suffix: str
    """`.png` or `.jpg`."""
    data: bytes
    width: int
    height: int
    small: np.ndarray
    """(h, w, 3) uint8 sRGB, at most 512 on a side, row 0 on top."""
    alpha: np.ndarray | None
    """(H, W) uint8 in full size, where any of it is transparent; row 0 on top."""


def read_picture(data: bytes) -> Picture:
    """Decodes a picture. PNG and JPEG of 8-bit RGB or grey stay as they are, all else becomes a PNG.

    Raises ValueError with the reason when it is no picture, cut short or larger than 2**28 pixels. At its largest it
    takes 1.8 GB for a while.
    """
    try:
        image = _open(data)
        image.load()
        keep = image.format in ("PNG", "JPEG") and image.mode in ("RGB", "RGBA", "L", "LA", "P")
        suffix = ".png" if image.format == "PNG" or not keep else ".jpg"
        image = _eight_bit(image)
        if not keep:
            data = _as_png(image)
    except UnidentifiedImageError as error:  # whose text names an address in memory
        raise ValueError("is not a picture") from error
    except _UNREADABLE as error:
        raise ValueError(f"cannot be read ({' '.join(str(error).split())[:120] or type(error).__name__})") from error
    return Picture(suffix, data, *image.size, _shrunk(image), _alpha(image))


def decode_picture(data: bytes) -> Image.Image:
    """RGB or RGBA of a picture that `read_picture` has read."""
    return _eight_bit(_open(data))


def find_beside(mesh: Path, files: set[Path]) -> Path | None:
    """The picture beside a mesh, or in its picture folders, that by its name is the mesh's colour; None if none is.

    files: what may be used. A picture named like the mesh beats others, then a word for colour, then the largest
    file; without either, only a sole picture counts, and only beside a sole mesh.
    """
    places = {mesh.parent, *picture_folders(mesh.parent)}
    # Maya keeps scenes/ beside sourceimages/, Sketchfab source/ beside textures/.
    if _MESH_FOLDER.fullmatch(mesh.parent.name):
        above = [p.relative_to(mesh.parent.parent) for p in files if p.is_relative_to(mesh.parent.parent)]
        places |= {mesh.parent.parent / p.parts[0] for p in above if len(p.parts) > 1 and is_picture_folder(p.parts[0])}
    places |= {inner for place in places - {mesh.parent} for inner in _subfolders(place, files)}
    pictures = sorted(p for p in files if p.parent in places and is_picture(p) and not is_other_map(p.name))
    # Arrays have their picture of their own, and most pickles beside a mesh are parameters of a body.
    suffixes = set(MESH_SUFFIXES) - {".pkl", ".npz"}
    meshes = {without_detail(p.stem) for p in files if p.parent == mesh.parent and p.suffix.lower() in suffixes}
    stem = without_detail(mesh.stem)
    named = [p for p in pictures if p.stem.casefold().startswith(stem)]
    coloured = [p for p in pictures if _words(p.name) & _COLOUR_WORDS]
    if len(meshes) > 1:  # which of them would it belong to?
        pictures = [p for p in pictures if p in named or p.parent.name.casefold() == stem]
        coloured = [p for p in coloured if p in pictures]
    sole = pictures if len({_set_of(p) for p in pictures}) == 1 else []
    best = [p for p in named if p in coloured] or named or coloured or sole
    return max(best, key=lambda p: (p.stat().st_size, p.name), default=None)


def is_other_map(name: str) -> bool:
    """Whether a picture's name says that it is a map of something other than colour."""
    return bool(_words(name) & _OTHER_WORDS)


def measure_agreement(mesh: RawMesh, places: np.ndarray, small: np.ndarray) -> tuple[float, float]:
    """How well a picture fits a mesh with v as it is, and with v upside down; -2..2, see `is_decisive`.

    Two correlations are added: of the colours on both sides of UV seams, and of the picture's contrast with the
    surface's curvature (eyes, lips and folds are edges in both). mesh with unit normals and UVs; places (T, 3)
    numbers of positions; small (h, w, 3) uint8, row 0 on top.
    """
    chosen = np.linspace(0, len(mesh.triangles) - 1, min(_MOST_TRIANGLES, len(mesh.triangles))).astype(int)
    uvs = mesh.uvs.astype(np.float64)
    curvature = _curvature(mesh.positions[mesh.triangles[chosen]], mesh.normals[chosen])
    contrast = _contrast(small.astype(np.float64).mean(axis=2))
    one, two = _seams(places.ravel(), uvs.reshape(-1, 2), 4 / max(small.shape[:2]))
    scores = []
    for way in (uvs, uvs * (1, -1) + (0, 1)):
        corners, centres = way.reshape(-1, 2), way[chosen].mean(axis=1)
        seam = _correlation(_look_up(small, corners[one]), _look_up(small, corners[two])) if len(one) else 0.0
        scores.append(seam + _correlation(_ranks(curvature), _ranks(_look_up(contrast, centres))))
    return scores[0], scores[1]


def is_decisive(as_is: float, flipped: float) -> bool:
    """Whether two agreements show that the picture belongs to the mesh, and which way up."""
    return max(as_is, flipped) >= _AGREES and abs(as_is - flipped) >= _DECISIVE


def _seams(place: np.ndarray, uv: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of corners at one place whose UVs differ; empty when they are too few to mean anything."""
    order = np.lexsort((uv[:, 1], uv[:, 0], place))
    one, two = order[:-1], order[1:]
    seam = (place[one] == place[two]) & (np.abs(uv[one] - uv[two]).max(axis=1) > least)
    return (one[seam], two[seam]) if seam.sum() >= _LEAST_SEAMS else (one[:0], two[:0])


def _curvature(corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(T,) how fast normals turn over each triangle; corners and normals (T, 3, 3)."""
    edge = np.roll(corners, -1, axis=1) - corners
    turn = np.roll(normals, -1, axis=1).astype(np.float64) - normals
    return np.abs((edge * turn).sum(axis=(1, 2))) / np.maximum((edge**2).sum(axis=(1, 2)), 1e-300)


def _contrast(grey: np.ndarray) -> np.ndarray:
    """(h, w) length of a picture's gradient, averaged over 7 x 7 texels."""
    if min(grey.shape) < 8:
        return np.zeros_like(grey)
    length = np.hypot(*np.gradient(grey))
    for axis in (0, 1):
        length = sum(np.roll(length, shift, axis) for shift in range(-3, 4)) / 7
    return length


def _ranks(values: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks[:, None]


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Of (N, C) values, the same whichever side is called one; 0 where nothing varies."""
    a, b = np.concatenate([one, two]), np.concatenate([two, one])
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return float((a * b).sum() / max((a * a).sum(), 1e-9))


def _look_up(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    x = np.floor(np.mod(uv[:, 0], 1.0) * width).astype(int) % width
    y = np.floor(np.mod(1.0 - uv[:, 1], 1.0) * height).astype(int) % height
    return image[y, x].astype(np.float64)


def _set_of(picture: Path) -> tuple:
    """Equal for the tiles of one texture."""
    tile = tile_of(picture)
    return (picture.parent, tile[0]) if tile else (picture,)


def _words(name: str) -> set[str]:
    """Words of a file name, lower case: split at signs and camel humps, without trailing numbers."""
    stem = name.rsplit(".", 1)[0]
    whole = re.split(r"[^A-Za-z0-9]+", stem)
    humps = re.split(r"[^A-Za-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", stem))
    return {word.lower().rstrip("0123456789") for word in [*whole, *humps] if word}


def _subfolders(place: Path, files: set[Path]) -> set[Path]:
    return {file.parent for file in files if file.parent.parent == place}


def _open(data: bytes) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit would refuse 16k textures
    image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP", "TGA"))
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are too many")
    return image


def _alpha(image: Image.Image) -> np.ndarray | None:
    """(H, W) uint8 where any of it is transparent."""
    if image.mode != "RGBA":
        return None
    alpha = np.empty((image.height, image.width), np.uint8)
    for row, strip in _strips(image):
        alpha[row : row + _STRIP] = np.asarray(strip.getchannel("A"))
    return alpha if alpha.min() < 250 else None


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, part) of a picture: Pillow makes two copies of what becomes an array, and a 16k one has a GiB."""
    for row in range(0, image.height, _STRIP):
        yield row, image.crop((0, row, image.width, min(row + _STRIP, image.height)))


def _shrunk(image: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8, at most 512 on a side. Band by band: a second copy of a 16k picture would be another GiB."""
    factor = max(1, max(image.size) // (2 * _COMPARE_PX))
    small = image if factor == 1 else Image.merge("RGB", [image.getchannel(band).reduce(factor) for band in "RGB"])
    small = small.convert("RGB")
    small.thumbnail((_COMPARE_PX, _COMPARE_PX))
    return np.asarray(small)


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB or RGBA of any picture; 16 bits are cut to 8, CMYK and palettes converted."""
    if image.mode.startswith(("I", "F")):
        return Image.merge("RGB", [_cut_to_eight(image)] * 3)
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    mode = "RGBA" if has_alpha else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _cut_to_eight(image: Image.Image) -> Image.Image:
    top = 65535.0 if image.mode.startswith("I") else 1.0
    codes = np.empty((image.height, image.width), np.uint8)
    for row, strip in _strips(image):
        values = np.asarray(strip, dtype=np.float64)
        codes[row : row + _STRIP] = np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(codes)


def _as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=6)
    return stream.getvalue()
