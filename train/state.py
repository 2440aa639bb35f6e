"""Where a training run stands, in one file: the checkpoint is one visible dict, and resuming from it is exact."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)

from synth.errors import UserError
from train.process import Process, own_parts

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class Average:
    """An exponential moving average of a model's weights; with decay 0 it is the weights themselves."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self._parameters = decay, list(model.parameters())
        self._kept = [p.detach().clone() for p in self._parameters] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        """After every step."""
        if self._kept:
            torch._foreach_lerp_(own_parts(self._kept), own_parts(p.detach() for p in self._parameters), 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def reset(self) -> None:
        """Begins anew from the weights as they are."""
        for kept, parameter in zip(self._kept, self._parameters, strict=False):
            kept.copy_(parameter)

    @torch.no_grad()
    def _swap(self) -> None:
        for kept, parameter in zip(self._kept, self._parameters, strict=False):
            other = parameter.detach().clone()
            parameter.copy_(kept)
            kept.copy_(other)


@dataclass
class Progress:
    """What changes from step to step besides weights."""

    step: int = 0
    best: float = float("inf")


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, at: Progress, process: Process
) -> None:
    """Writes the whole state, collected from all processes, by the main one; whole or not at all."""
    weights, moments = get_state_dict(model, optimizer, options=_WHOLE)
    with average.applied():
        averaged = whole_weights(model) if average.decay else {}
    if process.main:
        state = {"step": at.step, "best": at.best, "model": weights, "optimizer": moments, "average": averaged}
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        torch.save(state, temporary)
        os.replace(temporary, path)
    process.gather(None)


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, process: Process
) -> Progress:
    """Puts a saved state back; the processes may be more or fewer than those that wrote it. Raises UserError."""
    # DDP's processes each load all of it; FSDP's are dealt their shares.
    options = _SPREAD if process.world > 1 and not isinstance(model, nn.parallel.DistributedDataParallel) else None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        averaged: dict[str, Tensor] = state["average"]
        if averaged:
            set_model_state_dict(model, averaged, options=options)
            average.reset()
        set_state_dict(
            model,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=options,
        )
        if not averaged:
            average.reset()
        return Progress(int(state["step"]), float(state["best"]))
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a state that this run can go on from ({reason}); use another --out") from error


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights by official name, collected from all processes, in CPU memory."""
    # On a CPU the tensors are the model's own, and change with it.
    return {name: tensor.clone() for name, tensor in get_model_state_dict(model, options=_WHOLE).items()}
