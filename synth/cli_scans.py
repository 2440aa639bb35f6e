"""`synth scans DIR`: what each file is, what was done to it, what was refused and why."""

import argparse
import json
import shutil
import textwrap
from collections import Counter
from pathlib import Path

from synth import cli_library
from synth.backgrounds import BackgroundVerdict, BadBackgrounds, load_backgrounds
from synth.cli_library import say
from synth.cli_progress import Progress
from synth.errors import UserError
from synth.scans import BadScans, ScanLibrary, Verdict

#: Columns of the table: title, width, whether numbers.
_COLUMNS = (("kind", 4, False), ("height", 7, True), ("faces", 9, True), ("colour", 12, False), ("person", 22, False),
            ("licence", 14, False))  # fmt: skip
#: With the columns and the gaps between them 120 in all.
_LONGEST_PATH = 40
_PANORAMAS = {".hdr", ".exr"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DIR…, --json, --html, --all."""
    parser.add_argument("scans", type=Path, nargs="+", metavar="DIR", help="folder of scans")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the verdicts as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with every scan from all sides")
    parser.add_argument("--all", action="store_true", help="list every ignored file, not only how many there are")
    cli_library.add_cache_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table; exit 1 when nothing is usable."""
    try:
        library = cli_library.load_scans(args.scans, args)
    except BadScans as error:
        if args.json and error.verdicts:
            _write_json(args.json, error.verdicts)
        raise
    panoramas = _judge_panoramas(args)
    verdicts = _with_panoramas(library.verdicts, panoramas)
    if args.json:
        _write_json(args.json, verdicts)
    _print_table(library, verdicts, args.all)
    if args.html:
        from synth.report_scans import write_scans_page

        # Never the path, which is nobody's business once the page is passed on.
        name = ", ".join(folder.absolute().name for folder in args.scans)
        with Progress("page", len(library.entries), "scan") as progress:
            write_scans_page(library, name, args.html, lambda done, _, path: progress.to(done, path))
        say(f"page: {args.html}")
    return 0


def _judge_panoramas(args: argparse.Namespace) -> dict[str, BackgroundVerdict]:
    """What lies among the scans and could be a background, by its path: judged too, so that nothing goes unsaid."""
    found = {}
    for folder in args.scans:
        root = folder.absolute().resolve()
        files = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in _PANORAMAS]
        files = [path for path in files if path.is_file() and not path.is_symlink()]
        try:
            said = load_backgrounds(files, cli_library.cache_of(args)).verdicts if files else ()
        except BadBackgrounds as error:
            said = error.verdicts
        found |= {file.relative_to(root).as_posix(): verdict for file, verdict in zip(files, said, strict=True)}
    return found


def _write_json(path: Path, verdicts: tuple[Verdict, ...]) -> None:
    try:
        path.write_text(json.dumps([v.model_dump(mode="json") for v in verdicts], indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _with_panoramas(verdicts: tuple[Verdict, ...], panoramas: dict[str, BackgroundVerdict]) -> tuple[Verdict, ...]:
    """The verdicts with what was said of panoramas in place of "not a mesh"."""
    said = []
    for verdict in verdicts:
        panorama = panoramas.get(verdict.path)
        if panorama is not None and panorama.verdict != "refused":
            reason = f"no scan, but a background: {panorama.reason}"
            verdict = verdict.model_copy(update={"reason": reason, "warnings": panorama.warnings})
        elif panorama is not None:
            verdict = verdict.model_copy(update={"verdict": "refused", "reason": panorama.reason})
        said.append(verdict)
    return tuple(said)


def _print_table(library: ScanLibrary, verdicts: tuple[Verdict, ...], every: bool) -> None:
    facts = {entry.scan_id: entry.facts for entry in library.entries}
    accepted = [v for v in verdicts if v.verdict == "accepted"]
    width = min(_LONGEST_PATH, max((len(v.path) for v in accepted), default=4))
    say(
        "  ".join([f"{'scan':<{width}}", *(f"{t:>{w}}" if right else f"{t:<{w}}" for t, w, right in _COLUMNS)]).rstrip()
    )
    for verdict in accepted:
        say("  ".join([f"{_cut(verdict.path, width):<{width}}", *_cells(verdict)]).rstrip())
        _say_below("; ".join(facts[verdict.scan_id].changes))
        for warning in verdict.warnings:
            _say_below(f"warning: {warning}")
    refused = [v for v in verdicts if v.verdict == "refused"]
    say(f"\nrefused: {len(refused)}")
    for verdict in refused:
        _say_below(f"{verdict.path}: {verdict.reason}", "  ")
    _print_ignored([v for v in verdicts if v.verdict == "ignored"], every)
    people = len({entry.person for entry in library.entries})
    say(f"\n{len(accepted)} scans of {people} people accepted, {len(refused)} files refused, ", end="")
    say(f"{len(verdicts) - len(accepted) - len(refused)} ignored")


def _print_ignored(ignored: list[Verdict], every: bool) -> None:
    say(f"\nignored: {len(ignored)}{'' if every or not ignored else ' (--all lists them)'}")
    if every:
        for verdict in ignored:
            _say_below(f"{verdict.path}: {verdict.reason}", "  ")
        return
    # Reasons end in names; what stands before them says what kind of file it was.
    kinds = Counter(v.reason.split(" of ")[0].split(" as ")[0].split(" beside ")[0].split(": ")[0] for v in ignored)
    for kind, count in kinds.most_common():
        say(f"  {count:>6}  {kind}")


def _cells(verdict: Verdict) -> list[str]:
    colour = f"{verdict.colour} {verdict.texture_px}" if verdict.texture_px else verdict.colour
    licence = (verdict.licence or "-").split(" (")[0]
    values = (verdict.kind, f"{verdict.height_m:.2f} m", verdict.faces, colour, verdict.person, licence)
    return [
        f"{_cut(str(value), width):>{width}}" if right else f"{_cut(str(value), width):<{width}}"
        for value, (_, width, right) in zip(values, _COLUMNS, strict=True)
    ]


def _say_below(text: str, indent: str = "      ") -> None:
    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    say(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False))


def _cut(text: str, width: int) -> str:
    """The end of a long name says more than its beginning."""
    return text if len(text) <= width else "…" + text[-(width - 1) :]
