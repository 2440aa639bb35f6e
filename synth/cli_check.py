"""`synth check DATASET`: samples read back, hashed and held against the rules; `--target` against a trainer's, too.

A folder in the layout of Sapiens' readers, `synth export`'s or anybody's, is checked as its files are.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synth.cli_library import core_count, say
from synth.cli_progress import Progress
from synth.cli_proof import pick
from synth.config import CheckLimits, RenderConfig
from synth.errors import UserError
from synth.export_job import Portion, portions
from synth.export_rules import RULES, find_faults
from synth.export_sapiens import labelled_of, read_sapiens, sapiens_names
from synth.pool import run_tasks
from synth.recipe import sample_id
from synth.sample import BadSample, check
from synth.store import Dataset, StoreError, open_version, split_version
from synth.store_names import is_shared


@dataclass(frozen=True)
class Checked:
    """What a sample's check found."""

    name: str
    flags: tuple[str, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()
    """(reason, in words)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --target, --fraction, --workers."""
    parser.add_argument(
        "dataset", metavar="DATASET[@VERSION]", help="folder or URL that `synth render` wrote, finished or not"
    )
    parser.add_argument(
        "--target",
        choices=["sapiens"],
        help="also name what would poison training on this program's official code; DATASET may be an export for it",
    )
    parser.add_argument(
        "--fraction", type=float, default=1.0, metavar="F", help="share of the samples, always the same (default: 1)"
    )
    parser.add_argument("--workers", type=int, metavar="K", help="processes (default: one a core)")


def run(args: argparse.Namespace) -> int:
    """Prints the histogram of faults; exit 1 on any."""
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers}: expected at least 1")
    workers = args.workers or core_count()
    if args.target and _is_tree(args.dataset):
        folder = Path(args.dataset)
        names = sapiens_names(folder)
        if not names:
            raise UserError(f"{folder}: no sample: rgb/NAME.png with mask/NAME.png are expected")
        chosen = pick(np.arange(len(names)), args.fraction)
        each = run_tasks(_check_files, (folder, names), portions(chosen), workers)
        return _report(each, args, len(chosen), f"{_share(len(chosen), len(names))} of an export")
    dataset = open_version(args.dataset)
    limits = RenderConfig.model_validate(dataset.spec["config"]).checks
    chosen = pick(dataset.ids, args.fraction)
    shared = dataset, limits, args.target
    each = run_tasks(_check_samples, shared, portions(chosen), workers if is_shared(dataset.path) else 1)
    is_latest = split_version(args.dataset)[1] == "latest"
    unfinished = " (still being rendered: only sealed shards were checked)"
    unfinished = unfinished if is_latest and not dataset.complete else ""
    what = f"{_share(len(chosen), len(dataset))}, root {dataset.root[:12]}"
    return _report(each, args, len(chosen), what, unfinished)


def _share(count: int, total: int) -> str:
    return f"{total} images" if count == total else f"{count} of {total} images"


def _is_tree(place: str) -> bool:
    """Whether it is a folder of single files, and no dataset."""
    return "://" not in place and (Path(place) / "rgb").is_dir() and not (Path(place) / "store.json").is_file()


def _check_samples(shared: tuple[Dataset, CheckLimits, str | None], portion: Portion) -> list[Checked]:
    return [_check_sample(*shared, position) for position in portion.positions]


def _check_sample(dataset: Dataset, limits: CheckLimits, target: str | None, position: int) -> Checked:
    name, flags, faults = sample_id(int(dataset.ids[position])), (), ()
    try:
        sample = dataset.read(position, verify=True)
        if target is not None:
            faults = _target_faults(labelled_of(sample))
        flags = check(sample, limits)
    except BadSample as error:
        faults = ((error.reason, str(error)), *faults)
    except StoreError as error:
        faults = (("unreadable", str(error)),)
    return Checked(name, flags, faults)


def _check_files(shared: tuple[Path, list[str]], portion: Portion) -> list[Checked]:
    folder, names = shared
    found = []
    for name in (names[position] for position in portion.positions):
        try:
            found.append(Checked(name, faults=_target_faults(read_sapiens(folder, name))))
        except UserError as error:
            found.append(Checked(name, faults=(("unreadable", str(error)),)))
    return found


def _target_faults(labelled) -> tuple[tuple[str, str], ...]:
    return tuple((f"sapiens {fault.rule}", f"sapiens {fault}") for fault in find_faults(labelled))


def _report(
    each: Iterator[list[Checked]], args: argparse.Namespace, count: int, what: str, unfinished: str = ""
) -> int:
    faults, flags, faulty, done = Counter(), Counter(), 0, 0
    with Progress("check", count, "image") as progress:
        for checked in (one for portion in each for one in portion):
            done += 1
            flags.update(checked.flags)
            faulty += bool(checked.faults)
            for reason, words in checked.faults:
                faults[reason] += 1
                say(f"  {checked.name} {words}")
            progress.to(done, f"{faulty} faulty" if faulty else "")
    for flag, number in flags.most_common():
        say(f"flag {flag}: {number} of {count} ({number / count:.0%})")
    for reason, number in faults.most_common():
        rule = RULES.get(reason.removeprefix("sapiens ")) if reason.startswith("sapiens ") else None
        say(f"fault {reason}: {number} of {count}{f' ({rule[1]})' if rule else ''}")
    verdict = f"{faulty} faulty" if faulty else "no fault"
    say(f"{args.dataset}: {what}, {verdict}{unfinished}")
    return 1 if faulty else 0
