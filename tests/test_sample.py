"""check(): a right sample passes, every known way to be wrong is refused by its name."""

import dataclasses

import numpy as np
import pytest
from worlds import ball_sample, make_camera, make_recipe, plate_of

from synth.camera import distance_from_z, normals_from_depth
from synth.config import CheckLimits
from synth.sample import BadSample, LabelCounts, Sample, background_magnification, check, is_soft, normal_error_deg

LIMITS = CheckLimits()


def mutate(sample: Sample, **arrays) -> Sample:
    return dataclasses.replace(sample, **arrays)


def wide_sample() -> Sample:
    """A wide lens close by: where distance and depth differ most."""
    camera = make_camera(focal_px=60.0, eye=(0.9, 0.2, 0.7), roll_deg=5)
    return ball_sample(make_recipe(camera))


def test_a_right_sample_passes():
    assert check(ball_sample(), LIMITS) == ("soft_background",) * (
        background_magnification(ball_sample().recipe) > LIMITS.max_magnification
    )


def test_right_normals_agree_with_depth():
    camera = make_camera(width=384, height=512, focal_px=600.0)
    assert np.median(normal_error_deg(ball_sample(make_recipe(camera)))) < 0.1


def test_angles_are_those_to_the_normals_of_the_whole_depth():
    """Of strips side by side, as of a picture at once: what `synth.camera` derives from all of the depth."""
    sample = ball_sample(make_recipe(make_camera(width=384, height=512, focal_px=900.0)))
    assert np.ptp(np.flatnonzero(sample.mask.any(axis=1))) > 320
    normal = np.where(sample.mask[..., None], sample.normal, np.nan).astype(np.float64)
    derived = normals_from_depth(sample.recipe.camera, sample.depth_m)
    across = np.linalg.norm(np.cross(derived, normal), axis=-1)
    wanted = np.degrees(np.arctan2(across, np.einsum("hwx,hwx->hw", derived, normal)))
    wanted = np.sort(wanted[np.isfinite(wanted)])
    found = normal_error_deg(sample)
    assert 0.1 < len(found) / len(wanted) < 0.25
    nearest = wanted[np.clip(np.searchsorted(wanted, found - 1e-9), 0, len(wanted) - 1)]
    np.testing.assert_allclose(nearest, found, rtol=0, atol=2e-9)


def flip_normal(axis: int):
    def apply(sample: Sample) -> Sample:
        return mutate(sample, normal=sample.normal * np.where(np.arange(3) == axis, -1, 1).astype(np.float32))

    return apply


def blur(sample: Sample) -> Sample:
    """What a filtered normal pass does: neighbours averaged, zeros of the background included."""
    normal = sum(np.roll(sample.normal, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
    return mutate(sample, normal=np.where(sample.mask[..., None], normal, 0).astype(np.float32))


def halo(sample: Sample) -> Sample:
    grown = sample.mask | np.roll(sample.mask, 1, 1)
    normal = np.where((grown & ~sample.mask)[..., None], np.float32([0, 0, -1]), sample.normal)
    return mutate(sample, normal=normal.astype(np.float32))


def paint(value):
    def apply(sample: Sample) -> Sample:
        rgb = sample.rgb.copy()
        rgb[sample.mask] = value
        return mutate(sample, rgb=rgb)

    return apply


MUTATIONS = {
    "normal x flip": (flip_normal(0), "normal_depth|normal_away"),
    "normal y flip": (flip_normal(1), "normal_depth|normal_away"),
    "normal z flip": (flip_normal(2), "normal_away"),
    "GL normals": (lambda s: mutate(s, normal=s.normal * np.float32([1, -1, -1])), "normal_away"),
    "filtered normals": (blur, "normal_length"),
    "normal halo": (halo, "mask_normal"),
    "picture mirrored depth": (lambda s: mutate(s, depth_m=np.ascontiguousarray(s.depth_m[:, ::-1])), "mask_depth"),
    "labels mirrored, picture not": (
        lambda s: mutate(
            s,
            depth_m=np.ascontiguousarray(s.depth_m[:, ::-1]),
            instance=np.ascontiguousarray(s.instance[:, ::-1]),
            normal=np.ascontiguousarray(s.normal[:, ::-1]),
        ),
        "normal_depth|normal_away",
    ),
    "depth nan": (lambda s: mutate(s, depth_m=np.where(s.mask, np.nan, np.inf).astype(np.float32)), "mask_depth"),
    "background depth 1e10": (lambda s: mutate(s, depth_m=np.where(s.mask, s.depth_m, np.float32(1e10))), "mask_depth"),
    "background depth -inf": (
        lambda s: mutate(s, depth_m=np.where(s.mask, s.depth_m, np.float32(-np.inf))),
        "mask_depth",
    ),
    "negative depth": (lambda s: mutate(s, depth_m=np.where(s.mask, -s.depth_m, s.depth_m)), "depth_sign"),
    "third instance": (lambda s: mutate(s, instance=s.instance * np.uint8(3)), "instance"),
    "no subject": (
        lambda s: mutate(
            s,
            instance=np.zeros_like(s.instance),
            depth_m=np.full_like(s.depth_m, np.inf),
            normal=np.zeros_like(s.normal),
        ),
        "no_subject",
    ),
    "float64 depth": (lambda s: mutate(s, depth_m=s.depth_m.astype(np.float64)), "shape"),
    "black": (paint(0), "black"),
    "burnt": (paint(255), "burnt"),
    "flat": (paint(120), "flat"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_refused_by_name(name):
    apply, reasons = MUTATIONS[name]
    with pytest.raises(BadSample) as refusal:
        check(apply(ball_sample()), LIMITS)
    assert refusal.value.reason in reasons.split("|")


@pytest.mark.parametrize("name", ["normal x flip", "normal y flip", "GL normals", "filtered normals"])
def test_a_mutation_of_a_subject_so_tall_that_only_strips_are_compared_is_refused_too(name):
    sample = ball_sample(make_recipe(make_camera(width=384, height=512, focal_px=900.0)))
    assert np.ptp(np.flatnonzero(sample.mask.any(axis=1))) > 320
    check(sample, LIMITS)
    apply, reasons = MUTATIONS[name]
    with pytest.raises(BadSample) as refusal:
        check(apply(sample), LIMITS)
    assert refusal.value.reason in reasons.split("|")


def test_magenta_is_refused():
    sample = ball_sample()
    rgb = sample.rgb.copy()
    rows, columns = np.nonzero(sample.mask)
    few = len(rows) // 10
    rgb[rows[:few], columns[:few]] = (200, 3, 190)
    with pytest.raises(BadSample, match="magenta"):
        check(mutate(sample, rgb=rgb), LIMITS)


def test_distance_for_depth_moves_normals():
    sample = wide_sample()
    wrong = mutate(sample, depth_m=distance_from_z(sample.recipe.camera, sample.depth_m).astype(np.float32))
    assert np.median(normal_error_deg(sample)) < 0.7
    assert np.median(normal_error_deg(wrong)) > 4 * np.median(normal_error_deg(sample))


@pytest.mark.parametrize(
    ("radii", "limits", "reason"),
    [
        ((0.02, 0.02, 0.02), {}, "too_small"),
        ((0.3, 0.3, 0.5), {"max_subject": 0.05}, "too_large"),
        ((2.0, 2.0, 0.2), {"max_border": 0.1}, "cut_off"),
    ],
)
def test_size_limits_are_shares(radii, limits, reason):
    with pytest.raises(BadSample, match=reason):
        check(ball_sample(radii=radii), CheckLimits(**limits))


def test_flags_describe_and_do_not_refuse():
    far = ball_sample(make_recipe(make_camera(focal_px=900.0, eye=(12, 2, 3))))
    assert "soft_background" in check(far, LIMITS)
    assert "truncated" in check(ball_sample(radii=(0.3, 2.0, 0.3)), LIMITS)


def test_a_plate_is_soft_by_its_own_limit():
    camera = make_camera(width=300, height=400, focal_px=20.0)  # the panorama would be far from soft
    for across, soft in ((200.0, False), (199.0, True), (300.0, False)):
        crop = (0.0, 0.0, across, across * 4 / 3)
        recipe = plate_of(make_recipe(camera), width_px=600, height_px=600, crop_px=crop)
        assert background_magnification(recipe) == pytest.approx(300 / across)
        assert is_soft(recipe, LIMITS) == soft
    soft = plate_of(ball_sample().recipe, crop_px=(0.0, 0.0, 30.0, 40.0))
    assert "soft_background" in check(dataclasses.replace(ball_sample(), recipe=soft), LIMITS)


def test_background_magnification_matches_the_measured_table():
    camera = make_camera(width=768, height=1024, focal_px=24 / 43.27 * 1280)
    assert background_magnification(make_recipe(camera)) == pytest.approx(4.36, abs=0.05)


def test_counts_flag_what_leans_and_refuse_what_cannot_be():
    sample = ball_sample()
    subject = int(sample.mask.sum())

    def counted(leaning: int) -> Sample:
        return dataclasses.replace(sample, counts=LabelCounts(0, leaning, 0))

    assert "leaning_normals" in check(counted(int(subject * LIMITS.max_leaning) + 1), LIMITS)
    assert "leaning_normals" not in check(counted(int(subject * LIMITS.max_leaning) - 1), LIMITS)
    with pytest.raises(BadSample, match="counts"):
        check(counted(subject + 1), LIMITS)


def with_outputs(**arrays):
    """A ball with further labels, and the recipe that asked for albedo and trust."""
    sample = ball_sample(make_recipe().model_copy(update={"outputs": ("albedo", "trust")}))
    labels = {"albedo": np.where(sample.mask[..., None], np.uint8([200, 90, 30]), np.uint8(0)),
              "trust": np.where(sample.mask, np.uint8(255), np.uint8(0))}  # fmt: skip
    return dataclasses.replace(sample, **{**labels, **arrays})


def test_further_labels_are_there_exactly_when_asked_for():
    check(with_outputs(), LIMITS)
    full = with_outputs()
    outside, short = np.full_like(full.trust, 255), full.albedo[:-1]
    faults = {
        "outputs": [
            with_outputs(albedo=None),
            with_outputs(trust=None),
            dataclasses.replace(ball_sample(), trust=full.trust),
        ],
        "mask_trust": [with_outputs(trust=outside)],
        "mask_albedo": [with_outputs(albedo=full.albedo + np.uint8(1))],
        "shape": [with_outputs(albedo=short), with_outputs(trust=full.trust.astype(np.float32))],
    }
    for reason, samples in faults.items():
        for sample in samples:
            with pytest.raises(BadSample) as error:
                check(sample, LIMITS)
            assert error.value.reason == reason


def test_a_recipe_without_outputs_does_not_mention_them():
    recipe = make_recipe()
    assert "outputs" not in recipe.model_dump(mode="json")
    asked = recipe.model_copy(update={"outputs": ("trust",)})
    assert type(recipe).model_validate_json(asked.model_dump_json()) == asked


def test_the_pointmap_lies_on_the_ball_and_is_infinite_beside_it():
    sample = ball_sample(center=(0, 0, 0.5), radii=(0.3, 0.3, 0.5))
    points = sample.pointmap()
    assert points.dtype == np.float32 and points.shape == (*sample.mask.shape, 3)
    assert np.isposinf(points[~sample.mask]).all()
    pose = np.array(sample.recipe.camera.world_from_camera)
    world = points[sample.mask] @ pose[:3, :3].T + pose[:3, 3]
    np.testing.assert_allclose(np.linalg.norm((world - (0, 0, 0.5)) / (0.3, 0.3, 0.5), axis=1), 1, atol=1e-5)
