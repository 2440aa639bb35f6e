"""Arguments and loading that several commands share: scans, backgrounds, config, cache."""

import argparse
import os
import sys
from pathlib import Path

from synth.assets import known_places, place_name
from synth.backgrounds import BackgroundLibrary, BadBackgrounds, background_files, load_backgrounds, with_lights
from synth.cli_progress import Progress
from synth.config import PRESETS, RenderConfig, load_config, parse_override
from synth.randomize import Library
from synth.scans import ScanLibrary, default_cache, load_library
from synth.splits import Splits, deal_splits, missing_splits

#: Flags that are short for config keys.
_SHORT = {"width": "width", "height": "height", "spp": "film.spp", "engine": "film.engine", "outputs": "outputs"}


def add_scan_arguments(parser: argparse.ArgumentParser) -> None:
    """--scans, --cache, --colour-missing."""
    parser.add_argument(
        "--scans", type=Path, action="append", required=True, metavar="DIR", help="folder of scans; again for more"
    )
    add_cache_arguments(parser)


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """--cache, --colour-missing."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="prepared scans and backgrounds (default: $SYNTH_CACHE, else the user's cache folder)",
    )
    parser.add_argument(
        "--colour-missing",
        choices=["clay", "refuse"],
        default="clay",
        help="what to do with a scan without colour (default: clay, a neutral grey)",
    )


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """--backgrounds, --config, --set and the flags that are short for config keys."""
    parser.add_argument("--seed", type=_natural, default=0, help="seed of the dataset (default: 0)")
    parser.add_argument(
        "--preset", choices=list(PRESETS), default="default", help="quality of the colour; --config wins over it"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file; `synth config show` lists all keys")
    parser.add_argument(
        "--backgrounds",
        metavar="DIR",
        help="folder of panoramas (.hdr .exr, 2:1 .jpg) and flat photos, or `manifest` for all fetched panoramas "
        "(default: the eight of Blender)",
    )
    parser.add_argument("--width", type=int, metavar="PX", help="columns (config key width)")
    parser.add_argument("--height", type=int, metavar="PX", help="rows (config key height)")
    parser.add_argument("--spp", type=int, help="paths per pixel (config key film.spp)")
    parser.add_argument(
        "--engine",
        metavar="NAME",
        help="what makes the colour: cycles, relight, eevee, analytic, or a mixture such as relight:0.9,cycles:0.1 "
        "(config key film.engine)",
    )
    parser.add_argument(
        "--outputs",
        metavar="NAMES",
        help="more labels, with commas: albedo, trust (stored), pointmap (always there, derived from depth)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="any config key, e.g. --set camera.fill=[0.8,0.9]; again for more",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        choices=["cpu", "cuda", "optix", "hip", "metal", "oneapi"],
        help="what Cycles renders on (default: cpu)",
    )


def config_of(args: argparse.Namespace) -> RenderConfig:
    """The config that --config, --set and the short flags ask for. Raises BadConfig."""
    overrides = dict(parse_override(text) for text in args.set)
    overrides |= {key: getattr(args, flag) for flag, key in _SHORT.items() if getattr(args, flag) is not None}
    return load_config(args.config, overrides, args.preset)


def cache_of(args: argparse.Namespace) -> Path:
    """The cache folder, absolute."""
    return (args.cache or default_cache()).absolute()


def load_scans(folders: list[Path], args: argparse.Namespace) -> ScanLibrary:
    """The scan library of some folders, with progress. Raises BadScans."""
    from renderers.importers import probe
    from renderers.tryout import try_scans

    with Progress("scans", 0, "scan") as progress:

        def say(done: int, total: int, name: str) -> None:
            progress.total(total)
            progress.to(done, name)

        return load_library(
            [folder.absolute() for folder in folders],
            cache_of(args),
            probe,
            args.colour_missing,
            core_count(),
            say,
            try_scans,
        )


def load_backgrounds_of(args: argparse.Namespace) -> BackgroundLibrary:
    """The background library that --backgrounds asks for, with progress; plates alone are lit by Blender's panoramas.

    Raises BadBackgrounds.
    """
    from synth.assets import AssetError, bpy_hdris, default_assets

    if args.backgrounds is None:
        files = list(bpy_hdris().values())
    elif args.backgrounds == "manifest":
        files = background_files(default_assets() / "hdri")
    else:
        files = background_files(Path(args.backgrounds))
    library = _load_with_progress(files, args)
    if library.entries:
        return library
    try:
        return with_lights(library, _load_with_progress(list(bpy_hdris().values()), args))
    except AssetError as error:
        raise BadBackgrounds(
            f"{args.backgrounds}: only flat photos, which light nothing; add a panorama (.hdr, .exr), or install "
            f"Blender's package for its eight ({error})"
        ) from error


def report_backgrounds(library: BackgroundLibrary) -> None:
    """Says how many backgrounds there are, which were refused and why, and what to mind about the others."""
    seen = sum(not entry.only_lights for entry in library.entries)
    say(f"backgrounds: {seen + len(library.plates)} accepted ({seen} panoramas, {len(library.plates)} plates)")
    if not seen:
        say(f"  light: {len(library.entries)} panoramas of Blender's, for plates light nothing")
    for verdict in library.verdicts:
        if verdict.verdict == "refused":
            say(f"  refused {verdict.path}: {verdict.reason}")
        for warning in verdict.warnings:
            say(f"  warning {verdict.path}: {warning}")


def _load_with_progress(files: list[Path], args: argparse.Namespace) -> BackgroundLibrary:
    with Progress("backgrounds", len(files), "picture") as progress:
        return load_backgrounds(files, cache_of(args), lambda done, _, name: progress.to(done, name))


def library_of(config: RenderConfig, scans: ScanLibrary, backgrounds: BackgroundLibrary) -> Library:
    """What recipes are drawn from, with people and places dealt to splits; says where a split stays empty."""
    shares = config.splits.model_dump()
    places = known_places()
    pictures = (*backgrounds.entries, *backgrounds.plates)
    place_of = {picture.sha256: place_name(picture.background_id, places) for picture in pictures}
    people = deal_splits((entry.person for entry in scans.entries), shares)
    scenes = deal_splits(place_of.values(), shares, {place: split for place, split in places.values()})
    for what, dealt in (("person", people), ("background", scenes)):
        for split in missing_splits(dealt, shares):
            seen = "; those of the others are seen there" if what == "background" else ""
            say(f"  no {what} of {len(dealt)} falls into split {split}{seen}")
    of_background = {sha256: scenes[place] for sha256, place in place_of.items()}
    return Library(scans.entries, backgrounds.entries, backgrounds.plates, Splits(people, of_background))


def data_size(size: float) -> str:
    """Bytes for people: `5.2 MB`, `1.11 TB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if size >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size / 1e6:.1f} MB"


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say(text: str, end: str = "\n") -> None:
    """A line of report on standard output."""
    print(text, end=end)
    sys.stdout.flush()


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value
