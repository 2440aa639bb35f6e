"""Learning rates: over layers and over time."""

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from train.model import ARCHS, build_model, tasks_of  # noqa: E402
from train.optim import PRESETS, Schedule, layer_of, make_optimizer, parameter_groups, rate_at, set_rate  # noqa: E402


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
