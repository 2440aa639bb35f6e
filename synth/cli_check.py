"""`synth check DATASET`: every sample read back, hashed and held against the rules."""

import argparse
from collections import Counter

from synth.cli_library import say
from synth.cli_progress import Progress
from synth.config import RenderConfig
from synth.sample import BadSample, check
from synth.store import Dataset, StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET."""
    parser.add_argument("dataset", metavar="DATASET", help="folder or URL that `synth render` wrote")


def run(args: argparse.Namespace) -> int:
    """Prints the histogram of faults; exit 1 on any."""
    dataset = Dataset(args.dataset)
    limits = RenderConfig.model_validate(dataset.spec["config"]).checks
    faults, flags = Counter(), Counter()
    with Progress("check", len(dataset), "image") as progress:
        for position, index in enumerate(dataset.ids):
            try:
                sample = dataset.read(position, verify=True)
                if sample.recipe.index != index:
                    raise BadSample("identity", f"the recipe says image {sample.recipe.index}")
                flags.update(check(sample, limits))
            except BadSample as error:
                faults[error.reason] += 1
                say(f"  {index:08d} {error}")
            except StoreError as error:
                faults["unreadable"] += 1
                say(f"  {index:08d} {error}")
            progress.to(position + 1, f"{sum(faults.values())} faulty" if faults else "")
    for flag, count in flags.most_common():
        say(f"flag {flag}: {count} of {len(dataset)} ({count / len(dataset):.0%})")
    for reason, count in faults.most_common():
        say(f"fault {reason}: {count} of {len(dataset)}")
    verdict = f"{sum(faults.values())} faulty" if faults else "no fault"
    unfinished = "" if dataset.complete else " (still being rendered: only sealed shards were checked)"
    say(f"{args.dataset}: {len(dataset)} images, root {dataset.root[:12]}, {verdict}{unfinished}")
    return 1 if faults else 0
