"""`synth dataset gc` and `compact`: room on the disk, without touching a version that has a name."""

import argparse
from collections import defaultdict

import numpy as np

from synth import cli_library
from synth.cli_library import data_size, say
from synth.cli_progress import Progress
from synth.errors import UserError
from synth.store import Dataset, split_version
from synth.store_folder import open_folder
from synth.store_names import Place
from synth.store_record import check_store


def add_gc(parser: argparse.ArgumentParser) -> None:
    """--dry-run, --older-than."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument(
        "--older-than",
        type=float,
        default=60.0,
        metavar="MINUTES",
        help="keep what is younger, for a running writer may need it (default: 60)",
    )


def gc(args: argparse.Namespace) -> int:
    """Removes what no version and no record reaches; says what, and how many bytes."""
    from synth.version_gc import find_garbage, remove_garbage, unfinished_samples

    if not args.older_than >= 0:
        raise UserError(f"--older-than {args.older_than}: expected minutes, 0 or more")
    folder = open_folder(only_latest(args.dataset))
    check_store(folder)
    young_s = args.older_than * 60
    garbage = list(find_garbage(folder, young_s))
    groups = defaultdict(list)
    for item in garbage:
        groups[item.kind].append(item)
    for kind, items in groups.items():
        say(f"  {kind}: {len(items)} files, {data_size(sum(item.bytes for item in items))}")
        for item in items if args.dry_run else ():
            say(f"    {item.name}")
    unfinished = unfinished_samples(folder)
    if unfinished:
        say(f"  kept: a re-render of {unfinished} samples that is not finished; the same command goes on")
    size = sum(item.bytes for item in garbage)
    if args.dry_run:
        say(f"{folder.place}: {len(garbage)} files, {size} bytes would go")
        return 0
    removed = remove_garbage(folder, garbage, young_s)
    say(f"{folder.place}: {len(garbage)} files, {removed} bytes removed")
    return 0


def add_compact(parser: argparse.ArgumentParser) -> None:
    """--below."""
    parser.add_argument(
        "--below",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="rewrite shards of which less than this belongs to the latest version (default: 0.5)",
    )


def compact(args: argparse.Namespace) -> int:
    """Rewrites sparse shards and commits a new version of the same root."""
    from synth.store_index import commit
    from synth.store_revision import open_revision
    from synth.store_write import only_run
    from synth.version_compact import compact as rewrite
    from synth.version_compact import sparse_shards
    from synth.version_replace import finish_interrupted

    if not 0 < args.below <= 1:
        raise UserError(f"--below {args.below}: expected more than 0 and at most 1")
    place, processes = only_latest(args.dataset), cli_library.core_count()
    check_store(open_folder(place))
    run = only_run(open_folder(place))
    if finish_interrupted(run, "compact", processes):
        say(f"{place}: the new version of an interrupted compaction is committed")
    dataset = Dataset(place)
    sparse = sparse_shards(dataset, args.below)
    if not len(sparse):
        say(f"{place}: nothing to do, at least {args.below:g} of every shard belongs to the latest version")
        return 0
    ids = dataset.ids[np.isin(dataset.shard_numbers, sparse)].tolist()
    revision = open_revision(run, "compact", ids)
    with Progress("compact", len(ids), "sample") as progress:
        for done in rewrite(dataset, revision):
            progress.to(done)
    revision.put_in_effect()
    manifest = commit(run, lineage={}, processes=processes)
    old = sum(dataset.manifest["shards"][number]["bytes"] for number in sparse)
    live = int(dataset.live_bytes[sparse].sum())
    say(
        f"{place}: {len(ids)} samples of {len(sparse)} shards rewritten, {data_size(live)} of {data_size(old)}; "
        f"root {manifest['root'][:12]}"
    )
    say("next: `synth dataset gc` removes the old shards once no tag's version lies in them")
    return 0


def only_latest(text: str) -> Place:
    """The place of a dataset that is to be changed. Raises UserError when a version is named."""
    place, version = split_version(text)
    if version != "latest":
        raise UserError(f"{text}: a version cannot be changed; leave @{version} out")
    return place
