"""`synth assets list|fetch|verify`: what the manifest names, and what of it is here."""

import argparse
import sys
from pathlib import Path

from synth.assets import default_assets, fetch, load_manifest, verify
from synth.cli_library import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """list | fetch | verify, ids or groups, --dest."""
    parser.add_argument("what", choices=["list", "fetch", "verify"])
    parser.add_argument("ids", nargs="*", metavar="ID", help="asset ids or groups (demo, hdri); default: all")
    parser.add_argument(
        "--dest",
        type=Path,
        metavar="DIR",
        help="where assets lie (default: $SYNTH_ASSETS, else the user's data folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Exit 1 when an asset could not be fetched or is not what the manifest says."""
    manifest = load_manifest()
    dest = (args.dest or default_assets()).absolute()
    if args.what == "list":
        for asset in manifest.assets:
            say(f"{asset.id:<28} {asset.kind:<5} {asset.split:<6} {asset.licence:<14} {asset.attribution}")
        return 0
    if args.what == "fetch":
        states = fetch(manifest, dest, args.ids or None, lambda text: print(text, file=sys.stderr))
    else:
        states = verify(manifest, dest)
    for state in states:
        say(f"{'ok    ' if state.ok else 'FAILED'} {state.id:<28} {state.detail}")
    return 0 if all(state.ok for state in states) else 1
