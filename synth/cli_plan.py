"""`synth plan`: hours, core-hours and bytes for N images, measured on a few of them."""

import argparse
import time

from synth import cli_library
from synth.cli_library import say
from synth.cli_progress import Progress
from synth.cli_render import soft_background_advice
from synth.errors import UserError
from synth.pipeline_worker import Job, make_sample, open_renderer
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
    parser.add_argument("--samples", type=int, default=8, metavar="S", help="images rendered to measure (default: 8)")


def run(args: argparse.Namespace) -> int:
    """Renders a few images into nothing and prints what N of them would take."""
    if args.n < 1 or args.samples < 1:
        raise UserError("--n and --samples must be at least 1")
    config = cli_library.config_of(args)
    scans = cli_library.load_scans(args.scans, args)
    backgrounds = cli_library.load_backgrounds_of(args)
    library = cli_library.library_of(config, scans, backgrounds)
    job = Job(config, library, args.seed, scans.store, backgrounds.store, args.device, threads=1)
    seconds, size, refused = _measure(job, min(args.samples, args.n))
    cores = args.cores or cli_library.core_count()
    core_hours = seconds * args.n / 3600
    say(f"measured: {seconds:.2f} core-seconds and {size / 1e6:.2f} MB an image, {refused} refused attempts")
    say(
        f"{args.n} images: {core_hours:.1f} core-hours, {core_hours / cores:.1f} hours on {cores} cores, "
        f"{size * args.n / 1e9:.1f} GB in {-(-args.n // SHARD_SIZE)} shards"
    )
    drawn = min(_DRAWN, args.n)
    soft = sum(is_soft(draw_recipe(config, library, args.seed, i), config.checks) for i in range(drawn))
    if soft:
        say(soft_background_advice(soft / drawn, config))
    return 0


def _measure(job: Job, count: int) -> tuple[float, float, int]:
    """Mean core-seconds and bytes of an image (set-up left out), and how many attempts were refused."""
    renderer = open_renderer(job)
    size, kept, refused, started = 0, 0, 0, time.process_time()
    try:
        with Progress("plan", count, "image") as progress:
            for index in range(count):
                made, refusals = make_sample(renderer, job, index)
                refused += len(refusals)
                if made is not None:
                    size, kept = size + sum(map(len, made.members.values())), kept + 1
                progress.to(index + 1)
    finally:
        renderer.close()
    if not kept:
        raise UserError(f"all {count} images were refused; `synth render --index 0` says why")
    return (time.process_time() - started) / kept, size / kept, refused
