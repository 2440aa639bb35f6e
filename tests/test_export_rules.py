"""Each known way to poison training on Sapiens is named by its own rule, and a sound sample by none."""

from dataclasses import replace

import numpy as np
import pytest
from exports import export_recipe, export_sample
from worlds import ball_sample, make_camera

from synth.camera import distance_from_z
from synth.export_rules import RULES, Labelled, find_faults
from synth.export_sapiens import labelled_of


@pytest.fixture(scope="module")
def sound() -> Labelled:
    return labelled_of(export_sample(0))


@pytest.fixture(scope="module")
def wide() -> Labelled:
    """Through a lens so wide (17 mm), and so near its corner, that depth and distance differ much."""
    camera = make_camera(width=96, height=128, focal_px=64.0, eye=(1.2, 0.3, 0.8), center_px=(70.0, 90.0))
    return labelled_of(ball_sample(export_recipe(0, camera), (0, 0, 0.5), (0.3, 0.35, 0.5)))


def only(mask: np.ndarray, count: int) -> np.ndarray:
    """The first pixels of a mask."""
    kept = np.zeros(mask.size, np.uint8)
    kept[np.flatnonzero(mask)[:count]] = 255
    return kept.reshape(mask.shape)


def spoilt(array: np.ndarray, where: np.ndarray, value: float) -> np.ndarray:
    """The array with one value of those in `where` changed."""
    array = array.copy()
    array[tuple(np.argwhere(where)[7])] = value
    return array


def test_sound_samples_break_no_rule(sound, wide):
    assert find_faults(sound) == [] and find_faults(wide) == []
    assert all(find_faults(labelled_of(export_sample(index))) == [] for index in range(12))


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("picture", lambda it: replace(it, rgb=it.rgb[1:])),
        ("picture", lambda it: replace(it, rgb=it.rgb.astype(np.uint16))),
        ("mask_form", lambda it: replace(it, mask=it.mask // 2)),
        ("mask_form", lambda it: replace(it, mask=spoilt(it.mask, it.mask > 0, 128))),
        ("mask_form", lambda it: replace(it, mask=it.mask > 0)),
        ("depth_form", lambda it: replace(it, depth=it.depth.astype(np.float16))),
        ("depth_form", lambda it: replace(it, depth=it.depth.astype(np.float64))),
        ("depth_form", lambda it: replace(it, depth=it.depth[:-1])),
        ("normal_form", lambda it: replace(it, normal=it.normal.astype(np.float64))),
        ("normal_form", lambda it: replace(it, normal=it.normal.astype(np.float16))),
        ("normal_form", lambda it: replace(it, normal=np.moveaxis(it.normal, -1, 0))),
        ("camera_form", lambda it: replace(it, intrinsics=it.intrinsics.T)),
        ("camera_form", lambda it: replace(it, intrinsics=-it.intrinsics)),
        ("camera_form", lambda it: replace(it, camera_from_world=2 * it.camera_from_world)),
        ("few_pixels", lambda it: replace(it, mask=np.zeros_like(it.mask))),
        ("few_pixels", lambda it: replace(it, mask=only(it.mask, 15))),
        ("full_frame", lambda it: replace(it, mask=only(np.ones_like(it.mask), int(0.961 * it.mask.size)))),
        ("aspect", lambda it: crop(it, 60)),
        ("not_finite", lambda it: replace(it, depth=np.where(it.mask > 0, it.depth, np.inf).astype(np.float32))),
        ("not_finite", lambda it: replace(it, depth=spoilt(it.depth, it.mask > 0, np.nan))),
        ("not_finite", lambda it: replace(it, normal=spoilt(it.normal, it.normal < 0, np.nan))),
        ("behind", lambda it: replace(it, depth=spoilt(it.depth, it.mask > 0, 0))),
        ("flat_depth", lambda it: replace(it, depth=np.full_like(it.depth, 2.5))),
        ("too_near", lambda it: replace(it, depth=it.depth * np.float32(0.01))),
        ("normal_length", lambda it: replace(it, normal=it.normal * np.float32(0.99))),
        ("normal_length", lambda it: replace(it, normal=np.where(it.normal[..., 2:] > 0.5, it.normal, 0))),
    ],
)
def test_each_is_named(sound, rule, spoil):
    faults = find_faults(spoil(sound))
    assert rule in [fault.rule for fault in faults], faults
    assert all(fault.detail and "\n" not in str(fault) for fault in faults)


def crop(it: Labelled, rows: int) -> Labelled:
    return replace(it, **{name: getattr(it, name)[:rows] for name in ("rgb", "mask", "depth", "normal")})


@pytest.mark.parametrize("count", [16, 17])
def test_limits_are_the_official_ones(sound, count):
    """16 pixels are enough, as is 96 %; a canonical z of 0.04 too."""
    assert find_faults(replace(sound, mask=only(sound.mask, count))) == []
    full = only(np.ones_like(sound.mask), int(0.96 * sound.mask.size))
    assert "full_frame" not in [fault.rule for fault in find_faults(replace(sound, mask=full))]
    nearest = sound.depth[sound.mask > 0].min() * 48 / sound.intrinsics[0, 0]
    for z, expected in ((0.0401, []), (0.0399, ["too_near"])):
        depth = (sound.depth * (z / nearest)).astype(np.float32)
        assert [fault.rule for fault in find_faults(replace(sound, depth=depth))] == expected


@pytest.mark.parametrize("signs", [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)])
def test_of_eight_sign_triples_one_is_right(sound, wide, signs):
    for it in (sound, wide):
        faults = find_faults(replace(it, normal=it.normal * np.array(signs, np.float32)))
        if signs == (1, 1, 1):
            assert faults == []
        else:
            assert [fault.rule for fault in faults] == ["normal_frame"]
            words = "".join("+-"[sign < 0] + axis for sign, axis in zip(signs, "xyz", strict=True))
            assert f"they fit as ({words})" in faults[0].detail


def test_swapped_axes_are_found_though_no_signs_mend_them(sound):
    (fault,) = find_faults(replace(sound, normal=np.ascontiguousarray(sound.normal[..., ::-1])))
    assert fault.rule == "normal_frame" and "fit as" not in fault.detail


def test_distance_for_depth_is_found_where_the_lens_is_wide(wide):
    distance = distance_from_z(wide.camera(), wide.depth).astype(np.float32)
    (fault,) = find_faults(replace(wide, depth=distance))
    assert fault.rule == "distance"
    assert "as distance" in fault.detail


def test_every_rule_has_a_reason_and_is_tried_here(sound):
    tried = {mark.args[1][k][0] for mark in test_each_is_named.pytestmark for k in range(len(mark.args[1]))}
    assert tried | {"normal_frame", "distance"} == set(RULES)
    assert all(why for _, why in RULES.values())
