"""Readers of backgrounds against pixels that are known: every kind of file, every way to be refused by name."""

import io
import struct

import numpy as np
import OpenEXR
import pytest
from PIL import Image
from test_backgrounds import exr, flat_hdr, photo, rgbe, rle_hdr, sky

from synth.backgrounds_clean import clean_light
from synth.backgrounds_exr import read_exr
from synth.backgrounds_hdr import read_hdr
from synth.backgrounds_photo import is_panorama, read_photo
from synth.backgrounds_picture import BadPicture, check_panorama_size, picture_kind

SKY = sky().astype(np.float32)
COMPRESSIONS = ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")


def write_exr(header: dict, *channels: dict) -> bytes:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    stream = io.BytesIO()
    if len(channels) == 1:
        OpenEXR.File(header, channels[0]).write(stream)
    else:
        parts = [OpenEXR.Part(dict(header), part, f"part{k}") for k, part in enumerate(channels)]
        OpenEXR.File(parts).write(stream)
    return stream.getvalue()


def planes(pixels: np.ndarray, names=("R", "G", "B")) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate(names)}


def tiled(side: int) -> dict:
    tiles = OpenEXR.TileDescription()
    tiles.xSize = tiles.ySize = side
    return {"type": OpenEXR.tiledimage, "tiles": tiles}


# Radiance


@pytest.mark.parametrize("write", [flat_hdr, rle_hdr])
def test_hdr_readers_agree_with_the_definition(write):
    np.testing.assert_allclose(read_hdr(write(sky())), sky(), rtol=1.0, atol=2 / 128)
    assert not read_hdr(write(np.zeros((32, 64, 3)))).any()


@pytest.mark.parametrize("cut", [10, 60, 200, 5000])
def test_truncated_hdr_is_refused(cut):
    data = rle_hdr(np.random.default_rng(0).uniform(0.1, 5, (32, 64, 3)))
    with pytest.raises(BadPicture):
        read_hdr(data[: min(cut, len(data) - 1)])


def test_a_lying_hdr_header_is_refused_before_allocation():
    for body in (b"\x02\x02\x3e\x80" + bytes(100), bytes(100)):
        with pytest.raises(BadPicture, match="truncated"):
            read_hdr(b"#?RADIANCE\n\n-Y 8000 +X 16000\n" + body)
    with pytest.raises(BadPicture, match="claims"):
        read_hdr(b"#?RADIANCE\n\n-Y 999999 +X 999999\n" + bytes(100))


def test_old_run_lengths_unfold_as_ward_defined_them():
    pixels = rgbe(sky(64))
    pixels[3] = pixels[3, :1]  # a row of one colour
    pixels[10:20] = pixels[10, 0]  # 640 pixels: a count of two digits, 639 = 127 + 2 * 256
    flat, out = pixels.reshape(-1, 4), []
    at = 0
    while at < len(flat):
        run = 1
        while at + run < len(flat) and (flat[at + run] == flat[at]).all():
            run += 1
        out.append(flat[at].tobytes())
        left = run - 1
        while left:
            out.append(bytes((1, 1, 1, left & 255)))
            left >>= 8
        at += run
    head = b"#?RADIANCE\nEXPOSURE=2.5\nFORMAT=32-bit_rle_rgbe\n\n-Y 32 +X 64\n"
    body = b"".join(out)
    assert len(body) < flat.nbytes
    np.testing.assert_array_equal(read_hdr(head + body), read_hdr(head + flat.tobytes()))
    with pytest.raises(BadPicture, match="truncated"):
        read_hdr(head + body[:-8])
    with pytest.raises(BadPicture):
        read_hdr(head + b"\1\1\1\xff" * 4 + body)
    with pytest.raises(BadPicture):  # a flood: 4 bytes that promise 2**32 pixels
        read_hdr(b"#?RGBE\n\n-Y 8192 +X 16384\n" + bytes(4) + b"\1\1\1\xff" * 4)


@pytest.mark.parametrize(("line", "turn"), [("+Y 64 +X 128", np.s_[::-1]), ("-Y 64 -X 128", np.s_[:, ::-1])])
def test_other_orientations_are_turned_upright(line, turn):
    data = flat_hdr(sky())
    upright = read_hdr(data)
    np.testing.assert_array_equal(read_hdr(data.replace(b"-Y 64 +X 128", line.encode())), upright[turn])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"rgbe\n", b"xyze\n", "XYZE"),
        (b"32-bit_rle_rgbe", b"32-bit_spectral", "unknown FORMAT"),
        (b"FORMAT", b"COLORCORR=1 1 0.5\nFORMAT", "COLORCORR"),
        (b"-Y 64 +X 128", b"+X 128 +Y 64", "by columns"),
        (b"-Y 64", b"64", "without a"),
    ],
)
def test_what_no_reader_here_understands_is_refused_by_name(old, new, reason):
    with pytest.raises(BadPicture, match=reason):
        read_hdr(flat_hdr(sky()).replace(old, new, 1))


# EXR


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("storage", ["lines", "tiles"])
def test_exr_of_every_compression(compression, kind, storage):
    header = {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION")}
    data = write_exr(header | (tiled(48) if storage == "tiles" else {}), {"RGB": SKY.astype(kind)})
    pixels, warnings = read_exr(data)
    loss = 0.05 if compression.startswith(("B44", "DWA")) else 1e-3
    np.testing.assert_allclose(pixels, SKY, atol=loss)
    assert pixels.dtype == np.float32 and not warnings
    for cut in (200, len(data) // 2):
        with pytest.raises(BadPicture):
            read_exr(data[:cut])


@pytest.mark.parametrize(
    "channels",
    [
        {"RGBA": np.dstack([SKY, np.ones(SKY.shape[:2], np.float32)])},
        planes(SKY[..., ::-1], "BGR"),
        planes(SKY, ("ViewLayer.Combined.R", "ViewLayer.Combined.G", "ViewLayer.Combined.B"))
        | planes(SKY * 9, ("ViewLayer.DiffCol.R", "ViewLayer.DiffCol.G", "ViewLayer.DiffCol.B")),
        planes(SKY, ("rgb.r", "rgb.g", "rgb.b")) | {"depth.Z": SKY[..., 0].copy()},
        planes(SKY) | planes(SKY * 9, ("diffuse.R", "diffuse.G", "diffuse.B")),
    ],
    ids=["alpha", "bgr", "blender", "one layer", "root wins"],
)
def test_the_picture_is_found_among_the_channels(channels):
    np.testing.assert_array_equal(read_exr(write_exr({}, channels))[0], SKY)


def test_integers_grey_and_parts_are_read():
    whole = np.round(SKY * 1000)
    counted = planes(whole.astype(np.uint32))
    np.testing.assert_array_equal(read_exr(write_exr({}, counted))[0], whole)
    grey = read_exr(write_exr({}, {"Y": SKY[..., 0].copy()}))[0]
    np.testing.assert_array_equal(grey, np.repeat(SKY[..., :1], 3, axis=-1))
    parts = write_exr({}, {"Z": SKY[..., 0].copy()}, planes(SKY))
    np.testing.assert_array_equal(read_exr(parts)[0], SKY)


def test_other_primaries_are_warned_of():
    aces = np.array([0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767], np.float32)
    try:
        data = write_exr({"chromaticities": tuple(float(x) for x in aces)}, {"RGB": SKY})
    except (RuntimeError, TypeError, ValueError) as error:
        pytest.skip(f"this OpenEXR writes no chromaticities: {error}")
    assert "primaries" in read_exr(data)[1][0]


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        (planes(SKY, ("a.R", "a.G", "a.B")) | planes(SKY, ("b.R", "b.G", "b.B")), "several layers"),
        ({"Z": SKY[..., 0].copy()}, "without R, G, B"),
        ({"Y": SKY[..., 0].copy(), "RY": SKY[..., 1].copy(), "BY": SKY[..., 2].copy()}, "luminance and chroma"),
    ],
)
def test_exr_without_one_picture_is_refused_by_name(channels, reason):
    with pytest.raises(BadPicture, match=reason):
        read_exr(write_exr({}, channels))


def with_window(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    return data[:at] + struct.pack("<iiii", 0, 0, width - 1, height - 1) + data[at + 16 :]


def test_exr_bombs_deep_and_odd_headers_are_refused_before_openexr_sees_them(monkeypatch):
    import synth.backgrounds_exr as module

    small = exr(np.ones((64, 128, 3)))

    def never(*_, **__):
        raise AssertionError("OpenEXR was called")

    monkeypatch.setattr(module.OpenEXR, "File", never)
    for data, reason in (
        (with_window(small, 16384, 8192), "truncated"),
        (with_window(small, 16384, 16384), "not 2:1"),
        (with_window(small, 2**30, 2**29), "claims"),
        (with_window(small, -4, -2), "claims"),
        (small[:4] + b"\x02\x08\x00\x00" + small[8:], "deep"),
        (small[:4] + b"\x07\x00\x00\x00" + small[8:], "version 7"),
        (small.replace(b"compression\0\1\0\0\0\3", b"compression\0\1\0\0\0\x63"), "unknown compression 99"),
        (small.replace(b"dataWindow", b"dataWindoe"), "broken"),
        (small[:40], "broken"),
        (b"", "not an EXR"),
    ):
        with pytest.raises(BadPicture, match=reason):
            read_exr(data)


# Photos


def pixels_of(data: bytes) -> np.ndarray:
    return read_photo(data)[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    upright = pixels_of(photo())
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Where row 0 and column 0 of the stored picture lie, as the EXIF standard lists them for 1 to 8.
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright.transpose(1, 0, 2)[::-1],  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright.transpose(1, 0, 2)[:, ::-1],  # left, bottom
    }[orientation]
    data = saved(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(pixels_of(data), upright)


def saved(image: Image.Image, format: str, **how) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **how)
    return stream.getvalue()


def test_modes_that_people_have():
    rgb = Image.open(io.BytesIO(photo()))
    plain = np.asarray(rgb)
    assert np.abs(pixels_of(saved(rgb.convert("CMYK"), "TIFF")).astype(int) - plain).max() <= 3
    grey16 = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    np.testing.assert_array_equal(pixels_of(saved(grey16, "PNG"))[..., 0], np.asarray(rgb.convert("L")))
    palette = pixels_of(saved(rgb.quantize(200), "PNG"))
    assert np.abs(palette.astype(int) - plain).mean() < 4
    see_through = rgb.copy()
    see_through.putalpha(Image.fromarray(np.where(np.arange(400) < 100, 0, 255)[None].repeat(300, 0).astype(np.uint8)))
    pixels, warnings = read_photo(saved(see_through, "PNG"))
    assert (pixels[:, :100] == 128).all() and "25.0% of it is transparent" in warnings[0]
    np.testing.assert_array_equal(pixels[:, 100:], plain[:, 100:])
    with pytest.raises(BadPicture, match="floating-point"):
        read_photo(saved(Image.fromarray(np.ones((300, 300), np.float32)), "TIFF"))


def test_colour_profiles_are_converted_and_broken_ones_left_out():
    rgb = Image.open(io.BytesIO(photo()))
    pixels, warnings = read_photo(saved(rgb, "JPEG", icc_profile=b"nonsense" * 20))
    assert pixels.shape == (300, 400, 3) and "colour profile" in warnings[0]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_photos_cut_short_are_refused(name):
    data = photo(format=name)
    assert picture_kind(data) == "photo"
    with pytest.raises(BadPicture):
        read_photo(data[: len(data) // 2])


# Panorama or plate


def encoded(panorama: np.ndarray) -> np.ndarray:
    return (np.clip(panorama / panorama.max(), 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def test_a_panorama_is_known_by_its_seam_and_poles():
    whole = encoded(sky(512))
    assert is_panorama(whole)
    assert is_panorama(np.roll(whole, 100, axis=1))
    rows, columns = np.indices((256, 512))
    street = np.stack([columns / 2, rows, 255 - columns / 2], axis=-1).astype(np.uint8)
    assert not is_panorama(street), "edges that do not meet"
    turned = whole.transpose(1, 0, 2)[:256].repeat(2, axis=1)[:, :512]
    assert not is_panorama(np.ascontiguousarray(turned)), "poles that are no points"
    framed = np.full((256, 512, 3), 255, np.uint8)
    framed[40:-40, 40:-40] = street[40:-40, 40:-40]
    assert not is_panorama(framed), "a photo in a white frame closes everywhere"
    assert not is_panorama(whole[:200])


def test_real_panoramas_and_photos_are_told_apart(shared):
    for path in sorted((shared / "backgrounds").glob("*.hdr")):
        light = read_hdr(path.read_bytes())
        picture = Image.fromarray(encoded(np.minimum(light, np.quantile(light, 0.9))))
        for quality in (70, 95):
            assert is_panorama(pixels_of(saved(picture, "JPEG", quality=quality))), path.name
    for path in sorted((shared / "backgrounds").glob("photo*")):
        pixels = pixels_of(path.read_bytes())
        half = min(pixels.shape[0], pixels.shape[1] // 2)
        for top in np.linspace(0, pixels.shape[0] - half, 5).astype(int):
            assert not is_panorama(pixels[top : top + half, : 2 * half]), path.name


# Light


def test_broken_texels_are_mended_from_their_surroundings_only():
    light = SKY.copy()
    light[10, 0] = np.nan
    light[20:23, 30:33] = np.nan
    light[40, 50, 1] = np.inf
    cleaned, notes, warnings = clean_light(light.copy())
    assert warnings[0].startswith("1 infinite texels") and warnings[1].startswith("10 NaN texels")
    assert not notes and np.isfinite(cleaned).all()
    touched = np.isfinite(light).all(axis=-1)
    np.testing.assert_array_equal(cleaned[touched], SKY[touched])
    np.testing.assert_allclose(cleaned[~touched][:, [0, 2]], SKY[~touched][:, [0, 2]], atol=0.12)
    assert cleaned[40, 50, 1] == SKY[touched].max()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda x: np.where(np.indices(x.shape)[0] < 8, np.nan, x), "12% of its texels are NaN"),
        (lambda x: x - 1.5, "negative light"),
        (lambda x: x * 0, "black"),
        (lambda x: x * np.nan, "NaN"),
        (lambda x: x * 1e-9, "black"),
    ],
)
def test_mostly_broken_light_is_refused(break_it, reason):
    with pytest.raises(BadPicture, match=reason):
        clean_light(break_it(SKY.copy()))


def test_absurd_values_leave_exposure_finite():
    light = SKY.copy()
    light[5, 5] = 3e38
    cleaned, _, warnings = clean_light(light)
    assert cleaned.max() == np.float32(1e10) and "brighter than" in warnings[0]


@pytest.mark.parametrize("size", [(2048, 1020), (2048, 1034), (1000, 500)])
def test_sizes_within_a_hundredth_of_two_to_one_pass(size):
    check_panorama_size(*size)


@pytest.mark.parametrize("size", [(2048, 1000), (2048, 1060), (512, 512), (512, 1024), (32768, 16384), (32, 16)])
def test_other_sizes_are_refused(size):
    with pytest.raises(BadPicture, match=f"{size[0]} x {size[1]}"):
        check_panorama_size(*size)


# Mangled


def mutated(base: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(base)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(4, len(data) if rng.random() < 0.5 else min(len(data), 400)))
        way = int(rng.integers(4))
        if way == 0:
            data[at] = int(rng.integers(256))
        elif way == 1:
            data[at : at + 4] = int(rng.choice([0, 1, 2**14, 2**31, 2**32 - 1])).to_bytes(4, "little")
        elif way == 2:
            del data[at : at + int(rng.integers(1, 9))]
        else:
            data[at : at + 12] = rng.bytes(12)
    return bytes(data)


@pytest.mark.parametrize("kind", ["exr", "hdr", "photo"])
def test_mangled_files_are_read_or_refused_and_nothing_else(kind, monkeypatch):
    """More of it in benchmarks/backgrounds_fuzz.py."""
    import synth.backgrounds_photo as module

    monkeypatch.setattr(module, "MAX_PIXELS", 2**21)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    bases, read = {
        "exr": ([exr(SKY), write_exr(tiled(32), {"Y": SKY[..., 0].copy()})], read_exr),
        "hdr": ([flat_hdr(SKY), rle_hdr(SKY)], read_hdr),
        "photo": ([photo(format=name) for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP")], read_photo),
    }[kind]
    rng, refused = np.random.default_rng(7), 0
    for number in range(200):
        try:
            read(mutated(bases[number % len(bases)], rng))
        except BadPicture as error:
            refused += 1
            assert str(error) and "\n" not in str(error)
    assert 20 < refused < 200
