"""`synth dataset card`: README.md and croissant.json of a version, in its folder or elsewhere."""

import argparse
from pathlib import Path

from synth.cli_library import say
from synth.errors import UserError
from synth.store import open_version, split_version
from synth.store_names import place_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--out."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: the dataset's folder)")


def run(args: argparse.Namespace) -> int:
    """Writes the card, and repeats what stands at its top."""
    from synth.card import make_card, publish_card

    place = place_of(split_version(args.dataset)[0])
    if args.out is None and isinstance(place, str):
        raise UserError(f"{args.dataset}: is in an object store; say with --out DIR where the card goes")
    card = make_card(open_version(args.dataset))
    for path in publish_card(card, args.out or place):
        say(str(path))
    for line in card.warnings:
        say(f"  warning: {line}")
    return 0
