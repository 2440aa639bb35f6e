"""Muon for the matrices of a transformer's layers, AdamW for everything else: one optimiser, one state."""

import torch
from torch import Tensor

#: Momentum, and the quintic of the Newton-Schulz iteration with its number of steps (Jordan et al. 2024).
_MOMENTUM, _QUINTIC, _ITERATIONS = 0.95, (3.4445, -4.7750, 2.0315), 5


class Muon(torch.optim.AdamW):
    """AdamW, but groups with `matrices` above 0 move along their momentum with all its singular values near 1.

    Parameters of such a group are (matrices * rows, columns): as many matrices, upon each other, as queries, keys and
    values are. Source: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks. torch.optim.Muon
    works in bfloat16 and takes such a stack for one.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step; takes the gradients of matrices with it."""
        for group in self.param_groups:
            for parameter in group["params"] if group["matrices"] else ():
                if parameter.grad is not None:
                    self._move(parameter, group)
                    parameter.grad = None  # AdamW leaves alone what has none
        super().step(closure)

    def _move(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(parameter))
        state["step"] += 1
        state["momentum"].lerp_(parameter.grad, 1 - _MOMENTUM)
        ahead = parameter.grad.lerp(state["momentum"], _MOMENTUM)  # Nesterov's
        parts = ahead.view(group["matrices"], -1, ahead.shape[1])
        stretch = max(1.0, parts.shape[1] / parts.shape[2]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(orthogonal(parts).view_as(parameter), alpha=-group["lr"] * stretch)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) -> the same with singular values between about 0.7 and 1.2, singular vectors kept.

    Zeros stay zeros.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
