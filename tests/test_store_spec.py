"""The one-line difference of two specs."""

import pytest

from synth.store_spec import spec_difference


def library(**keys: str) -> list[dict]:
    return [{"scan_id": name, "key": key} for name, key in keys.items()]


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"seed": 1}, {"seed": 2}, "seed is 1 there, 2 here"),
        ({"a": {"b": {"c": [1, 2]}}}, {"a": {"b": {"c": [1, 3]}}}, "a.b.c is [1, 2] there, [1, 3] here"),
        ({"a": 1}, {"a": 1.0}, "a is 1 there, 1.0 here"),
        ({"a": 0}, {"a": False}, "a is 0 there, False here"),
        ({"a": 1, "b": 2}, {"a": 2, "b": 3}, "a is 1 there, 2 here; b is 2 there, 3 here"),
        ({"a": 1}, {}, "a is 1 there, not set here"),
        ({}, {"a": None}, "a is not set there, None here"),
        ({"a": {"b": 1}}, {"a": 5}, "a is {'b': 1} there, 5 here"),
        (
            {"scans": library(al="1", bo="2", cy="3")},
            {"scans": library(bo="2", cy="9", di="4")},
            "scans: came 'di', went 'al', changed 'cy'",
        ),
        ({"scans": library(al="1")}, {"scans": []}, "scans: went 'al'"),
        ({"scans": library(al="1", bo="2")}, {"scans": library(bo="2", al="1")}, "scans: another order"),
        (
            {"scans": []},
            {"scans": library(**{f"s{i}": "1" for i in range(9)})},
            "scans: came 's0', 's1', 's2', 's3', 's4' and 4 more",
        ),
    ],
)
def test_difference(there, here, expected):
    assert spec_difference(there, here) == expected


def test_a_strangers_long_value_is_cut():
    assert len(spec_difference({"a": "x" * 10**6}, {"a": "y"})) < 200
