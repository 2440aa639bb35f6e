"""Which models there are: a name and a task become a network that takes pixels. The one table of sizes.

Next: `train.sapiens` and `train.sapiens2` for the layers, `train.checkpoint` for weights.
"""

import torch
from torch import Tensor, nn

from synth.errors import UserError
from train.sapiens import DepthHead, NormalHead, SapiensBackbone, SapiensSpec, initialise_head
from train.sapiens2 import NormalHead2, PointmapHead, Sapiens2Backbone, Sapiens2Spec, initialise_head2

Spec = SapiensSpec | Sapiens2Spec

#: The official sizes (`V1` table 2 of the paper; Sapiens2's model cards), and one of each kind for a CPU.
ARCHS: dict[str, Spec] = {
    "tiny": SapiensSpec(128, 4, 4, depth_channels=12, normal_channels=24, size=(256, 192), dropout=0.0),
    "sapiens_0.3b": SapiensSpec(1024, 24, 16),
    "sapiens_0.6b": SapiensSpec(1280, 32, 16),
    "sapiens_1b": SapiensSpec(1536, 40, 24),
    "sapiens_2b": SapiensSpec(1920, 48, 32),
    "tiny2": Sapiens2Spec(128, 18, 4, (96, 64, 48, 32), (96, 64, 48, 32), (32, 24, 16), (96, 64, 32), size=(256, 192)),
    "sapiens2_0.1b": Sapiens2Spec(768, 12, 12),
    "sapiens2_0.4b": Sapiens2Spec(1024, 24, 16),
    "sapiens2_0.8b": Sapiens2Spec(1280, 32, 16),
    "sapiens2_1b": Sapiens2Spec(1536, 40, 24),
    "sapiens2_5b": Sapiens2Spec(2432, 56, 32, (1536, 768, 512, 256), (1536, 768, 768, 768), (128, 64, 32)),
}
TASKS = ("depth", "normal", "pointmap")

#: ImageNet's mean and standard deviation on 0..255, RGB.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class DenseModel(nn.Module):
    """A backbone and a head. (B, 3, H, W) normalised pixels -> what the head gives."""

    def __init__(self, backbone: nn.Module, decode_head: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.decode_head = decode_head

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.decode_head(self.backbone(x))


def spec_of(arch: str, task: str) -> Spec:
    """The sizes of an architecture. Raises UserError if there is no such, or it has no head for the task."""
    spec = ARCHS.get(arch)
    if spec is None:
        raise UserError(f"--arch {arch}: there are {', '.join(ARCHS)}")
    tasks = tasks_of(spec)
    if task not in tasks:
        raise UserError(f"{arch} has no {task} head, it has {' and '.join(tasks)}; {_others(task)}")
    return spec


def tasks_of(spec: Spec) -> tuple[str, str]:
    """Heads that this generation has."""
    return ("depth", "normal") if isinstance(spec, SapiensSpec) else ("normal", "pointmap")


def build_model(spec: Spec, task: str) -> DenseModel:
    """The network with memory for its weights, on torch's default device; `initialise` or load them."""
    if isinstance(spec, SapiensSpec):
        if task == "depth":
            return DenseModel(SapiensBackbone(spec, padding=0), DepthHead(spec))
        return DenseModel(SapiensBackbone(spec, padding=2), NormalHead(spec))
    head = NormalHead2(spec) if task == "normal" else PointmapHead(spec)
    return DenseModel(Sapiens2Backbone(spec), head)


def initialise(model: DenseModel, seed: int) -> None:
    """Fresh weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.backbone.initialise()
        v1 = isinstance(model.backbone, SapiensBackbone)
        (initialise_head if v1 else initialise_head2)(model.decode_head)


def layout(device: torch.device) -> torch.memory_format:
    """How pictures lie in memory: channels last on a GPU; on a CPU that made transposed convolutions 3 times slower."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def normalise(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 sRGB-encoded RGB -> float32 as the models were trained on, in its device's layout."""
    mean, std = (torch.tensor(v, device=rgb.device).view(1, 3, 1, 1) for v in (_MEAN, _STD))
    return ((rgb.float() - mean) / std).contiguous(memory_format=layout(rgb.device))


def _others(task: str) -> str:
    return f"{task} is for " + ", ".join(name for name, spec in ARCHS.items() if task in tasks_of(spec))
