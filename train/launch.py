"""Several processes that train together: Ray Train starts them, restarts them, and they meet in a process group.

The processes share the run's folder; one that is restarted goes on from the last saved state, as the whole run does.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer, get_device

from synth.errors import UserError
from train.config import TrainConfig
from train.process import Process
from train.trainer import train


def train_on_ray(config: TrainConfig, out: Path, workers: int, address: str | None, restarts: int) -> None:
    """Trains with `workers` processes on a local Ray or the cluster at `address`; a GPU each where there are any.

    Raises UserError when a process failed for good.
    """
    here = Path.cwd()
    # Ray puts the driver's folder first on its workers' path: a user's ./train.py would be imported for ours.
    with tempfile.TemporaryDirectory(prefix="synth-train-") as empty:
        os.chdir(empty)
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=True,
                logging_level="error",
            )
            gpus = ray.cluster_resources().get("GPU", 0) >= workers
            trainer = TorchTrainer(
                _train_one,
                train_loop_config={"config": config.model_dump(mode="json"), "out": str(out)},
                scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
                run_config=RunConfig(storage_path=empty, failure_config=FailureConfig(max_failures=restarts)),
            )
            trainer.fit()
        except ray.exceptions.RayError as error:
            raise UserError(f"training with {workers} processes failed: {_reason(error)}") from error
        except Exception as error:
            if type(error).__module__.startswith("ray.train"):
                raise UserError(f"training with {workers} processes failed: {_reason(error)}") from error
            raise
        finally:
            ray.shutdown()
            os.chdir(here)


def _train_one(arguments: dict) -> None:
    """What each process runs. Ray Train has made the process group."""
    context = get_context()
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    process = Process(context.get_world_rank(), context.get_world_size(), device)

    def say(line: str) -> None:
        if process.main:
            print(line, flush=True)

    train(TrainConfig.model_validate(arguments["config"]), Path(arguments["out"]), process, say)


def _reason(error: Exception) -> str:
    """The last line of what happened in a process, of the many that Ray tells."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
