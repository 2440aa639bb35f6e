"""Writing PNGs fast, rows as differences from the row above, then runs; and reading those that are written so.

Pillow tries five filters on every row and takes the best: four times the CPU for a tenth of the bytes. Its reading
unpacks every pixel to four bytes and packs it again. All other PNGs are left to it (`synth.codec`).
"""

import struct

import numpy as np
from zlib_ng import zlib_ng

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour types of the PNG specification, by channels.
_COLOUR = {1: 0, 3: 2}
_UP = 2
#: Bytes behind what is packed: its checksum, and the last chunk.
_END = 4 + 12
_LEVEL = 1
#: Rows summed at once when differences are taken back; about the root of a picture's height.
_GROUP = 32


def png_bytes(array: np.ndarray) -> bytes:
    """A PNG of (H, W) or (H, W, 3) uint8: the same bytes for the same pixels, on any processor.

    zlib's strategy for runs searches nothing, so that no processor's own search shows in the bytes.
    Source: PNG specification, third edition.
    """
    height = len(array)
    rows = np.ascontiguousarray(array, np.uint8).reshape(height, -1)
    lines = np.empty((height, rows.shape[1] + 1), np.uint8)
    lines[:, 0] = _UP
    lines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    packer = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, 15, 9, zlib_ng.Z_RLE)
    return _file(array.shape, packer.compress(lines) + packer.flush())


def png_pixels(data: bytes, shape: tuple[int, ...], out: np.ndarray | None = None) -> np.ndarray | None:
    """The inverse of `png_bytes` for an array of a shape, (H, W) or (H, W, 3) uint8; None for any other file, or a
    damaged one. No more is unpacked than such an array has. out: of that shape, contiguous; what is filled and returned
    instead of a new array."""
    height, stride = shape[0], 1 + int(np.prod(shape[1:]))
    body = data[len(_start(shape)) + 8 : -_END]
    if data != _file(shape, body):
        return None
    unpacker = zlib_ng.decompressobj()
    try:
        lines = unpacker.decompress(body, height * stride + 1)
    except zlib_ng.error:
        return None
    if len(lines) != height * stride or not unpacker.eof or unpacker.unused_data:
        return None
    lines = np.frombuffer(lines, np.uint8).reshape(height, stride)
    if (lines[:, 0] != _UP).any():
        return None
    out = np.empty(shape, np.uint8) if out is None else out
    _running_sums(lines[:, 1:], out.reshape(height, -1))
    return out


def _running_sums(steps: np.ndarray, rows: np.ndarray) -> None:
    """Each row the sum of all steps down to it, modulo 256; (H, stride) uint8.

    First within groups of rows, in all groups at once, then from group to group: numpy's own running sums go column by
    column, and with a call a row threads pass the interpreter's lock to and fro a thousand times a picture.
    """
    rows[::_GROUP] = steps[::_GROUP]
    for k in range(1, _GROUP):
        some = steps[k::_GROUP]
        np.add(rows[k - 1 :: _GROUP][: len(some)], some, out=rows[k::_GROUP])
    for first in range(_GROUP, len(rows), _GROUP):
        rows[first : first + _GROUP] += rows[first - 1]


def _file(shape: tuple[int, ...], body: bytes) -> bytes:
    return b"".join((_start(shape), _chunk(b"IDAT", body), _chunk(b"IEND", b"")))


def _start(shape: tuple[int, ...]) -> bytes:
    colour = _COLOUR[1 if len(shape) == 2 else shape[2]]
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], 8, colour, 0, 0, 0))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib_ng.crc32(kind + body))
