"""Which picture is a scan's colour, and which way up it lies."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_scans_geometry import cube_sphere, raw

from synth.scans_colour import find_beside, is_decisive, is_other_map, measure_agreement, read_picture
from synth.scans_surface import clean_surface, weld


def field(points: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """A smooth colour for every place in space, 0..1."""
    phase = np.array([0.0, 2.1, 4.2]) + turn
    waves = np.sin(5 * points @ np.array([[1.0, 0.3, -0.4], [0.2, 1.0, 0.5], [-0.5, 0.4, 1.0]]) + phase)
    return 0.5 + 0.45 * waves


def paint_atlas(size: int = 384, margin: float = 0.04, paint=field) -> np.ndarray:
    """(size * 2 / 3, size, 3) uint8 picture of `cube_sphere`'s atlas: at each texel the field at its place in space."""
    height, width = size * 2 // 3, size
    v, u = np.meshgrid(1 - (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    column, row = np.floor(u * 3).astype(int), np.floor(v * 2).astype(int)
    s = (u * 3 - column - 0.5) / (0.5 - margin)
    t = (v * 2 - row - 0.5) / (0.5 - margin)
    face = column + 3 * row
    axis, sign = face // 2, 1 - 2 * (face % 2)
    point = np.empty((height, width, 3))
    for a in range(3):
        chosen = axis == a
        point[..., a][chosen] = sign[chosen]
        point[..., (a + 1) % 3][chosen] = (s * sign)[chosen]
        point[..., (a + 2) % 3][chosen] = t[chosen]
    return np.round(paint(point / np.linalg.norm(point, axis=-1, keepdims=True)) * 255).astype(np.uint8)


def png(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, options.pop("format", "PNG"), **options)
    return stream.getvalue()


def test_the_painted_atlas_is_the_field():
    positions, _, uvs = cube_sphere(10)
    picture = paint_atlas(768)
    texel = picture[((1 - uvs[:, 1]) * 512).astype(int), (uvs[:, 0] * 768).astype(int)]
    assert np.abs(texel / 255 - field(positions)).max() < 0.05


@pytest.mark.parametrize("flipped", [False, True])
def test_the_direction_of_v_shows(flipped):
    positions, triangles, uvs = cube_sphere(12)
    corner = uvs[triangles].astype(np.float32)
    if flipped:
        corner = corner * np.float32([1, -1]) + np.float32([0, 1])
    mesh = clean_surface(raw(positions, triangles, uvs=corner)).mesh
    as_is, down = measure_agreement(mesh, weld(mesh.positions)[mesh.triangles], paint_atlas())
    assert is_decisive(as_is, down)
    assert (down > as_is) == flipped


def test_a_picture_that_belongs_elsewhere_is_not_decisive():
    positions, triangles, uvs = cube_sphere(12)
    mesh = clean_surface(raw(positions, triangles, uvs=uvs[triangles].astype(np.float32))).mesh
    places = weld(mesh.positions)[mesh.triangles]
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, (256, 384, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 384)[None, :, None], (256, 384, 3)).astype(np.uint8)
    for picture in (noise, ramp, np.full((256, 384, 3), 90, np.uint8)):
        assert not is_decisive(*measure_agreement(mesh, places, picture))


def test_v_cannot_be_told_without_seams():
    positions, triangles, uvs = cube_sphere(12)
    triangles = triangles[: len(triangles) // 6]
    mesh = clean_surface(raw(positions, triangles, uvs=uvs[triangles].astype(np.float32))).mesh
    assert not is_decisive(*measure_agreement(mesh, weld(mesh.positions)[mesh.triangles], paint_atlas()))
    none = replace(mesh, uvs=np.zeros_like(mesh.uvs))
    assert not is_decisive(*measure_agreement(none, weld(mesh.positions)[mesh.triangles], paint_atlas()))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("rp_anna_norm_2k.jpg", True), ("Hermes_occlusion.png", True), ("Tangent_SmoothUV.jpg", True),
        ("x_AO.png", True), ("x_mask01.jpg", True), ("BodyNormal.png", True), ("skin_Roughness.tga", True),
        ("rp_anna_dif_8k.JPG", False), ("Map-COL.jpg", False), ("baseColor.png", False), ("norma_jean.png", False),
        ("masked_ball.jpg", False), ("tex.png", False),
    ],
)  # fmt: skip
def test_maps_that_are_never_colour(name, other):
    assert is_other_map(name) == other


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["a.obj", "photo.jpg"], "photo.jpg"),
        (["a.obj", "photo.jpg", "other.jpg"], None),
        (["a.obj", "photo.jpg", "other_dif.jpg"], "other_dif.jpg"),
        (["b.obj", "b_norm.jpg", "b.jpg", "z_dif.jpg"], "b.jpg"),
        (["a.obj", "a_norm.jpg", "a.jpg"], "a.jpg"),
        (["a.obj", "a_occlusion.png"], None),
        (["a.obj", "b.obj", "photo.jpg"], None),
        (["a.obj", "b.obj", "photo_dif.jpg"], None),
        (["a.obj", "b.obj", "b.jpg", "a.jpg"], "a.jpg"),
        (["a_100k.obj", "a_30k.obj", "tex/A_dif_2k.jpg", "tex/A_dif_8k_.jpg", "tex/A_gloss.jpg"], "tex/A_dif_8k_.jpg"),
        (["a_100k.obj", "sourceimages/rp_a/rp_a_dif.JPG"], "sourceimages/rp_a/rp_a_dif.JPG"),
        (["a.obj", "unrelated/photo.jpg"], None),
        (["a.obj", "notes.txt"], None),
        (["a.obj", "smplx_param.pkl", "fit.npz", "photo.jpg"], "photo.jpg"),
    ],
)
def test_the_picture_beside_a_mesh(tmp_path, files, chosen):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * len(name))
    found = find_beside(tmp_path / files[0], {tmp_path / name for name in files})
    assert found == (tmp_path / chosen if chosen else None)


def gradient(channels: int) -> np.ndarray:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    return np.stack([np.roll(np.tile(ramp, (32, 1)), 7 * c, axis=1) for c in range(channels)], axis=-1)


@pytest.mark.parametrize(
    ("data", "suffix", "kept"),
    [
        (png(gradient(3)), ".png", True),
        (png(gradient(4)), ".png", True),
        (png(gradient(3), format="JPEG"), ".jpg", True),
        (png(gradient(1)[..., 0]), ".png", True),
        (png(gradient(3), format="WEBP", lossless=True), ".png", False),
        (png(gradient(3), format="TIFF"), ".png", False),
    ],
)
def test_pictures_are_kept_or_become_png(data, suffix, kept):
    picture = read_picture(data)
    assert (picture.suffix, picture.data == data, picture.width) == (suffix, kept, 64)
    stored = np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB")).astype(int)
    source = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.array_equal(stored, source)
    assert np.array_equal(picture.small, source)


def test_sixteen_bits_are_scaled_and_cmyk_is_not_inverted():
    deep = (gradient(1)[..., 0].astype(np.uint16)) * 257
    stored = np.asarray(Image.open(io.BytesIO(read_picture(png(deep)).data)).convert("RGB"))
    assert np.array_equal(stored[..., 0], gradient(1)[..., 0])
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), (200, 120, 90), np.uint8)).convert("CMYK").save(stream, "JPEG", quality=95)
    picture = read_picture(stream.getvalue())
    assert picture.suffix == ".png"
    assert np.abs(picture.small.astype(int) - (200, 120, 90)).max() < 12


def test_alpha_is_reported_only_where_something_is_transparent():
    opaque, holes = gradient(4), gradient(4)
    opaque[..., 3], holes[..., 3] = 255, 255
    holes[3, 5, 3] = 0
    assert read_picture(png(opaque)).alpha is None
    alpha = read_picture(png(holes)).alpha
    assert alpha.shape == (32, 64)
    assert (alpha[3, 5], (alpha == 0).sum()) == (0, 1)


def bomb() -> bytes:
    """A PNG of 40 bytes of header that promises 60000 x 60000 pixels."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data", [b"", b"no picture", png(gradient(3))[:100], png(gradient(3), format="JPEG")[:500], bomb()]
)
def test_what_cannot_be_read_says_so(data):
    with pytest.raises(ValueError) as error:
        read_picture(data)
    assert "0x" not in str(error.value)  # no address in memory: the reason is stored


def test_names_do_not_need_the_files(tmp_path):
    assert find_beside(Path("/nowhere/a.obj"), set()) is None
