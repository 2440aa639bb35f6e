"""How weights move: groups of parameters, learning rates over time. Pure functions and one table of presets."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from train.optim_muon import Muon

_LAYER = re.compile(r"^backbone\.(?:layers|blocks)\.(\d+)\.")
_FIRST = ("backbone.patch_embed.", "backbone.pos_embed", "backbone.cls_token", "backbone.storage_tokens")


@dataclass(frozen=True)
class Schedule:
    """Learning rate over steps: linear up from a thousandth, then down to 0, straight (`poly`) or as a cosine.

    layer_decay: each layer learns this much slower than the one above it; the head at the full rate.
    """

    lr: float = 5e-4
    weight_decay: float = 0.1
    layer_decay: float = 0.85
    warmup: int = 400
    shape: str = "poly"
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    matrix_lr: float | None = None
    """Of the matrices of the backbone's layers, which Muon then moves; None: AdamW moves all."""


#: `official_*`: as in the released configurations; what Sapiens2's change with the size: `schedule_of`.
PRESETS = {
    "official_v1": Schedule(),
    "official_v2": Schedule(layer_decay=0.8, warmup=500, clip=2.0),
    "ours": Schedule(shape="cosine"),
    "scratch": Schedule(lr=1e-3, weight_decay=0.05, layer_decay=1.0, warmup=200, shape="cosine"),
    "muon": Schedule(
        lr=1e-3, weight_decay=0.05, layer_decay=1.0, warmup=200, shape="cosine", betas=(0.9, 0.95), matrix_lr=0.02
    ),
}


#: By architecture: layer decay, clip for normal, clip for pointmap, learning rate.
_OFFICIAL_V2 = {
    "sapiens2_0.4b": (0.8, 2.0, 2.0, 5e-4),
    "sapiens2_0.8b": (0.85, 4.0, 2.0, 5e-4),
    "sapiens2_1b": (0.9, 4.0, 4.0, 5e-4),
    "sapiens2_5b": (0.94, 4.0, 4.0, 1e-4),
}


def schedule_of(name: str, arch: str, task: str) -> Schedule:
    """A preset, `official_v2` with the figures of the architecture's own configuration (0.4b's where it has none)."""
    if name != "official_v2":
        return PRESETS[name]
    decay, normal, pointmap, lr = _OFFICIAL_V2.get(arch, _OFFICIAL_V2["sapiens2_0.4b"])
    return replace(PRESETS[name], layer_decay=decay, clip=normal if task == "normal" else pointmap, lr=lr)


def rate_at(schedule: Schedule, step: int, steps: int) -> float:
    """Factor 0..1 of the learning rate at a step of `steps`."""
    warm = 1e-3 + (1 - 1e-3) * step / schedule.warmup if step < schedule.warmup else 1.0
    done = min(step / max(steps, 1), 1.0)
    return warm * (1 - done if schedule.shape == "poly" else 0.5 * (1 + math.cos(math.pi * done)))


def layer_of(name: str, layers: int) -> int:
    """0 for patches and positions, i + 1 for layer i, layers + 1 for the last norm and the head."""
    if name.startswith(_FIRST):
        return 0
    inner = _LAYER.match(name)
    return int(inner.group(1)) + 1 if inner else layers + 1


def decays(name: str, parameter: torch.Tensor) -> bool:
    """If weight decay holds for a parameter: not for vectors, biases and positions."""
    return parameter.ndim > 1 and not name.endswith((".bias", "pos_embed", "cls_token", "storage_tokens"))


def matrices_in(name: str, parameter: torch.Tensor) -> int:
    """How many matrices of the backbone's layers lie upon each other in a parameter: 3 of attention's, 0 in others."""
    if parameter.ndim != 2 or not _LAYER.match(name):
        return 0
    return 3 if name.endswith(".qkv.weight") else 1


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], layers: int, schedule: Schedule) -> list[dict]:
    """Groups for an optimiser, in a fixed order; `factor` is what the schedule's rate is multiplied with.

    `matrices`: of parameters that Muon moves, `matrices_in` each; 0 for AdamW's.
    """
    groups: dict[tuple[int, bool, int], list[nn.Parameter]] = {}
    for name, parameter in named:
        matrices = 0 if schedule.matrix_lr is None else matrices_in(name, parameter)
        groups.setdefault((layer_of(name, layers), decays(name, parameter), matrices), []).append(parameter)
    return [
        {
            "params": parameters,
            "factor": schedule.layer_decay ** (layers + 1 - layer)
            * (schedule.matrix_lr / schedule.lr if matrices else 1),
            "weight_decay": schedule.weight_decay if decay else 0.0,
            "matrices": matrices,
        }
        for (layer, decay, matrices), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def make_optimizer(model: nn.Module, layers: int, schedule: Schedule) -> torch.optim.AdamW:
    """The schedule's optimiser over the model's groups; `set_rate` before every step."""
    groups = parameter_groups(model.named_parameters(), layers, schedule)
    kind = torch.optim.AdamW if schedule.matrix_lr is None else Muon
    return kind(groups, lr=schedule.lr, betas=schedule.betas, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int, steps: int) -> float:
    """Sets every group's learning rate for a step; returns the head's."""
    rate = schedule.lr * rate_at(schedule, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    return rate
