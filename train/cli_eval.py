"""`synth eval`: the papers' metrics of a model on people it has not seen."""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from synth.cli_library import say
from synth.cli_progress import Progress
from synth.report_file import replacing
from synth.store import open_version
from train.cli_train import parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, on what."""
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="RUN|FILE", help="training run or weights")
    parser.add_argument(
        "--data", required=True, metavar="DATASET", help="dataset, or a folder of rgb/ mask/ depth/ normal/"
    )
    parser.add_argument("--split", choices=["train", "val", "test", "all"], default="test", help="default: test")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--worst", type=Path, metavar="FILE.html", help="write a page of the worst images")
    parser.add_argument("--batch", type=int, default=4, help="pictures at a time (default: 4)")
    add_model_arguments(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What official weights do not say of themselves."""
    parser.add_argument("--arch", help="architecture of weights that do not say it")
    parser.add_argument("--task", choices=["depth", "normal", "pointmap"], help="task of weights that do not say it")
    parser.add_argument("--size", metavar="HxW", help="size of the model's frame (default: as it was trained)")


def run(args: argparse.Namespace) -> int:
    """Prints a table; exit 0."""
    from train.evaluate import evaluate, summarise

    predictor = open_predictor(args)
    count, examples, source = _examples(args)
    rows = []
    with Progress("eval", count, "image") as progress:
        for row in evaluate(lambda p: predictor.predict(p, args.batch), examples(None), predictor.task):
            rows.append(row)
            progress.to(len(rows))
    summary = {**source, "checkpoint": str(args.checkpoint), "task": predictor.task, **summarise(rows)}
    for line in table(summary):
        say(line)
    if args.json:
        with replacing(args.json) as file:
            file.write((json.dumps(summary, indent=1) + "\n").encode())
        say(f"{args.json}: all figures")
    if args.worst:
        _write_worst(args, summary, predictor, examples, {row.name: row for row in rows})
    return 0


def open_predictor(args: argparse.Namespace):
    """The model that `--checkpoint` names, on a GPU if there is one. Raises UserError."""
    from train.checkpoint import CheckpointError, model_with, open_model, read_weights
    from train.model import spec_of
    from train.predict import Predictor
    from train.process import only_process
    from train.run_folder import find_weights

    path, size = find_weights(args.checkpoint), parse_size(args.size)
    if args.arch and args.task:
        spec, task = spec_of(args.arch, args.task), args.task
        model, size = model_with(spec, task, read_weights(path)), size or spec.size
    elif args.arch or args.task:
        raise CheckpointError(f"{path}: name both --arch and --task, or neither")
    else:
        model, meta = open_model(path)
        task, size = meta["task"], size or meta["size"]
    device = only_process().device
    return Predictor(model.to(device).eval(), task, size, device, half=device.type == "cuda")


def table(summary: dict) -> Iterator[str]:
    """Lines for people: pooled figures, means over images, then each group's, pooled."""
    yield f"{summary['images']} images ({summary['split']}), pooled over person pixels"
    for kind, figures in summary["pooled"].items():
        yield f"  {kind:<14} {_figures(figures)}"
    for kind, figures in summary["per_image"].items():
        yield f"  {kind:<14} {_figures(figures)}  mean over images"
    for group, values in summary["groups"].items():
        for value, figures in values.items():
            for kind in (k for k in figures if k != "images"):
                yield f"  {f'{group} {value}':<28.28} {kind:<14} {_figures(figures[kind])}; {figures['images']} images"


def _figures(figures: dict) -> str:
    if "mean_deg" in figures:
        within = "/".join(f"{100 * share:.1f}" for share in figures["within"])
        angles = (
            f"mean {figures['mean_deg']:.2f}, median {figures['median_deg']:.2f}, rmse {figures['rmse_deg']:.2f} deg"
        )
        return f"{angles}; {within} % within 5/11.25/22.5/30"
    deltas = "/".join(f"{share:.4f}" for share in figures["delta"])
    return f"rmse {figures['rmse_m']:.4f} m, abs_rel {figures['abs_rel']:.4f}, delta {deltas}"


def _examples(args: argparse.Namespace) -> tuple[int, Callable, dict]:
    """How many there are, a function that gives those of some names (or all), and what they are, for the report."""
    from train.examples import dataset_examples, folder_examples, folder_names

    place = Path(args.data)
    if place.is_dir() and not (place / "store.json").is_file():
        names = folder_names(place)
        source = {"data": args.data, "split": "folder", "dataset_root": None}
        return len(names), lambda some: folder_examples(place, names if some is None else some), source
    from train.data import split_positions

    dataset = open_version(args.data)
    positions = split_positions(dataset, args.split)
    at = {f"{dataset.ids[p]:08d}": p for p in positions}
    source = {"data": args.data, "split": args.split, "dataset_root": dataset.root}
    return (
        len(positions),
        lambda some: dataset_examples(dataset, positions if some is None else [at[name] for name in some]),
        source,
    )


def _write_worst(args: argparse.Namespace, summary: dict, predictor, examples: Callable, rows: dict) -> None:
    from train.evaluate import BEST
    from train.gallery import write_gallery

    kind, _ = BEST[predictor.task]
    shown = list(examples(summary["worst"].get(kind, [])))
    made = predictor.predict((example.rgb for example in shown), args.batch)
    worst = ((example, maps, rows[example.name]) for example, maps in zip(shown, made, strict=True))
    title = f"{args.checkpoint}, {predictor.task}, on {args.data} ({summary['split']})"
    count = write_gallery(args.worst, title, table(summary), worst)
    say(f"{args.worst}: the worst {count}")
