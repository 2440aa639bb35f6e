"""Radiance RGBE (`.hdr`) to linear float32: Pillow and OpenEXR read none, OpenCV wants another numpy.

Format: Ward, "Real Pixels", Graphics Gems II; https://radsite.lbl.gov/radiance/refer/filefmts.pdf.
"""

import re

import numpy as np

from synth.backgrounds_picture import BadPicture, check_panorama_size

_LONGEST_HEADER = 65536
#: The old run-length coding has no bound of its own; no picture shrinks a thousand times.
_MOST_SHRUNK = 1000


def read_hdr(data: bytes) -> np.ndarray:
    """Pixels (h, w, 3) float32, linear, row 0 on top, of a panorama. Raises BadPicture on anything short or odd.

    The size in the header is compared with the bytes that follow before anything is allocated. EXPOSURE lines scale
    all light alike and are left alone: exposure is ours to choose.
    """
    if not data.startswith(b"#?"):
        raise BadPicture("not a Radiance picture (no #? at its start)")
    match = re.search(rb"\n\n([-+][XY]) (\d{1,6}) ([-+][XY]) (\d{1,6})\n", data[:_LONGEST_HEADER])
    if match is None:
        raise BadPicture("Radiance header without a '-Y height +X width' line")
    _check_header(data[: match.start() + 1])
    if match[1][1:] != b"Y" or match[3][1:] != b"X":
        raise BadPicture(f"Radiance picture stored by columns ({match[0].strip().decode()}); save it by rows")
    height, width = int(match[2]), int(match[4])
    check_panorama_size(width, height)
    rgbe = _read_body(np.frombuffer(data, np.uint8, offset=match.end()), height, width)
    rgbe = rgbe[:: -1 if match[1] == b"+Y" else 1, :: -1 if match[3] == b"-X" else 1]
    exponent = rgbe[..., 3:].astype(np.int32)
    scale = np.where(exponent > 0, np.ldexp(np.float32(1), exponent - 136), np.float32(0)).astype(np.float32)
    # Blender adds no half to the mantissa, so neither do we.
    return rgbe[..., :3].astype(np.float32) * scale


def _check_header(header: bytes) -> None:
    kind = re.search(rb"\nFORMAT\s*=\s*(\S*)", header)
    if kind is not None and kind[1] == b"32-bit_rle_xyze":
        raise BadPicture("Radiance picture in XYZE; convert it to RGBE")
    if kind is not None and kind[1] != b"32-bit_rle_rgbe":
        raise BadPicture(f"Radiance header with the unknown FORMAT {kind[1][:40].decode('ascii', 'replace')!r}")
    for line in re.findall(rb"\nCOLORCORR\s*=\s*([^\n]*)", header):
        if len(set(line.split())) > 1:  # factors that differ would tint the light
            raise BadPicture("Radiance picture with a COLORCORR line; save it with the correction applied")


def _read_body(body: np.ndarray, height: int, width: int) -> np.ndarray:
    """The four bytes of every pixel, (height, width, 4), in the order of the file."""
    if 8 <= width < 32768 and tuple(body[:2]) == (2, 2) and body.size > 2 and body[2] < 128:
        # Run-length coding shrinks 127 bytes to 2 at best; each scanline has 4 bytes of its own.
        if body.size < height * (4 + 4 * 2 * (width / 127)):
            raise BadPicture(f"truncated: {body.size} bytes cannot hold {width} x {height} pixels")
        return _read_scanlines(body, height, width)
    if body.size * _MOST_SHRUNK < 4 * width * height:
        raise BadPicture(f"truncated: {body.size} bytes cannot hold {width} x {height} pixels")
    return _read_flat(body, height, width)


def _read_flat(body: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels as they are, or in the old coding: a pixel (1, 1, 1, n) repeats the one before it n times.

    Markers that follow each other are the digits of one count, the lowest first, to base 256.
    """
    pixels = body[: body.size // 4 * 4].reshape(-1, 4)
    marker = (pixels[:, :3] == 1).all(axis=1)
    if not marker.any():
        if len(pixels) < width * height:
            raise BadPicture(f"truncated: {body.size} bytes cannot hold {width} x {height} pixels")
        return pixels[: width * height].reshape(height, width, 4)
    if marker[0]:
        raise BadPicture("broken run length: nothing to repeat at its start")
    place = np.arange(len(pixels))
    source = np.maximum.accumulate(np.where(marker, 0, place))
    digit = place - source - 1
    count = np.where(marker, pixels[:, 3].astype(np.int64) << (8 * np.clip(digit, 0, 3)), 1)
    filled = np.cumsum(np.minimum(count, width * height))
    last = int(np.searchsorted(filled, width * height))
    if last == len(filled):
        raise BadPicture(f"truncated: {int(filled[-1])} of {width * height} pixels")
    count = np.minimum(count[: last + 1], width * height)
    count[-1] -= filled[last] - width * height
    return np.repeat(pixels[source[: last + 1]], count, axis=0).reshape(height, width, 4)


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
