"""`synth dataset rerender --replace`: samples rendered again become a new version."""

import argparse

from synth import cli_library
from synth.cli_library import say
from synth.cli_progress import Progress
from synth.cli_proof import machine_of, positions_of, prepare
from synth.cli_upkeep import only_latest
from synth.config import RenderConfig
from synth.randomize import Library
from synth.store import Dataset
from synth.store_folder import open_folder
from synth.store_record import check_store
from synth.store_write import Run, only_run


def replace(args: argparse.Namespace) -> int:
    """One line a sample that ends in its verdict, then the new version; exit 1 if any was refused."""
    from synth.version_replace import finish_interrupted

    place = only_latest(args.dataset)
    check_store(open_folder(place))
    run = only_run(open_folder(place))
    finished = finish_interrupted(run, "rerender", cli_library.core_count())
    dataset = Dataset(place)
    ids = dataset.ids[positions_of(dataset, args)].tolist()
    if finished == tuple(ids):
        say(f"{place}: were rendered again before; the new version is committed, root {dataset.root[:12]}")
        return 0
    return _replace(dataset, run, ids, args)


def _replace(dataset: Dataset, run: Run, ids: list[int], args: argparse.Namespace) -> int:
    from synth.store_revision import open_revision
    from synth.version_replace import finish
    from synth.version_replace import replace as make_again

    library = _library(dataset, args)
    machine, workers = machine_of(args)
    revision = open_revision(run, "rerender", ids)
    made = refused = 0
    with Progress("rerender", len(ids), "image") as progress:
        for answer in make_again(dataset, revision, machine, library, workers):
            made, refused = made + 1, refused + (not answer.staged)
            say(f"  {answer}")
            progress.to(made)
    if not revision.sealed():
        say(f"{dataset.path}: all {refused} samples are refused now; no new version")
        revision.discard()
        return 1
    before = f"; {len(ids) - made} were there from a session before" if made < len(ids) else ""
    manifest = finish(dataset, revision, cli_library.core_count())
    if manifest is None:
        say(f"{dataset.path}: every byte is what this version holds, from the same environment; no new version{before}")
    else:
        say(
            f"{dataset.path}: {made - refused} samples replaced, {refused} refused{before}; "
            f"root {manifest['root'][:12]}; `synth dataset tag` gives it a number"
        )
    return 1 if refused else 0


def _library(dataset: Dataset, args: argparse.Namespace) -> Library | None:
    """Prepares what --scans and --backgrounds name; what recipes can be drawn from again, if it is all named."""
    if not args.scans:
        prepare(args)
        return None
    config = RenderConfig.model_validate(dataset.spec["config"])
    scans = cli_library.load_scans(args.scans, args)
    return cli_library.library_of(config, scans, cli_library.load_backgrounds_of(args))
