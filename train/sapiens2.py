"""Sapiens2: a transformer with registers, rotary positions and grouped queries; its normal and pointmap heads.

Written from the description of the architecture (arXiv 2604.21681 and the names and shapes of its checkpoints), under
the official parameter names. Which sizes there are: `train.model`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from train.sapiens import PATCH, PatchEmbed

_REGISTERS = 8
#: Layers at each end whose keys and values have as many heads as the queries; between them half as many.
_FULL_HEADS = 8
_ROPE_BASE = 100.0


@dataclass(frozen=True)
class Sapiens2Spec:
    """Sizes of a v2 model; channels after each of the four enlargements and of the three convolutions after them.

    `size`: (H, W) in pixels; the pointmap's scale branch is a linear layer over exactly this many cells.
    """

    dim: int
    layers: int
    heads: int
    normal_up: tuple[int, int, int, int] = (768, 512, 256, 128)
    pointmap_up: tuple[int, int, int, int] = (1536, 768, 512, 256)
    last: tuple[int, int, int] = (64, 32, 16)
    scale: tuple[int, int, int] = (1536, 512, 128)
    size: tuple[int, int] = (1024, 768)


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class GroupedAttention(nn.Module):
    """Self-attention whose keys and values may have fewer heads than the queries; queries and keys are normalised."""

    def __init__(self, dim: int, heads: int, groups: int):
        super().__init__()
        self.heads, self.groups, width = heads, groups, dim // heads
        self.wq = nn.Linear(dim, dim)
        self.wk = nn.Linear(dim, groups * width)
        self.wv = nn.Linear(dim, groups * width)
        self.q_norm = nn.RMSNorm(width, eps=1e-6)
        self.k_norm = nn.RMSNorm(width, eps=1e-6)
        self.proj = nn.Linear(dim, dim)
        self.gamma = LayerScale(dim)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        q = self.q_norm(self.wq(x).unflatten(2, (self.heads, -1)).transpose(1, 2))  # (B, heads, N, c)
        k = self.k_norm(self.wk(x).unflatten(2, (self.groups, -1)).transpose(1, 2))  # (B, groups, N, c)
        v = self.wv(x).unflatten(2, (self.groups, -1)).transpose(1, 2)
        q, k = rotate(q, rope).to(v.dtype), rotate(k, rope).to(v.dtype)
        x = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.groups != self.heads)
        return self.gamma(self.proj(x.transpose(1, 2).flatten(2)))


class SwiGLU(nn.Module):
    """Gated feed-forward layer of four times the width."""

    def __init__(self, dim: int):
        super().__init__()
        self.w12 = nn.Linear(dim, 8 * dim)
        self.w3 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, dim: int, heads: int, groups: int):
        super().__init__()
        self.ln1 = nn.RMSNorm(dim, eps=1e-6)
        self.attn = GroupedAttention(dim, heads, groups)
        self.ln2 = nn.RMSNorm(dim, eps=1e-6)
        self.ffn = SwiGLU(dim)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attn(self.ln1(x), rope)
        return x + self.ffn(self.ln2(x))


class RopeEmbed(nn.Module):
    """Sine and cosine of every patch's position, for `rotate`. In bfloat16, as the released weights were trained."""

    def __init__(self, width: int):
        super().__init__()
        exponents = torch.arange(width // 4, dtype=torch.float32) / (width // 4)
        self.register_buffer("periods", (_ROPE_BASE**exponents).to(torch.bfloat16))

    def forward(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Two (h*w, width) tables. Positions run from -1 to 1 over the edges of the picture on each axis."""
        periods = self.periods.to(torch.bfloat16)
        axes = [torch.arange(0.5, n, device=periods.device, dtype=torch.bfloat16) / n for n in grid]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1) * 2 - 1  # (N, 2)
        angles = (2 * math.pi * places[:, :, None] / periods).flatten(1)  # (N, width / 2)
        angles = angles.tile(2)
        return angles.sin(), angles.cos()


class Sapiens2Backbone(nn.Module):
    """(B, 3, H, W) normalised pixels -> (B, dim, H/16, W/16) features; H and W are multiples of 16."""

    def __init__(self, spec: Sapiens2Spec):
        super().__init__()
        self.checkpointing = False  # activations are computed again in the backward pass: less memory, more work
        self.cls_token = nn.Parameter(torch.empty(1, 1, spec.dim))
        self.storage_tokens = nn.Parameter(torch.empty(1, _REGISTERS, spec.dim))
        self.patch_embed = PatchEmbed(spec.dim, 0)
        self.rope_embed = RopeEmbed(spec.dim // spec.heads)
        self.blocks = nn.ModuleList(Block(spec.dim, spec.heads, _groups(spec, i)) for i in range(spec.layers))
        self.ln1 = nn.RMSNorm(spec.dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)  # (B, C, h, w)
        grid = (x.shape[2], x.shape[3])
        rope = self.rope_embed(grid)
        extra = torch.cat([self.cls_token, self.storage_tokens], dim=1).expand(x.shape[0], -1, -1)
        x = torch.cat([extra.to(x.dtype), x.flatten(2).transpose(1, 2)], dim=1)  # (B, 9 + N, C)
        for block in self.blocks:
            if self.checkpointing and self.training:
                x = checkpoint(block, x, rope, use_reentrant=False)
            else:
                x = block(x, rope)
        return self.ln1(x)[:, 1 + _REGISTERS :].transpose(1, 2).unflatten(2, grid)  # (B, C, h, w)

    @torch.no_grad()
    def initialise(self) -> None:
        """Fresh weights from torch's generator."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.storage_tokens, std=0.02)


class _Decoder(nn.Module):
    """What both heads share: four times enlarged by two, then three convolutions."""

    def __init__(self, dim: int, up: tuple[int, ...], last: tuple[int, ...]):
        super().__init__()
        self.input_conv = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.InstanceNorm2d(dim), nn.SiLU())
        self.upsample_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, 4 * o, 3, padding=1), nn.PixelShuffle(2), nn.InstanceNorm2d(o), nn.SiLU())
            for i, o in zip((dim, *up), up, strict=False)
        )
        steps = []
        for i, o in zip((up[-1], *last), last, strict=False):
            steps += [nn.Conv2d(i, o, 3, padding=1), nn.InstanceNorm2d(o), nn.SiLU()]
        self.conv_layers = nn.Sequential(*steps)

    def decode(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, last, 16h, 16w)."""
        x = self.input_conv(x)
        for block in self.upsample_blocks:
            x = block(x)
        return self.conv_layers(x)


class NormalHead2(_Decoder):
    """(B, C, h, w) features -> (B, 3, 16h, 16w), no activation, not of unit length."""

    def __init__(self, spec: Sapiens2Spec):
        super().__init__(spec.dim, spec.normal_up, spec.last)
        self.conv_normal = nn.Conv2d(spec.last[-1], 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_normal(self.decode(x))


class PointmapHead(_Decoder):
    """Features -> ((B, 3, 16h, 16w) points in canonical units, (B, 1) scale); metres are points / scale.

    Canonical units are those of a camera of focal length 768 px at 1024 x 768: scale is 768 / focal_px.
    """

    def __init__(self, spec: Sapiens2Spec):
        super().__init__(spec.dim, spec.pointmap_up, spec.last)
        self.conv_pointmap = nn.Conv2d(spec.last[-1], 3, 1)
        steps = []
        for i, o in zip((spec.dim, *spec.scale), spec.scale, strict=False):
            steps += [nn.Conv2d(i, o, 1, stride=2), nn.InstanceNorm2d(o), nn.SiLU()]
        self.scale_conv_layers = nn.Sequential(*steps)
        cells = math.prod(math.ceil(side / PATCH / 8) for side in spec.size)
        self.scale_final_layer = nn.Sequential(
            nn.Flatten(),
            nn.Linear(cells * spec.scale[-1], 512),
            nn.SiLU(),
            nn.Linear(512, 128),
            nn.SiLU(),
            nn.Linear(128, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv_pointmap(self.decode(x)), self.scale_final_layer(self.scale_conv_layers(x))


@torch.no_grad()
def initialise_head2(head: NormalHead2 | PointmapHead) -> None:
    """Fresh weights from torch's generator."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, 9 + N, c) queries or keys turned by their patch's position; the tokens in front stay.

    Everything is rounded to the tables' bfloat16, as the official code does: without it features differ by 0.02.
    """
    sine, cosine = rope
    x = x.to(sine.dtype)
    extra = x.shape[2] - sine.shape[0]
    patches = x[:, :, extra:]
    first, second = patches.chunk(2, dim=-1)
    turned = patches * cosine + torch.cat([-second, first], dim=-1) * sine
    return torch.cat([x[:, :, :extra], turned], dim=2)


def _groups(spec: Sapiens2Spec, layer: int) -> int:
    full = layer < _FULL_HEADS or layer >= spec.layers - _FULL_HEADS
    return spec.heads if full else spec.heads // 2
