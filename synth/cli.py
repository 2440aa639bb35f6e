"""The command line: which commands there are, and how an error reaches the user.

Each command lives in a `synth.cli_*` module with `add_arguments(parser)` and `run(args) -> exit code`; modules are
imported when their command is asked for, so that `synth --help` is instant.
"""

import argparse
import importlib
import os
import signal
import sys
import traceback

from synth.errors import UserError

#: Command: (module, what it does).
COMMANDS = {
    "render": ("synth.cli_render", "scans in, a checked dataset of RGB / depth / normal triplets out"),
    "scans": ("synth.cli_scans", "what each scan of a folder is, what was done to it, what was refused and why"),
    "plan": ("synth.cli_plan", "hours, core-hours and bytes for N images, from a short measured calibration"),
    "check": ("synth.cli_check", "every sample's labels against the rules; exit 1 on any fault"),
    "view": ("synth.cli_view", "gallery page and contact sheet of a dataset"),
    "status": ("synth.cli_status", "how far a run is, from any terminal or machine that sees its folder"),
    "dataset": ("synth.cli_dataset", "versions: log, show, tag, diff, verify, rerender, get"),
    "train": ("train.cli_train", "finetune a depth, normal or pointmap head on a dataset"),
    "eval": ("train.cli_eval", "the papers' metrics of a model on people it has not seen"),
    "predict": ("train.cli_predict", "depth, normals or points of your own pictures"),
    "config": ("synth.cli_config", "every option of the config with its default and unit; the JSON schema"),
    "assets": ("synth.cli_assets", "demo scans and backgrounds: list, fetch, verify"),
    "doctor": ("synth.cli_doctor", "is this machine able to render? names what is missing and the command that helps"),
}

#: Packages that an extra brings: `render`, or `train` for its commands. A render node has no torch, a training node no
#: Blender.
_FROM_EXTRAS = ("bpy", "embreex", "numba", "ray", "safetensors", "scipy", "torch", "trimesh")


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns its exit code: 0 good, 1 failed, 2 wrong usage, 130 Ctrl-C, 75 SIGTERM."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        _print_overview()
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"synth {version('synth')}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"synth: no command {argv[0]!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module_name, description = COMMANDS[argv[0]]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(
        prog=f"synth {argv[0]}", description=f"{argv[0]}: {description}", allow_abbrev=False
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv[1:])
    return _run(module, args)


def _run(module, args: argparse.Namespace) -> int:
    try:
        return module.run(args)
    except KeyboardInterrupt as error:
        print("synth: stopped; the same command goes on from here", file=sys.stderr)
        return 75 if getattr(error, "number", None) == signal.SIGTERM else 130
    except BrokenPipeError:  # `synth scans DIR | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the one place that turns errors into lines and exit codes
        if args.debug:
            traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UserError | OSError):
            print(f"synth: {text}", file=sys.stderr)
        elif isinstance(error, ModuleNotFoundError) and error.name in _FROM_EXTRAS:
            extra = "train" if module.__name__.startswith("train.") else "render"
            print(
                f"synth: this needs {error.name}, which is not installed: pip install 'synth[{extra}]'", file=sys.stderr
            )
        else:
            print(f"synth: internal error, {type(error).__name__}: {text} (--debug shows where)", file=sys.stderr)
        return 1


def _print_overview() -> None:
    print("synth: a folder of human scans becomes a checked dataset of RGB / depth / normal triplets\n")
    print("usage: synth COMMAND ...   (synth COMMAND --help says more)\n")
    for name, (_, description) in COMMANDS.items():
        print(f"  {name:<8} {description}")


if __name__ == "__main__":
    sys.exit(main())
