"""`synth config show|schema`: every option with its default and unit, from the models' own docstrings."""

import argparse
import json

from pydantic import BaseModel

from synth.config import RenderConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """show | schema."""
    parser.add_argument("what", choices=["show", "schema"], nargs="?", default="show")


def run(args: argparse.Namespace) -> int:
    """Prints YAML with comments, or the JSON schema."""
    if args.what == "schema":
        print(json.dumps(RenderConfig.model_json_schema(), indent=2))
    else:
        print("# Defaults; any part of this may stand in a file for --config, or as --set path=value.")
        _show(RenderConfig(), indent="")
    return 0


def _show(model: BaseModel, indent: str) -> None:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        description = " ".join(
            (field.description or (type(value).__doc__ if isinstance(value, BaseModel) else "") or "").split()
        )
        if description:
            print(f"{indent}# {description}")
        if isinstance(value, BaseModel):
            print(f"{indent}{name}:")
            _show(value, indent + "  ")
        else:
            print(f"{indent}{name}: {json.dumps(value)}")
