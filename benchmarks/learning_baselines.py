"""What can be said of a person without looking at the picture: the errors that a trained model has to beat.

A baseline knows all labels of split train and answers every picture with the same map. An oracle is told one thing of
each picture's truth. They are evaluated by the code that evaluates models (`train.evaluate`), on the same samples.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from synth.store import Dataset
from train.data import split_positions
from train.evaluate import evaluate, score, summarise
from train.examples import Example, dataset_examples
from train.predict import Maps, unit


def summaries(dataset: Dataset, task: str) -> dict[str, dict]:
    """What `synth eval` says of each baseline and each oracle on split test."""
    found = {}
    for name, baseline in BASELINES[task].items():
        answer = baseline(dataset_examples(dataset, split_positions(dataset, "train")))
        found[name] = _summary_of(dataset, task, lambda _, answer=answer: answer)
    return found | {name: _summary_of(dataset, task, oracle) for name, oracle in ORACLES[task].items()}


def by_framing(summary: dict, task: str) -> dict[str, float]:
    """The task's one figure for each framing."""
    return {framing: score({"pooled": of}, task) for framing, of in summary["groups"]["framing"].items()}


def _summary_of(dataset: Dataset, task: str, answer: Callable[[Example], Maps]) -> dict:
    positions = split_positions(dataset, "test")
    answers = (answer(example) for example in dataset_examples(dataset, positions))

    def predict(pictures: Iterable[np.ndarray]) -> Iterator[Maps]:
        return (known for _, known in zip(pictures, answers, strict=True))

    return summarise(list(evaluate(predict, dataset_examples(dataset, positions), task)))


def mean_normals(examples: Iterable[Example]) -> Maps:
    """At each pixel the mean normal of the people seen there, at unit length; towards the camera where nobody was.

    All examples are of one size.
    """
    total = np.float64(0)
    for example in examples:
        total = total + np.where(example.mask[..., None], example.normal, 0)
    return Maps(normal=unit(total + np.array([0, 0, 1e-4])))


def facing_normals(examples: Iterable[Example]) -> Maps:
    """Every normal towards the camera."""
    shape = next(iter(examples)).mask.shape
    return Maps(normal=np.broadcast_to(np.array([0.0, 0, 1]), (*shape, 3)))


def constant_depth(examples: Iterable[Example]) -> Maps:
    """One depth everywhere. Scale and shift make it the mean of each image: its error is the spread of depth there."""
    return Maps(depth=np.ones(next(iter(examples)).mask.shape, np.float32))


def mean_depth(examples: Iterable[Example]) -> Maps:
    """At each pixel the mean depth of the people seen there, each less its own mean and over its own deviation."""
    total, count = np.float64(0), np.float64(0)
    for example in examples:
        inside = example.depth[example.mask].astype(np.float64)
        relative = (np.where(example.mask, example.depth, 0) - inside.mean()) / max(inside.std(), 1e-9)
        total = total + np.where(example.mask, relative, 0)
        count = count + example.mask
    return Maps(depth=total / np.maximum(count, 1))


def upright_slope(example: Example) -> Maps:
    """The depth that changes only from row to row, evenly, nearest to the picture's truth."""
    return _fitted(example, columns=False)


def slope(example: Example) -> Maps:
    """The plane nearest to the picture's truth: who knows it knows which side of a person is nearer."""
    return _fitted(example, columns=True)


def _fitted(example: Example, columns: bool) -> Maps:
    row, column = np.indices(example.mask.shape, dtype=np.float64)
    terms = np.stack([np.ones_like(row), row, column][: 3 if columns else 2], axis=-1)
    shares = np.linalg.lstsq(terms[example.mask], example.depth[example.mask].astype(np.float64), rcond=None)[0]
    return Maps(depth=(terms @ shares).astype(np.float32))


#: Task -> name -> function of training examples that gives the one map; the first is the one that counts.
BASELINES: dict[str, dict[str, Callable[[Iterable[Example]], Maps]]] = {
    "normal": {"mean map": mean_normals, "facing us": facing_normals},
    "depth": {"constant": constant_depth, "mean map": mean_depth},
}
#: What an answer is worth that knows one thing of every picture's truth: to see what a model has understood.
ORACLES: dict[str, dict[str, Callable[[Example], Maps]]] = {
    "normal": {},
    "depth": {"its slope upwards, told": upright_slope, "its slope every way, told": slope},
}
