"""--where: what an expression chooses, and that it cannot do anything else."""

import numpy as np
import pytest
from exports import NASTY, write_set

from synth.export_where import BadWhere, choose, where_columns
from synth.store import Dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return Dataset(write_set(tmp_path_factory.mktemp("where") / "set"))


@pytest.fixture(scope="module")
def rows(dataset) -> list[dict]:
    return [dataset.row(position) | {"sample_id": f"{dataset.ids[position]:08d}"} for position in range(len(dataset))]


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("split == 'train'", lambda r: r["split"] == "train"),
        (
            "split == 'train' and framing == 'face' and depth_p50_m < 2.6",
            lambda r: r["split"] == "train" and r["framing"] == "face" and np.float32(r["depth_p50_m"]) < 2.6,
        ),
        ("not split == 'train' or index < 3", lambda r: r["split"] != "train" or r["index"] < 3),
        ("2.4 < depth_p50_m <= 2.5", lambda r: 2.4 < np.float32(r["depth_p50_m"]) <= 2.5),
        ("split in ['val', 'test']", lambda r: r["split"] in ("val", "test")),
        ("index not in (0, 5, 43)", lambda r: r["index"] not in (0, 5, 43)),
        ("'truncated' in flags", lambda r: "truncated" in r["flags"]),
        ("'truncated' not in flags", lambda r: "truncated" not in r["flags"]),
        (f"'{NASTY}' in scans", lambda r: NASTY in r["scans"]),
        ("'es' in split", lambda r: r["split"] == "test"),
        ("focal_px / width > 1.5", lambda r: np.float32(r["focal_px"]) / 48 > 1.5),
        ("index * 2 - 1 >= 40 + -3", lambda r: r["index"] * 2 - 1 >= 37),
        ("sample_id == '00000007'", lambda r: r["index"] == 7),
        ("index / 0 > 0", lambda r: r["index"] > 0),
        ("True", lambda r: True),
        ("False or 1 in []", lambda r: False),
    ],
)
def test_it_chooses_what_it_says(dataset, rows, expression, holds):
    assert choose(dataset, expression).tolist() == [bool(holds(row)) for row in rows]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("dept_p50_m < 3", r"no column 'dept_p50_m'; there are sample_id, index, .*depth_p50_m"),
        ("split == 3", "split is a text and 3 a number"),
        ("split", "split is no condition"),
        ("depth_p50_m", "depth_p50_m is no condition"),
        ("flags == 'truncated'", "use 'text' in flags"),
        ("split and index", "split is a text, where a condition"),
        ("split + 1 > 0", "split is a text, where a number"),
        ("3 in flags", "expected 'text' in a column"),
        ("split is 'train'", "`is` is not allowed"),
        ("split = 'train'", "is no expression"),
        ("", "is no expression"),
        ("index < 1" + "0" * 400, "a number is too large"),
        ("b'x' == split", "neither a number nor a text"),
        ("__import__('os').system('touch pwned')", "is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("[x for x in (1,)] == 1", "is not allowed"),
        ("split.upper() == 'A'", "is not allowed"),
        ("f'{index}' == split", "is not allowed"),
        ("index ** 9 ** 9 > 1", "is not allowed"),
        ("flags[0] == 'a'", "is not allowed"),
        ("(index := 3) > 1", "is not allowed"),
        ("shard == 1", "no column 'shard'"),
        ("not " * 300 + "True", "nested more than"),
        ("(" * 300 + "True" + ")" * 300, "is no expression"),
        ("index == " + "1" * 5000, "too many"),
    ],
)
def test_all_else_is_refused_in_one_line_that_names_it(dataset, expression, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadWhere, match=message) as caught:
        choose(dataset, expression)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_columns_are_those_that_mean_something(dataset):
    columns = where_columns(dataset)
    assert {"split", "framing", "scans", "people", "flags", "depth_p50_m", "covered"} <= set(columns)
    assert not [name for name in columns if name.endswith(("_off", "_len", "_sha256"))]
