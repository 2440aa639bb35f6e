"""Figures of a card against numpy, on tables by hand, and at the size of a real dataset."""

import time

import numpy as np
import pyarrow as pa
import pytest

from synth.card_markdown import bars, fenced, plain, spread_block
from synth.card_measure import COLUMNS, SPREADS, _spread, measure_table
from synth.store_record import StoreError
from synth.store_table import schema

FIELDS = {name: schema().field(name).type for name in COLUMNS}


def make_table(n: int, **given) -> pa.Table:
    """n rows: `given` columns, the rest plain."""
    defaults = {"split": "train", "background": "sky", "framing": "full", "env_id": "e", "width": 768, "height": 1024}
    columns = {}
    for name, kind in FIELDS.items():
        if name in given:
            columns[name] = pa.array(given[name], kind)
        elif pa.types.is_list(kind):
            values = pa.array(["x"] * n if name in ("scans", "people") else [], pa.string())
            offsets = np.arange(n + 1) if len(values) else np.zeros(n + 1)
            columns[name] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
        else:
            columns[name] = pa.array(np.full(n, defaults.get(name, 1)), kind)
    return pa.table(columns)


@pytest.mark.parametrize("low, high", [(0, 360), (-12, 35), (0.02, 0.98), (24, 135), (-2.0, 2.0), (1e-9, 3e-9), (7, 8)])
def test_bins_are_round_and_hold_every_value_once(low, high):
    values = np.random.default_rng(0).uniform(low, high, 1000).astype(np.float32)
    spread = _spread(values)
    assert spread.counts.sum() == 1000 and 4 <= len(spread.counts) <= 14
    inner = spread.edges[1:-1]
    steps = np.diff(inner)
    assert np.allclose(steps, steps[0]) and np.allclose(inner / steps[0], np.round(inner / steps[0]))
    mantissa = steps[0] / 10.0 ** np.floor(np.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 3, 5)) < 1e-6
    assert spread.percentiles == pytest.approx(np.percentile(values.astype(float), (5, 50, 95)))


def test_bins_lose_no_value_at_their_ends():
    values = np.array([0.3, 0.5, 0.6, 0.7, 0.9])  # 3 * 0.1 is above 0.3
    assert _spread(values).counts.sum() == 5 and _spread(-values).counts.sum() == 5


def test_directions_are_counted_in_twelfths_of_the_circle():
    degrees = np.array([0, 29.9, 30, 359.9, -10, 720, np.nan], np.float32)
    spread = measure_table(make_table(7, camera_yaw_deg=degrees), "here").spreads["camera_yaw_deg"]
    assert spread.counts.tolist() == [3, 1, *[0] * 9, 2] and spread.missing == 1


def test_one_value_no_value_and_gaps():
    assert _spread(np.array([np.nan, np.inf], np.float32)) is None
    one = _spread(np.full(5, 0.1, np.float32))
    assert len(one.counts) == 0 and "always 0.1" in spread_block("a", "b", one)
    some = _spread(np.array([1, 2, np.nan, np.inf], np.float32))
    assert some.counts.sum() == 2 and some.missing == 2 and "; 2 without" in spread_block("a", "b", some)


def test_a_place_and_a_person_in_two_splits_are_counted_in_both():
    table = make_table(
        4, split=["val", "train", "train", "odd"], people=[["a"], ["a", "b"], ["b"], ["c"]],
        scans=[["a"], ["a", "b"], ["b"], ["c"]], background=["x", "x", "y", "y"],
    )  # fmt: skip
    figures = measure_table(table, "here")
    assert [(s.name, s.samples, s.people, s.backgrounds) for s in figures.splits] == [
        ("train", 2, 2, 2), ("val", 1, 1, 1), ("odd", 1, 1, 1),
    ]  # fmt: skip
    assert figures.subjects == (1, 2) and figures.counts["people"] == {"a": 2, "b": 2, "c": 1}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.drop_columns(["people"]),
        lambda table: table.set_column(table.column_names.index("width"), "width", [pa.array([1.5, 2.5])]),
        lambda table: table.set_column(table.column_names.index("split"), "split", [pa.array(["train", None])]),
        lambda table: table.set_column(table.column_names.index("people"), "people", [pa.array([["a", None], []])]),
        lambda table: table.slice(0, 0),
    ],
)
def test_an_index_that_is_none_is_refused(spoil):
    with pytest.raises(StoreError, match=r"here: its index has"):
        measure_table(spoil(make_table(2)), "here")


def test_half_a_million_rows_take_seconds():
    n, rng = 500_000, np.random.default_rng(1)
    people, places = rng.integers(0, 600, n), rng.integers(0, 100, n)
    names = pa.array([f"person_{k}" for k in range(600)])
    lists = pa.ListArray.from_arrays(pa.array(np.arange(n + 1), pa.int32()), names.take(pa.array(people)))
    table = make_table(
        n, people=lists, scans=lists, background=pa.array([f"place_{k}" for k in range(100)]).take(pa.array(places)),
        split=pa.array(["train", "val", "test"]).take(pa.array(people % 3)),
        camera_yaw_deg=rng.uniform(0, 360, n).astype(np.float32),
    )  # fmt: skip
    started = time.process_time()
    figures = measure_table(table, "here")
    assert time.process_time() - started < 15
    assert [split.samples for split in figures.splits] == np.bincount(people % 3).tolist()
    assert [split.people for split in figures.splits] == [200, 200, 200]
    assert figures.counts["background"] == {f"place_{k}": int(c) for k, c in enumerate(np.bincount(places))}
    assert figures.spreads["camera_yaw_deg"].counts.sum() == n
    assert figures.spreads.keys() == SPREADS.keys()


def test_figures_that_no_camera_has_are_counted_as_missing():
    table = make_table(3, width=[0, 768, 768], height=[0, 1024, 1024], focal_px=[1.0, 1.0, float("nan")])
    assert measure_table(table, "here").spreads["focal_35mm"].missing == 2
    assert measure_table(make_table(2, seconds=[float("nan"), float("inf")]), "here").core_seconds == {"e": (2, 0.0)}


def test_core_seconds_are_added_by_environment():
    table = make_table(4, env_id=["b", "a", "b", "a"], seconds=[1, 2, 4, 8])
    assert measure_table(table, "here").core_seconds == {"a": (2, 10.0), "b": (2, 5.0)}


def test_bars_show_whatever_is_there():
    lines = bars(["a", "bb"], [1, 100_000]).splitlines()
    assert lines == [" a        1  ▏", f"bb  100,000  {'█' * 32}"]
    assert bars(["a"], [0]) == "a  0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("a\nb\t c", "a b c"),
        ("[x](y)", r"\[x\](y)"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_plain_texts(text, expected):
    assert plain(text) == expected


def test_no_text_leaves_its_fence():
    assert fenced("a\n```\nb") == "````\na\n```\nb\n````\n"
