"""Textures denser than any view can show are halved, and what is halved keeps its light and its opacity."""

import io

import numpy as np
import pytest
from PIL import Image
from test_scans import ball, write
from test_scans_colour import paint_atlas, png
from test_scans_geometry import cube_sphere

from synth import scans_cap
from synth.scans import load_library, load_prepared
from synth.scans_cap import cap_pictures, count_halvings, halve_picture, texel_density
from synth.scans_colour import decode_picture, read_picture

ONE = np.array([[[0, 0, 0], [2, 0, 0], [0, 0, 2]]], float)  # 2 square metres
HALF = np.array([[[0, 0], [1, 0], [0, 1]]], np.float32)  # half of the picture


def light(codes):
    codes = np.asarray(codes, float) / 255
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def codes(light):
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def halved(array, **options) -> np.ndarray:
    return np.asarray(decode_picture(halve_picture(read_picture(png(array, **options)), 1).data))


def test_density_is_texels_per_metre():
    assert texel_density(ONE, HALF, 4000, 1000) == pytest.approx(np.sqrt(4000 * 1000 / 2 / 2))
    assert texel_density(ONE * 3, HALF[:, ::-1], 4000, 1000) == pytest.approx(np.sqrt(4000 * 1000 / 2 / 2) / 3)
    assert texel_density(ONE[:0], HALF[:0], 8, 8) == texel_density(ONE * 0, HALF, 8, 8) == 0


def test_a_corner_with_broken_uvs_does_not_make_a_picture_dense():
    corners, uvs = np.tile(ONE, (100, 1, 1)), np.tile(HALF, (100, 1, 1))
    uvs[7, 1] = 1e6
    assert texel_density(corners, uvs, 100, 100) == pytest.approx(50)


@pytest.mark.parametrize(
    ("what", "px", "area_m2", "height_m", "after"),
    [
        ("body", 8192, 1.9, 0.29, 8192),
        ("body", 16384, 1.9, 0.29, 8192),
        ("child", 16384, 0.8, 0.25, 8192),
        ("head", 8192, 0.16, 0.27, 4096),
        ("head", 16384, 0.16, 0.27, 4096),
        ("head", 4096, 0.16, 0.27, 4096),
        ("teeth", 4096, 0.004, 0.29, 2048),
        ("teeth", 2048, 0.004, 0.29, 2048),
        ("teeth", 4095, 0.004, 0.29, 4095),
    ],
)
def test_what_is_kept_of_usual_textures(what, px, area_m2, height_m, after):
    """Atlases are about 70 % full; the closest view shows a face at 2048 pixels' height and fill 0.95."""
    texels_per_pixel = px * np.sqrt(0.7 / area_m2) / (0.95 * 2048 / height_m)
    assert px // 2 ** count_halvings(texels_per_pixel, px) == after


def test_light_is_averaged_not_codes():
    board = np.zeros((8, 8, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255
    assert np.array_equal(halved(board), np.full((4, 4, 3), 188))  # half of the light; half of the codes were 128


def test_every_texel_is_the_mean_of_its_four():
    picture = np.random.default_rng(1).integers(0, 256, (600, 40, 3), dtype=np.uint8)
    mean = light(picture).reshape(300, 2, 20, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved(picture) - codes(mean)).max() <= 0.55


def test_flat_colour_stays_and_odd_sizes_lose_nothing():
    for value in range(256):
        assert (halved(np.full((3, 5, 3), value, np.uint8)) == np.full((2, 3, 3), value)).all()


def test_what_is_transparent_gives_no_colour_to_what_is_seen():
    picture = np.zeros((2, 4, 4), np.uint8)
    picture[:, ::2] = (200, 40, 10, 255)
    picture[:, 1::2] = (0, 255, 0, 0)
    picture[:, 3] = (0, 255, 0, 255)
    small = halve_picture(read_picture(png(picture)), 1)
    texels = np.asarray(decode_picture(small.data))
    assert np.abs(texels[0, 0].astype(int) - (200, 40, 10, 128)).max() <= 1
    assert texels[0, 1, 3] == 255 and np.array_equal(small.alpha, texels[..., 3])


def test_a_jpeg_stays_a_jpeg_and_size_is_told():
    picture = read_picture(png(np.full((64, 128, 3), 90, np.uint8), format="JPEG"))
    small = halve_picture(picture, 2)
    assert (small.suffix, small.width, small.height) == (".jpg", 32, 16)
    assert decode_picture(small.data).format in (None, "JPEG")
    assert Image.open(io.BytesIO(small.data)).size == (32, 16)


def test_one_picture_of_several_materials_stays_one():
    stream = io.BytesIO()
    Image.new("L", (4096, 4096), 100).save(stream, "PNG")
    dense, same = read_picture(stream.getvalue()), read_picture(stream.getvalue())
    positions, triangles, uvs = cube_sphere(6)
    corners, material = 0.13 * positions[triangles], np.arange(len(triangles)) % 3
    box = (np.full(3, -0.26), np.full(3, 0.26))  # a head with its shoulders
    capped = cap_pictures([dense, same, None], corners, uvs[triangles], material, {"face": box})
    assert capped.pictures[0] is capped.pictures[1] and capped.pictures[0].width == 2048 and capped.pictures[2] is None
    assert len(capped.changes) == 1 and "4096 px made 2048 px" in capped.changes[0]
    whole = (10 * box[0], 10 * box[1])
    assert cap_pictures([dense], corners, uvs[triangles], material * 0, {"full": whole, "face": box}).changes == (
        capped.changes
    ), "the closest region decides"
    far = cap_pictures([dense], 10 * corners, uvs[triangles], material * 0, {"face": box})
    assert far.pictures == (dense,) and far.changes == ()


def test_a_prepared_scan_holds_the_smaller_picture_and_its_alpha(tmp_path, monkeypatch):
    monkeypatch.setattr(scans_cap, "_LEAST_PX", 16)
    monkeypatch.setattr(scans_cap, "_FRAME_PX", 64)
    stripes = np.where(np.arange(384) // 32 % 2 == 0, 255, 0).astype(np.uint8)
    picture = png(np.dstack([paint_atlas(384), np.broadcast_to(stripes, (256, 384))]))
    files = {"a.obj": "mtllib a.mtl\n", "a.mtl": "newmtl skin\nmap_Kd skin.png\n", "skin.png": picture}
    root = write(tmp_path / "s", files)
    library = load_library([root], tmp_path / "c", lambda path, root: ball(picture="skin.png"))
    scan = load_prepared(library.store, library.entries[0].key)
    stored = np.asarray(Image.open(scan.folder / "textures" / "0.png"))
    assert stored.shape[1] == scan.facts.texture_px == 96
    assert np.array_equal(scan.alpha(0), stored[..., 3])
    assert any("384 px made 96 px" in change for change in scan.facts.changes)
