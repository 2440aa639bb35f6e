"""What every reader of backgrounds agrees on: how a picture is refused, and which sizes are believed.

Pictures come from strangers: a size in a header is a claim until the file's bytes bear it out. Next: the readers,
`synth.backgrounds_hdr`, `synth.backgrounds_exr` and `synth.backgrounds_photo`.
"""

from typing import Literal

#: Longest side that is read: 16k panoramas are the largest that anyone sells.
LARGEST_PX = 16384
#: 16384 x 16384, as for textures of scans: a few kB can promise far more (decompression bombs).
MAX_PIXELS = 2**28
_SMALLEST_PANORAMA_PX = 64
#: Stitchers and resizers round: 2048 x 1020 is still the whole sphere.
_RATIO_TOLERANCE = 0.01

Kind = Literal["radiance", "exr", "photo"]

#: How files of each kind begin.
_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"#?", "radiance"),
    (b"v/1\x01", "exr"),
    (b"\xff\xd8\xff", "photo"),
    (b"\x89PNG\r\n\x1a\n", "photo"),
    (b"II*\0", "photo"),
    (b"MM\0*", "photo"),
    (b"II+\0", "photo"),
    (b"MM\0+", "photo"),
    (b"BM", "photo"),
)
#: Pictures that people have and this version does not read.
_FOREIGN = {
    b"GIF8": "GIF",
    b"8BPS": "Photoshop",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"DDS ": "DDS",
    b"PF\n": "PFM",
    b"Pf\n": "PFM",
    b"version https://git-lfs": "a git-lfs pointer, not the picture itself",
}


class BadPicture(ValueError):
    """A picture that cannot serve; the message is the reason."""


def picture_kind(data: bytes) -> Kind:
    """What a file is by its first bytes, whatever its name says. Raises BadPicture with what it is instead."""
    if not data:
        raise BadPicture("is empty (0 bytes)")
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "photo"
    if data[4:8] == b"ftyp":
        raise BadPicture("is HEIC or AVIF, which this version does not read; save it as JPEG or PNG")
    for start, name in _FOREIGN.items():
        if data.startswith(start):
            raise BadPicture(f"is {name}, which this version does not read; save it as EXR, PNG or JPEG")
    raise BadPicture("is no Radiance, EXR, JPEG, PNG, WebP, TIFF or BMP picture by its first bytes")


def is_two_to_one(width: int, height: int) -> bool:
    """Whether a size is that of an equirectangular panorama, within 1 %."""
    return abs(width / (2 * height) - 1) <= _RATIO_TOLERANCE


def check_panorama_size(width: int, height: int) -> None:
    """Refuses what cannot be a panorama by its size, before anything is decoded. Raises BadPicture."""
    if not (0 < width <= LARGEST_PX and 0 < height <= LARGEST_PX):
        raise BadPicture(f"its header claims {width} x {height} pixels; at most {LARGEST_PX} on a side are read")
    if width < _SMALLEST_PANORAMA_PX:
        raise BadPicture(f"{width} x {height} is too small (at least {_SMALLEST_PANORAMA_PX} wide)")
    if not is_two_to_one(width, height):
        raise BadPicture(
            f"{width} x {height} is not 2:1, so it is no equirectangular panorama and cannot light a scene; convert "
            "angular maps, light probes and cube maps to equirectangular"
        )
