"""What can be said of a person without looking at the picture: the errors that a trained model has to beat.

A baseline knows all labels of split train and answers every picture with the same map. It is evaluated by the code that
evaluates models (`train.evaluate`), on the same samples.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from synth.store import Dataset
from train.data import split_positions
from train.evaluate import evaluate, score, summarise
from train.examples import Example, dataset_examples
from train.predict import Maps, unit


def error_of(dataset: Dataset, task: str, baseline: Callable[[Iterable[Example]], Maps], split: str = "test") -> float:
    """The task's one figure, pooled over a split's person pixels."""
    answer = baseline(dataset_examples(dataset, split_positions(dataset, "train")))

    def predict(pictures: Iterable[np.ndarray]) -> Iterator[Maps]:
        return (answer for _ in pictures)

    examples = dataset_examples(dataset, split_positions(dataset, split))
    return score(summarise(list(evaluate(predict, examples, task))), task)


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


#: Task -> name -> function of training examples that gives the one map; the first is the one that counts.
BASELINES: dict[str, dict[str, Callable[[Iterable[Example]], Maps]]] = {
    "normal": {"mean map": mean_normals, "facing us": facing_normals},
    "depth": {"constant": constant_depth, "mean map": mean_depth},
}
