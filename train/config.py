"""TrainConfig: everything that decides a training run, with units, defaults and the reason for each.

A YAML file (`--config`) and flags make one value; the run folder keeps it. Next: `train.trainer`.
"""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synth.errors import UserError

Task = Literal["depth", "normal", "pointmap"]


class TrainConfig(BaseModel):
    """What is trained, on what, how. The same config, dataset and number of processes give the same losses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    task: Task
    """What the head predicts."""
    data: str
    """Dataset: folder or URL, `DATASET@1.2.0` for a version."""
    arch: str
    """Architecture, e.g. sapiens_0.3b; `tiny` and `tiny2` run on a CPU."""
    init: str | None = None
    """File of weights to begin with: a pretrained backbone, or a whole model."""
    init_backbone: bool = False
    """Take only the backbone of `init`, e.g. from a model of another task."""
    steps: int | None = Field(None, gt=0)
    """Optimiser steps."""
    epochs: float | None = Field(None, gt=0)
    """Or: how often every sample is seen."""
    batch: int = Field(4, gt=0)
    """Samples of each process at a time."""
    accumulate: int = Field(1, gt=0)
    """Batches whose gradients are added up before a step."""
    size: tuple[int, int] | None = None
    """(height, width) in pixels, multiples of 16; default: the architecture's own (1024 x 768)."""
    samples: int | None = Field(None, gt=0)
    """Learn from the first so many samples of the split only: for learning curves."""
    losses: str = "ours"
    """`ours`, or `official_v1`, `official_v2` for comparison."""
    augment: str = "ours"
    """What is done to samples: `ours`, `official_v1_depth`, `official_v1_normal`, `official_v2`,
    `light`, `none`."""
    backgrounds: str | None = None
    """Folder of photos without people, put behind half of the samples; default: the rendered backgrounds."""
    schedule: str = "ours"
    """Optimiser and learning rates: `ours`, `official_v1`, `official_v2`; for models without pretrained weights
    `scratch`, or `muon`, which learns more in a step."""
    lr: float | None = Field(None, gt=0)
    """Learning rate of the head; default: the schedule's."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """How much slower each layer learns than the one above; default: the schedule's."""
    clip: float | None = Field(None, gt=0)
    """Largest norm of the gradient; default: the schedule's."""
    warmup: int | None = Field(None, ge=0)
    """Steps over which the learning rate rises; default: the schedule's."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of an average of the weights, e.g. 0.999, which is then what is validated and written; 0: none."""
    seed: int = Field(0, ge=0)
    """Of fresh weights, order, augmentation and dropout."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16: matrix products in bfloat16, weights and losses in float32."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Several processes: each with the whole model, or each with a share of it (from 1b on)."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: half the memory for a third more work."""
    compile: bool = False
    """torch.compile: faster steps after a minute of waiting."""
    threads: int = Field(2, gt=0)
    """Threads that decode samples, of each process."""
    save_every: int = Field(500, gt=0)
    """Steps between checkpoints."""
    validate_every: int = Field(500, gt=0)
    """Steps between validations."""
    validate_samples: int = Field(200, gt=0)
    """Largest number of samples of split `val` looked at."""
    log_every: int = Field(10, gt=0)
    """Steps between lines of the log."""

    @model_validator(mode="after")
    def _complete(self) -> "TrainConfig":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("say how long: either steps or epochs")
        if self.size is not None and any(side % 16 or not 32 <= side <= 8192 for side in self.size):
            raise ValueError(f"size {self.size[0]}x{self.size[1]}: both must be multiples of 16")
        return self


def read_config(file: Path | None, flags: dict) -> TrainConfig:
    """The YAML file's values with those of flags over them. Raises UserError in one line."""
    values = {}
    if file is not None:
        try:
            values = yaml.safe_load(file.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise UserError(f"{file}: should hold `key: value` lines")
    given = {key: value for key, value in flags.items() if value is not None}
    if "steps" in given or "epochs" in given:
        values = {key: value for key, value in values.items() if key not in ("steps", "epochs")}
    try:
        return TrainConfig.model_validate({**values, **given})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {message} (got {first['input']!r})"[:300]) from error


def differences(a: TrainConfig, b: TrainConfig) -> list[str]:
    """Keys that two configs disagree on, `key: old -> new`."""
    old, new = a.model_dump(), b.model_dump()
    return [f"{key}: {old[key]} -> {new[key]}" for key in old if old[key] != new[key]]
