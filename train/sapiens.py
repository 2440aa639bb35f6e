"""Sapiens v1: a plain vision transformer, and the depth and normal heads on it, under the official parameter names.

Written from the description of the architecture (arXiv 2408.12569 and the names and shapes of its checkpoints). Which
sizes there are: `train.model`. The second generation: `train.sapiens2`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

PATCH = 16
#: Of fresh attention, the gains of queries and keys, and of values and their projection.
_QUERY_GAIN, _VALUE_GAIN = 1.1, 0.7


@dataclass(frozen=True)
class SapiensSpec:
    """Sizes of a v1 model. `size`: (H, W) in pixels of the grid that its positions are stored for."""

    dim: int
    layers: int
    heads: int
    depth_channels: int = 384
    normal_channels: int = 768
    size: tuple[int, int] = (1024, 768)
    dropout: float = 0.1
    """Of the channels before the last convolution."""


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)  # each (B, heads, N, c)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))

    @torch.no_grad()
    def initialise(self) -> None:
        """Fresh weights that look like trained ones: tokens attend to their like and take it off themselves.

        Source: Trockman and Kolter 2023, Mimetic initialization of self-attention layers; here with orthogonal
        matrices, without noise. What it is worth: docs/training.md.
        """
        dim = self.proj.in_features
        query, key, value = self.qkv.weight.view(3, dim, dim)
        for rows in range(0, dim, dim // self.heads):
            part = slice(rows, rows + dim // self.heads)
            key[part] = nn.init.orthogonal_(query[part], gain=_QUERY_GAIN)
        nn.init.orthogonal_(value, gain=_VALUE_GAIN)
        self.proj.weight.copy_(-value.T)


class FeedForward(nn.Module):
    """Linear, GELU, linear; nested as the official names want it (`layers.0.0`, `layers.1`)."""

    def __init__(self, dim: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU()), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1](self.layers[0](x))


class Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.ln1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ln2 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = FeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.ffn(self.ln2(x))


class PatchEmbed(nn.Module):
    """Pixels to one token per 16 x 16 patch."""

    def __init__(self, dim: int, padding: int):
        super().__init__()
        self.projection = nn.Conv2d(3, dim, PATCH, stride=PATCH, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x)


class SapiensBackbone(nn.Module):
    """(B, 3, H, W) normalised pixels -> (B, dim, H/16, W/16) features; H and W are multiples of 16."""

    def __init__(self, spec: SapiensSpec, padding: int):
        """padding: 0 for depth, 2 for normal; the released normal weights were trained with patches shifted by 2."""
        super().__init__()
        self.grid = (spec.size[0] // PATCH, spec.size[1] // PATCH)
        self.checkpointing = False  # activations are computed again in the backward pass: less memory, more work
        self.patch_embed = PatchEmbed(spec.dim, padding)
        self.pos_embed = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], spec.dim))
        self.layers = nn.ModuleList(Block(spec.dim, spec.heads) for _ in range(spec.layers))
        self.ln1 = nn.LayerNorm(spec.dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)  # (B, C, h, w)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # (B, N, C)
        x = x + resize_positions(self.pos_embed, self.grid, grid).to(x.dtype)
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.checkpointing and self.training else layer(x)
        return self.ln1(x).transpose(1, 2).unflatten(2, grid)  # (B, C, h, w)

    @torch.no_grad()
    def initialise(self) -> None:
        """Fresh weights from torch's generator; positions as the masked autoencoder fixes them (sines of both axes)."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(module.bias)
        for layer in self.layers:
            layer.attn.initialise()
        self.pos_embed.copy_(_sine_positions(self.grid, self.pos_embed.shape[2]))


class DepthHead(nn.Module):
    """(B, C, h, w) features -> (B, 1, 16h, 16w), no activation: relative depth, officially 0 near, 1 far."""

    def __init__(self, spec: SapiensSpec):
        super().__init__()
        channels = spec.depth_channels
        self.conv_seg = nn.Conv2d(channels, 1, 1)
        self.deconv_layers = _deconvolutions(spec.dim, channels, 4)
        self.conv_layers = _convolutions(channels, 2)
        self.dropout = nn.Dropout2d(spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_seg(self.dropout(self.conv_layers(self.deconv_layers(x))))


class NormalHead(nn.Module):
    """(B, C, h, w) features -> (B, 3, 8h, 8w), no activation, not of unit length; enlarged for loss and output."""

    def __init__(self, spec: SapiensSpec):
        super().__init__()
        channels = spec.normal_channels
        self.conv_seg = nn.Conv2d(channels, 3, 1)
        self.deconv_layers = _deconvolutions(spec.dim, channels, 3)
        self.conv_layers = _convolutions(channels, 3)
        self.dropout = nn.Dropout2d(spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_seg(self.dropout(self.conv_layers(self.deconv_layers(x))))


@torch.no_grad()
def initialise_head(head: DepthHead | NormalHead) -> None:
    """Fresh weights from torch's generator."""
    for module in head.modules():
        if isinstance(module, nn.ConvTranspose2d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.normal_(head.conv_seg.weight, std=0.01)
    for name, parameter in head.named_parameters():
        if name.endswith(".bias"):
            nn.init.zeros_(parameter)


def resize_positions(positions: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """(1, h*w, C) positions of one grid, bicubic to another, pixel edges aligned."""
    if grid == wanted:
        return positions
    square = positions.transpose(1, 2).unflatten(2, grid)  # (1, C, h, w)
    return F.interpolate(square, wanted, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)


def _deconvolutions(dim: int, channels: int, count: int) -> nn.Sequential:
    steps = []
    for i in range(count):
        up = nn.ConvTranspose2d(dim if i == 0 else channels, channels, 4, stride=2, padding=1, bias=False)
        steps += [up, nn.InstanceNorm2d(channels), nn.SiLU()]
    return nn.Sequential(*steps)


def _convolutions(channels: int, count: int) -> nn.Sequential:
    steps = []
    for _ in range(count):
        steps += [nn.Conv2d(channels, channels, 1), nn.InstanceNorm2d(channels), nn.SiLU()]
    return nn.Sequential(*steps)


def _sine_positions(grid: tuple[int, int], dim: int) -> Tensor:
    """(1, h*w, dim): a quarter each of sin x, cos x, sin y, cos y, wavelengths 2 pi to 10000 * 2 pi cells."""
    quarter = dim // 4
    rates = torch.exp(torch.arange(quarter) * (-math.log(10_000.0) / quarter))
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    waves = [axis.reshape(-1, 1) * rates for axis in (columns, rows)]
    return torch.cat([f(wave) for wave in waves for f in (torch.sin, torch.cos)], dim=1)[None]
