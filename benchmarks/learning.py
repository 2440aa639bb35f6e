"""Does what we render teach anything? Tiny models against baselines, on people and backgrounds never seen in training.

    python benchmarks/learning.py --data DATASET --out DIR [--sizes 72,288,1152] [--steps 1200] [--seeds 0]

For each task and each number of training samples a `tiny` model is trained from fresh weights through `synth train`'s
own loop and evaluated on split `test` as `synth eval` does. The baselines know the training set's labels and nothing
of the picture: the mean normal of each pixel, and one depth for all pixels. Writes `learning.json`, `learning.svg` and
prints the table.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose train.py would be taken for the package

import numpy as np
import torch

from synth.store import Dataset, open_version
from train.checkpoint import open_model
from train.config import TrainConfig
from train.data import split_positions
from train.evaluate import BEST, Predict, evaluate, summarise
from train.examples import dataset_examples
from train.predict import Maps, Predictor, unit
from train.process import Process
from train.trainer import train

#: What the project promises of the largest set, as a share of the baseline's error.
MOST = 0.7
_UNITS = {"normal": "degrees, mean", "depth": "m, rmse after scale and shift"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", default="72,288,1152")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--tasks", default="normal,depth")
    arguments = parser.parse_args()
    dataset = open_version(arguments.data)
    people = {split: people_of(dataset, split) for split in ("train", "test")}
    assert not people["train"] & people["test"], "people of the test split were seen in training"
    counts = f"{len(people['train'])} people to learn from, {len(people['test'])} new"
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = []
    for task in arguments.tasks.split(","):
        baseline = error_of(lambda pictures, task=task: baseline_of(dataset, task, pictures), dataset, task)
        print(f"{task}: baseline {baseline:.4f} ({_UNITS[task]}), {counts}")
        for samples in map(int, arguments.sizes.split(",")):
            for seed in map(int, arguments.seeds.split(",")):
                found = learn(arguments, dataset, task, samples, seed)
                results.append(
                    {"task": task, "samples": samples, "seed": seed, "error": found, "share": found / baseline}
                )
                print(
                    f"  {samples:>6} samples, seed {seed}: {found:.4f}, {found / baseline:.3f} of the baseline",
                    flush=True,
                )
        of_task = [r for r in results if r["task"] == task]
        best = min(np.mean([r["share"] for r in of_task if r["samples"] == n]) for n in {r["samples"] for r in of_task})
        print(f"  {'PASS' if best <= MOST else 'FAIL'}: {best:.3f} of the baseline, at most {MOST} wanted")
    (arguments.out / "learning.json").write_text(json.dumps(results, indent=1) + "\n")
    (arguments.out / "learning.svg").write_text(curve(results))


def people_of(dataset: Dataset, split: str) -> set[str]:
    """Who is seen in a split."""
    people = dataset.column("people")
    return {person for position in split_positions(dataset, split) for person in people[position]}


def learn(arguments: argparse.Namespace, dataset: Dataset, task: str, samples: int, seed: int) -> float:
    """Error on split test of a tiny model trained on the first `samples` of split train; kept from an earlier run."""
    config = TrainConfig(
        task=task, data=arguments.data, arch="tiny", steps=arguments.steps, batch=arguments.batch, samples=samples,
        schedule="scratch", seed=seed, ema=0.99, save_every=200, validate_every=arguments.steps, threads=2,
    )  # fmt: skip
    process = Process(0, 1, torch.device("cpu"))
    run = arguments.out / f"{task}-{samples}-{seed}"
    train(config, run, process)
    model, meta = open_model(run / "final.pth")
    predictor = Predictor(model, task, meta["size"], process.device)
    return error_of(lambda pictures: predictor.predict(pictures, 8), dataset, task)


def error_of(predict: Predict, dataset: Dataset, task: str) -> float:
    """The task's first figure, pooled over the person pixels of split test."""
    rows = evaluate(predict, dataset_examples(dataset, split_positions(dataset, "test")), task)
    kind, figure = BEST[task]
    return summarise(list(rows))["pooled"][kind][figure]


def baseline_of(dataset: Dataset, task: str, pictures: Iterable[np.ndarray]) -> Iterator[Maps]:
    """The same for every picture: the training set's mean normal at each pixel, or a constant depth."""
    total = None
    if task == "normal":
        for example in dataset_examples(dataset, split_positions(dataset, "train")):
            total = example.normal.astype(np.float64) if total is None else total + example.normal
        towards_us = np.array([0, 0, 1e-3])  # where no person ever was
        mean = unit(total + towards_us)
    for picture in pictures:
        yield Maps(normal=mean) if task == "normal" else Maps(depth=np.ones(picture.shape[:2], np.float32))


def curve(results: list[dict]) -> str:
    """An SVG: share of the baseline's error over the number of samples, both axes from the data, one line a task."""
    width, height, left, bottom = 640, 360, 60, 50
    counts = sorted({r["samples"] for r in results})
    low, high = np.log(counts[0]) - 0.2, np.log(counts[-1]) + 0.2
    top = max(1.0, max(r["share"] for r in results)) * 1.05

    def x(samples: float) -> float:
        return left + (np.log(samples) - low) / (high - low) * (width - left - 20)

    def y(share: float) -> float:
        return height - bottom - share / top * (height - bottom - 20)

    right = width - 20
    marks = [f'<line x1="{left}" x2="{right}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="{c}" stroke-dasharray="4 4"/>'
             f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
             for v, c in ((0.0, "#888"), (0.5, "#ccc"), (MOST, "#c33"), (1.0, "#888"))]  # fmt: skip
    marks += [f'<text x="{x(n):.1f}" y="{height - bottom + 20}" text-anchor="middle">{n}</text>' for n in counts]
    for task, colour, at in (("normal", "#36c", 0), ("depth", "#2a7", 18)):
        points = [(n, [r["share"] for r in results if r["task"] == task and r["samples"] == n]) for n in counts]
        points = [(n, shares) for n, shares in points if shares]
        if not points:
            continue
        path = " ".join(f"{x(n):.1f},{y(float(np.mean(s))):.1f}" for n, s in points)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marks += [f'<circle cx="{x(n):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"/>' for n, s in points for v in s]
        marks.append(f'<text x="{width - 120}" y="{40 + at}" fill="{colour}">{task}</text>')
    title = "error on unseen people and backgrounds, share of the baseline's, over rendered training samples"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="12">'
    foot = f'<text x="{width / 2}" y="{height - 10}" text-anchor="middle">{title}</text></svg>'
    paper = f'<rect width="{width}" height="{height}" fill="white"/>'
    return f'{head}<g font-family="sans-serif">{paper}{"".join(marks)}</g>{foot}\n'


if __name__ == "__main__":
    main()
