"""Radiance RGBE (`.hdr`) to linear float32: Pillow and OpenEXR read none, OpenCV wants another numpy.

Format: Ward, "Real Pixels", Graphics Gems II; https://radsite.lbl.gov/radiance/refer/filefmts.pdf.
"""

import re

import numpy as np

_LARGEST_PX = 16384
_LONGEST_HEADER = 65536


class BadPicture(ValueError):
    """A picture that cannot serve; the message is the reason."""


def read_hdr(data: bytes) -> np.ndarray:
    """Pixels (h, w, 3) float32, linear, row 0 on top. Raises BadPicture on anything short or odd.

    The size in the header is compared with the bytes that follow before anything is allocated.
    """
    if not data.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise BadPicture("not a Radiance picture (no #?RADIANCE at its start)")
    match = re.search(rb"\n\n-Y (\d{1,6}) \+X (\d{1,6})\n", data[:_LONGEST_HEADER])
    if match is None:
        raise BadPicture("Radiance header without a '-Y height +X width' line")
    if b"FORMAT=32-bit_rle_xyze" in data[: match.start()]:
        raise BadPicture("Radiance picture in XYZE; convert it to RGBE")
    height, width = int(match[1]), int(match[2])
    if not (0 < width <= _LARGEST_PX and 0 < height <= _LARGEST_PX):
        raise BadPicture(f"its header claims {width} x {height} pixels")
    body = np.frombuffer(data, np.uint8, offset=match.end())
    # Run-length coding shrinks 127 bytes to 2 at best; each scanline has 4 bytes of its own.
    if body.size < height * (4 + 4 * 2 * (width / 127)) and body.size < 4 * width * height:
        raise BadPicture(f"truncated: {body.size} bytes cannot hold {width} x {height} pixels")
    if 8 <= width < 32768 and tuple(body[:2]) == (2, 2) and body[2] < 128:
        rgbe = _read_scanlines(body, height, width)
    else:
        if body.size < 4 * width * height:
            raise BadPicture("truncated, or in the old run-length coding that nothing writes any more")
        rgbe = body[: 4 * width * height].reshape(height, width, 4)
    exponent = rgbe[..., 3:].astype(np.int32)
    scale = np.where(exponent > 0, np.ldexp(np.float32(1), exponent - 136), np.float32(0)).astype(np.float32)
    # Blender adds no half to the mantissa, so neither do we.
    return rgbe[..., :3].astype(np.float32) * scale


def _read_scanlines(body: np.ndarray, height: int, width: int) -> np.ndarray:
    rgbe = np.empty((height, 4, width), np.uint8)
    raw = body.tobytes()
    at = 0
    for row in range(height):
        if raw[at : at + 4] != bytes((2, 2, width >> 8, width & 255)):
            raise BadPicture(f"broken scanline {row} of {height}")
        at += 4
        for channel in range(4):
            at = _read_runs(raw, at, rgbe[row, channel])
    return rgbe.transpose(0, 2, 1)


def _read_runs(raw: bytes, at: int, out: np.ndarray) -> int:
    filled, width = 0, len(out)
    while filled < width:
        if at + 1 >= len(raw):
            raise BadPicture("truncated in the middle of a scanline")
        count = raw[at]
        run = count > 128
        length = count - 128 if run else count
        if length == 0 or filled + length > width:
            raise BadPicture("broken run length")
        if run:
            out[filled : filled + length] = raw[at + 1]
            at += 2
        else:
            piece = raw[at + 1 : at + 1 + length]
            if len(piece) < length:
                raise BadPicture("truncated in the middle of a scanline")
            out[filled : filled + length] = np.frombuffer(piece, np.uint8)
            at += 1 + length
        filled += length
    return at
