"""Labels as pictures: every colour has one meaning, and the usual one."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from worlds import ball_sample, make_recipe

from synth.report_embed import embed_pictures, thumbnail_row
from synth.report_pictures import (
    NO_SUBJECT,
    NOT_A_NUMBER,
    OUTLINE,
    depth_codes,
    depth_colors,
    depth_levels,
    depth_picture,
    mask_edge,
    mask_picture,
    measure_depth_range,
    measure_depth_reach,
    normal_picture,
    overlay_picture,
    shrink_labels,
)
from synth.sample import Sample


def changed(sample: Sample, **arrays) -> Sample:
    return Sample(**{**vars(sample), **arrays})


def lightness(colors: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours (K, 3)."""
    c = colors / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_depth_colours_grow_evenly_lighter_towards_the_viewer():
    light = lightness(depth_colors()[1:255])
    steps = np.diff(light)
    assert (steps > -0.05).all() and light[-1] - light[0] > 70
    assert np.diff(light[::23]).min() > 0.6 * np.diff(light[::23]).max()
    assert lightness(np.array([NO_SUBJECT]))[0] < light.min()


def test_a_depth_colour_tells_its_level_to_within_one():
    colors = [tuple(c) for c in depth_colors().tolist()]
    last = {color: level for level, color in enumerate(colors)}
    assert all(last[color] - level <= 1 for level, color in enumerate(colors))


def test_nearer_is_a_higher_level_and_levels_turn_back_into_metres():
    sample = ball_sample()
    near, far = measure_depth_range(sample)
    levels = depth_levels(sample, 128)
    assert np.array_equal(levels > 0, sample.mask) and levels.max() == 254
    inside = sample.mask & (sample.depth_m > near) & (sample.depth_m < far)
    metres = far + (near - far) * (levels[inside].astype(float) - 1) / 253
    assert np.abs(metres - sample.depth_m[inside]).max() <= (far - near) / 253 / 2 + 1e-6


def test_one_stray_pixel_does_not_flatten_the_colours():
    sample = ball_sample()
    depth = sample.depth_m.copy()
    depth[tuple(np.argwhere(sample.mask)[0])] = 400.0
    before, after = measure_depth_range(sample), measure_depth_range(changed(sample, depth_m=depth))
    np.testing.assert_allclose(after, before, atol=0.01)


def test_a_flat_wall_and_a_sample_without_depth_have_pictures():
    sample = ball_sample()
    wall = changed(sample, depth_m=np.where(sample.mask, np.float32(2), np.float32(np.inf)))
    assert len(np.unique(depth_levels(wall, 128)[sample.mask])) == 1
    nothing = changed(sample, depth_m=np.full_like(sample.depth_m, np.inf), instance=np.zeros_like(sample.instance))
    assert measure_depth_range(nothing) is None and (depth_picture(nothing) == NO_SUBJECT).all()


@pytest.mark.parametrize("value, where", [(np.nan, True), (np.inf, True), (1.0, False), (np.nan, False)])
def test_a_broken_depth_is_magenta(value, where):
    sample = ball_sample()
    pixel = tuple(np.argwhere(sample.mask == where)[7])
    depth = sample.depth_m.copy()
    depth[pixel] = value
    magenta = (depth_picture(changed(sample, depth_m=depth)) == NOT_A_NUMBER).all(axis=-1)
    assert magenta[pixel] and magenta.sum() == 1
    assert not (depth_picture(sample) == NOT_A_NUMBER).all(axis=-1).any()


@pytest.mark.parametrize(
    "stored, color",
    [
        ((0, 0, -1), (128, 128, 255)),  # a facing wall: the usual blue
        ((1, 0, 0), (255, 128, 128)),
        ((-1, 0, 0), (0, 128, 128)),
        ((0, -1, 0), (128, 255, 128)),  # up in the picture is negative y in OpenCV axes
        ((0, 1, 0), (128, 0, 128)),
        ((0, 0, 0), NO_SUBJECT),
        ((np.nan, 0, 0), NOT_A_NUMBER),
    ],
)
def test_normals_have_the_colours_people_know(stored, color):
    picture = normal_picture(np.array([[stored]], np.float32))
    assert np.abs(picture[0, 0].astype(int) - color).max() <= 1


def test_a_ball_is_red_at_its_right_green_at_its_top_and_blue_in_its_middle():
    sample = ball_sample(radii=0.4)
    picture = normal_picture(sample.normal).astype(int)
    rows, columns = np.nonzero(sample.mask)
    right, top = np.argmax(columns), np.argmin(rows)
    assert picture[rows[right], columns[right], 0] > 240 and picture[rows[top], columns[top], 1] > 240
    assert picture[int(rows.mean()), int(columns.mean()), 2] > 250


def test_instances_are_told_apart():
    one = mask_picture(np.array([[0, 1]], np.uint8))
    assert one.tolist() == [[0, 255]]
    greys = mask_picture(np.array([[0, 1, 2, 3]], np.uint8))[0].tolist()
    assert greys[0] == 0 and greys[1] == 255 and len(set(greys)) == 4 and min(greys[1:]) > 80


def test_the_outline_runs_along_the_mask_and_not_along_the_frame():
    mask = np.zeros((8, 10), bool)
    mask[2:6, 3:8] = True
    assert mask_edge(mask).sum() == 2 * (4 + 5) - 4 and not mask_edge(mask)[~mask].any()
    assert not mask_edge(np.ones((4, 4), bool)).any()
    drawn = overlay_picture(np.zeros((8, 10, 3), np.uint8), mask)
    assert np.array_equal((drawn == OUTLINE).all(axis=-1), mask_edge(mask))


def test_labels_are_shrunk_without_blending():
    array = np.arange(12 * 8).reshape(12, 8)
    small = shrink_labels(array, 4)
    assert small.shape == (4, 3) and np.isin(small, array).all()
    assert np.array_equal(shrink_labels(array, 6), array[1::2, 1::2])
    assert shrink_labels(array, 12) is array and shrink_labels(array, 100) is array


@pytest.mark.parametrize("height", [128, 50])
def test_embedded_pictures_are_the_arrays(height):
    recipe = make_recipe()
    sample = ball_sample(recipe)
    sample = changed(sample, trust=sample.alpha, albedo=sample.rgb)
    decoded = {}
    for name, address in embed_pictures(sample, height).items():
        kind, data = address.split(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert kind == f"data:image/{image.format.lower()}" and image.height == (128 if name == "cloud" else height)
        decoded[name] = image
    assert list(decoded) == ["rgb", "depth", "normal", "mask", "alpha", "albedo", "trust", "outline", "cloud"]
    labels = {"depth": depth_picture(sample), "normal": normal_picture(sample.normal)}
    for name, expected in labels.items():
        assert np.array_equal(np.array(decoded[name].convert("RGB")), shrink_labels(expected, height))
    assert np.array_equal(np.array(decoded["mask"]), shrink_labels(mask_picture(sample.instance), height))
    outline = np.array(decoded["outline"].convert("RGBA"))
    assert np.array_equal(outline[..., 3] == 255, mask_edge(shrink_labels(sample.mask, height)))
    assert set(np.unique(outline[..., 3])) == {0, 255}
    if height == 128:
        assert np.abs(np.array(decoded["rgb"]).astype(int) - sample.rgb).mean() < 4


def test_depth_codes_give_back_depth_and_instances():
    sample = ball_sample(make_recipe())
    codes = depth_codes(sample, 128).astype(int)
    near, far = measure_depth_reach(sample)
    z = near + (far - near) * (256 * codes[..., 0] + codes[..., 1]) / 65535
    assert np.array_equal(codes[..., 2], sample.instance)
    assert np.abs(z - sample.depth_m)[sample.mask].max() < (far - near) / 65535
    assert not codes[~sample.mask].any()
    assert (near, far) == (sample.depth_m[sample.mask].min(), sample.depth_m[sample.mask].max())


@pytest.mark.parametrize("tile", [(96, 128), (48, 64), (40, 64), (64, 40)])
def test_thumbnails_stand_side_by_side_whole_and_in_the_middle(tile):
    sample = ball_sample(make_recipe())
    row = thumbnail_row(sample, tile)
    width, height = tile
    assert row.shape == (height, 3 * width, 3)
    if tile == (96, 128):
        pictures = [sample.rgb, depth_picture(sample), normal_picture(sample.normal)]
        assert np.array_equal(row, np.concatenate(pictures, axis=1))
        return
    scale = min(width / 96, height / 128)
    covered = [(part.any(axis=-1)).sum() for part in np.split(row, 3, axis=1)]
    assert all(abs(c - 96 * 128 * scale**2) < 0.05 * width * height for c in covered)
    normals = np.split(row, 3, axis=1)[2]
    known = {tuple(colour) for colour in normal_picture(sample.normal).reshape(-1, 3)}
    assert {tuple(colour) for colour in normals.reshape(-1, 3)} <= known | {(0, 0, 0)}
