"""`synth dataset VERB DATASET`: versions of a dataset, what changed, whether it is still what it was."""

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from synth import cli_card, cli_proof, cli_upkeep
from synth.cli_library import data_size, say
from synth.cli_proof import position_of
from synth.errors import UserError
from synth.recipe import sample_id
from synth.store import Dataset, open_version, split_version
from synth.store_folder import open_folder
from synth.store_shard import END_OF_ARCHIVE
from synth.version_diff import ASPECTS, Diff

#: Ids printed by `diff --ids` on one line.
_IDS_A_LINE = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command a verb; DATASET comes first, a version as DATASET@1.2.0."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (text, add, _) in _VERBS.items():
        sub = verbs.add_parser(verb, help=text, description=f"dataset {verb}: {text}", allow_abbrev=False)
        sub.add_argument("dataset", metavar="DATASET", help="folder or URL, or a version of it: DATASET@1.2.0")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        add(sub)


def run(args: argparse.Namespace) -> int:
    """Runs a verb; `verify` and `rerender` exit with 1 on any finding."""
    return _VERBS[args.verb][2](args)


def _nothing(parser: argparse.ArgumentParser) -> None:
    """No further arguments."""


def _log(args: argparse.Namespace) -> int:
    from synth.store_index import read_manifest
    from synth.store_tag import manifest_of, read_tags
    from synth.version import diff_manifests

    place, _ = split_version(args.dataset)
    folder = open_folder(place)
    tags, latest = read_tags(folder), read_manifest(folder)
    if latest is None:
        raise UserError(f"{place}: no version is committed yet; let `synth render` finish")
    before = manifest_of(folder, tags[-1]) if tags else None
    if before is None or before["root"] != latest["root"] or before["environments"] != latest["environments"]:
        diff = diff_manifests(folder, before, latest)
        rows, root = latest["index"]["rows"], latest["root"]
        say(f"latest  {rows} samples  root {root[:12]}  {_counts(diff.counts)}  not tagged")
    for tag in reversed(tags):
        message = f"  {tag.message}" if tag.message else ""
        say(f"{tag.number}  {tag.samples} samples  root {tag.root[:12]}  {_counts(tag.counts)}  {tag.created}{message}")
    return 0


def _show(args: argparse.Namespace) -> int:
    dataset = open_version(args.dataset)
    manifest = dataset.manifest
    size = sum(shard["bytes"] for shard in manifest["shards"])
    say(f"{args.dataset}: {len(dataset)} samples, root {manifest['root']}")
    say(f"  spec {manifest['spec_sha256'][:12]}, {len(manifest['shards'])} shards, {data_size(size)}")
    replaced = size - len(END_OF_ARCHIVE) * len(manifest["shards"]) - int(dataset.live_bytes.sum())
    if replaced:
        say(f"  replaced samples take {data_size(replaced)} of the shards (`synth dataset compact`)")
    for environment in manifest["environments"]:
        facts = environment["facts"] or {}
        known = ", ".join(f"{name} {value}" for name, value in sorted(facts.items())) or "unknown"
        say(f"  environment {environment['env_id']}: {environment['samples']} samples; {known}")
    for split, count in _histogram(dataset.column("split")):
        say(f"  split {split}: {count}")
    say(f"  licences: {', '.join(manifest['licences']) or 'none stated'}")
    return 0


def _add_tag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--message", default="", metavar="TEXT", help="what the version is, for people")


def _tag(args: argparse.Namespace) -> int:
    from synth.version import make_tag

    place, version = split_version(args.dataset)
    if version != "latest":
        raise UserError(f"{args.dataset}: only the latest version can be tagged; leave @{version} out")
    tag = make_tag(open_folder(place), args.message, datetime.now(UTC).isoformat(timespec="seconds"))
    say(f"{place}@{tag.number}: {tag.samples} samples, {_counts(tag.counts)}, root {tag.root[:12]}")
    return 0


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a version: 1.0.0, latest, or a manifest's hash")
    parser.add_argument("b", metavar="B", nargs="?", default="latest", help="another one (default: latest)")
    parser.add_argument("--ids", action="store_true", help="also the ids")
    parser.add_argument("--pixels", type=int, metavar="ID", help="compare this sample's pixels, with a picture")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="where that picture goes (default: diff-ID.png)")


def _diff(args: argparse.Namespace) -> int:
    from synth.store_tag import find_manifest
    from synth.version import diff_manifests

    place, _ = split_version(args.dataset)
    folder = open_folder(place)
    if args.pixels is not None:
        return _diff_pixels(place, args)
    diff = diff_manifests(folder, find_manifest(folder, args.a), find_manifest(folder, args.b))
    say(f"{place}: {args.a} -> {args.b}: {_counts(diff.counts)}")
    if args.ids:
        _say_ids(diff)
    return 0


def _say_ids(diff: Diff) -> None:
    groups = {"added": diff.added, "removed": diff.removed}
    groups |= {f"changed {name}": diff.changed[diff.aspects[name]] for name in ASPECTS}
    for name, ids in groups.items():
        for start in range(0, len(ids), _IDS_A_LINE):
            say(f"  {name}: {' '.join(sample_id(int(i)) for i in ids[start : start + _IDS_A_LINE])}")


def _diff_pixels(place: str, args: argparse.Namespace) -> int:
    from synth.report_pair import write_pair
    from synth.version_compare import compare_samples

    a, b = (_sample_of(Dataset(place, version), args.pixels) for version in (args.a, args.b))
    comparison = compare_samples(a, b)
    path = args.out or Path(f"diff-{sample_id(args.pixels)}.png")
    write_pair(a, b, path)
    say(f"{sample_id(args.pixels)}: {comparison.figures} {comparison.verdict}")
    say(f"picture: {path.absolute()}")
    return 0


def _sample_of(dataset: Dataset, index: int):
    return dataset.read(position_of(dataset, index))


def _add_get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, metavar="ID")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")


def _get(args: argparse.Namespace) -> int:
    dataset = open_version(args.dataset)
    members = dataset.members(position_of(dataset, args.id), verify=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for extension, data in members.items():
        (args.out / f"{sample_id(args.id)}.{extension}").write_bytes(data)
    say(f"{os.path.join(args.out, sample_id(args.id))}.{{{','.join(members)}}}")
    return 0


def _counts(counts: dict[str, int]) -> str:
    """E.g. `+12 -0 ~3 (pixels 3, environment 3)`."""
    aspects = ", ".join(f"{name} {counts[name]}" for name in ASPECTS if counts.get(name))
    return f"+{counts['added']} -{counts['removed']} ~{counts['changed']}" + (f" ({aspects})" if aspects else "")


def _histogram(values: list[str]) -> list[tuple[str, int]]:
    names, counts = np.unique(np.array(values), return_counts=True)
    return list(zip(names.tolist(), counts.tolist(), strict=True))


#: Verb: (what it does, its arguments, its handler).
_VERBS = {
    "log": ("tags, newest first, with what each changed", _nothing, _log),
    "show": ("what a version holds and what made it", _nothing, _show),
    "tag": ("give the latest version the number that follows from what changed", _add_tag, _tag),
    "diff": ("what changed between two versions", _add_diff, _diff),
    "verify": ("is it still what it was? exit 1 on any finding", cli_proof.add_verify, cli_proof.verify),
    "rerender": (
        "make samples again from their recipes; exit 1 if any is DIFFERENT; --replace keeps them as a new version",
        cli_proof.add_rerender,
        cli_proof.rerender,
    ),
    "card": ("README.md and croissant.json: what it holds, under which licences", cli_card.add_arguments, cli_card.run),
    "get": ("one sample as loose files", _add_get, _get),
    "gc": ("remove what no version and no record reaches", cli_upkeep.add_gc, cli_upkeep.gc),
    "compact": ("move what lives in mostly dead shards to new ones", cli_upkeep.add_compact, cli_upkeep.compact),
}
