"""Losses against closed forms, finite differences and what they must not be blind to."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from train import losses  # noqa: E402
from train.objective import WEIGHTS, Labels, canonical_points, losses_of, presets_of, relative_depth  # noqa: E402

SIZE = (24, 18)


def make_labels(batch: int = 2, seed: int = 0) -> Labels:
    """A ball of radius 0.5 m, 2.5 m away, seen through an off-centre lens; everything in closed form."""
    height, width = SIZE
    K = torch.tensor([[22.0, 0, 7.5], [0, 22.0, 12.5], [0, 0, 1]])
    v, u = torch.meshgrid(torch.arange(height) * 1.0, torch.arange(width) * 1.0, indexing="ij")
    rays = torch.stack([(u - 7.5) / 22, (v - 12.5) / 22, torch.ones_like(u)])
    a, b, c = (rays**2).sum(0), -2 * 2.5 * rays[2], 2.5**2 - 0.5**2
    mask = b**2 - 4 * a * c > 0
    z = (-b - (b**2 - 4 * a * c).clamp_min(0).sqrt()) / (2 * a)
    points = rays * z
    n = (points - torch.tensor([0, 0, 2.5]).view(3, 1, 1)) / 0.5
    normal = torch.stack([n[0], -n[1], -n[2]]) * mask
    g = torch.Generator().manual_seed(seed)
    trust = torch.rand(batch, 1, *SIZE, generator=g) * 0.5 + 0.5
    shape = (batch, -1, *SIZE)
    return Labels(
        mask=mask.expand(batch, 1, *SIZE), depth=(z * mask).expand(batch, 1, *SIZE), normal=normal.expand(shape),
        trust=trust, K=K.expand(batch, 3, 3),
    )  # fmt: skip


def perfect(task: str, labels: Labels):
    if task == "depth":
        return labels.depth.clone()
    if task == "normal":
        return labels.normal.clone()
    points, scale = canonical_points(labels.depth, labels.K)
    return points, scale


def leaves(prediction):
    parts = prediction if isinstance(prediction, tuple) else (prediction,)
    parts = tuple(p.detach().clone().requires_grad_() for p in parts)
    return parts if isinstance(prediction, tuple) else parts[0], parts


CASES = [(task, preset) for task, preset in WEIGHTS]


@pytest.mark.parametrize("task,preset", CASES)
def test_a_perfect_prediction_costs_nothing_and_its_gradient_is_finite(task, preset):
    labels = make_labels()
    prediction = perfect(task, labels)
    if preset == "official_v1" and task == "depth":
        prediction = relative_depth(labels.depth, labels.mask)
    prediction, parts = leaves(prediction)
    found = losses_of(task, preset, prediction, labels)
    assert abs(float(found["loss"].detach())) < 2e-3  # rounding of a thousand cosines, and points / scale
    found["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in parts)


@pytest.mark.parametrize("task,preset", CASES)
@pytest.mark.parametrize("what", ["empty", "nan outside", "zero", "half precision"])
def test_gradients_are_finite_whatever_comes(task, preset, what):
    labels = make_labels()
    torch.manual_seed(0)
    prediction = perfect(task, labels)
    prediction = tuple(torch.randn_like(p) for p in prediction) if task == "pointmap" else torch.randn_like(prediction)
    if what == "empty":
        labels = replace(labels, mask=labels.mask & False)
    if what == "nan outside":
        hole = torch.where(labels.mask, 0.0, torch.nan)
        labels = replace(labels, depth=labels.depth + hole, normal=labels.normal + hole)
    if what == "zero":
        prediction = tuple(p * 0 for p in prediction) if task == "pointmap" else prediction * 0
    if what == "half precision":
        prediction = tuple(p.bfloat16() for p in prediction) if task == "pointmap" else prediction.bfloat16()
    prediction, parts = leaves(prediction)
    loss = losses_of(task, preset, prediction, labels)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in parts)
    if what == "empty" and task != "pointmap":  # a scale is still to be learnt
        assert float(loss.detach()) == 0


@pytest.mark.parametrize("task,preset", CASES)
def test_nothing_outside_the_mask_is_looked_at(task, preset):
    labels, changed = make_labels(), []
    torch.manual_seed(1)
    for noise in (0.0, 5.0):
        prediction = perfect(task, labels)
        points = prediction[0] if task == "pointmap" else prediction
        points = torch.where(labels.mask, points + 0.1 * torch.sin(points * 9), noise)
        prediction, parts = leaves((points, prediction[1]) if task == "pointmap" else points)
        loss = losses_of(task, preset, prediction, labels)["loss"]
        loss.backward()
        assert (parts[0].grad * ~labels.mask).abs().max() == 0
        changed.append(float(loss.detach()))
    if (task, preset) != ("pointmap", "ours"):
        assert changed[0] == pytest.approx(changed[1], rel=1e-6)


def test_official_silog():
    """sqrt(mean d^2 - mean(d)^2 / 2): a constant factor k leaves |ln k| / sqrt 2; twice is 0.49."""
    labels = make_labels()
    target = relative_depth(labels.depth, labels.mask)
    assert float(losses.silog(target * 2, target, labels.mask)) == pytest.approx(math.log(2) / math.sqrt(2), abs=1e-4)
    # Two pixels by hand: d = ln(0.5/0.4), ln(0.25/0.5).
    p, t = torch.tensor([[[[0.4, 0.5]]]]), torch.tensor([[[[0.5, 0.25]]]])
    d = [math.log(0.5 / 0.4), math.log(0.25 / 0.5)]
    by_hand = math.sqrt((d[0] ** 2 + d[1] ** 2) / 2 - 0.5 * ((d[0] + d[1]) / 2) ** 2)
    assert float(losses.silog(p, t, torch.ones_like(p, dtype=bool))) == pytest.approx(by_hand, rel=1e-6)


def test_official_silog_leaves_out_background_and_the_nearest_pixel():
    p = torch.tensor([[[[0.5, 9.0, 9.0]]]])
    t = torch.tensor([[[[0.5, 0.0, -1.0]]]])
    assert float(losses.silog(p, t, torch.ones_like(p, dtype=bool))) == 0


def test_official_silog_gives_no_gradient_to_negative_predictions():
    p = torch.tensor([[[[-0.5, 0.3]]]], requires_grad=True)
    losses.silog(p, torch.tensor([[[[0.5, 0.5]]]]), torch.ones(1, 1, 1, 2, dtype=bool)).backward()
    assert p.grad[0, 0, 0, 0] == 0 and p.grad[0, 0, 0, 1] != 0


def test_official_normal_losses_pool_over_the_batch():
    """Two images of 1 and 3 pixels: cosine and channel sums over N = 4 pixels, not means of means."""
    t = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand(2, 3, 1, 3).clone()
    p = t.clone()
    p[0, :, 0, 0] = torch.tensor([1.0, 0, 0])
    mask = torch.tensor([[True, False, False], [True, True, True]]).view(2, 1, 1, 3)
    assert float(losses.cosine_pooled(p, t, mask)) == pytest.approx(1 / 4)
    assert float(losses.l1_pooled(p, t, mask)) == pytest.approx(2 / 4)
    assert float(losses.cosine(p, t, mask)) == pytest.approx(1 / 2)


def test_fitted_depth_is_what_least_squares_leaves():
    labels = make_labels()
    torch.manual_seed(0)
    prediction = 3 - 2 * labels.depth + 0.3 * torch.randn(labels.depth.shape)
    left = []
    for p, t, m in zip(-prediction, labels.depth, labels.mask, strict=True):
        columns = torch.stack([p[m], torch.ones_like(p[m])], dim=1).double()
        fit = columns @ torch.linalg.lstsq(columns, t[m, None].double()).solution
        left.append(((fit[:, 0] - t[m]).pow(2).mean() / t[m].double().var(correction=0)).sqrt())
    found = losses.depth_fitted(-prediction, labels.depth, labels.mask)
    assert found.item() == pytest.approx(torch.stack(left).mean().item(), abs=1e-4) and 0.1 < found < 0.9
    # Near and far exchanged is worse than nothing.
    assert losses.depth_fitted(prediction, labels.depth, labels.mask) > 1


def test_fitted_parts_want_every_part_right_at_a_scale_and_shift_of_its_own():
    labels = make_labels()
    height = labels.depth.shape[2]
    bands = torch.arange(height).view(1, 1, -1, 1) // (height // 2)  # two squares high, of other scale and shift
    parts = labels.depth * (1 + bands) - 5 * bands
    assert losses.depth_fitted_parts(parts, labels.depth, labels.mask) < 0.02
    assert losses.depth_fitted(parts, labels.depth, labels.mask) > 0.5
    assert losses.depth_fitted_parts(-parts, labels.depth, labels.mask) > 1.3
    hidden = torch.where(labels.mask, labels.depth, torch.nan)
    assert losses.depth_fitted_parts(hidden, labels.depth, labels.mask) < 0.02


def test_our_depth_is_blind_to_scale_and_shift_and_to_nothing_else():
    labels = make_labels()
    for preset_scale, shift in ((3.0, -2.0), (0.1, 4.0)):
        found = losses_of("depth", "ours", labels.depth * preset_scale + shift, labels)
        assert float(found["loss"]) < 2e-3
    assert float(losses_of("depth", "ours", -labels.depth, labels)["loss"]) > 1
    assert float(losses_of("depth", "ours", labels.depth**2, labels)["loss"]) > 0.003


MUTATIONS = {
    "x flipped": lambda n: n * torch.tensor([-1.0, 1, 1]).view(3, 1, 1),
    "y flipped": lambda n: n * torch.tensor([1.0, -1, 1]).view(3, 1, 1),
    "z flipped": lambda n: n * torch.tensor([1.0, 1, -1]).view(3, 1, 1),
    "x and y swapped": lambda n: n[:, [1, 0, 2]],
    "shifted by a pixel": lambda n: n.roll(1, dims=3),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("preset", presets_of("normal"))
def test_a_wrong_axis_or_a_shift_is_seen(mutation, preset):
    labels = make_labels()
    loss = losses_of("normal", preset, MUTATIONS[mutation](labels.normal), labels)["loss"]
    assert float(loss) > 0.05


def test_a_wrong_lens_after_a_crop_is_seen():
    labels = make_labels()
    points, scale = perfect("pointmap", labels)
    right = losses_of("pointmap", "ours", (points, scale), labels)
    K = labels.K.clone()
    K[:, 0, 2] += 3  # the crop forgot to move the principal point
    wrong = losses_of("pointmap", "ours", (points, scale), replace(labels, K=K))
    assert float(right["rays"]) < 1e-5 < 0.05 < float(wrong["rays"])


def test_trust_weighs():
    labels = make_labels()
    wrong = labels.normal.clone()
    wrong[..., :9] *= -1
    half = torch.ones_like(labels.trust)
    half[..., :9] = 0
    trusted = replace(labels, trust=half)
    assert float(losses_of("normal", "ours", wrong, trusted)["cosine"]) < 1e-6
    assert float(losses_of("normal", "ours", wrong, labels)["cosine"]) > 0.1


def test_neighbours_on_other_surfaces_are_not_compared():
    """Two walls at 2 m and 3 m whose normals differ: the step between them is no detail of a surface."""
    target = torch.zeros(1, 3, 4, 4)
    target[..., :2], target[..., 2:] = torch.tensor([0, 0, 1.0]).view(3, 1, 1), torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    depth = torch.full((1, 1, 4, 4), 2.0)
    depth[..., 2:] = 3
    flat = target.mean((2, 3), keepdim=True).expand_as(target)
    mask = torch.ones(1, 1, 4, 4, dtype=bool)
    assert float(losses.normal_gradient(flat, target, mask, depth)) == 0
    assert float(losses.normal_gradient(flat, target, mask, depth * 0 + 2)) > 0.1


@pytest.mark.parametrize(
    "loss",
    [losses.cosine, losses.l1, losses.depth_l1, losses.depth_gradient, losses.points_l1,
     losses.points_shift_invariant_l1, losses.points_normal, losses.silog],
)  # fmt: skip
def test_gradients_are_those_of_finite_differences(loss, monkeypatch):
    """In float64; the losses' own cast to float32 is taken out for it."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    g = torch.Generator().manual_seed(3)
    channels = 1 if "depth" in loss.__name__ or loss is losses.silog else 3
    p = torch.rand(2, channels, 6, 5, generator=g, dtype=torch.float64) + 0.5
    t = torch.rand(2, channels, 6, 5, generator=g, dtype=torch.float64) + 0.5
    mask = torch.rand(2, 1, 6, 5, generator=g) > 0.3
    assert torch.autograd.gradcheck(lambda x: loss(x, t, mask), (p.requires_grad_(),), eps=1e-7, atol=1e-4)


def test_points_are_those_of_the_lens():
    labels = make_labels()
    points, scale = canonical_points(labels.depth, labels.K)
    metric = points / scale.view(-1, 1, 1, 1)
    centre = torch.tensor([0, 0, 2.5]).view(1, 3, 1, 1)
    radius = ((metric - centre) ** 2).sum(1, keepdim=True).sqrt()[labels.mask]
    assert (radius - 0.5).abs().max() < 1e-5
    assert float(scale[0]) == pytest.approx(18 / 22)
