"""How good predictions are: rows of figures per image, pooled over pixels, averaged over images, broken down by group.

Everything is measured at the resolution of the labels. The figures themselves: `train.metrics`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np

from train.examples import Example
from train.metrics import (
    DepthError,
    NormalError,
    align_depth,
    angle_histogram,
    depth_error,
    normal_angles,
    normal_error,
    pool_depth,
    pool_normals,
)
from train.predict import Maps

#: The figure by which a model is the better one, lower is better, by task: (kind of row, field).
BEST = {"depth": ("depth_aligned", "rmse_m"), "normal": ("normal", "mean_deg"), "pointmap": ("depth", "rmse_m")}

Predict = Callable[[Iterable[np.ndarray]], Iterator[Maps]]


@dataclass(frozen=True, eq=False)
class Row:
    """The figures of one image; `errors` by kind: depth_aligned (after scale and shift), depth (metres as predicted) or
    depth_relative (the same of a task without metres), normal."""

    name: str
    groups: dict[str, str]
    errors: dict[str, DepthError | NormalError]
    histogram: np.ndarray | None = field(default=None, repr=False)


def evaluate(predict: Predict, examples: Iterable[Example], task: str) -> Iterator[Row]:
    """A row for each example with a person pixel; the others have no error to speak of."""
    held: list[Example] = []

    def pictures() -> Iterator[np.ndarray]:
        for example in examples:
            held.append(example)
            yield example.rgb

    for maps in predict(pictures()):
        example = held.pop(0)
        if example.mask.any():
            yield _row(maps, example, task)


def summarise(rows: list[Row], worst: int = 12) -> dict:
    """Figures as plain values: `pooled` over all pixels, `per_image` means, `groups`, and the `worst` images' names."""
    return {
        "images": len(rows),
        "pooled": _pooled(rows),
        "per_image": _averaged(rows),
        "groups": {
            group: {value: {"images": len(part), **_pooled(part)} for value, part in sorted(_by(rows, group).items())}
            for group in sorted({group for row in rows for group in row.groups})
        },
        "worst": {kind: _worst(rows, kind, worst) for kind in _kinds(rows)},
    }


def score(summary: dict, task: str) -> float:
    """The one figure that says which model is better, pooled; lower is better."""
    kind, figure = BEST[task]
    return summary["pooled"][kind][figure]


def _row(maps: Maps, example: Example, task: str) -> Row:
    errors, histogram = {}, None
    if maps.depth is not None and example.depth is not None:
        aligned = align_depth(maps.depth, example.depth, example.mask)
        errors["depth_aligned"] = depth_error(aligned, example.depth, example.mask)
        kind = "depth" if task == "pointmap" else "depth_relative"  # whose unit is the model's own
        errors[kind] = depth_error(maps.depth, example.depth, example.mask)
    if maps.normal is not None and example.normal is not None:
        angles = normal_angles(maps.normal, example.normal, example.mask)
        errors["normal"], histogram = normal_error(angles), angle_histogram(angles)
    return Row(example.name, example.groups, errors, histogram)


def _kinds(rows: list[Row]) -> list[str]:
    return sorted({kind for row in rows for kind in row.errors})


def _pooled(rows: list[Row]) -> dict:
    figures = {}
    for kind in _kinds(rows):
        errors = [row.errors[kind] for row in rows if kind in row.errors]
        if kind == "normal":
            histogram = np.sum([row.histogram for row in rows if row.histogram is not None], axis=0)
            figures[kind] = asdict(pool_normals(errors, histogram))
        else:
            figures[kind] = asdict(pool_depth(errors))
    return figures


def _averaged(rows: list[Row]) -> dict:
    figures = {}
    for kind in _kinds(rows):
        errors = [asdict(row.errors[kind]) for row in rows if kind in row.errors]
        figures[kind] = {
            name: np.mean([error[name] for error in errors], axis=0).tolist() for name in errors[0] if name != "pixels"
        }
    return figures


def _by(rows: list[Row], group: str) -> dict[str, list[Row]]:
    parts = defaultdict(list)
    for row in rows:
        parts[row.groups.get(group, "")].append(row)
    return parts


def _worst(rows: list[Row], kind: str, most: int) -> list[str]:
    figure = "mean_deg" if kind == "normal" else "rmse_m"
    having = [row for row in rows if kind in row.errors]
    return [row.name for row in sorted(having, key=lambda row: -getattr(row.errors[kind], figure))[:most]]
