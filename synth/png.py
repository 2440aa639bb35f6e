"""Writing PNGs fast: rows as differences from the row above, then runs. Reading is Pillow's (`synth.codec`).

Pillow tries five filters on every row and takes the best: four times the CPU for a tenth of the bytes.
"""

import struct

import numpy as np
from zlib_ng import zlib_ng

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour types of the PNG specification, by channels.
_COLOUR = {1: 0, 3: 2}
_UP = 2
_LEVEL = 1


def png_bytes(array: np.ndarray) -> bytes:
    """A PNG of (H, W) or (H, W, 3) uint8: the same bytes for the same pixels, on any processor.

    zlib's strategy for runs searches nothing, so that no processor's own search shows in the bytes.
    Source: PNG specification, third edition.
    """
    height, width = array.shape[:2]
    rows = np.ascontiguousarray(array, np.uint8).reshape(height, -1)
    lines = np.empty((height, rows.shape[1] + 1), np.uint8)
    lines[:, 0] = _UP
    lines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    channels = 1 if array.ndim == 2 else array.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR[channels], 0, 0, 0)
    packer = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, 15, 9, zlib_ng.Z_RLE)
    data = packer.compress(lines) + packer.flush()
    chunks = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib_ng.crc32(kind + body))
