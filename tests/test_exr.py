"""Our EXRs against OpenEXR's own reader: every half comes back, whatever it is."""

import io

import numpy as np
import OpenEXR
import pytest

from synth.exr import half_exr


def read(data: bytes) -> OpenEXR.File:
    return OpenEXR.File(io.BytesIO(data))


def halves(kind: str, height: int, width: int) -> np.ndarray:
    bits = {
        "noise": np.random.default_rng(0).integers(0, 1 << 16, (height, width, 3)),  # not to be compressed
        "flat": np.full((height, width, 3), 0x3C00),
        "ramp": np.arange(height * width * 3).reshape(height, width, 3) % (1 << 16),
    }[kind]
    return bits.astype(np.uint16).view(np.float16)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 5), (17, 33), (64, 48)])
@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_openexr_reads_what_was_written(kind, height, width):
    pixels = halves(kind, height, width)
    found = read(half_exr(pixels)).channels()["RGB"].pixels
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found.view(np.uint16), pixels.view(np.uint16))


def test_headers_say_what_openexr_says_of_the_same_picture():
    pixels = halves("ramp", 20, 30)
    buffer = io.BytesIO()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": pixels}).write(buffer)
    ours, theirs = read(half_exr(pixels)).header(), read(buffer.getvalue()).header()
    for name in ("compression", "lineOrder", "pixelAspectRatio", "screenWindowWidth"):
        assert ours[name] == theirs[name], name
    for name in ("dataWindow", "displayWindow", "screenWindowCenter"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_picture_that_is_a_view_of_another_is_written_as_it_looks():
    pixels = halves("noise", 40, 30)[::2, ::-1]
    found = read(half_exr(pixels)).channels()["RGB"].pixels
    np.testing.assert_array_equal(found.view(np.uint16), pixels.copy().view(np.uint16))


def test_most_of_what_is_empty_takes_no_room():
    assert len(half_exr(np.zeros((512, 512, 3), np.float16))) < 512 * 512 * 6 / 100
