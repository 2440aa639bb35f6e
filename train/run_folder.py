"""The folder of a training run: what it holds, written whole or not at all.

config.yaml        the effective config                  last.pt         where it stands, to go on from
run.json           dataset root, revision, environment   best.*          weights of the best validation
log.jsonl          a line of losses now and then         final.*         weights at the end
validation.jsonl   a line of figures per validation      pictures/       what validation saw
tensorboard/       the same, where TensorBoard is installed
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import yaml

from synth.errors import UserError
from synth.store import Dataset
from train.config import TrainConfig, differences
from train.process import Process

LAST = "last.pt"
_LOG = "log.jsonl"
#: What a run's figures may depend on.
_PACKAGES = ("synth", "torch", "numpy", "pillow", "OpenEXR", "safetensors", "ray")


def open_run(out: Path, config: TrainConfig, dataset: Dataset, process: Process) -> None:
    """Makes the folder, or finds the same run in it. Raises UserError when it holds another run or other data."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / "config.yaml").is_file():
        known = TrainConfig.model_validate(yaml.safe_load((out / "config.yaml").read_text()))
        changed = differences(known, config)
        if changed:
            raise UserError(f"{out}: holds another run ({'; '.join(changed)}); use another --out, or the same options")
        root = json.loads((out / "run.json").read_text())["dataset_root"]
        if root != dataset.root:
            raise UserError(
                f"{out}: was begun on root {root[:12]} of {config.data}, which now has {dataset.root[:12]}; "
                "use another --out, or name the version (DATASET@1.0.0)"
            )
        return
    if any(path.name not in ("tensorboard",) for path in out.iterdir()):
        raise UserError(f"{out}: holds something that is no training run; use another --out")
    facts = _facts(config, dataset, process)
    _write(out / "run.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    _write(out / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def begin_log(out: Path, step: int) -> None:
    """Drops lines of steps that are done again after a resume."""
    for name in (_LOG, "validation.jsonl"):
        path = out / name
        if path.is_file():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            _write(path, "".join(f"{line}\n" for line in lines))


def add_line(out: Path, facts: dict, name: str = _LOG) -> None:
    """Appends one line of the log."""
    with open(out / name, "a") as file:
        file.write(json.dumps(facts) + "\n")


def read_log(out: Path, name: str = _LOG) -> list[dict]:
    """The log's lines, oldest first."""
    path = out / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def find_weights(place: Path) -> Path:
    """The file of weights that a run folder or a file name stands for: the best, else the final ones.

    Raises UserError when there is none.
    """
    if not place.is_dir():
        return place
    for stem in ("best", "final"):
        for suffix in (".pth", ".safetensors"):
            if (place / f"{stem}{suffix}").is_file():
                return place / f"{stem}{suffix}"
    raise UserError(f"{place}: holds no best.* or final.* weights; train longer, or name a file")


@contextmanager
def tensorboard(out: Path, step: int, process: Process) -> Iterator[Callable[[dict, int], None]]:
    """Writes scalars for TensorBoard where it is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        SummaryWriter = None
    writer = SummaryWriter(out / "tensorboard", purge_step=step) if SummaryWriter and process.main else nullcontext()
    with writer:

        def write(values: dict, at: int) -> None:
            if SummaryWriter and process.main:
                for name, value in values.items():
                    writer.add_scalar(name, value, at)

        yield write


def _facts(config: TrainConfig, dataset: Dataset, process: Process) -> dict:
    gpu = torch.cuda.get_device_name(process.device) if process.device.type == "cuda" else None
    return {
        "dataset": config.data,
        "dataset_root": dataset.root,
        "samples": len(dataset),
        "init_sha256": _sha256(Path(config.init)) if config.init else None,
        "processes": process.world,
        "revision": _revision(),
        "environment": {
            "device": gpu or platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "cuda": torch.version.cuda,
            "system": platform.platform(),
            "python": platform.python_version(),
            **{name: _installed(name) for name in _PACKAGES},
        },
    }


def _sha256(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # reading the weights says why


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _revision() -> str | None:
    """The commit of the checkout that this code lies in, with + if files were changed; None outside of one."""
    here = Path(__file__).parents[1]
    try:
        said = [
            subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True, timeout=20).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return said[0].strip() + ("+" if said[1].strip() else "")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the line that a kill cut off


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)
