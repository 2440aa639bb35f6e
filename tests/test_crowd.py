"""benchmarks/crowd.py: a body depends on (seed, i) alone, and what is there is not made again."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from synth.assets_look import Look

_PATH = Path(__file__).parents[1] / "benchmarks" / "crowd.py"


@pytest.fixture
def crowd(monkeypatch):
    """The module, with MakeHuman's package replaced by bodies that say what was drawn for them."""
    spec = importlib.util.spec_from_file_location("bench_crowd", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.made = []

    def make_bodies(read, drawn):
        for name, targets, look, _ in drawn:
            module.made.append(name)
            yield {f"{name}.obj": repr((targets, look)).encode(), f"{name}.png": b"paint"}

    monkeypatch.setattr(module, "download_package", lambda *arguments: None)
    monkeypatch.setattr(module, "make_bodies", make_bodies)
    return module


def run(crowd, monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["crowd", *map(str, arguments)])
    crowd.main()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_body_depends_on_seed_and_number_alone(crowd, monkeypatch, tmp_path):
    run(crowd, monkeypatch, "--dest", tmp_path / "few", "--n", 3)
    run(crowd, monkeypatch, "--dest", tmp_path / "many", "--n", 6)
    run(crowd, monkeypatch, "--dest", tmp_path / "other", "--n", 3, "--seed", 1)
    few, many, other = (contents(tmp_path / name) for name in ("few", "many", "other"))
    assert few.items() <= many.items() and len(many) == 12
    objs = [data for name, data in many.items() if name.endswith(".obj")]
    assert len({*objs}) == 6, "two bodies are the same"
    assert not {*objs} & {data for name, data in other.items() if name.endswith(".obj")}


def test_it_goes_on_where_it_stopped(crowd, monkeypatch, tmp_path):
    run(crowd, monkeypatch, "--dest", tmp_path, "--n", 3)
    whole = contents(tmp_path)
    (tmp_path / "person001" / "person001.obj").unlink()  # as after a kill: the OBJ is written last
    crowd.made.clear()
    run(crowd, monkeypatch, "--dest", tmp_path, "--n", 3)
    assert crowd.made == ["person001"] and contents(tmp_path) == whole


def test_bodies_vary_in_what_is_drawn(crowd):
    drawn = [crowd.draw_body(np.random.default_rng([0, i])) for i in range(48)]
    assert all(isinstance(look, Look) for _, look in drawn)
    assert {pattern for _, look in drawn for pattern in [look.pattern]} == {"plain", "stripes", "check"}
    for word in ("african", "asian", "caucasian", "female", "-male", "child", "young", "old", "minweight", "maxweight"):
        holders = sum(any(word in target for target in targets) for targets, _ in drawn)
        assert 3 <= holders <= 45, word
    for targets, _ in drawn:  # weights of build add up to one whole build
        assert sum(w for name, w in targets.items() if "universal" in name) == pytest.approx(1)
