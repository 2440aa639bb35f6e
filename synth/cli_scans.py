"""`synth scans DIR`: what each file is, what was done to it, what was refused and why."""

import argparse
import json
from pathlib import Path

from synth import cli_library
from synth.cli_library import say
from synth.errors import UserError
from synth.scans import BadScans, ScanLibrary, Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DIR…, --json."""
    parser.add_argument("scans", type=Path, nargs="+", metavar="DIR", help="folder of scans")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the verdicts as JSON")
    cli_library.add_cache_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table; exit 1 when nothing is usable."""
    try:
        library = cli_library.load_scans(args.scans, args)
    except BadScans as error:
        if args.json and error.verdicts:
            _write_json(args.json, error.verdicts)
        raise
    if args.json:
        _write_json(args.json, library.verdicts)
    _print_table(library)
    return 0


def _write_json(path: Path, verdicts: tuple[Verdict, ...]) -> None:
    try:
        path.write_text(json.dumps([v.model_dump(mode="json") for v in verdicts], indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _print_table(library: ScanLibrary) -> None:
    facts = {entry.scan_id: entry.facts for entry in library.entries}
    shown = [v for v in library.verdicts if v.verdict != "ignored"]
    width = max((len(v.path) for v in shown), default=4)
    say(f"{'file':<{width}}  {'verdict':<8}  {'kind':<4}  {'height':>7}  {'faces':>9}  {'colour':<7}  what was done")
    for verdict in shown:
        height = f"{verdict.height_m:.2f} m" if verdict.height_m else ""
        say(
            f"{verdict.path:<{width}}  {verdict.verdict:<8}  {verdict.kind or '':<4}  {height:>7}  "
            f"{verdict.faces or '':>9}  {verdict.colour or '':<7}  {_what(verdict, facts)}"
        )
        for warning in verdict.warnings:
            say(f"{'':<{width}}  warning: {warning}")
    ignored = [v for v in library.verdicts if v.verdict == "ignored"]
    for verdict in ignored:
        say(f"{verdict.path:<{width}}  ignored   {verdict.reason}")
    counts = [sum(v.verdict == name for v in library.verdicts) for name in ("accepted", "refused", "ignored")]
    say("{} accepted, {} refused, {} ignored".format(*counts))


def _what(verdict: Verdict, facts: dict) -> str:
    if verdict.verdict != "accepted":
        return verdict.reason
    return "; ".join(facts[verdict.scan_id].changes) or "as it is"
