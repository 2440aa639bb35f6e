"""Our PNGs against Pillow's reader, and against the bytes that the specification asks for."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from synth.png import png_bytes, png_pixels


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 48), (1, 9, 3), (33, 20, 3)])
@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_pillow_reads_what_was_written(shape, kind):
    array = {
        "noise": np.random.default_rng(0).integers(0, 256, shape),
        "flat": np.full(shape, 200),
        "ramp": np.arange(np.prod(shape)).reshape(shape) % 256,
    }[kind].astype(np.uint8)
    with Image.open(io.BytesIO(png_bytes(array))) as image:
        assert image.mode == ("L" if len(shape) == 2 else "RGB")
        np.testing.assert_array_equal(np.array(image), array)


def test_an_array_that_is_a_view_of_another_is_written_as_it_looks():
    array = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)[::2, ::-1]
    with Image.open(io.BytesIO(png_bytes(array))) as image:
        np.testing.assert_array_equal(np.array(image), array)


def test_chunks_are_whole_and_their_sums_right():
    data = png_bytes(np.zeros((3, 4), np.uint8))
    at, kinds = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        assert zlib.crc32(body) == int.from_bytes(data[at + 8 + length : at + 12 + length])
        kinds.append(body[:4])
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"] and data[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 48), (1, 9, 3), (33, 20, 3), (31, 4), (32, 4), (1000, 6, 3)])
def test_we_read_what_pillow_reads(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(png_pixels(png_bytes(array), shape), array)


def test_a_file_that_is_damaged_or_of_another_size_is_left_to_pillow():
    array = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    data = png_bytes(array)
    assert (
        png_pixels(data, (6, 5)) is None and png_pixels(data, (5, 6, 3)) is None and png_pixels(data, (7, 5, 3)) is None
    )
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            assert png_pixels(changed, array.shape) is None, at
    assert png_pixels(data + b"more", array.shape) is None


def _packed(lines: bytes, shape: tuple[int, ...]) -> bytes:
    """A whole PNG, its sums right, of lines as they are packed."""
    start, end = png_bytes(np.zeros(shape, np.uint8))[:33], b"\0\0\0\0IEND\xaeB`\x82"
    body = zlib.compress(lines)
    return start + len(body).to_bytes(4) + b"IDAT" + body + zlib.crc32(b"IDAT" + body).to_bytes(4) + end


def test_other_filters_and_lines_of_another_length_are_left_to_pillow():
    assert png_pixels(_packed(bytes([2, 7, 8, 2, 1, 1]), (2, 2)), (2, 2)).tolist() == [[7, 8], [8, 9]]
    for lines in (bytes([2, 7, 8, 1, 1, 1]), bytes([2, 7, 8]), bytes([2, 7, 8, 2, 1, 1, 0]), bytes(10**6)):
        assert png_pixels(_packed(lines, (2, 2)), (2, 2)) is None
