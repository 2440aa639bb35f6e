"""`synth render`: scans and backgrounds in, a checked dataset out; or one image with --index."""

import argparse
from importlib.metadata import version
from pathlib import Path

from synth import cli_farm, cli_library
from synth.backgrounds import BackgroundLibrary, PlateEntry
from synth.cli_library import data_size, say
from synth.cli_progress import Progress
from synth.cli_record import recorded
from synth.config import RenderConfig
from synth.errors import UserError
from synth.pipeline import plan_work, render_dataset
from synth.pipeline_tally import Tally
from synth.pipeline_worker import Fate, Job, Places, make_sample, open_engines
from synth.randomize import draw_recipe
from synth.scans import ScanLibrary
from synth.store_names import Place, place_of

SPEC_FORMAT = "synth-spec/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags of render."""
    cli_library.add_scan_arguments(parser)
    cli_library.add_scene_arguments(parser)
    parser.add_argument("--n", type=int, metavar="N", help="how many images the dataset has in the end")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the dataset's folder, or its URL: s3://bucket/name, gs://, az://"
    )
    cli_farm.add_arguments(parser)
    parser.add_argument(
        "--max-refused",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="stop when more of the last 500 images had refusals, the worst of several scans left out (default: 0.2)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="render nothing and exit 1 if any scan or background is refused"
    )
    parser.add_argument(
        "--index",
        type=int,
        metavar="I",
        help="make only image I, as loose files in --out, as the dataset would hold it",
    )
    parser.add_argument(
        "--save-blend", type=Path, metavar="FILE.blend", help="with --index: also the scene, as a file for Blender"
    )


def run(args: argparse.Namespace) -> int:
    """Renders what is missing, commits, reports."""
    _check_usage(args)
    config = cli_library.config_of(args)
    out = place_of(args.out)
    scans = cli_library.load_scans(args.scans, args)
    backgrounds = cli_library.load_backgrounds_of(args)
    _report_library(scans)
    cli_library.report_backgrounds(backgrounds)
    if args.strict:
        _refuse_quarantined(scans, backgrounds)
    places, threads = cli_farm.places_of(args)
    job = Job(
        config=config,
        library=cli_library.library_of(config, scans, backgrounds),
        seed=args.seed,
        scan_store=scans.store,
        background_store=backgrounds.store,
        device=args.device,
        threads=threads,
    )
    if args.index is not None:
        return _render_one(job, args.index, out, args.save_blend)
    return _render_all(job, args, out, places)


def _refuse_quarantined(scans: ScanLibrary, backgrounds: BackgroundLibrary) -> None:
    """--strict: better to know before the farm is spent than after."""
    refused = [v for v in (*scans.verdicts, *backgrounds.verdicts) if v.verdict == "refused"]
    if refused:
        raise UserError(
            f"--strict: {len(refused)} scans or backgrounds are refused, the first is {refused[0].path} "
            f"({refused[0].reason}); mend or move them, or render the others without --strict"
        )


def spec_of(job: Job) -> dict:
    """What a dataset is: config, seed and the library's content; no path, host, N or worker count."""
    splits = job.library.splits
    return {
        "format": SPEC_FORMAT,
        "config": job.config.model_dump(mode="json"),
        "seed": job.seed,
        "scans": [
            {
                "scan_id": e.scan_id,
                "person": e.person,
                "split": splits.person.get(e.person, "train"),
                "key": e.key,
                "licence": e.facts.licence,
            }
            for e in job.library.scans
        ],
        "backgrounds": [
            {
                "background_id": e.background_id,
                "kind": "plate" if isinstance(e, PlateEntry) else "light" if e.only_lights else "hdri",
                "split": splits.background.get(e.sha256, "train"),
                "sha256": e.sha256,
            }
            for e in (*job.library.backgrounds, *job.library.plates)
        ],
    }


def _check_usage(args: argparse.Namespace) -> None:
    if args.index is None and args.n is None:
        raise UserError("--n N says how many images to make (or --index I makes one)")
    if args.n is not None and args.n < 1:
        raise UserError(f"--n {args.n}: there must be at least 1 image")
    if args.index is not None and args.index < 0:
        raise UserError(f"--index {args.index}: images are counted from 0")
    if args.index is not None and isinstance(place_of(args.out), str):
        raise UserError(f"--out {args.out}: --index writes loose files; give a local folder")
    if args.save_blend is not None and args.index is None:
        raise UserError("--save-blend goes with --index I")
    cli_farm.check_usage(args)
    if not 0 <= args.max_refused <= 1:
        raise UserError(f"--max-refused {args.max_refused}: expected a share between 0 and 1")


def _report_library(scans: ScanLibrary) -> None:
    refused = [v for v in scans.verdicts if v.verdict == "refused"]
    say(f"scans: {len(scans.entries)} accepted, {len(refused)} refused (`synth scans DIR` says more)")
    for verdict in refused:
        say(f"  refused {verdict.path}: {verdict.reason}")
    for verdict in scans.verdicts:
        for warning in verdict.warnings if verdict.verdict == "accepted" else ():
            say(f"  warning {verdict.path}: {warning}")


def _render_all(job: Job, args: argparse.Namespace, out: Place, places: Places | None) -> int:
    from synth.card_rights import scan_rights
    from synth.store_index import commit
    from synth.store_write import open_run

    store_run = open_run(out, spec_of(job))
    plan = plan_work(store_run, args.n)
    who = "in this process" if places is None else f"with {places.workers or 'all'} workers"
    say(f"{out}: {args.n} images asked for, {plan.missing} to render {who}")
    with (
        recorded(store_run, plan, _facts(job, places), places is not None) as record,
        Progress("render", plan.missing, "image") as progress,
    ):

        def on_fate(fate: Fate, tally: Tally) -> None:
            record(fate, tally)
            progress.to(tally.made, _note(tally))

        limits = cli_farm.limits_of(args)
        tally = render_dataset(job, store_run, plan, places, args.max_refused, on_fate, limits, record.journal.event)
        manifest = commit(store_run, lineage=scan_rights(job.library.scans), processes=cli_library.core_count())
    _report_run(tally, job.config)
    say(f"dataset: {out} ({manifest['index']['rows']} images, root {manifest['root'][:12]})")
    page = " --out page" if isinstance(out, str) else ""  # a page is a local file
    say(f"next: synth check {args.out}; synth view {args.out}{page}")
    return 0


def _facts(job: Job, places: Places | None) -> dict:
    """How a session began, for its event log."""
    where = {"workers": 0} if places is None else {"workers": places.workers, "address": places.address}
    return {"synth": version("synth"), "device": job.device, "threads": job.threads, **where}


def _note(tally: Tally) -> str:
    """What the progress line says besides the count."""
    parts = [f"{tally.core_seconds / 3600:.2f} core-h", data_size(tally.size)]
    return ", ".join(parts + ([f"refused {tally.histogram()}"] if tally.refused else []))


def _report_run(tally: Tally, config: RenderConfig) -> None:
    if not tally.made:
        say("nothing to do: every image was there")
        return
    say(
        f"rendered {tally.made} images in {tally.core_seconds / 3600:.2f} core-hours "
        f"({tally.core_seconds / tally.made:.2f} core-seconds each), {data_size(tally.size)}; "
        f"refused: {tally.histogram()}"
    )
    if len(tally.by_scan) > 1:
        slowest = ", ".join(f"{scan} {seconds:.2f}" for scan, seconds in tally.slowest_scans(3))
        say(f"slowest scans, core-seconds an image: {slowest}")
    soft = tally.flags["soft_background"]
    if soft:
        say(soft_background_advice(soft / tally.made, config))


def soft_background_advice(share: float, config: RenderConfig) -> str:
    """One line: which share of images magnifies its background too far, and which resolution would cure it."""
    import numpy as np

    from synth.camera import focal_px_from_35mm

    longest = focal_px_from_35mm(config.camera.focal_35mm[1], config.width, config.height)
    needed = 2 * np.pi * longest / config.checks.max_magnification
    resolution = next((k for k in (1, 2, 4, 8, 16) if k * 1024 >= needed), None)
    cure = f"panoramas of {resolution}k cure the former" if resolution else "no common panorama size cures the former"
    if (resolution or 16) > 1:
        cure += "; `synth assets fetch hdri` gets fifty of 4k for --backgrounds manifest"
    return (
        f"soft_background: {share:.0%} of the images magnify their panorama more than "
        f"{config.checks.max_magnification:g} times, or their plate more than "
        f"{config.checks.max_plate_magnification:g}; {cure}"
    )


def _render_one(job: Job, index: int, out: Path, save_blend: Path | None) -> int:
    """One image as the dataset would hold it, as loose files."""
    blend = save_blend.absolute() if save_blend else None
    engines = open_engines(job)
    try:
        renderer = engines.of(draw_recipe(job.config, job.library, job.seed, index, 0).film.engine)
        if blend is not None and not hasattr(renderer, "save_blend"):
            raise UserError(f"--save-blend: the {job.config.film.engine} engine has no Blender scene")
        made, refused = make_sample(engines, job, index)
        for attempt, reason, detail in refused:
            say(f"attempt {attempt} refused as {reason}: {detail}")
        if blend is not None:
            renderer.save_blend(blend)
            say(f"scene: {blend}")
    finally:
        engines.close()
    if made is None:
        raise UserError(f"image {index}: all {len(refused)} attempts were refused")
    out.mkdir(parents=True, exist_ok=True)
    name = made.sample.recipe.sample_id
    for extension, data in made.members.items():
        (out / f"{name}.{extension}").write_bytes(data)
    say(f"image {index}: {out}/{name}.* (flags: {', '.join(made.flags) or 'none'})")
    return 0
