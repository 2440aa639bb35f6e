"""Weights in and out of files, under the official names. Files come from strangers: no pickle of theirs runs code.

In: official `.pth` (a dict with `state_dict`, or the bare tensors; mmengine's extras are ignored) and `.safetensors`,
whole models and pretrained backbones. Out: what the official code loads, `.pth` for v1 and `.safetensors` for v2.
"""

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from synth.errors import UserError
from train.model import DenseModel, Spec, build_model, spec_of
from train.sapiens import SapiensBackbone, resize_positions

#: Where a checkpoint of ours says what it is: {"arch", "task", "size", ...}.
_META = "synth"
#: Packages whose objects lie beside the tensors in official files: their statistics. They become inert.
_EXTRAS = ("mmengine.", "numpy.", "builtins.getattr", "builtins.set", "collections.")
_LAYER = re.compile(r"^(backbone\.(?:layers|blocks)\.)(\d+)(\..*)$", re.DOTALL)
#: Wrappers whose names stand before parameters of wrapped models.
_WRAPPERS = ("module.", "_orig_mod.", "model.")


class CheckpointError(UserError):
    """A file of weights that cannot be read, or does not fit the model."""


@dataclass(frozen=True)
class Weights:
    """What a file holds: tensors by official name, what it says of itself ({} if it is not ours), if it has a head."""

    path: Path
    tensors: dict[str, Tensor]
    meta: dict
    has_head: bool


def read_weights(path: Path) -> Weights:
    """Tensors of a `.safetensors`, `.pth` or `.pt` file, in CPU memory. Raises CheckpointError in one line."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights")
    tensors, meta = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    tensors = {_plain_name(name): tensor for name, tensor in tensors.items()}
    if not any(name.startswith(("backbone.", "decode_head.")) for name in tensors):
        tensors = {f"backbone.{name}": tensor for name, tensor in tensors.items()}  # a pretrained backbone
    lying = [name for name, t in tensors.items() if t.numel() * t.itemsize > t.untyped_storage().nbytes()]
    if lying:  # a stride of 0 makes a terabyte of four bytes
        raise CheckpointError(f"{path}: less memory than their shapes need: {named(lying)}")
    broken = [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(f"{path}: NaN or infinite weights in {named(broken)}")
    return Weights(path, tensors, meta, any(name.startswith("decode_head.") for name in tensors))


def load_weights(model: DenseModel, weights: Weights, only_backbone: bool = False) -> list[str]:
    """Puts weights into a model, strictly: every missing, unexpected or reshaped tensor is named.

    only_backbone: the head keeps what it has. The class token of a v1 pretraining is dropped, and its positions are
    resized to the model's. Returns what was done to the file's tensors, in words. Raises CheckpointError; the model is
    then untouched.
    """
    wanted = model.state_dict()
    found, changes = dict(weights.tensors), []
    if isinstance(model.backbone, SapiensBackbone):
        found, changes = _without_class_token(found, model.backbone.grid)
    if only_backbone:
        if weights.has_head:
            changes.append(f"{sum(name.startswith('decode_head.') for name in found)} tensors of its head left out")
        wanted = {name: t for name, t in wanted.items() if name.startswith("backbone.")}
        found = {name: t for name, t in found.items() if name.startswith("backbone.")}
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    reshaped = [
        f"{name} is {list(found[name].shape)}, not {list(wanted[name].shape)}"
        for name in wanted.keys() & found.keys()
        if found[name].shape != wanted[name].shape
    ]
    wrong = [
        f"{len(names)} {what}: {named(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("reshaped", reshaped))
        if names
    ]
    if wrong:
        way = "" if weights.has_head else "; it has no head: only a backbone can be taken from it"
        raise CheckpointError(f"{weights.path}: does not fit this model: {'; '.join(wrong)}{way}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    return changes


def save_weights(path: Path, model: DenseModel, meta: dict) -> Path:
    """Writes a whole model where the official code of its generation reads it; whole or not at all.

    path: without suffix. meta: plain values that say what it is. Returns the file's path.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    v1 = isinstance(model.backbone, SapiensBackbone)
    path = path.with_suffix(".pth" if v1 else ".safetensors")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if v1:
        torch.save({"state_dict": tensors, "meta": {_META: json.dumps(meta, sort_keys=True)}}, temporary)
    else:
        save_file(tensors, temporary, {_META: json.dumps(meta, sort_keys=True)})
    os.replace(temporary, path)
    return path


def open_model(path: Path) -> tuple[DenseModel, dict]:
    """A finetuned model of ours with what its file says of it (`arch`, `task`, `size`). Raises CheckpointError."""
    weights = read_weights(path)
    try:
        spec, task = spec_of(weights.meta["arch"], weights.meta["task"]), weights.meta["task"]
        height, width = (int(side) for side in weights.meta["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: does not say which model it is; name it with --arch and --task (official weights do not say)"
        ) from error
    if not (0 < height <= 8192 and 0 < width <= 8192):
        raise CheckpointError(f"{path}: speaks of pictures of {height} x {width}")
    return model_with(spec, task, weights), {**weights.meta, "size": (height, width)}


def model_with(spec: Spec, task: str, weights: Weights) -> DenseModel:
    """A model of given sizes with a file's weights."""
    model = build_model(spec, task)
    load_weights(model, weights)
    return model


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, _meta(file.metadata())  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable .safetensors file: {error}") from error


def _read_pth(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        refused = [name for name in named if not name.startswith(_EXTRAS)]
        if refused:
            raise CheckpointError(
                f"{path}: names {', '.join(refused[:5])}, which no file of weights needs; it is not loaded"
            )
        with torch.serialization.safe_globals([(_Inert, name) for name in named]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a broken zip or pickle makes torch say
        raise CheckpointError(f"{path}: not a readable file of weights: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a dict of tensors")
    inner = content.get("state_dict", content.get("model", content))
    tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)} if inner else {}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise CheckpointError(f"{path}: holds no weights")
    meta = content.get("meta")
    return tensors, _meta(meta if isinstance(meta, dict) else None)


class _Inert:
    """Stands for any object of another package in a pickle: takes everything, does nothing."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        pass


def _meta(found: dict | None) -> dict:
    try:
        said = json.loads((found or {}).get(_META, "{}"))
    except (TypeError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _plain_name(name: str) -> str:
    changed = True
    while changed:
        changed = False
        for wrapper in _WRAPPERS:
            if name.startswith(wrapper):
                name, changed = name[len(wrapper) :], True
    return name


def _without_class_token(tensors: dict[str, Tensor], grid: tuple[int, int]) -> tuple[dict[str, Tensor], list[str]]:
    """Positions of a square pretraining grid, with or without a class token in front, become those of `grid`."""
    changes = ["cls_token dropped"] if tensors.pop("backbone.cls_token", None) is not None else []
    positions = tensors.get("backbone.pos_embed")
    if positions is None or positions.ndim != 3 or positions.shape[1] == grid[0] * grid[1]:
        return tensors, changes
    side = math.isqrt(positions.shape[1])
    if positions.shape[1] == side**2 + 1:
        positions = positions[:, 1:]
    stored = {side**2: (side, side), 64 * 48: (64, 48)}.get(positions.shape[1])  # 64 x 48: finetuned at 1024 x 768
    if stored is not None:
        tensors["backbone.pos_embed"] = resize_positions(positions.float(), stored, grid)
        changes.append(f"pos_embed {stored[0]}x{stored[1]} -> {grid[0]}x{grid[1]}, bicubic")
    return tensors, changes


def named(names: Iterable[str]) -> str:
    """All of them, those that differ in a layer's number as one: `backbone.layers.{0..23}.ln1.weight`."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for name in names:
        found = _LAYER.match(name)
        before, number, after = found.groups() if found else (name, "-1", "")
        numbers.setdefault((before, after), []).append(int(number))
    return ", ".join(
        before + (_ranges(found) if found[0] >= 0 else "") + after for (before, after), found in sorted(numbers.items())
    )


def _ranges(numbers: list[int]) -> str:
    """`7`, `{0..23}` or `{0,2..5}`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    said = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)
    return said if said.isdigit() else f"{{{said}}}"
