"""`synth plan`: hours, core-hours and bytes for N images, measured on a few of them."""

import argparse
import json
import statistics
import time
from dataclasses import dataclass

from synth import cli_library
from synth.cli_library import data_size, say
from synth.cli_progress import Progress
from synth.cli_render import soft_background_advice
from synth.errors import UserError
from synth.pipeline_worker import Job, make_sample, open_engines
from synth.randomize import draw_recipe
from synth.sample import is_soft
from synth.store_write import SHARD_SIZE

#: Recipes drawn for the share of soft backgrounds: no pixels, so a thousand are cheap.
_DRAWN = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As render, without --out."""
    cli_library.add_scan_arguments(parser)
    cli_library.add_scene_arguments(parser)
    parser.add_argument("--n", type=int, required=True, metavar="N", help="how many images the dataset is to have")
    parser.add_argument("--cores", type=int, metavar="K", help="cores of the farm (default: this machine's)")
    parser.add_argument(
        "--price-per-core-hour", type=float, metavar="P", help="what a core costs for an hour, in any currency"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead")
    parser.add_argument("--samples", type=int, default=8, metavar="S", help="images rendered to measure (default: 8)")


def run(args: argparse.Namespace) -> int:
    """Renders a few images into nothing and prints what N of them would take."""
    if args.price_per_core_hour is not None and args.price_per_core_hour < 0:
        raise UserError(f"--price-per-core-hour {args.price_per_core_hour}: must not be negative")
    if args.n < 1 or args.samples < 1:
        raise UserError("--n and --samples must be at least 1")
    config = cli_library.config_of(args)
    scans = cli_library.load_scans(args.scans, args)
    backgrounds = cli_library.load_backgrounds_of(args)
    library = cli_library.library_of(config, scans, backgrounds)
    job = Job(config, library, args.seed, scans.store, backgrounds.store, args.device, threads=1)
    measured = _measure(job, min(args.samples, args.n))
    cores = args.cores or cli_library.core_count()
    facts = project(measured, args.n, len(library.scans), cores, args.price_per_core_hour)
    if args.json:
        say(json.dumps(facts))
        return 0
    say(
        f"measured on {facts['measured']} images: {facts['core_seconds']:.2f} core-seconds "
        f"({min(measured.seconds):.2f} to {max(measured.seconds):.2f}) and {facts['bytes_per_image'] / 1e6:.2f} MB an "
        f"image, {measured.refused} refused attempts; {measured.once_s:.1f} core-seconds once a scan; a worker takes "
        f"{measured.start_s:.1f} s to start"
    )
    low, high = facts["core_hours_range"]
    say(
        f"{args.n} images: {facts['core_hours']:.1f} core-hours ({low:.1f} to {high:.1f}), "
        f"{facts['hours']:.1f} hours on {facts['cores']} cores, {data_size(facts['bytes'])} in "
        f"{facts['shards']} shards"
    )
    if facts["cost"] is not None:
        low, high = facts["cost_range"]
        say(f"cost at {args.price_per_core_hour:g} a core-hour: {facts['cost']:.2f} ({low:.2f} to {high:.2f})")
    drawn = min(_DRAWN, args.n)
    soft = sum(is_soft(draw_recipe(config, library, args.seed, i), config.checks) for i in range(drawn))
    if soft:
        say(soft_background_advice(soft / drawn, config))
    return 0


@dataclass(frozen=True)
class Measured:
    """A short calibration."""

    seconds: tuple[float, ...]
    """Core-seconds of each image that was kept, its refused attempts included, when its scan was known already."""
    once_s: float
    """Core-seconds that the first image of a scan takes longer: loading it, relight's transport; mean."""
    size: float
    """Mean bytes of an image."""
    refused: int
    start_s: float
    """Core-seconds until a worker is ready."""


def project(measured: Measured, n: int, scans: int, cores: int, price: float | None) -> dict:
    """What `n` images of so many scans take, from a calibration: JSON values.

    Ranges are two standard errors of the mean each way. A worker that comes back to a scan loads it again, which is not
    counted.
    """
    seconds = statistics.fmean(measured.seconds)
    count = len(measured.seconds)
    error = 2 * statistics.stdev(measured.seconds) / count**0.5 if count > 1 else seconds
    once = measured.once_s * min(scans, n)
    core_hours = [(max(0.0, value) * n + once) / 3600 for value in (seconds, seconds - error, seconds + error)]
    cost = [None if price is None else hours * price for hours in core_hours]
    return {
        "n": n,
        "measured": count,
        "core_seconds": seconds,
        "bytes_per_image": measured.size,
        "core_hours": core_hours[0],
        "core_hours_range": core_hours[1:],
        "cores": cores,
        "hours": core_hours[0] / cores + measured.start_s / 3600,
        "bytes": measured.size * n,
        "shards": -(-n // SHARD_SIZE),
        "start_s": measured.start_s,
        "cost": cost[0],
        "cost_range": None if price is None else cost[1:],
    }


def _measure(job: Job, count: int) -> Measured:
    """Renders the first images, each of another scan as far as there are, into nothing; each twice, for what is done
    once a scan is not to be counted with every image."""
    began = time.process_time()
    engines = open_engines(job)
    start_s = time.process_time() - began
    sizes, seconds, firsts, refused = [], [], [], 0
    try:
        with Progress("plan", count, "image") as progress:
            for index in range(count):
                began = time.process_time()
                made, refusals = make_sample(engines, job, index)
                again = time.process_time()
                make_sample(engines, job, index)
                refused += len(refusals)
                if made is not None:
                    seconds.append(time.process_time() - again)
                    firsts.append(again - began)
                    sizes.append(sum(map(len, made.members.values())))
                progress.to(index + 1)
    finally:
        engines.close()
    if not seconds:
        raise UserError(f"all {count} images were refused; `synth render --index 0` says why")
    once_s = max(0.0, statistics.fmean(firsts) - statistics.fmean(seconds))
    return Measured(tuple(seconds), once_s, statistics.fmean(sizes), refused, start_s)
