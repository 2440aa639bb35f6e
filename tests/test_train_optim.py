"""Learning rates: over layers and over time."""

import copy
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
torch.set_num_threads(1)  # small arrays: threads would wait for each other
from train.model import ARCHS, build_model, initialise, tasks_of  # noqa: E402
from train.optim import (  # noqa: E402
    PRESETS,
    Schedule,
    layer_of,
    make_optimizer,
    matrices_in,
    parameter_groups,
    rate_at,
    set_rate,
)
from train.optim_muon import orthogonal  # noqa: E402


@pytest.mark.parametrize(
    "name,layer",
    [
        ("backbone.pos_embed", 0),
        ("backbone.cls_token", 0),
        ("backbone.patch_embed.projection.weight", 0),
        ("backbone.layers.0.ln1.weight", 1),
        ("backbone.blocks.23.attn.wq.weight", 24),
        ("backbone.ln1.weight", 25),
        ("decode_head.conv_seg.weight", 25),
    ],
)
def test_layers(name, layer):
    assert layer_of(name, 24) == layer


@pytest.mark.parametrize("arch", ["sapiens_0.3b", "sapiens2_0.4b"])
def test_groups_hold_every_parameter_once(arch):
    spec = ARCHS[arch]
    with torch.device("meta"):
        model = build_model(spec, tasks_of(spec)[1])
    groups = parameter_groups(model.named_parameters(), spec.layers, PRESETS["official_v1"])
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters()) and len(set(grouped)) == len(grouped)
    factors = sorted({group["factor"] for group in groups})
    assert factors[-1] == 1 and factors[0] == pytest.approx(0.85**25) and len(factors) == 26
    for group in groups:
        assert group["weight_decay"] in (0.0, 0.1)
        assert group["weight_decay"] == 0 or all(p.ndim > 1 for p in group["params"])
    free = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    assert (
        id(model.decode_head.get_parameter("conv_seg.bias" if arch == "sapiens_0.3b" else "input_conv.0.bias")) in free
    )


def test_rates_over_time():
    poly, cosine = Schedule(warmup=400), Schedule(warmup=0, shape="cosine")
    assert rate_at(poly, 0, 10_000) == pytest.approx(1e-3)
    assert rate_at(poly, 200, 10**9) == pytest.approx(0.5005, abs=1e-4)
    assert rate_at(poly, 5000, 10_000) == pytest.approx(0.5)
    assert rate_at(poly, 10_000, 10_000) == 0
    assert [round(rate_at(cosine, s, 4), 6) for s in range(5)] == [1, 0.853553, 0.5, 0.146447, 0]


def test_rates_reach_the_groups():
    model = build_model(ARCHS["tiny"], "depth")
    schedule = Schedule(lr=1.0, warmup=0, layer_decay=0.5)
    layers = ARCHS["tiny"].layers
    optimizer = make_optimizer(model, layers, schedule)
    assert set_rate(optimizer, schedule, 0, 10) == 1.0
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.5**k for k in range(layers + 1, -1, -1)]


def test_muon_moves_matrices_along_their_momentum_made_orthogonal():
    torch.manual_seed(0)
    for rows, columns in ((48, 48), (96, 24), (24, 96)):
        u, sizes, v = torch.linalg.svd(torch.randn(3, rows, columns), full_matrices=False)
        matrices = u @ torch.diag(torch.linspace(0.3, 1.0, sizes.shape[1])) @ v
        values = u.mT @ orthogonal(matrices) @ v.mT
        diagonal = torch.diagonal(values, dim1=1, dim2=2)
        assert float(diagonal.min()) > 0.6 and float(diagonal.max()) < 1.3
        assert float((values - torch.diag_embed(diagonal)).abs().max()) < 1e-3
    assert torch.equal(orthogonal(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))


def _tiny_moved(schedule: Schedule, steps: int, kept=None):
    """Weights of tiny after some steps along the same drawn gradients, and the optimiser."""
    model, layers = build_model(ARCHS["tiny"], "depth").requires_grad_(False), ARCHS["tiny"].layers
    initialise(model, 0)
    optimizer = make_optimizer(model, layers, schedule)
    first = 0
    if kept is not None:
        first = int(kept["step"])
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
    for step in range(first, steps):
        set_rate(optimizer, schedule, step, 10)
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return model, optimizer


def test_muon_leaves_the_rest_to_adamw_and_takes_stacked_matrices_apart():
    muon, adamw = PRESETS["muon"], replace(PRESETS["muon"], matrix_lr=None)
    begun, _ = _tiny_moved(muon, 0)
    moved, _ = _tiny_moved(muon, 1)
    other, _ = _tiny_moved(adamw, 1)
    rate = muon.matrix_lr * rate_at(muon, 0, 10)
    for name, parameter in moved.named_parameters():
        count = matrices_in(name, parameter)
        if not count:
            assert torch.equal(parameter, other.get_parameter(name)), name
            continue
        start = begun.get_parameter(name)
        steps = ((parameter - start * (1 - rate * muon.weight_decay)) / rate).view(count, -1, start.shape[1])
        most = max(1, steps.shape[1] / steps.shape[2]) ** 0.5
        values = torch.linalg.svdvals(steps) / most
        assert float(values.quantile(0.1)) > 0.6 and float(values.max()) < 1.4, name  # each of a stack, not the stack


def test_muon_goes_on_from_its_state():
    model, optimizer = _tiny_moved(PRESETS["muon"], 2)
    kept = {"step": 2, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    whole, _ = _tiny_moved(PRESETS["muon"], 4)
    resumed, _ = _tiny_moved(PRESETS["muon"], 4, copy.deepcopy(kept))
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
