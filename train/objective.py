"""What is learnt: from a batch and a model's answer to named losses. Presets beside each other in one table.

`ours` is the default; `fitted` asks for no more than what `synth eval` measures, and learns wholes sooner than edges;
`official_v1` and `official_v2` are what the released models were trained with, for comparison.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from train import losses

#: Weight of each loss by (task, preset). Sapiens v1's and Sapiens2's are those of their configurations.
WEIGHTS: dict[tuple[str, str], dict[str, float]] = {
    ("depth", "ours"): {"depth_l1": 1.0, "depth_gradient": 0.5},
    ("depth", "fitted"): {"depth_fitted": 1.0, "depth_fitted_parts": 2.0},
    ("depth", "official_v1"): {"silog": 1.0},
    ("normal", "ours"): {"cosine": 1.0, "l1": 1.0, "gradient": 0.5},
    ("normal", "official_v1"): {"cosine_pooled": 1.0, "l1_pooled": 1.0},
    ("normal", "official_v2"): {"cosine_pooled": 10.0, "l1_pooled": 1.0, "gradient_pooled": 10.0},
    ("pointmap", "ours"): {
        "points": 2.0, "points_twice": 1.0, "silog": 1.0, "rays": 1.0, "shape": 1.0, "normals": 2.0, "scale": 4.0,
    },
    ("pointmap", "official_v2"): {
        "points": 2.0, "points_twice": 1.0, "silog": 1.0, "rays": 1.0, "shape": 1.0, "normals_everywhere": 2.0,
        "scale": 4.0,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """What a loss may look at, on the device of the prediction; shapes as in `train.data.Batch`."""

    mask: Tensor
    depth: Tensor
    normal: Tensor
    trust: Tensor
    K: Tensor


def losses_of(task: str, preset: str, prediction: Tensor | tuple[Tensor, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Weighted losses by name, and their sum as `loss`; all float32 scalars.

    prediction: what the model's head gives; one smaller than the labels is enlarged.
    """
    terms = {"depth": _depth_terms, "normal": _normal_terms, "pointmap": _pointmap_terms}[task](prediction, labels)
    weighted = {name: weight * terms[name]() for name, weight in WEIGHTS[task, preset].items()}
    return {"loss": torch.stack(list(weighted.values())).sum(), **weighted}


def presets_of(task: str) -> list[str]:
    """Names of what a task can be trained with."""
    return [preset for of, preset in WEIGHTS if of == task]


def fit(prediction: Tensor, size: torch.Size) -> Tensor:
    """A prediction in float32, enlarged to (H, W) if it is smaller."""
    prediction = prediction.float()
    if prediction.shape[-2:] == size:
        return prediction
    return F.interpolate(prediction, size, mode="bilinear", align_corners=False)


def relative_depth(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth as the official v1 training normalises it: 0 at the nearest, 1 at the farthest person pixel; -1 outside."""
    inside = mask > 0
    far = torch.where(inside, depth, -torch.inf).amax((1, 2, 3), keepdim=True)
    near = torch.where(inside, depth, torch.inf).amin((1, 2, 3), keepdim=True)
    return torch.where(inside, (depth - near) / (far - near).clamp_min(1e-6), -1.0)


def canonical_points(depth: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """((B, 3, H, W) points in canonical units, (B, 1) scale = width / focal_px) of metric planar depth.

    OpenCV's camera frame. Canonical: as if the focal length were the picture's width, 768 px at 1024 x 768.
    """
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(
        *(torch.arange(n, device=K.device, dtype=torch.float32) for n in (height, width)), indexing="ij"
    )
    x = (u - K[:, :1, 2:]) / K[:, :1, :1]
    y = (v - K[:, 1:2, 2:]) / K[:, 1:2, 1:2]
    scale = width / K[:, 0, 0]
    points = torch.stack([x, y, torch.ones_like(x)], dim=1) * depth
    return points * scale.view(-1, 1, 1, 1), scale[:, None]


def _depth_terms(prediction: Tensor, labels: Labels) -> dict:
    p = fit(prediction, labels.mask.shape[-2:])
    weight = labels.mask * labels.trust
    return {
        "depth_l1": lambda: losses.depth_l1(p, labels.depth, weight),
        "depth_fitted": lambda: losses.depth_fitted(p, labels.depth, weight),
        "depth_fitted_parts": lambda: losses.depth_fitted_parts(p, labels.depth, weight),
        "depth_gradient": lambda: losses.depth_gradient(p, labels.depth, weight),
        "silog": lambda: losses.silog(p, relative_depth(labels.depth, labels.mask), labels.mask),
    }


def _normal_terms(prediction: Tensor, labels: Labels) -> dict:
    p = fit(prediction, labels.mask.shape[-2:])
    weight = labels.mask * labels.trust
    return {
        "cosine": lambda: losses.cosine(p, labels.normal, weight),
        "l1": lambda: losses.l1(p, labels.normal, weight),
        "gradient": lambda: losses.normal_gradient(p, labels.normal, weight, labels.depth),
        "gradient_pooled": lambda: losses.normal_gradient_pooled(p, labels.normal, labels.mask),
        "cosine_pooled": lambda: losses.cosine_pooled(p, labels.normal, labels.mask),
        "l1_pooled": lambda: losses.l1_pooled(p, labels.normal, labels.mask),
    }


def _pointmap_terms(prediction: tuple[Tensor, Tensor], labels: Labels) -> dict:
    p, scale = fit(prediction[0], labels.mask.shape[-2:]), prediction[1].float()
    target, true_scale = canonical_points(labels.depth, labels.K)
    weight = labels.mask * labels.trust
    metric, truth = p / scale.clamp_min(1e-3).view(-1, 1, 1, 1), target / true_scale.view(-1, 1, 1, 1)
    return {
        "points": lambda: losses.points_l1(p, target, weight),
        "points_twice": lambda: losses.points_l1(p, target, weight, scales=2),
        "silog": lambda: losses.silog(p[:, 2:], target[:, 2:], weight, floor=1e-4),
        "rays": lambda: losses.points_on_rays(p, labels.K, weight),
        "shape": lambda: losses.points_shift_invariant_l1(p, target, weight),
        "normals": lambda: losses.points_normal(metric, truth, weight, jump_m=0.05),
        "normals_everywhere": lambda: losses.points_normal(metric, truth, weight),
        "scale": lambda: losses.scale_l1(scale, true_scale),
    }
