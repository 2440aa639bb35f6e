"""Losses of dense labels: pure functions of (prediction, target, mask), 0 where nothing is to be learnt.

Everywhere: predictions and targets (B, C, H, W), computed in float32; mask (B, 1, H, W), bool, or weights 0..1 (a mask
times trust). Values under a zero mask are never looked at, not even NaN. Gradients are finite, also at a perfect
prediction and for an empty mask. `mean over images` makes the gradient of two processes that of one.

Which of them are added up for a task, with what weights: `train.objective`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

#: Relative depth of the official v1 training: 0 nearest, 1 farthest; what is not above this is not supervised there.
_SILOG_FLOOR = 1e-6


def silog(prediction: Tensor, target: Tensor, mask: Tensor, floor: float = _SILOG_FLOOR) -> Tensor:
    """Scale-invariant logarithmic error: sqrt(mean d^2 - mean(d)^2 / 2), d the difference of logs; mean over images.

    As the official v1 training has it: predictions below `floor` are raised to it and get no gradient there.
    Source: Eigen et al. 2014, eq. 4, under a root.
    """
    mask = mask * (target > floor)
    difference = _quiet(target, mask).clamp_min(floor).log() - _quiet(prediction, mask).clamp_min(floor).log()
    squares, means = _image_mean(difference**2, mask), _image_mean(difference, mask)
    return _safe_sqrt(squares - 0.5 * means**2).mean()


def cosine(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - cosine of the angle between vectors, mean over each image's pixels, then over images."""
    return _image_mean(_one_minus_cosine(prediction, target, mask), mask).mean()


def l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Absolute difference, channels summed, mean over each image's pixels, then over images."""
    difference = (_quiet(prediction, mask) - _quiet(target, mask)).abs().sum(1, keepdim=True)
    return _image_mean(difference, mask).mean()


def cosine_pooled(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`cosine` as the official v1 training pools it: over all pixels of the batch."""
    return _pooled_mean(_one_minus_cosine(prediction, target, mask), mask)


def l1_pooled(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`l1` as the official v1 training pools it: over all pixels of the batch."""
    return _pooled_mean((_quiet(prediction, mask) - _quiet(target, mask)).abs().sum(1, keepdim=True), mask)


def aligned_depth(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both depths with their median taken off and divided by their mean absolute deviation, per image.

    Makes a loss of them blind to scale and shift of the prediction. Source: Ranftl et al. 2020 (MiDaS), eq. 5.
    """
    return _standardised(prediction, mask), _standardised(target, mask)


def depth_l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Scale-and-shift-invariant absolute error: `l1` of `aligned_depth`."""
    return l1(*aligned_depth(prediction, target, mask), mask)


def depth_gradient(prediction: Tensor, target: Tensor, mask: Tensor, scales: int = 4) -> Tensor:
    """Differences between neighbours of the error of `aligned_depth`, at strides 1, 2, 4, ...: sharp edges, no ramps.

    Source: Ranftl et al. 2020, eq. 11. Neighbours are compared only where both carry labels.
    """
    near, far = aligned_depth(prediction, target, mask)
    error, total = near - far, near.new_zeros(())
    for k in range(scales):
        step = 2**k
        total = total + _steps(error[..., ::step, ::step], mask[..., ::step, ::step], torch.abs)
    return total / scales


def depth_fitted(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Root of the squared error that is left after the scale and shift which fit an image's prediction best, over the
    target's own deviation: sqrt(1 - r |r|), r their correlation; mean over images. 0 for an image of one depth.

    Source: Ranftl et al. 2020 (MiDaS), eq. 3, with the scale and shift of least squares put in.
    """
    return _fitted(_quiet(prediction, mask), _quiet(target, mask), mask).mean()


def depth_fitted_parts(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`depth_fitted` of squares of a half, a quarter and an eighth of the height, each with its own scale and shift.

    It asks which way every part of a surface turns: many answers of an image, not one.

    Mean over an image's squares of which a tenth is labelled, over sizes, over images.
    """
    total, height = prediction.new_zeros((), dtype=torch.float32), prediction.shape[2]
    for side in (height // 2, height // 4, height // 8):
        p, t, m = (_squares(_quiet(depth, mask), side) for depth in (prediction, target, mask.float()))
        counts = (m.mean((2, 3)) > 0.1).view(len(mask), -1).float()
        each = _fitted(p, t, m).view(len(mask), -1)
        total = total + ((each * counts).sum(1) / counts.sum(1).clamp_min(1)).mean()
    return total / 3


def normal_gradient(prediction: Tensor, target: Tensor, mask: Tensor, depth: Tensor, jump_m: float = 0.05) -> Tensor:
    """Squared difference between neighbours' differences, prediction's against target's: detail, not only direction.

    depth: (B, 1, H, W) metres; neighbours further apart than `jump_m` lie on different surfaces and are not compared.
    """
    total = prediction.new_zeros((), dtype=torch.float32)
    prediction, target, depth = _quiet(prediction, mask), _quiet(target, mask), _quiet(depth, mask)
    for axis in (2, 3):
        same = _pairs(mask, axis) * (torch.diff(depth, dim=axis).abs() < jump_m)
        error = torch.diff(prediction, dim=axis) - torch.diff(target, dim=axis)
        total = total + _image_mean(error.pow(2).sum(1, keepdim=True), same).mean()
    return total


def normal_gradient_pooled(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`normal_gradient` as the official Sapiens2 training has it: over all pairs of the batch inside the mask, those at
    steps of depth too."""
    total = prediction.new_zeros((), dtype=torch.float32)
    prediction, target = _quiet(prediction, mask), _quiet(target, mask)
    for axis in (2, 3):
        error = torch.diff(prediction, dim=axis) - torch.diff(target, dim=axis)
        total = total + _pooled_mean(error.pow(2).sum(1, keepdim=True), _pairs(mask, axis))
    return total


def points_l1(prediction: Tensor, target: Tensor, mask: Tensor, scales: int = 1) -> Tensor:
    """`l1` of points (canonical units) over each image's mean depth, both clamped to 4 of it.

    scales 2: also of both enlarged twice, as the official Sapiens2 training adds it.
    """
    prediction, target = _over_mean_depth(prediction, target, mask)
    total = l1(prediction, target, mask)
    for _ in range(scales - 1):
        prediction, target = (F.interpolate(x, scale_factor=2, mode="bilinear") for x in (prediction, target))
        mask = F.interpolate(mask.float(), scale_factor=2, mode="nearest")
        total = total + l1(prediction, target, mask)
    return total


def points_shift_invariant_l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`points_l1` of the points about their own centres."""
    prediction, target = _over_mean_depth(prediction, target, mask)
    return l1(_centred(prediction, mask), _centred(target, mask), mask)


def points_on_rays(prediction: Tensor, K: Tensor, mask: Tensor) -> Tensor:
    """How far points (canonical units) lie beside the ray of their own pixel: |x - (u - cx) z / f| + the same of y.

    K: (B, 3, 3), pixel centres at integer coordinates.
    """
    prediction = _quiet(prediction, mask)
    v, u = torch.meshgrid(
        *(torch.arange(n, device=K.device, dtype=torch.float32) for n in mask.shape[-2:]), indexing="ij"
    )
    rays = torch.stack([(u - K[:, :1, 2:]) / K[:, :1, :1], (v - K[:, 1:2, 2:]) / K[:, 1:2, 1:2]], dim=1)  # (B, 2, H, W)
    return _image_mean((prediction[:, :2] - rays * prediction[:, 2:]).abs().sum(1, keepdim=True), mask).mean()


def points_normal(prediction: Tensor, target: Tensor, mask: Tensor, jump_m: float = torch.inf) -> Tensor:
    """Of the normals that points (metres) make with their neighbours: 1 - cosine, and mean |difference|.

    jump_m: where the target's neighbours are further apart in depth there is no surface between them.
    """
    ours, theirs = (_normals_of(_quiet(points, mask)) for points in (prediction, target))
    both = mask[..., 1:, :-1] * mask[..., :-1, 1:] * mask[..., :-1, :-1]
    z = _quiet(target[:, 2:], mask)
    steps = [(z[..., 1:, :-1] - z[..., :-1, :-1]).abs(), (z[..., :-1, 1:] - z[..., :-1, :-1]).abs()]
    both = both * (torch.maximum(*steps) < jump_m)
    spread = (ours - theirs).abs().mean(1, keepdim=True)
    return _image_mean(_one_minus_cosine(ours, theirs, both) + spread, both).mean()


def scale_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """(B, 1) predicted scale against `width / focal_px`."""
    return (prediction.float() - target).abs().mean()


def _quiet(x: Tensor, mask: Tensor) -> Tensor:
    """float32, and 0 where the mask is 0: what lies there may be NaN, and NaN times 0 is NaN."""
    return torch.where(mask > 0, x.float(), 0.0)


def _image_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B, C): weighted mean over an image's pixels; 0 for an empty mask."""
    weights = mask.float()
    return (values * weights).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-6)


def _centred(values: Tensor, mask: Tensor) -> Tensor:
    """About each image's mean."""
    return values - _image_mean(values, mask)[..., None, None]


def _fitted(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B, 1): sqrt(1 - r |r|) of each image, 0 where the target is of one depth."""
    p, t = _centred(prediction, mask), _centred(target, mask)
    both, ours, theirs = _image_mean(p * t, mask), _image_mean(p * p, mask), _image_mean(t * t, mask)
    r = both * (ours * theirs).clamp_min(1e-12).rsqrt()
    return _safe_sqrt(1 - r * r.abs()) * (theirs > 0)


def _squares(image: Tensor, side: int) -> Tensor:
    """(B, 1, H, W) -> (B * N, 1, side, side), those at the right and below filled up with 0."""
    height, width = image.shape[2:]
    padded = F.pad(image, (0, -width % side, 0, -height % side))
    return F.unfold(padded, side, stride=side).transpose(1, 2).reshape(-1, 1, side, side)


def _pooled_mean(values: Tensor, mask: Tensor) -> Tensor:
    weights = mask.float()
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)


def _one_minus_cosine(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(B, 1, H, W). As products of sums: on a CPU `F.cosine_similarity` takes four times as long."""
    p, t = _quiet(prediction, mask), _quiet(target, mask)
    squares = (p * p).sum(1, keepdim=True).clamp_min(1e-12) * (t * t).sum(1, keepdim=True).clamp_min(1e-12)
    return 1 - (p * t).sum(1, keepdim=True) * squares.rsqrt()


def _safe_sqrt(x: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0, not infinite; 0 for what rounding made negative."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def _standardised(depth: Tensor, mask: Tensor) -> Tensor:
    """(x - median) / mean |x - median| over each image's mask; 0 outside."""
    with torch.no_grad():
        inside = torch.where(mask > 0, depth.detach().float(), torch.nan).flatten(1)
        median = inside.nanmedian(dim=1).values.nan_to_num(0.0).view(-1, 1, 1, 1)
        chosen = (torch.where(mask > 0, depth.float(), torch.nan) == median) & (mask > 0)
    depth = _quiet(depth, mask)
    # The median is one of the pixels, and moves with it.
    median = (depth * chosen).sum((2, 3), keepdim=True) / chosen.sum((2, 3), keepdim=True).clamp_min(1)
    apart = _quiet(depth - median, mask)
    return apart / (_image_mean(apart.abs(), mask)[:, :, None, None] + 1e-6)


def _pairs(mask: Tensor, axis: int) -> Tensor:
    """Weight of each pixel with the next along an axis."""
    n = mask.shape[axis]
    return mask.narrow(axis, 0, n - 1).float() * mask.narrow(axis, 1, n - 1).float()


def _steps(error: Tensor, mask: Tensor, of) -> Tensor:
    """Mean over images of `of` the difference between neighbours, both axes added."""
    total = error.new_zeros(())
    for axis in (2, 3):
        if error.shape[axis] > 1:
            total = total + _image_mean(of(torch.diff(error, dim=axis)), _pairs(mask, axis)).mean()
    return total


def _over_mean_depth(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    prediction, target = _quiet(prediction, mask), _quiet(target, mask)
    mean = _image_mean(target[:, 2:], mask).clamp_min(1e-6)[:, :, None, None]
    return (prediction / mean).clamp(max=4), (target / mean).clamp(max=4)


def _normals_of(points: Tensor) -> Tensor:
    """(B, 3, H-1, W-1): cross product of forward differences, in units of a centimetre; not of unit length."""
    right = 100 * (points[..., :-1, 1:] - points[..., :-1, :-1])
    down = 100 * (points[..., 1:, :-1] - points[..., :-1, :-1])
    return F.normalize(torch.linalg.cross(right, down, dim=1), dim=1, eps=1e-6)
