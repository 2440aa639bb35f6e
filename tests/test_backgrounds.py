"""Backgrounds: readers against known pixels, irradiance against integration, a verdict for every file."""

import io

import numpy as np
import OpenEXR
import pytest

from synth.backgrounds import (
    BadBackgrounds,
    background_files,
    directions,
    irradiance,
    load_backgrounds,
    load_panorama,
)
from synth.backgrounds_hdr import BadPicture, read_hdr


def rgbe(pixels: np.ndarray) -> np.ndarray:
    """Radiance encoding of (h, w, 3), by its definition."""
    largest = pixels.max(axis=-1, keepdims=True)
    exponent = np.where(largest > 0, np.ceil(np.log2(np.maximum(largest, 1e-30)) + 1e-9), 0)
    mantissa = np.floor(pixels / 2.0**exponent * 256).clip(0, 255)
    return np.concatenate([mantissa, np.where(largest > 0, exponent + 128, 0)], axis=-1).astype(np.uint8)


def flat_hdr(pixels: np.ndarray) -> bytes:
    h, w = pixels.shape[:2]
    return b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + f"-Y {h} +X {w}\n".encode() + rgbe(pixels).tobytes()


def rle_hdr(pixels: np.ndarray) -> bytes:
    h, w = pixels.shape[:2]
    out = [b"#?RGBE\n\n" + f"-Y {h} +X {w}\n".encode()]
    for row in rgbe(pixels):
        out.append(bytes((2, 2, w >> 8, w & 255)))
        for channel in row.T:
            at = 0
            while at < w:
                run = 1
                while at + run < w and run < 127 and channel[at + run] == channel[at]:
                    run += 1
                out.append(bytes((128 + run, channel[at])) if run > 2 else bytes((1, channel[at])))
                at += run if run > 2 else 1
    return b"".join(out)


def exr(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"RGB": pixels.astype(np.float32)}).write(buffer)
    return buffer.getvalue()


def sky(width=128) -> np.ndarray:
    d = directions(width, width // 2)
    return np.stack([1 + d[..., 2], 1.2 + d[..., 0] * 0.9, 1 + 0.5 * d[..., 1]], axis=-1)


@pytest.mark.parametrize("write", [flat_hdr, rle_hdr])
def test_hdr_readers_agree_with_the_definition(write):
    pixels = sky()
    np.testing.assert_allclose(read_hdr(write(pixels)), pixels, rtol=1.0, atol=2 / 128)
    zero = np.zeros((32, 64, 3))
    assert not read_hdr(write(zero)).any()


@pytest.mark.parametrize("cut", [10, 60, 200, 5000])
def test_truncated_hdr_is_refused(cut):
    data = rle_hdr(np.random.default_rng(0).uniform(0.1, 5, (32, 64, 3)))
    with pytest.raises(BadPicture):
        read_hdr(data[: min(cut, len(data) - 1)])


def test_a_lying_hdr_header_is_refused_before_allocation():
    with pytest.raises(BadPicture, match="truncated"):
        read_hdr(b"#?RADIANCE\n\n-Y 16000 +X 16000\n" + b"\x02\x02\x3e\x80" + bytes(100))
    with pytest.raises(BadPicture, match="claims"):
        read_hdr(b"#?RADIANCE\n\n-Y 999999 +X 999999\n" + bytes(100))


def test_irradiance_matches_the_integral(tmp_path):
    (tmp_path / "sky.exr").write_bytes(exr(sky()))
    entry = load_backgrounds([tmp_path / "sky.exr"], tmp_path / "cache").entries[0]
    d = directions(128, 64)
    polar = (np.arange(64) + 0.5) / 64 * np.pi
    weight = (np.sin(polar) * (np.pi / 64) * (2 * np.pi / 128))[:, None]
    luminance = sky() @ np.array([0.2126, 0.7152, 0.0722])
    for normal in np.random.default_rng(1).normal(size=(6, 3)):
        normal /= np.linalg.norm(normal)
        expected = (luminance * np.clip(d @ normal, 0, None) * weight).sum()
        assert irradiance(entry.irradiance_sh, normal) == pytest.approx(expected, rel=0.02)


def test_every_file_gets_a_verdict(tmp_path):
    folder = tmp_path / "backgrounds"
    folder.mkdir()
    wrong = sky()
    wrong[3, 3] = np.nan
    ringing = sky()
    ringing[5, 5] = -0.01
    files = {
        "good.hdr": rle_hdr(sky()),
        "twin.exr": exr(sky() * 2),
        "copy.hdr": rle_hdr(sky()),
        "nan.exr": exr(wrong),
        "ringing.exr": exr(ringing),
        "negative.exr": exr(-sky()),
        "black.exr": exr(np.zeros((64, 128, 3))),
        "square.exr": exr(np.ones((64, 64, 3))),
        "tiny.exr": exr(np.ones((1, 2, 3))),
        "text.hdr": b"not a picture",
        "cut.exr": exr(sky())[:500],
        "plate.jpg": b"\xff\xd8",
        "readme.txt": b"hello",
        ".hidden.hdr": b"",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    library = load_backgrounds(background_files(folder), tmp_path / "cache")
    said = {v.path: (v.verdict, v.reason) for v in library.verdicts}
    assert set(said) == set(files) - {".hidden.hdr"}
    accepted = {name for name, (verdict, _) in said.items() if verdict == "accepted"}
    assert accepted == {"copy.hdr", "twin.exr", "ringing.exr"}
    assert said["good.hdr"] == ("ignored", "same content as copy")
    assert said["plate.jpg"][0] == "refused" and said["plate.jpg"][1].startswith("plate: not yet")
    assert said["readme.txt"][0] == "ignored"
    for name in ("nan.exr", "negative.exr", "black.exr", "square.exr", "tiny.exr", "text.hdr", "cut.exr"):
        assert said[name][0] == "refused", name
    assert "1 texels of negative light" in said["ringing.exr"][1]
    for entry in library.entries:
        assert (load_panorama(library.store, entry.sha256) >= 0).all()


def test_nothing_usable_is_one_line(tmp_path):
    with pytest.raises(BadBackgrounds, match="no usable background"):
        load_backgrounds([], tmp_path)
    with pytest.raises(BadBackgrounds, match="no such folder"):
        background_files(tmp_path / "nowhere")
