"""Our models against the official ones: names and shapes of every size, and the tiny models' features and outputs."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from train.checkpoint import load_weights, read_weights, save_weights  # noqa: E402
from train.model import ARCHS, build_model, spec_of, tasks_of  # noqa: E402
from train.sapiens import SapiensSpec  # noqa: E402
from train.sapiens2 import Sapiens2Spec  # noqa: E402

TINY = {
    "v1_depth": (SapiensSpec(64, 3, 4, 24, 24, (256, 192)), "depth"),
    "v1_normal": (SapiensSpec(64, 3, 4, 24, 24, (256, 192)), "normal"),
    "v2_normal": (Sapiens2Spec(64, 18, 4, normal_up=(32, 24, 16, 8), last=(8, 8, 8), size=(256, 192)), "normal"),
}
OFFICIAL = [(arch, task) for arch in ARCHS if not arch.startswith("tiny") for task in tasks_of(ARCHS[arch])]


@pytest.fixture
def specs(shared) -> Path:
    return shared.parent / "specs"


@pytest.mark.parametrize("arch,task", OFFICIAL)
def test_parity_of_names_shapes_and_types(specs, arch, task):
    generation = "v2" if arch.startswith("sapiens2") else "v1"
    wanted = [
        line.split("\t") for line in (specs / "keys" / f"{generation}_{task}_{arch}.keys.tsv").read_text().splitlines()
    ]
    with torch.device("meta"):
        model = build_model(spec_of(arch, task), task)
    ours = [[name, str(list(t.shape)), str(t.dtype).removeprefix("torch.")] for name, t in model.state_dict().items()]
    assert sorted(ours) == sorted(wanted)
    total = {
        (row[1], row[2]): row[5] for row in map(str.split, (specs / "keys" / "params.tsv").read_text().splitlines())
    }
    assert str(sum(p.numel() for p in model.parameters())) == total[arch, task]


def _tiny(specs: Path, name: str):
    spec, task = TINY[name]
    model = build_model(spec, task).eval()
    load_weights(model, read_weights(specs / "parity" / f"{name}_tiny_256x192.safetensors"))
    recorded = np.load(specs / "parity" / f"{name}_tiny_256x192.io.npz")
    return model, {key: torch.from_numpy(recorded[key]) for key in ("x", "feat", "y")}


def _rounding(model, x: torch.Tensor) -> float:
    """How far features move when pixels change by a part in ten million, less than kernels of two CPUs differ."""
    with torch.no_grad():
        features = model.backbone(x)
        return max(float((model.backbone(x * (1 + k * 1e-7)) - features).abs().max()) for k in (-2, -1, 1, 2))


@pytest.mark.parametrize("name", TINY)
def test_parity_of_features_and_outputs(specs, name):
    """To 1e-4. Queries and keys of v2 are rounded to bfloat16, where a last bit of float32 decides: there 1e-4 holds
    in the mean on any CPU, and single features differ by no more than the model differs from itself."""
    model, recorded = _tiny(specs, name)
    with torch.no_grad():
        apart = (model.backbone(recorded["x"]) - recorded["feat"]).abs()
        assert (model.decode_head(recorded["feat"]) - recorded["y"]).abs().max() < 1e-4
    noise = _rounding(model, recorded["x"])
    assert apart.mean() < 1e-4 and apart.max() < max(1e-4, 2 * noise)
    assert noise < (2e-3 if name == "v2_normal" else 2e-5)


@pytest.mark.parametrize("name", TINY)
def test_parity_of_what_is_written(specs, tmp_path, name):
    """Our file holds the official names, shapes and types, and the very weights that came in."""
    model, _ = _tiny(specs, name)
    written = read_weights(save_weights(tmp_path / "best", model, {})).tensors
    lines = (specs / "parity" / f"{name}_tiny_256x192.keys.tsv").read_text().splitlines()
    ours = [[key, str(list(t.shape)), str(t.dtype).removeprefix("torch.")] for key, t in written.items()]
    assert sorted(ours) == sorted(line.split("\t")[:3] for line in lines)
    came = read_weights(specs / "parity" / f"{name}_tiny_256x192.safetensors").tensors
    assert all(torch.equal(written[key], tensor) for key, tensor in came.items())


def test_parity_of_whole_outputs(specs):
    """Features through heads; v2 as above."""
    for name in TINY:
        model, recorded = _tiny(specs, name)
        with torch.no_grad():
            apart = (model(recorded["x"]) - recorded["y"]).abs()
        assert apart.mean() < 1e-4 and (name == "v2_normal" or apart.max() < 1e-4)


@pytest.mark.parametrize("mistake", ["groups in turn", "halves interleaved", "rows before columns", "registers turned"])
def test_parity_sees_mistakes_of_attention(specs, mistake, monkeypatch):
    """Each is beyond the rounding by far: mean errors of 1e-3 and more against 7e-5."""
    from train import sapiens2

    model, recorded = _tiny(specs, "v2_normal")
    rotate, attention = sapiens2.rotate, torch.nn.functional.scaled_dot_product_attention
    if mistake == "groups in turn":

        def tiled(q, k, v, enable_gqa):
            times = q.shape[1] // k.shape[1]
            return attention(q, k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1))

        monkeypatch.setattr(sapiens2.F, "scaled_dot_product_attention", tiled)
    if mistake == "halves interleaved":

        def interleaved(x, rope):
            order = torch.arange(x.shape[-1]).view(2, -1).T.flatten()
            return rotate(x[..., order], rope)[..., order.argsort()]

        monkeypatch.setattr(sapiens2, "rotate", interleaved)
    if mistake == "rows before columns":
        half = model.backbone.rope_embed.forward
        monkeypatch.setattr(
            model.backbone.rope_embed, "forward",
            lambda grid: tuple(t.view(*grid[::-1], -1).transpose(0, 1).flatten(0, 1) for t in half(grid[::-1])),
        )  # fmt: skip
    if mistake == "registers turned":
        monkeypatch.setattr(sapiens2, "rotate", lambda x, rope: rotate(x.roll(-9, 2), rope).roll(9, 2))
    with torch.no_grad():
        assert (model.backbone(recorded["x"]) - recorded["feat"]).abs().mean() > 5e-4


def test_parity_needs_the_shifted_patches_of_normals(specs):
    model, recorded = _tiny(specs, "v1_normal")
    model.backbone.patch_embed.projection.padding = (0, 0)
    with torch.no_grad():
        assert (model.backbone(recorded["x"]) - recorded["feat"]).abs().mean() > 0.05


def test_parity_needs_positions_in_bfloat16(specs, monkeypatch):
    model, recorded = _tiny(specs, "v2_normal")
    exact = lambda x, rope: rotate(x.double(), rope)  # noqa: E731
    from train import sapiens2

    rotate = sapiens2.rotate
    monkeypatch.setattr(sapiens2, "rotate", lambda x, rope: exact(x, tuple(t.double() for t in rope)))
    with torch.no_grad():
        assert (model.backbone(recorded["x"]) - recorded["feat"]).abs().max() > 1e-3
