"""torch.compile takes models and losses whole: no break in the graph, and the same figures."""

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from test_train_losses import SIZE, make_labels  # noqa: E402

from train import sapiens2  # noqa: E402
from train.model import build_model, initialise, normalise  # noqa: E402
from train.objective import WEIGHTS, losses_of  # noqa: E402
from train.sapiens import SapiensSpec  # noqa: E402
from train.sapiens2 import Sapiens2Spec  # noqa: E402

SPECS = {
    "depth": SapiensSpec(32, 2, 2, 8, 8, (64, 48)),
    "normal": SapiensSpec(32, 2, 2, 8, 8, (64, 48)),
    "normal2": Sapiens2Spec(64, 3, 4, (8, 8, 8, 8), (8, 8, 8, 8), (8, 8, 8), (8, 8, 8), (64, 48)),
    "pointmap": Sapiens2Spec(64, 3, 4, (8, 8, 8, 8), (8, 8, 8, 8), (8, 8, 8), (8, 8, 8), (256, 192)),
}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "name,checkpointing",
    [("depth", False), ("normal", True), ("normal2", True), ("pointmap", False)],
)
def test_a_model_is_one_graph(name, checkpointing, monkeypatch):
    """`aot_eager` traces forward and backward as inductor does, and needs no C++ compiler."""
    monkeypatch.setattr(sapiens2, "_FULL_HEADS", 1)  # a layer of grouped queries between two of full ones
    spec, task = SPECS[name], name.rstrip("2")
    model = build_model(spec, task)
    initialise(model, 0)
    model.backbone.checkpointing = checkpointing
    x = normalise(torch.randint(0, 255, (1, 3, *spec.size), dtype=torch.uint8))
    torch.manual_seed(0)
    plain = model.eval()(x)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    made = compiled(x)
    parts = (made, plain) if task != "pointmap" else (made[0], plain[0])
    assert torch.allclose(*parts, atol=2e-3 if name in ("normal2", "pointmap") else 1e-4)
    model.train()
    out = compiled(x)
    (out[0].mean() + out[1].mean() if task == "pointmap" else out.mean()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("task,preset", WEIGHTS)
def test_losses_are_one_graph(task, preset):
    labels = make_labels()
    prediction = torch.randn(2, 1 if task == "depth" else 3, *SIZE, generator=torch.Generator().manual_seed(0))
    prediction = (prediction, torch.ones(2, 1)) if task == "pointmap" else prediction
    whole = torch.compile(lambda p, truth: losses_of(task, preset, p, truth)["loss"], backend="eager", fullgraph=True)
    assert float(whole(prediction, labels)) == pytest.approx(
        float(losses_of(task, preset, prediction, labels)["loss"]), rel=1e-4
    )
