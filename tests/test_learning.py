"""benchmarks/learning*.py: baselines by hand, blind to the test split; tables, the curve, a run to the end."""

import importlib
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from training import write_training_set  # noqa: E402

from synth.store import Dataset  # noqa: E402
from train.data import split_positions  # noqa: E402
from train.evaluate import score  # noqa: E402
from train.examples import Example, dataset_examples  # noqa: E402
from train.predict import Maps  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    """Imports a module of benchmarks/ as `python -m` finds it."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset(write_training_set(tmp_path_factory.mktemp("learning") / "set"))


def example(mask, normal=None, depth=None) -> Example:
    mask = np.array(mask, bool)
    return Example("x", np.zeros((*mask.shape, 3), np.uint8), mask, depth, normal)


def test_mean_normals_by_hand(bench):
    right, up = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
    first = example([[1, 1, 0, 0]], np.broadcast_to(right, (1, 4, 3)))
    second = example([[1, 0, 1, 0]], np.broadcast_to(up, (1, 4, 3)))
    found = bench("learning_baselines").mean_normals([first, second]).normal[0]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found, [[half, half, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-3)


def test_mean_depth_is_blind_to_each_picture_s_scale_and_shift(bench):
    shape = np.array([[1.0, 2, 4, 9]])
    mask = [[1, 1, 1, 0]]
    examples = [example(mask, depth=a * shape + b) for a, b in ((1, 0), (5, 3), (0.1, 20))]
    found = bench("learning_baselines").mean_depth(examples).depth[0]
    inside = shape[0, :3]
    np.testing.assert_allclose(found, [*((inside - inside.mean()) / inside.std()), 0], atol=1e-9)


def test_the_constant_s_error_is_the_spread_of_depth(bench, data):
    depths = [e.depth[e.mask].astype(float) for e in dataset_examples(data, split_positions(data, "test"))]
    variance = np.average([d.var() for d in depths], weights=[d.size for d in depths])
    summaries = bench("learning_baselines").summaries(data, "depth")
    found = {name: score(summary, "depth") for name, summary in summaries.items()}
    assert found["constant"] == pytest.approx(np.sqrt(variance), rel=1e-6) and np.sqrt(variance) > 0.01
    assert 0 < found["its slope every way, told"] <= found["its slope upwards, told"] <= found["constant"]


def test_an_oracle_is_told_slopes(bench):
    row, column = np.indices((6, 5), dtype=float)
    mask = (row + column) % 3 > 0
    tilted = example(mask, depth=np.where(mask, 2 + 0.1 * row - 0.3 * column, 0))
    baselines = bench("learning_baselines")
    np.testing.assert_allclose(baselines.slope(tilted).depth[mask], tilted.depth[mask], atol=1e-6)
    upright = baselines.upright_slope(tilted).depth
    assert np.ptp(upright, axis=1).max() == 0 and np.abs(upright - tilted.depth)[mask].max() > 0.3


def test_baselines_see_the_training_split_alone(bench, data, monkeypatch):
    seen = []

    def peek(examples) -> Maps:
        seen.extend(e.name for e in examples)
        return Maps(depth=np.ones((64, 48), np.float32))

    baselines = bench("learning_baselines")
    monkeypatch.setitem(baselines.BASELINES, "depth", {"peek": peek})
    assert list(baselines.summaries(data, "depth")) == ["peek", *baselines.ORACLES["depth"]]
    assert seen == [f"{data.ids[p]:08d}" for p in split_positions(data, "train")]


def test_a_person_of_two_splits_is_an_error(bench, data, monkeypatch):
    learning = bench("learning")
    rows = {"people": data.column("people"), "background": [str(s) for s in data.column("split")]}
    real = data.column
    monkeypatch.setattr(data, "column", lambda name: rows.get(name, real(name)))
    assert [line.split(":")[0] for line in learning._splits(data)] == ["train", "val", "test"]
    rows["people"] = [["anna"] for _ in rows["people"]]
    with pytest.raises(AssertionError, match="anna"):
        list(learning._splits(data))


FOUND = {
    "baselines": {"depth": {"constant": 0.1, "mean map": 0.08}},
    "framings": {"depth": {"constant": {"face": 0.05, "full": 0.2}, "mean map": {"face": 0.05, "full": 0.1}}},
    "runs": [
        {
            "task": "depth",
            "samples": n,
            "seed": seed,
            "error": error,
            "wall_s": 1,
            "core_s": 2,
            "framings": {"face": error / 2, "full": 2 * error},
        }
        for n, seed, error in ((100, 0, 0.07), (10, 0, 0.09), (100, 1, 0.06), (10, 1, 0.095))
    ],
}


def test_the_table_has_means_and_ranges(bench):
    rows = list(bench("learning_plot").table(FOUND, "depth"))
    assert rows[2:4] == ["| baseline: constant | 0.1 | | 1.000 |", "| baseline: mean map | 0.08 | | 0.800 |"]
    assert rows[4:] == [
        "| 10 samples | 0.0925 | 0.09 to 0.095 (2) | 0.925 |",
        "| 100 samples | 0.065 | 0.06 to 0.07 (2) | 0.650 |",
    ]


def test_framings_are_held_against_their_own_baseline(bench):
    rows = list(bench("learning_plot").framing_table(FOUND, "depth"))
    assert rows[0].endswith("| face | full |") and rows[3] == "| baseline: mean map | 0.05 (1.000) | 0.1 (0.500) |"
    assert rows[4] == "| 100 samples | 0.0325 (0.650) | 0.13 (0.650) |"


def test_the_curve_is_a_picture_of_the_runs(bench):
    svg = ElementTree.fromstring(bench("learning_plot").curve(FOUND, 0.7))
    dots = sorted((float(c.get("cx")), float(c.get("cy"))) for c in svg.iter() if c.tag.endswith("circle"))
    assert len(dots) == 4 and dots[0][0] == dots[1][0] < dots[2][0] == dots[3][0]
    assert max(y for _, y in dots[:2]) < min(y for _, y in dots[2:]), "lower error, lower in the picture"


@pytest.mark.parametrize("error, code, word", [(0.06, 0, "PASS"), (0.08, 1, "FAIL")])
def test_a_missed_aim_is_an_exit_code(bench, capsys, error, code, word):
    runs = [{**run, "error": error if run["samples"] == 100 else 0.5} for run in FOUND["runs"]]
    assert bench("learning").report({**FOUND, "runs": runs}) == code
    assert f"{word}: depth {error / 0.1:.3f}" in capsys.readouterr().out


def test_it_runs_to_the_end_and_goes_on_where_it_stopped(bench, data, monkeypatch, tmp_path, capsys):
    learning = bench("learning")
    monkeypatch.setattr(learning, "_splits", lambda dataset: [])  # the little set has one background
    monkeypatch.setattr(learning, "SIZE", (64, 48))
    monkeypatch.setattr(learning, "_BATCH", 2)
    words = f"learning --data {data.path} --out {tmp_path} --sizes 2,4 --steps 2 --threads 1"
    monkeypatch.setattr(sys, "argv", words.split())
    assert learning.main() == 1  # two steps teach nothing
    first = json.loads((tmp_path / "learning.json").read_text())
    assert [(r["task"], r["samples"]) for r in first["runs"]] == [(t, n) for t in ("normal", "depth") for n in (2, 4)]
    assert all(np.isfinite(r["error"]) and r["core_s"] > 0 for r in first["runs"])
    assert (tmp_path / "learning.jpg").read_bytes()[:2] == b"\xff\xd8"
    monkeypatch.setattr(learning, "evaluate", None)  # nothing is evaluated twice
    assert learning.main() == 1
    assert json.loads((tmp_path / "learning.json").read_text()) == first
