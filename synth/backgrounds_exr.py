"""OpenEXR panoramas (`.exr`) to linear float32: which channels are light, and whether the header can be true.

The header is read here, in Python, before OpenEXR's library sees the file: sizes are held against the file's length,
and what cannot be used is refused by its name. Format: https://openexr.com/en/latest/OpenEXRFileLayout.html.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import OpenEXR

from synth.backgrounds_picture import LARGEST_PX, BadPicture, check_panorama_size

_LONG_FLAGS = {"deep": 0x800, "multipart": 0x1000}
#: Rows of a chunk by compression, by its number in the file.
_CHUNK_ROWS = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256, 256, 32)
#: How far each shrinks a picture at best: none, RLE (128 bytes to 2), deflate (1032) and PXR24 (a quarter less before
#: it). The others have no bound of their own; no picture shrinks two thousand times.
_MOST_SHRUNK = (1, 64, 1032, 1032, 2000, 1376, 2000, 2000, 2000, 2000, 2000, 2000)
_BYTES = (4, 2, 4)  # uint, half, float
#: Memory that all channels of all parts may claim: OpenEXR's reader takes them all.
_MOST_BYTES = 4 * 2**30
_MOST_PARTS = 64
#: Names of the layer that is the picture, where a file has several.
_PICTURE_LAYERS = ("combined", "beauty", "rgba", "color", "colour")
#: Chromaticities of Rec. 709: red, green, blue, x and y each. Old tools round or adapt them: up to here no eye sees it,
#: while those of ACES and of Rec. 2020 are 0.1 and more off.
_REC709, _SIMILAR = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06), 0.03


@dataclass(frozen=True)
class ExrPart:
    """What the header says of one part of a file."""

    kind: str
    """`scanlineimage`, `tiledimage` or a deep kind."""
    channels: tuple[tuple[str, int, int, int], ...]
    """Name, pixel type (0 uint, 1 half, 2 float), columns and rows per sample."""
    compression: int
    window: tuple[int, int, int, int]
    """First and last column and row: x0, y0, x1, y1, inclusive."""
    tile: tuple[int, int] | None
    chromaticities: tuple[float, ...] | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        x0, y0, x1, y1 = self.window
        return x1 - x0 + 1, y1 - y0 + 1


def read_exr(data: bytes) -> tuple[np.ndarray, list[str]]:
    """Pixels (h, w, 3) float32, linear, row 0 on top, of a panorama, and warnings. Raises BadPicture.

    OpenEXR's library reads strangers' bytes here: call it in a child process.
    """
    parts = exr_parts(data)
    number, names = choose_channels(parts)
    part = parts[number]
    width, height = part.size
    check_panorama_size(width, height)
    _check_claims(parts, len(data))
    try:
        channels = OpenEXR.File(io.BytesIO(data), separate_channels=True).channels(number)
        planes = [np.asarray(channels[name].pixels, np.float32) for name in names]
    except MemoryError:
        raise
    except Exception as error:  # the binding raises whatever its C++ meets: RuntimeError, ValueError, KeyError, ...
        raise BadPicture(f"not a readable EXR ({_first_line(error)})") from error
    if any(plane.shape != (height, width) for plane in planes):
        raise BadPicture(f"not a readable EXR (its channels are {planes[0].shape}, its header says {(height, width)})")
    return np.stack(planes if len(planes) == 3 else planes * 3, axis=-1), _warnings(part)


def exr_parts(data: bytes) -> list[ExrPart]:
    """The header of every part. Raises BadPicture where it is no EXR, cut short or deep."""
    if not data.startswith(b"v/1\x01") or len(data) < 8:
        raise BadPicture("not an EXR picture (by its first bytes)")
    flags = int.from_bytes(data[5:8], "little") << 8
    if data[4] != 2:
        raise BadPicture(f"EXR of version {data[4]}; only version 2 is known")
    if flags & _LONG_FLAGS["deep"]:
        raise BadPicture("deep EXR (several samples a pixel); save it flattened")
    parts, at = [], 8
    try:
        while True:
            attributes, at = _attributes(data, at)
            parts.append(_part(attributes, tiled=bool(flags & 0x200)))
            if not flags & _LONG_FLAGS["multipart"] or data[at] == 0:
                return parts
            if len(parts) == _MOST_PARTS:
                raise BadPicture(f"EXR of more than {_MOST_PARTS} parts")
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise BadPicture("not a readable EXR (its header is broken or cut short)") from error


def choose_channels(parts: list[ExrPart]) -> tuple[int, list[str]]:
    """Number of a part and the names of its channels that are light: three, or one that is grey. Raises BadPicture."""
    layers = {(number, layer): names for number, part in enumerate(parts) for layer, names in _layers(part)}
    coloured = {key: [names[c] for c in "RGB"] for key, names in layers.items() if {"R", "G", "B"} <= set(names)}
    grey = {key: [names["Y"]] for key, names in layers.items() if "Y" in names}
    if not coloured and any({"RY", "BY"} & set(names) for names in layers.values()):
        raise BadPicture("EXR in luminance and chroma (Y, RY, BY); save it as RGB")
    if not coloured and len(parts) == 1 and len(parts[0].channels) == 1:
        grey = {(0, ""): [parts[0].channels[0][0]]} if parts[0].channels[0][0] in ("Y", "V", "L") else grey
    for found in (coloured, grey):
        roots = [key for key in found if key[1] == ""]
        named = [key for key in found if key[1].rpartition(".")[2].lower() in _PICTURE_LAYERS]
        chosen = roots[:1] or (named or list(found) if len(named or found) == 1 else [])
        if chosen:
            return chosen[0][0], found[chosen[0]]
        if found:
            said = ", ".join(layer for _, layer in list(found)[:4])
            raise BadPicture(f"EXR of several layers ({said}), none called Combined; save the picture's alone")
    said = ", ".join(channel[0] for part in parts for channel in part.channels[:6])
    raise BadPicture(f"EXR without R, G, B or Y channels (has {said or 'none'})")


def _layers(part: ExrPart) -> Iterator[tuple[str, dict[str, str]]]:
    """Layers of a part and their channels: the last word of a name, upper case, and the whole name."""
    layers: dict[str, dict[str, str]] = {}
    for name, _, columns, rows in part.channels:
        layer, _, last = name.rpartition(".")
        if (columns, rows) == (1, 1) or last.upper() in ("RY", "BY"):
            layers.setdefault(layer, {})[last.upper()] = name
    yield from layers.items()


def _check_claims(parts: list[ExrPart], size: int) -> None:
    """Refuses headers that the file's size in bytes cannot bear out."""
    total = 0
    for part in parts:
        width, height = part.size
        if not (0 < width <= LARGEST_PX and 0 < height <= LARGEST_PX):
            raise BadPicture(f"its header claims {width} x {height} pixels")
        if not 0 <= part.compression < len(_CHUNK_ROWS):
            raise BadPicture(f"EXR with the unknown compression {part.compression}")
        raw = sum(_BYTES[kind] * -(-width // columns) * -(-height // rows) for _, kind, columns, rows in part.channels)
        total += raw
        if part.tile is not None:
            chunks, least = -(-width // part.tile[0]) * -(-height // part.tile[1]), 8 + 20
        else:
            chunks, least = -(-height // _CHUNK_ROWS[part.compression]), 8 + 8
        if size < max(chunks * least, raw / _MOST_SHRUNK[part.compression]):
            raise BadPicture(f"truncated: {size} bytes cannot hold {width} x {height} pixels")
    if total > _MOST_BYTES:
        raise BadPicture(f"its layers take {total / 2**30:.1f} GiB of memory; save the picture's layer alone")


def _attributes(data: bytes, at: int) -> tuple[dict[str, bytes], int]:
    """Attributes of one header by name, and where the next one begins."""
    attributes = {}
    while data[at] != 0:
        name, at = _text(data, at)
        _, at = _text(data, at)
        (size,) = struct.unpack_from("<i", data, at)
        if size < 0 or at + 4 + size > len(data):
            raise IndexError
        attributes[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return attributes, at + 1


def _part(attributes: dict[str, bytes], tiled: bool) -> ExrPart:
    kind = attributes.get("type", b"tiledimage" if tiled else b"scanlineimage").rstrip(b"\0").decode("ascii")
    if kind.startswith("deep"):
        raise BadPicture("deep EXR (several samples a pixel); save it flattened")
    tile = struct.unpack_from("<II", attributes["tiles"]) if kind == "tiledimage" else None
    if tile is not None and not (0 < tile[0] <= LARGEST_PX and 0 < tile[1] <= LARGEST_PX):
        raise BadPicture(f"EXR with tiles of {tile[0]} x {tile[1]} pixels")
    primaries = attributes.get("chromaticities")
    return ExrPart(
        kind=kind,
        channels=tuple(_channels(attributes["channels"])),
        compression=attributes["compression"][0],
        window=struct.unpack("<iiii", attributes["dataWindow"]),
        tile=tile,
        chromaticities=struct.unpack("<8f", primaries) if primaries is not None else None,
    )


def _channels(data: bytes) -> Iterator[tuple[str, int, int, int]]:
    at = 0
    while data[at] != 0:
        name, at = _text(data, at)
        kind, _, columns, rows = struct.unpack_from("<iiii", data, at)
        if kind not in (0, 1, 2) or columns < 1 or rows < 1:
            raise BadPicture(f"EXR channel {name[:40]!r} of an unknown kind")
        yield name, kind, columns, rows
        at += 16


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at, at + 256) if b"\0" in data[at : at + 256] else -1
    if end < 0:
        raise IndexError
    return data[at:end].decode("utf-8"), end + 1


def _warnings(part: ExrPart) -> list[str]:
    primaries = part.chromaticities
    if primaries is None or max(abs(a - b) for a, b in zip(primaries[:6], _REC709, strict=True)) < _SIMILAR:
        return []
    return ["its primaries are not those of Rec. 709 (sRGB), so its colours are off; save it as linear Rec. 709"]


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
