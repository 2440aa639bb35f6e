"""One of the processes that train together: which, on what device; and how a model is shared among them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from train.config import TrainConfig
from train.model import DenseModel, layout


@dataclass(frozen=True)
class Process:
    """rank of world; the process group exists when world > 1."""

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """The one that writes files."""
        return self.rank == 0

    def gather(self, value: Any) -> list:
        """Every process' value, in order of rank, in every process. Also where all wait for each other."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor added up over all processes."""
        if self.world > 1:
            dist.all_reduce(value)
        return value


def only_process() -> Process:
    """Alone, on a GPU if there is one."""
    return Process(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def own_parts(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """What this process holds of tensors that FSDP has divided, and other tensors as they are.

    What is done value by value needs no more. Asked of the divided tensors, torch plans for a list of N in N * N steps
    of Python: most of a small model's first training step.
    """
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def clip_gradients(parameters: Iterable[nn.Parameter], most: float, process: Process) -> torch.Tensor:
    """Scales gradients down to a norm, over all of them and all processes, of at most `most`; the norm before.

    As `torch.nn.utils.clip_grad_norm_` does it.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    own = own_parts(gradients)
    norm = nn.utils.get_total_norm(own)
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        norm = process.sum(norm.square()).sqrt()
    torch._foreach_mul_(own, (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


def share(model: DenseModel, config: TrainConfig, process: Process) -> nn.Module:
    """The model as this process runs it: itself when alone, else in DDP's or FSDP's hands.

    Parameter names stay the official ones under `state_dict` of `torch.distributed.checkpoint`.
    """
    model.to(process.device, memory_format=layout(process.device))
    model.backbone.checkpointing = config.checkpointing
    if config.compile:
        model.compile()
    if process.world == 1:
        return model
    if config.parallel == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    half = torch.bfloat16 if config.precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    layers = model.backbone.layers if hasattr(model.backbone, "layers") else model.backbone.blocks
    mesh = dist.device_mesh.init_device_mesh(process.device.type, (process.world,))
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    return fully_shard(model, mesh=mesh, mp_policy=policy)
