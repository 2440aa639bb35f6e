"""Flags that say who renders: how many workers, where, what each takes, and when one is ended."""

import argparse

from synth.cli_library import core_count
from synth.errors import UserError
from synth.pipeline_worker import LIMITS, Limits, Places


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--workers, --address and what belongs to them."""
    parser.add_argument(
        "--workers",
        type=int,
        metavar="K",
        help="renderers at once (default: one a core, or all that a cluster has room for); 0 renders in this process",
    )
    parser.add_argument(
        "--address",
        metavar="RAY",
        help="a running Ray cluster (auto, host:port, ray://host:port); default: a local one",
    )
    parser.add_argument(
        "--threads-per-worker",
        type=int,
        metavar="T",
        help="cores of each worker (default: the machine's shared out; 1 on a cluster)",
    )
    parser.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="G",
        help="GPUs of each worker, e.g. 1, or 0.5 for two on one (default: 1 unless --device cpu)",
    )
    parser.add_argument(
        "--one-class",
        action="store_true",
        help="use only nodes of the first worker's environment class (device and CPU kernel): then all bytes can be "
        "made again on any of them",
    )
    parser.add_argument(
        "--sample-timeout",
        type=float,
        default=LIMITS.sample_s,
        metavar="S",
        help=f"end a worker that takes longer over one image (default: {LIMITS.sample_s:g} s)",
    )
    parser.add_argument(
        "--recycle-after",
        type=int,
        default=LIMITS.images,
        metavar="N",
        help=f"replace a worker by a fresh one after so many images (default: {LIMITS.images})",
    )
    parser.add_argument(
        "--recycle-mb",
        type=float,
        default=LIMITS.rss_mb,
        metavar="MB",
        help=f"or when it holds more memory (default: {LIMITS.rss_mb:g} MiB)",
    )


def check_usage(args: argparse.Namespace) -> None:
    """Raises UserError for what cannot be meant."""
    if args.workers is not None and args.workers < 0:
        raise UserError(f"--workers {args.workers}: 0 renders in this process, K starts K workers")
    if args.threads_per_worker is not None and args.threads_per_worker < 1:
        raise UserError(f"--threads-per-worker {args.threads_per_worker}: a worker needs a core at least")
    if args.gpus_per_worker is not None and args.gpus_per_worker < 0:
        raise UserError(f"--gpus-per-worker {args.gpus_per_worker}: must not be negative")
    if args.workers == 0 and args.address is not None:
        raise UserError("--workers 0 renders in this process; leave --address out")
    if min(args.sample_timeout, args.recycle_after, args.recycle_mb) <= 0:
        raise UserError("--sample-timeout, --recycle-after and --recycle-mb must be more than 0")


def limits_of(args: argparse.Namespace) -> Limits:
    """When a worker is ended or replaced."""
    return Limits(args.sample_timeout, args.recycle_after, args.recycle_mb)


def places_of(args: argparse.Namespace) -> tuple[Places | None, int]:
    """Where workers run (None: in this process), and the cores of each."""
    cores = core_count()
    workers = cores if args.workers is None and args.address is None else args.workers
    threads = args.threads_per_worker or (1 if args.address else max(1, cores // max(1, workers)))
    if workers is not None and args.workers is None and args.threads_per_worker:
        workers = max(1, cores // threads)
    if workers == 0:
        return None, threads
    gpus = args.gpus_per_worker if args.gpus_per_worker is not None else float(args.device != "cpu")
    return Places(workers, args.address, gpus, args.one_class), threads
