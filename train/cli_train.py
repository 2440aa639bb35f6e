"""`synth train depth|normal|pointmap`: finetunes a head, or a small model from scratch, on a dataset."""

import argparse
from pathlib import Path

from synth.cli_library import say
from synth.cli_progress import Progress
from synth.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the same names as the keys of `train.config.TrainConfig`."""
    parser.add_argument("task", choices=["depth", "normal", "pointmap"], help="what the head predicts")
    parser.add_argument("--data", metavar="DATASET", help="dataset, DATASET@1.2.0 for a version")
    parser.add_argument("--arch", help="tiny, sapiens_0.3b ... 2b; tiny2, sapiens2_0.1b ... 5b")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run; the same goes on")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with any key of the config")
    parser.add_argument("--init", metavar="CKPT", help="weights to begin with: .pth or .safetensors")
    parser.add_argument("--init-backbone", action="store_true", default=None, help="take only their backbone")
    for name, of, text in (
        ("steps", int, "optimiser steps"),
        ("epochs", float, "or: how often every sample is seen"),
        ("batch", int, "samples of each process at a time (default: 4)"),
        ("accumulate", int, "batches to a step (default: 1)"),
        ("samples", int, "learn from the first so many only"),
        ("lr", float, "learning rate of the head"),
        ("ema", float, "decay of an average of the weights"),
        ("seed", int, "of weights, order, augmentation, dropout (default: 0)"),
        ("threads", int, "decoding threads (default: 2)"),
        ("save-every", int, "steps between checkpoints (default: 500)"),
        ("validate-every", int, "steps between validations (default: 500)"),
        ("log-every", int, "steps between lines of the log (default: 10)"),
    ):
        parser.add_argument(f"--{name}", type=of, metavar="X", help=text)
    parser.add_argument("--size", metavar="HxW", help="size of the pictures, multiples of 16 (default: 1024x768)")
    parser.add_argument("--losses", help="ours, official_v1, official_v2; depth also: fitted")
    parser.add_argument("--augment", help="ours, light, none, official_v1_depth, official_v1_normal, official_v2")
    parser.add_argument("--backgrounds", metavar="DIR", help="photos without people, to put behind half of the samples")
    parser.add_argument("--schedule", help="ours, official_v1, official_v2, scratch")
    parser.add_argument("--precision", choices=["bf16", "fp32"])
    parser.add_argument("--checkpointing", action="store_true", default=None, help="less memory, more work")
    parser.add_argument("--compile", action="store_true", default=None, help="torch.compile")
    parser.add_argument("--parallel", choices=["ddp", "fsdp"], help="how several processes share the model")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="K", help="processes, through Ray Train (default: this)"
    )
    parser.add_argument("--address", metavar="RAY", help="a running Ray cluster (default: a local one)")
    parser.add_argument("--restarts", type=int, default=3, metavar="N", help="how often lost processes are replaced")


def run(args: argparse.Namespace) -> int:
    """Prints where the weights lie."""
    from train.config import TrainConfig, read_config
    from train.process import only_process
    from train.run_folder import find_weights

    names = [name for name in TrainConfig.model_fields if hasattr(args, name)]
    flags = {name: getattr(args, name) for name in names} | {"size": parse_size(args.size)}
    config = read_config(args.config, flags)
    out = args.out.absolute()
    if args.workers:
        from train.launch import train_on_ray

        place = config.data if "://" in config.data else str(Path(config.data).absolute())
        init = config.init and str(Path(config.init).absolute())
        config = config.model_copy(update={"data": place, "init": init})
        train_on_ray(config, out, args.workers, args.address, args.restarts)
    else:
        _train_here(config, out, only_process())
    say(f"{args.out}: {find_weights(out).name} has the best weights; next: synth eval --checkpoint {args.out}")
    return 0


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`1024x768` as (height, width). Raises UserError."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UserError(f"--size {text}: should be HEIGHTxWIDTH, e.g. 1024x768")
    return int(height), int(width)


def _train_here(config, out: Path, process) -> None:
    from train.trainer import train

    bar: Progress | None = None

    def on_step(step: int, steps: int, note: str) -> None:
        nonlocal bar
        if bar is None:
            bar = Progress("train", steps, "step").__enter__()
        bar.to(step, note)

    try:
        train(config, out, process, say, on_step)
    finally:
        if bar is not None:
            bar.__exit__()
