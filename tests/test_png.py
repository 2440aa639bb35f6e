"""Our PNGs against Pillow's reader, and against the bytes that the specification asks for."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from synth.png import png_bytes


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
