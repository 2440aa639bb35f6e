"""Augmentation against the closed form of the view that it claims to be, and the mistakes it must not make."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import angles_deg, ball_sample, make_camera, make_recipe, unit_pose

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
torch.set_num_threads(1)  # small arrays: threads would wait for each other
from renderers.analytic import cast_ellipsoids  # noqa: E402
from synth.camera import Camera, matrix4  # noqa: E402
from train.augment import Augment, augment, fit, resample  # noqa: E402
from train.augment import _window as window  # noqa: E402
from train.augment_presets import OURS, PRESETS  # noqa: E402
from train.composite import replace_background  # noqa: E402
from train.data import arrays_of  # noqa: E402

RADII, CENTRE = (0.3, 0.3, 0.5), (0, 0, 0.5)
_spec = importlib.util.spec_from_file_location("bench_augment", Path(__file__).parents[1] / "benchmarks" / "augment.py")
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


@pytest.fixture(scope="module")
def ball():
    """An ellipsoid of 320 x 240 pixels, lens off the centre, camera rolled."""
    camera = make_camera(width=240, height=320, focal_px=380.0)
    return camera, arrays_of(ball_sample(make_recipe(camera)))


def truth(camera: Camera, made, turn: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(depth, mask, OpenGL normals) of the ellipsoid through the camera that the frame claims: its K, rolled."""
    height, width = made.rgb.shape[-2:]
    rolled = np.eye(4)
    rolled[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    claimed = Camera(
        width=width,
        height=height,
        focal_px=float(made.K[0, 0]),
        center_px=(float(made.K[0, 2]), float(made.K[1, 2])),
        world_from_camera=matrix4(np.array(camera.world_from_camera) @ rolled),
    )
    depth, instance, normal = cast_ellipsoids(claimed, [unit_pose(CENTRE, RADII)])
    return depth, instance > 0, normal * [1, -1, -1]


def compare(made, expected) -> tuple[float, float, float]:
    """(worst relative depth, worst angle in degrees, share of mask pixels that differ) inside both masks."""
    depth, mask, normal = expected
    ours = made.mask[0].numpy()
    both = ours & mask
    # The outermost pixel of a silhouette is interpolated from one side: a pixel's slope, not an error of place.
    inner = (
        both & ~torch.nn.functional.max_pool2d(~torch.from_numpy(mask)[None, None] * 1.0, 5, 1, 2)[0, 0].bool().numpy()
    )
    depth_error = np.abs(made.depth[0].numpy() - np.where(mask, depth, 0))[inner] / depth[inner]
    angles = angles_deg(np.moveaxis(made.normal.numpy(), 0, -1)[inner], normal[inner])
    return float(depth_error.max()), float(angles.max()), float((ours ^ mask).sum() / mask.sum())


WINDOWS = {
    "whole": ((120, 160), 2.0, 0.0),
    "closer": ((112, 150), 0.9, 0.0),
    "much closer": ((118.3, 141.7), 0.31, 0.0),
    "turned": ((121.5, 158.2), 1.3, 0.4),
    "far": ((100, 170), 4.6, -0.9),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_labels_and_lens_are_those_of_the_claimed_camera(ball, name):
    camera, arrays = ball
    centre, step, turn = WINDOWS[name]
    made = resample(arrays, (160, 120), window(centre, (160, 120), step, turn, False))
    depth, angle, differing = compare(made, truth(camera, made, turn))
    assert depth < 2e-3 and angle < 1.5 and differing < 0.06
    assert abs(made.normal.pow(2).sum(0)[made.mask[0]] - 1).max() < 1e-5


@pytest.mark.parametrize("mistake", ["normals stay", "half a pixel", "lens stays", "depth is scaled"])
def test_mistakes_are_seen(ball, mistake):
    camera, arrays = ball
    centre, step, turn = WINDOWS["turned"]
    made = resample(arrays, (160, 120), window(centre, (160, 120), step, turn, False))
    good = compare(made, truth(camera, made, turn))
    if mistake == "normals stay":
        unturned = resample(arrays, (160, 120), window(centre, (160, 120), step, 0.0, False))
        made = replace(made, normal=unturned.normal)
    if mistake == "half a pixel":
        made = replace(made, K=made.K + torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], dtype=torch.float64))
    if mistake == "lens stays":
        made = replace(made, K=arrays.K)
    if mistake == "depth is scaled":
        made = replace(made, depth=made.depth * 1.3)
    bad = compare(made, truth(camera, made, turn))
    assert max(b / max(g, 1e-3) for b, g in zip(bad, good, strict=True)) > 1.2
    assert bad[0] > 2e-3 or bad[1] > 1.5


def test_a_mirror_image_of_the_same_size_is_what_resampling_makes_of_it(ball):
    """Against the map a hair beside it, which goes the long way."""
    _, arrays = ball
    size = arrays.rgb.shape[-2:]
    exact = window((120, 160), size, 1.0, 0.0, True)
    beside = exact.copy()
    beside[0, 2] += 1e-9
    short, long = (vars(resample(arrays, size, m)) for m in (exact, beside))
    for name, made in short.items():
        assert torch.allclose(made.float(), long[name].float(), atol=1e-3), name
    assert torch.equal(short["depth"], arrays.depth.flip(-1))


def test_a_mirror_image_is_that_of_a_mirrored_world(ball):
    _, arrays = ball
    plain = resample(arrays, (160, 120), window((120, 160), (160, 120), 2.0, 0.0, False))
    mirrored = resample(arrays, (160, 120), window((120, 160), (160, 120), 2.0, 0.0, True))
    assert torch.equal(mirrored.mask, plain.mask.flip(-1)) and torch.allclose(
        mirrored.depth, plain.depth.flip(-1), atol=1e-5
    )
    assert torch.allclose(mirrored.normal, plain.normal.flip(-1) * torch.tensor([-1.0, 1, 1]).view(3, 1, 1), atol=1e-4)
    assert torch.allclose(mirrored.rgb, plain.rgb.flip(-1), atol=1e-2)
    assert float(mirrored.K[0, 2]) == pytest.approx(120 - float(plain.K[0, 2]))


@pytest.mark.parametrize("seed", range(4))
def test_labels_lie_under_the_picture(seed):
    found = bench.measure(bench.recipes()["ours"], seed, shrink=4)
    assert found.apart_px < 0.1 and found.normal_deg < 0.1


SPOILT = {
    "labels moved by half a pixel": lambda made: replace(
        made, depth=(made.depth + made.depth.roll(1, 2)) / 2, normal=made.normal
    ),
    "normals not mirrored": lambda made: replace(made, normal=made.normal * torch.tensor([-1.0, 1, 1]).view(3, 1, 1)),
    "y and z as OpenCV has them": lambda made: replace(
        made, normal=made.normal * torch.tensor([1.0, -1, -1]).view(3, 1, 1)
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_the_measure_sees_mistakes(name):
    found = bench.measure(bench.recipes()["ours"], 1, SPOILT[name], shrink=4)
    assert found.apart_px > 0.3 or found.normal_deg > 5


def test_the_official_recipe_is_worse():
    errors = [bench.measure(bench.recipes()["official_v1_normal"], seed, shrink=4) for seed in range(3)]
    assert max(e.apart_px for e in errors if e) > 0.3


def test_depth_is_never_averaged_across_an_edge():
    """Two slabs, 2 m and 3 m: no label in between, at any scale."""
    camera = make_camera(width=64, height=64, focal_px=80.0)
    arrays = arrays_of(ball_sample(make_recipe(camera)))
    depth = torch.full((1, 64, 64), 2.0)
    depth[..., 31:] = 3.0
    arrays = replace(arrays, mask=torch.ones(1, 64, 64, dtype=bool), depth=depth)
    for step in (0.37, 1.0, 1.7, 3.0):
        made = resample(arrays, (48, 48), window((31.3, 30.9), (48, 48), step, 0.2, False))
        values = made.depth[made.mask]
        assert ((values - 2).abs() < 1e-5).logical_or((values - 3).abs() < 1e-5).all()


def test_a_smaller_picture_is_filtered():
    """Stripes of one pixel become grey, whatever the phase: no alias."""
    camera = make_camera(width=96, height=128)
    arrays = arrays_of(ball_sample(make_recipe(camera)))
    stripes = (torch.arange(96) % 2 * 255.0).expand(3, 128, 96)
    for step in (2.0, 2.7, 4.0):
        made = resample(replace(arrays, rgb=stripes), (24, 18), window((48.3, 64.1), (24, 18), step, 0.0, False))
        assert (made.rgb - 127.5).abs().max() < 45


def test_a_new_background_leaves_no_fringe():
    """A red person with a soft edge before green, put before blue: no green anywhere, and the blend by alpha."""
    camera = make_camera(width=48, height=64)
    arrays_of(ball_sample(make_recipe(camera)))
    x = torch.arange(48.0).expand(1, 64, 48)
    alpha = ((x - 20) / 3).clamp(0, 1)
    red, green, blue = (
        torch.tensor(c).view(3, 1, 1).expand(3, 64, 48) for c in ((255.0, 0, 0), (0, 255.0, 0), (0, 0, 255.0))
    )
    after = replace_background(alpha * red + (1 - alpha) * green, alpha, blue)
    assert after[1].max() < 1e-3
    solid, none = alpha[0] == 1, alpha[0] == 0
    assert torch.equal(after[:, solid], red[:, solid]) and torch.equal(after[:, none], blue[:, none])
    light = [(after[c] / 255).clamp_min(0.04045).add(0.055).div(1.055).pow(2.4) for c in (0, 2)]
    soft = ~solid & ~none
    assert torch.allclose(light[0][soft], alpha[0][soft], atol=3e-3)  # the share of light, not of its encoding
    assert torch.allclose(light[1][soft], 1 - alpha[0][soft], atol=3e-3)


def test_a_thin_strand_keeps_its_own_colour():
    """Where no opaque pixel is near, the picture's mixture is all there is."""
    alpha = torch.zeros(1, 32, 24)
    alpha[..., 12] = 0.4
    rgb = torch.full((3, 32, 24), 90.0)
    after = replace_background(rgb, alpha, torch.full((3, 40, 60), 90.0))
    assert torch.allclose(after, rgb, atol=1e-3)


def test_means_over_large_pixels_stay_on_their_surface():
    """Noisy labels of a wall, four to one: a sixteenth of the noise's square is left, and none of the wall behind."""
    camera = make_camera(width=256, height=256, focal_px=300.0)
    arrays = arrays_of(ball_sample(make_recipe(camera)))
    noise = 1e-3 * torch.randn(1, 256, 256, generator=torch.Generator().manual_seed(0))
    depth = torch.full((1, 256, 256), 2.0) + noise
    depth[..., 129:] += 1
    arrays = replace(arrays, mask=torch.ones(1, 256, 256, dtype=bool), depth=depth)
    made = resample(arrays, (64, 64), window((128, 128), (64, 64), 4.0, 0.0, False))
    assert made.mask.all()
    apart = (made.depth - made.depth.round()).abs()
    assert apart.max() < 2e-3 and made.depth[0, :, :32].std() < 0.4e-3
    assert torch.equal(made.depth.round()[0, 0], torch.tensor([2.0] * 32 + [3.0] * 32))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_give_whole_samples_of_the_frame(ball, preset):
    _, arrays = ball
    recipe, seen = PRESETS[preset] or (lambda arrays, size, rng, plate: fit(arrays, size)), 0
    for seed in range(6):
        plate = lambda: torch.full((3, 50, 90), 200.0)  # noqa: E731
        made, again = (recipe(arrays, (96, 64), np.random.default_rng(seed), plate) for _ in range(2))
        assert made.rgb.shape == (3, 96, 64) and made.normal.shape == (3, 96, 64) and made.mask.shape == (1, 96, 64)
        assert torch.isfinite(made.rgb).all() and made.rgb.min() >= -1e-3 and made.rgb.max() <= 255.001
        assert (
            made.depth[~made.mask].abs().max() == 0
            and torch.equal(made.rgb, again.rgb)
            and torch.equal(made.depth, again.depth)
        )
        seen += int(made.mask.any())
    assert seen == 6 or preset.startswith("official")


def test_a_zoom_always_holds_the_person(ball):
    """Even a person of a few pixels in a corner: no sample is dropped for an empty crop."""
    _, arrays = ball
    corner = torch.zeros_like(arrays.mask)
    corner[..., -9:-5, 3:6] = True
    arrays = replace(arrays, mask=corner, depth=corner * 2.0)
    closest = Augment(zoom=(3.9, 4.0), zoomed=1.0, turn_deg=30, turned=0.5, flip=0.5)
    for seed in range(20):
        assert augment(arrays, (80, 60), np.random.default_rng(seed), None, closest).mask.any()


def test_colour_knows_nothing_of_labels_and_chance_is_an_argument(ball):
    _, arrays = ball
    loud = Augment(colour=1, blur=1, noise=1, jpeg=1, resample=1)
    plain = fit(arrays, (160, 120))
    made = augment(arrays, (160, 120), np.random.default_rng(0), None, loud)
    other = augment(arrays, (160, 120), np.random.default_rng(1), None, loud)
    assert torch.equal(made.depth, plain.depth) and torch.equal(made.normal, plain.normal)
    assert (made.rgb - plain.rgb).abs().mean() > 1 and (made.rgb - other.rgb).abs().mean() > 1
    assert 0 < OURS.zoomed < 1
