"""`synth dataset VERB DATASET`: versions of a dataset, what changed, whether it is still what it was."""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from synth import cli_library
from synth.cli_library import say
from synth.cli_progress import Progress
from synth.errors import UserError
from synth.recipe import sample_id
from synth.store import Dataset, open_version, split_version
from synth.store_folder import open_folder
from synth.version_diff import ASPECTS, Diff
from synth.version_verify import LEVELS

#: Ids printed by `diff --ids` on one line.
_IDS_A_LINE = 12
#: Tolerance of a fraction: the same samples every time, spread by a multiplicative hash over the ids.
_MIX = 2654435761


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


def pick(ids: np.ndarray, fraction: float) -> np.ndarray:
    """Positions of a fraction of the samples, at least one: always the same ones, whatever else is in the dataset."""
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction}: expected more than 0 and at most 1")
    mixed = (ids.astype(np.uint64) * np.uint64(_MIX)) % np.uint64(2**32)
    chosen = np.flatnonzero(mixed < fraction * 2**32)
    return chosen if len(chosen) else np.array([int(np.argmin(mixed))])


def _nothing(parser: argparse.ArgumentParser) -> None:
    """No further arguments."""


def _log(args: argparse.Namespace) -> int:
    from synth.store_index import read_manifest
    from synth.store_tag import manifest_of, read_tags
    from synth.version import diff_manifests

    place, _ = split_version(args.dataset)
    folder = open_folder(place)
    tags, latest = read_tags(folder), read_manifest(folder.place)
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
    say(f"  spec {manifest['spec_sha256'][:12]}, {len(manifest['shards'])} shards, {size / 1e9:.2f} GB")
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
    return dataset.read(_position_of(dataset, index))


def _position_of(dataset: Dataset, index: int) -> int:
    position = int(np.searchsorted(dataset.ids, index))
    if position == len(dataset) or dataset.ids[position] != index:
        raise UserError(f"{dataset.path}: holds no sample {index}")
    return position


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", choices=LEVELS, default="hash", help="how deep to look (default: hash)")
    _add_fraction(parser)
    _add_machine(parser)


def _verify(args: argparse.Namespace) -> int:
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


def _add_rerender(parser: argparse.ArgumentParser) -> None:
    _add_fraction(parser)
    parser.add_argument("--ids", metavar="IDS", help="these samples: 3,7-9")
    _add_machine(parser)


def _rerender(args: argparse.Namespace) -> int:
    dataset = open_version(args.dataset)
    positions = pick(dataset.ids, args.fraction)
    if args.ids is not None:
        positions = np.array([_position_of(dataset, index) for index in parse_ids(args.ids)])
    return 1 if _say_answers(dataset, positions, args, only=None) else 0


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
    from synth.version_rerender import Machine, rerender

    cores = cli_library.core_count()
    workers = cores if args.workers is None else args.workers
    scan_store, background_store = _prepared(args)
    machine = Machine(scan_store, background_store, args.device, max(1, cores // max(1, workers)))
    verdicts: dict[str, int] = {}
    with Progress("rerender", len(positions), "image") as progress:
        for done, answer in enumerate(rerender(dataset, positions.tolist(), machine, workers)):
            verdicts[answer.verdict] = verdicts.get(answer.verdict, 0) + 1
            if only is None or answer.verdict == only:
                say(f"  {answer}")
            progress.to(done + 1)
    say(f"rendered again: {', '.join(f'{verdict} {count}' for verdict, count in sorted(verdicts.items()))}")
    return verdicts.get("DIFFERENT", 0)


def _prepared(args: argparse.Namespace) -> tuple[Path, Path]:
    """Where the prepared scans and backgrounds lie; those of --scans and --backgrounds are prepared first."""
    if args.scans:
        cli_library.load_scans(args.scans, args)
    if args.scans or args.backgrounds:
        cli_library.load_backgrounds_of(args)
    cache = cli_library.cache_of(args)
    return cache / "scans", cache / "backgrounds"


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


def _add_get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, metavar="ID")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")


def _get(args: argparse.Namespace) -> int:
    dataset = open_version(args.dataset)
    members = dataset.members(_position_of(dataset, args.id), verify=True)
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
    "verify": ("is it still what it was? exit 1 on any finding", _add_verify, _verify),
    "rerender": ("make samples again from their recipes; exit 1 if any is DIFFERENT", _add_rerender, _rerender),
    "get": ("one sample as loose files", _add_get, _get),
}
