"""Files of weights: official forms in, ours out, and what strangers' files may try."""

import json
import os
import pickle
import sys
from collections import OrderedDict
from types import ModuleType

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from safetensors.torch import save_file  # noqa: E402

from train.checkpoint import CheckpointError, load_weights, named, open_model, read_weights, save_weights  # noqa: E402
from train.model import build_model, initialise, spec_of  # noqa: E402
from train.sapiens import SapiensSpec, resize_positions  # noqa: E402
from train.sapiens2 import Sapiens2Spec  # noqa: E402

V1 = SapiensSpec(16, 2, 2, 8, 8, (96, 64))
V2 = Sapiens2Spec(16, 2, 2, (8, 8, 8, 8), (8, 8, 8, 8), (8, 8, 8), (8, 8, 8), (256, 192))


def make(spec=V1, task="depth", seed=0):
    model = build_model(spec, task)
    initialise(model, seed)
    return model.eval()


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("spec,task", [(V1, "depth"), (V1, "normal"), (V2, "normal"), (V2, "pointmap")])
def test_what_is_written_is_read_under_the_same_names(tmp_path, spec, task):
    model, other = make(spec, task), make(spec, task, seed=1)
    assert not same(model, other)
    path = save_weights(tmp_path / "best", model, {"task": task})
    assert path.suffix == (".pth" if spec is V1 else ".safetensors") and os.listdir(tmp_path) == [path.name]
    weights = read_weights(path)
    assert weights.meta == {"task": task} and weights.tensors.keys() == model.state_dict().keys()
    load_weights(other, weights)
    assert same(model, other)


def test_a_model_says_what_it_is(tmp_path):
    model = build_model(spec_of("tiny", "normal"), "normal")
    initialise(model, 3)
    path = save_weights(tmp_path / "best", model, {"arch": "tiny", "task": "normal", "size": [256, 192]})
    opened, meta = open_model(path)
    assert same(model, opened) and meta["size"] == (256, 192)
    with pytest.raises(CheckpointError, match="does not say which model"):
        open_model(save_weights(tmp_path / "plain", model, {}))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model.", "module.model."])
@pytest.mark.parametrize("nested", [True, False])
def test_official_forms(tmp_path, prefix, nested):
    model, other = make(), make(seed=1)
    tensors = OrderedDict((prefix + name, t) for name, t in model.state_dict().items())
    torch.save({"state_dict": tensors, "meta": {"epoch": 3}} if nested else tensors, tmp_path / "a.pth")
    load_weights(other, read_weights(tmp_path / "a.pth"))
    assert same(model, other)


def test_a_pretrained_backbone_with_class_token_and_square_positions(tmp_path):
    model, other = make(), make(seed=1)
    bare = {name.removeprefix("backbone."): t for name, t in model.backbone.state_dict().items()}
    square = torch.randn(1, 1 + 64, 16)
    bare |= {"cls_token": torch.zeros(1, 1, 16), "pos_embed": square}
    torch.save(bare, tmp_path / "clean.pth")
    weights = read_weights(tmp_path / "clean.pth")
    assert not weights.has_head
    with pytest.raises(CheckpointError, match=r"missing: decode_head.* no head: only a backbone"):
        load_weights(other, weights)
    head = other.decode_head.conv_seg.weight.clone()
    load_weights(other, weights, only_backbone=True)
    assert torch.equal(
        other.backbone.layers[1].ffn.layers[0][0].weight, model.backbone.layers[1].ffn.layers[0][0].weight
    )
    assert torch.equal(other.backbone.pos_embed, resize_positions(square[:, 1:], (8, 8), (6, 4)))
    assert torch.equal(other.decode_head.conv_seg.weight, head)


def test_positions_are_resized_as_a_picture_is():
    """A ramp stays a ramp between the outer cells' centres, whatever the grid."""
    ramp = torch.arange(8.0).repeat(8, 1).reshape(1, 64, 1)
    small = resize_positions(ramp, (8, 8), (4, 4)).reshape(4, 4)
    assert small[0] == pytest.approx([0.5, 2.5, 4.5, 6.5], abs=0.15) and (small == small[0]).all()


def test_every_fault_is_named(tmp_path):
    tensors = make().state_dict()
    del tensors["backbone.ln1.weight"]
    tensors["decode_head.conv_seg.weight"] = torch.zeros(3, 8, 1, 1)
    tensors["decode_head.more"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "a.pth")
    target = make(seed=1)
    before = target.backbone.pos_embed.clone()
    with pytest.raises(CheckpointError) as caught:
        load_weights(target, read_weights(tmp_path / "a.pth"))
    for part in ("1 missing: backbone.ln1.weight", "1 unexpected: decode_head.more",
                 "decode_head.conv_seg.weight is [3, 8, 1, 1], not [1, 8, 1, 1]"):  # fmt: skip
        assert part in str(caught.value)
    assert "\n" not in str(caught.value) and torch.equal(before, target.backbone.pos_embed)


def test_all_names_in_few_words():
    names = [f"backbone.layers.{i}.ln1.{end}" for i in (0, 2, 3, 4) for end in ("weight", "bias")]
    said = named([*names, "decode_head.conv_seg.bias", "backbone.blocks.7.attn.wq.weight"])
    assert said == (
        "backbone.blocks.7.attn.wq.weight, backbone.layers.{0,2..4}.ln1.bias, backbone.layers.{0,2..4}.ln1.weight, "
        "decode_head.conv_seg.bias"
    )


def test_what_was_changed_is_said(tmp_path):
    bare = {name.removeprefix("backbone."): t for name, t in make().backbone.state_dict().items()}
    bare |= {"cls_token": torch.zeros(1, 1, 16), "pos_embed": torch.randn(1, 65, 16)}
    torch.save(bare, tmp_path / "clean.pth")
    said = load_weights(make(seed=1), read_weights(tmp_path / "clean.pth"), only_backbone=True)
    assert said == ["cls_token dropped", "pos_embed 8x8 -> 6x4, bicubic"]


def test_a_tensor_larger_than_its_memory_is_refused(tmp_path):
    torch.save({"backbone.ln1.weight": torch.zeros(1).expand(2**40)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"less memory than their shapes need: backbone\.ln1\.weight"):
        read_weights(tmp_path / "a.pth")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_pickle_runs_code(tmp_path):
    torch.save({"state_dict": make().state_dict(), "x": Payload(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"names .*open, which no file of weights needs"):
        read_weights(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match=r"b.pth: "):
        read_weights(tmp_path / "b.pth")
    assert not (tmp_path / "ran").exists()


def test_statistics_beside_official_weights_become_inert(tmp_path, monkeypatch):
    """mmengine pickles its log buffers, with bound methods, beside the tensors."""
    module = ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self.values, self.methods = [1.0, 2.0], {"mean": self.mean}

        def mean(self):
            return 0

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mmengine", ModuleType("mmengine"))
        patch.setitem(sys.modules, "mmengine.logging", ModuleType("mmengine.logging"))
        patch.setitem(sys.modules, module.__name__, module)
        torch.save({"state_dict": make().state_dict(), "message_hub": {"log": HistoryBuffer()}}, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth").has_head


@pytest.mark.parametrize(
    "name,data",
    [
        ("a.pth", b"PK\x03\x04 not a zip"),
        ("a.pth", b""),
        ("a.safetensors", b""),
        ("a.safetensors", (2**40).to_bytes(8, "little") + b"{}"),
        ("a.safetensors", (62).to_bytes(8, "little") + json.dumps(
            {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}).ljust(62).encode() + b"\0" * 4),
    ],
)  # fmt: skip
def test_broken_and_lying_files_are_one_line(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name}: ") as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_nan_weights_are_refused(tmp_path):
    tensors = make().state_dict()
    tensors["backbone.ln1.bias"][3] = torch.nan
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in backbone\.ln1\.bias"):
        read_weights(tmp_path / "a.safetensors")


def test_another_size_starts_from_positions_of_its_own_grid(tmp_path):
    big = make(SapiensSpec(16, 2, 2, 8, 8, (1024, 768)))
    small = make()
    path = save_weights(tmp_path / "big", big, {})
    load_weights(small, read_weights(path))
    assert torch.equal(small.backbone.pos_embed, resize_positions(big.backbone.pos_embed, (64, 48), (6, 4)))
