"""Batch: samples in the models' conventions, written straight into memory that is used again.

Here and in `train.data` alone stored arrays (OpenCV normals, half-integer pixel centres) become the models' (OpenGL
normals, integer centres). Pictures and normals lie channels last in memory, as they are decoded and as GPUs like them;
their shapes are (B, C, H, W) all the same. What is stored in few bits stays so until it is on the GPU.
"""

import functools
import math
import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synth.codec import StoredSample
from synth.recipe import SceneRecipe
from train.augment import Arrays

#: Sign bits that turn half floats of OpenCV's camera frame into OpenGL's: x stays, y and z change.
_GL_BITS = (0, -0x8000, -0x8000)


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples in CPU memory."""

    rgb: Tensor
    """(B, 3, H, W) uint8, sRGB-encoded."""
    mask: Tensor
    """(B, 1, H, W) bool: person pixels that carry labels."""
    depth: Tensor
    """(B, 1, H, W) float32, planar z, metres; 0 outside the mask."""
    normal: Tensor
    """(B, 3, H, W) float16, as stored, unit within 1e-3; OpenGL camera frame (x right, y up, z towards the camera); 0
    outside the mask."""
    trust: Tensor
    """(B, 1, H, W) uint8, 255: believable, or the dataset stores none; 0 outside the mask."""
    K: Tensor
    """(B, 3, 3) float32, pixel centres at integer coordinates."""
    index: Tensor
    """(B,) int64, the samples' ids."""


class Buffers:
    """Memory for batches of one shape. What nobody holds a tensor of any more is given out again.

    New pages cost as much as decoding a picture does. On a machine with a GPU the memory is pinned, and torch keeps it.
    """

    def __init__(self, batch: int, size: tuple[int, int]):
        self._batch, self._size = batch, size
        self._kept: list[np.ndarray] = []

    def take(self) -> Batch:
        """A batch of whatever the memory holds."""
        b, (h, w) = self._batch, self._size
        shapes = {
            "rgb": ((b, h, w, 3), torch.uint8), "mask": ((b, 1, h, w), torch.bool),
            "depth": ((b, 1, h, w), torch.float32), "normal": ((b, h, w, 3), torch.float16),
            "trust": ((b, 1, h, w), torch.uint8), "K": ((b, 3, 3), torch.float32), "index": ((b,), torch.int64),
        }  # fmt: skip
        sizes = {name: math.prod(shape) * dtype.itemsize for name, (shape, dtype) in shapes.items()}
        memory, at, tensors = self._memory(sum(-(-size // 64) * 64 for size in sizes.values())), 0, {}
        for name, (shape, dtype) in shapes.items():
            tensor = memory[at : at + sizes[name]].view(dtype).view(shape)
            tensors[name] = tensor.permute(0, 3, 1, 2) if shape[-1] == 3 and len(shape) == 4 else tensor
            at += -(-sizes[name] // 64) * 64
        return Batch(**tensors)

    def _memory(self, size: int) -> Tensor:
        if torch.cuda.is_available():
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        # A tensor made of an array holds a reference to it, and so does every view of that tensor: an array that only
        # our list, the loop's name and getrefcount hold is free.
        for array in self._kept:
            if sys.getrefcount(array) == 3:
                return torch.from_numpy(array)
        self._kept.append(np.empty(size, np.uint8))
        return torch.from_numpy(self._kept[-1])


def write_arrays(batch: Batch, i: int, arrays: Arrays, index: int) -> None:
    """An augmented sample as number i of a batch."""
    batch.rgb[i] = arrays.rgb.round().clamp(0, 255)
    batch.trust[i] = (arrays.trust * 255).round()
    for name in ("mask", "depth", "normal"):
        getattr(batch, name)[i] = getattr(arrays, name)
    _write_facts(batch, i, arrays.K.numpy(), index)


def write_stored(batch: Batch, i: int, stored: StoredSample) -> None:
    """A sample of the batch's size as it is: what `write_arrays` of `arrays_of` it gives, without the detour.

    Pictures are decoded into the batch's memory; depth and normals, which OpenEXR puts where it likes, are taken over
    while they are in the processor's cache: what pixels cost here counts against decoding them.
    """
    mask = batch.mask[i, 0].view(torch.uint8)
    stored.instance(out=mask.numpy())
    mask.clamp_(max=1)
    trust = torch.neg(mask.view(torch.int8), out=batch.trust[i, 0].view(torch.int8))  # -1 is 255, and every bit
    _turn(stored.normal(), out=batch.normal[i])
    _cut(stored.depth_m(), trust, out=batch.depth[i, 0])
    stored.trust(out=batch.trust[i, 0].numpy())
    stored.rgb(out=batch.rgb[i].permute(1, 2, 0).numpy())
    _write_facts(batch, i, lens_of(stored.recipe), stored.recipe.index)


def _turn(normal: np.ndarray, out: Tensor) -> None:
    """Normals (H, W, 3) of OpenCV's camera frame to half floats (3, H, W) of OpenGL's, channels last."""
    height, width, _ = normal.shape
    bits = torch.from_numpy(normal.astype(np.float16, copy=False)).view(torch.int16).view(height, 3 * width)
    torch.bitwise_xor(bits, _signs(width), out=out.permute(1, 2, 0).view(torch.int16).view(height, 3 * width))


def _cut(depth: np.ndarray, keep: Tensor, out: Tensor) -> None:
    """Depth (H, W) where `keep`, int8, is -1; 0 where it is 0. torch.where takes longer."""
    out.view(torch.int32).copy_(keep).bitwise_and_(torch.from_numpy(depth).view(torch.int32))


@functools.cache
def _signs(width: int) -> Tensor:
    """(3 * width,) int16: of a row of normals."""
    return torch.tensor(_GL_BITS * width, dtype=torch.int16)


def lens_of(recipe: SceneRecipe) -> np.ndarray:
    """(3, 3) float64 K, pixel centres at half-integer coordinates."""
    f, (u, v) = recipe.camera.focal_px, recipe.camera.center_px
    return np.array([[f, 0, u], [0, f, v], [0, 0, 1]])


def _write_facts(batch: Batch, i: int, K: np.ndarray, index: int) -> None:
    K = K.copy()
    K[:2, 2] -= 0.5  # pixel centres at integers
    batch.K.numpy()[i], batch.index.numpy()[i] = K, index
