"""`synth dataset verify` and `rerender`: is a dataset still what it was, and can it be made again?"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from synth import cli_library
from synth.cli_library import say
from synth.cli_progress import Progress
from synth.errors import UserError
from synth.store import Dataset, open_version
from synth.version_verify import LEVELS

#: Spreads a fraction over the ids (Knuth's multiplicative hash): the same samples every time.
_MIX = 2654435761


def add_verify(parser: argparse.ArgumentParser) -> None:
    """--level, --fraction and what rendering takes."""
    parser.add_argument("--level", choices=LEVELS, default="hash", help="how deep to look (default: hash)")
    _add_fraction(parser)
    _add_machine(parser)


def verify(args: argparse.Namespace) -> int:
    """Prints what is not what it was; exit 1 on any finding."""
    from synth.config import RenderConfig
    from synth.version_verify import verify_index, verify_rows, verify_sample, verify_shard

    dataset, depth = open_version(args.dataset), LEVELS.index(args.level)
    positions = pick(dataset.ids, args.fraction)
    found = 0

    def tell(findings) -> None:
        nonlocal found
        for finding in findings:
            found += 1
            say(f"  {finding}")

    tell(verify_index(dataset))
    tell(verify_rows(dataset, positions))
    workers = args.workers if args.workers is not None else cli_library.core_count()
    with ThreadPoolExecutor(max(1, workers)) as pool:  # hashing and decoding give the interpreter's lock away
        if depth >= 1:
            shards = np.unique(dataset.shard_numbers[positions])
            with Progress("hash", len(shards), "shard") as progress:
                for done, findings in enumerate(pool.map(lambda s: list(verify_shard(dataset, int(s))), shards)):
                    tell(findings)
                    progress.to(done + 1)
        if depth >= 2:
            limits = RenderConfig.model_validate(dataset.spec["config"]).checks
            with Progress("decode", len(positions), "image") as progress:
                each = pool.map(lambda p: list(verify_sample(dataset, int(p), limits)), positions)
                for done, findings in enumerate(each):
                    tell(findings)
                    progress.to(done + 1)
    if depth >= 3:
        found += _say_answers(dataset, positions, args, only="DIFFERENT")
    say(f"{args.dataset}: {len(positions)} of {len(dataset)} samples, level {args.level}: {found or 'no'} findings")
    return 1 if found else 0


def add_rerender(parser: argparse.ArgumentParser) -> None:
    """--ids or --fraction, and what rendering takes."""
    _add_fraction(parser)
    parser.add_argument("--ids", metavar="IDS", help="these samples: 3,7-9")
    parser.add_argument(
        "--replace", action="store_true", help="keep the new samples in the stored ones' place, as a new version"
    )
    _add_machine(parser)


def rerender(args: argparse.Namespace) -> int:
    """One line a sample that ends in its verdict; exit 1 if any is DIFFERENT, with --replace if any was refused."""
    if args.replace:
        from synth.cli_replace import replace

        return replace(args)
    dataset = open_version(args.dataset)
    return 1 if _say_answers(dataset, positions_of(dataset, args), args, only=None) else 0


def positions_of(dataset: Dataset, args: argparse.Namespace) -> np.ndarray:
    """Where the samples that --ids or --fraction name lie."""
    if args.ids is not None:
        return np.array([position_of(dataset, index) for index in parse_ids(args.ids)])
    return pick(dataset.ids, args.fraction)


def parse_ids(text: str) -> list[int]:
    """`3,7-9` as [3, 7, 8, 9]. Raises UserError."""
    ids: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (first.isdigit() and (last.isdigit() or not dash)) or (dash and int(last) < int(first)):
            raise UserError(f"--ids {text}: {part!r} is neither a number nor a range like 7-9")
        ids += range(int(first), int(last or first) + 1)
    return sorted(set(ids))


def _say_answers(dataset: Dataset, positions: np.ndarray, args: argparse.Namespace, only: str | None) -> int:
    """Makes samples again and says what became of them; how many are DIFFERENT."""
    from synth.version_rerender import rerender as make_again

    prepare(args)
    machine, workers = machine_of(args)
    verdicts: dict[str, int] = {}
    with Progress("rerender", len(positions), "image") as progress:
        for done, answer in enumerate(make_again(dataset, positions.tolist(), machine, workers)):
            verdicts[answer.verdict] = verdicts.get(answer.verdict, 0) + 1
            if only is None or answer.verdict == only:
                say(f"  {answer}")
            progress.to(done + 1)
    say(f"rendered again: {', '.join(f'{verdict} {count}' for verdict, count in sorted(verdicts.items()))}")
    return verdicts.get("DIFFERENT", 0)


def machine_of(args: argparse.Namespace) -> tuple["Machine", int]:  # noqa: F821
    """Where and how samples are made again, and by how many workers."""
    from synth.version_rerender import Machine

    cores, cache = cli_library.core_count(), cli_library.cache_of(args)
    workers = cores if args.workers is None else args.workers
    threads = max(1, cores // max(1, workers))
    return Machine(cache / "scans", cache / "backgrounds", args.device, threads), workers


def prepare(args: argparse.Namespace) -> None:
    """Prepares what --scans and --backgrounds name."""
    if args.scans:
        cli_library.load_scans(args.scans, args)
    if args.scans or args.backgrounds:
        cli_library.load_backgrounds_of(args)


def _add_fraction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fraction", type=float, default=1.0, metavar="F", help="share of the samples (default: 1)")
    parser.add_argument("--workers", type=int, metavar="K", help="at once (default: one a core); 0: this process")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    cli_library.add_cache_arguments(parser)
    parser.add_argument(
        "--scans", type=Path, action="append", metavar="DIR", help="prepare these scans first, if the cache lacks them"
    )
    parser.add_argument("--backgrounds", metavar="DIR", help="prepare these backgrounds first (as for render)")
    parser.add_argument("--device", default="cpu", help="what Cycles renders on (default: cpu)")


def pick(ids: np.ndarray, fraction: float) -> np.ndarray:
    """Positions of a fraction of the samples, at least one: always the same ones, whatever else is in the dataset."""
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction}: expected more than 0 and at most 1")
    mixed = (ids.astype(np.uint64) * np.uint64(_MIX)) % np.uint64(2**32)
    chosen = np.flatnonzero(mixed < fraction * 2**32)
    return chosen if len(chosen) else np.array([int(np.argmin(mixed))])


def position_of(dataset: Dataset, index: int) -> int:
    """Where a sample lies in a dataset. Raises UserError when it is not there."""
    position = int(np.searchsorted(dataset.ids, index))
    if position == len(dataset) or dataset.ids[position] != index:
        raise UserError(f"{dataset.path}: holds no sample {index}")
    return position
