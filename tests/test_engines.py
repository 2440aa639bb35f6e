"""One engine or a mixture: what is drawn, what is refused, and that every recipe goes to its own renderer."""

import math

import pytest
from pydantic import ValidationError
from test_randomize import library
from worlds import make_recipe

from renderers import base
from renderers.base import Engines
from synth.config import BadConfig, engine_shares, load_config
from synth.pipeline_env import environment_class, why_refused
from synth.randomize import draw_recipe

MIXTURE = "relight:0.9,cycles:0.1"


def recipes(engine: str, n: int, attempt: int = 0, **more):
    config = load_config(None, {"film.engine": engine, **more})
    return [draw_recipe(config, library(), 3, index, attempt) for index in range(n)]


def test_shares_are_kept_and_an_image_keeps_its_engine():
    drawn = [recipe.film.engine for recipe in recipes(MIXTURE, 600)]
    relit = drawn.count("relight")
    assert abs(relit - 540) < 4 * math.sqrt(600 * 0.9 * 0.1)
    assert drawn[:50] == [recipe.film.engine for recipe in recipes(MIXTURE, 50, attempt=1)]
    assert drawn[:50] == [recipe.film.engine for recipe in recipes("cycles:0.1, relight:0.9", 50)]


def test_a_mixture_changes_nothing_but_the_engine():
    pure, mixed = recipes("cycles", 60), recipes(MIXTURE, 60)
    for one, other in zip(pure, mixed, strict=True):
        assert one.model_copy(update={"film": other.film}) == other
        assert other == one or other.film.engine == "relight"
    assert any(one == other for one, other in zip(pure, mixed, strict=True))


def test_what_relight_does_not_do_is_not_said_of_it():
    film = recipes("relight", 1, **{"film.spp": 32})[0].film
    assert (film.spp, film.denoise, film.cycles_seed) == (0, False, 0)


@pytest.mark.parametrize(
    ("engine", "named"),
    [
        ("octane", "'octane'"),
        ("relight:0.9", "add up to 0.9"),
        ("relight:0.9,cycles:0.2", "add up to 1.1"),
        ("relight,cycles", "NAME:SHARE"),
        ("relight:0.5,relight:0.5", "stands twice"),
        ("relight:x,cycles:0.5", "'x' is no number"),
        ("relight:nan,cycles:0.5", "above 0"),
        ("relight:1,cycles:0", "above 0"),
        ("", "''"),
    ],
)
def test_what_is_no_engine_is_named(engine, named):
    with pytest.raises(BadConfig, match=r"film\.engine") as error:
        load_config(None, {"film.engine": engine})
    assert named in str(error.value)


@pytest.mark.parametrize("engine", ["relight", MIXTURE])
def test_authored_materials_are_refused_not_flattened(engine):
    with pytest.raises(BadConfig, match="relight knows matte surfaces only, not authored"):
        load_config(None, {"film.engine": engine, "film.material": "authored"})
    with pytest.raises(ValidationError, match="matte surfaces only"):
        make_recipe(engine="relight", spp=0, material="authored")
    with pytest.raises(ValidationError, match="spp"):
        make_recipe(engine="relight", spp=8)
    with pytest.raises(ValidationError, match="spp"):
        make_recipe(engine="cycles", spp=0)


def test_one_wish_has_one_spelling():
    spelt = (MIXTURE, "cycles : 0.1,relight:0.90")
    spellings = {load_config(None, {"film.engine": text}).film.engine for text in spelt}
    assert spellings == {"cycles:0.1,relight:0.9"}
    assert load_config(None, {"film.engine": "cycles:1"}).film.engine == "cycles"
    assert engine_shares("cycles:0.1,relight:0.9") == {"cycles": 0.1, "relight": 0.9}


class Told:
    """A renderer that tells its name."""

    def __init__(self, engine, closed):
        self.engine, self.closed = engine, closed

    def render(self, recipe):
        return self.engine

    def close(self):
        self.closed.append(self.engine)


def test_every_recipe_goes_to_its_engine_which_is_opened_once(monkeypatch, tmp_path):
    opened, closed = [], []

    def make(engine, *args):
        opened.append(engine)
        return Told(engine, closed)

    monkeypatch.setattr(base, "make_renderer", make)
    engines = Engines(tmp_path, tmp_path)
    mixed = recipes(MIXTURE, 40)
    assert [engines.render(recipe) for recipe in mixed] == [recipe.film.engine for recipe in mixed]
    assert sorted(opened) == ["cycles", "relight"]
    engines.close()
    engines.close()
    assert sorted(closed) == sorted(opened)


def test_environments_are_compared_engine_by_engine():
    cycles = {"renderer": "blender-cycles", "bpy": "4.5", "device": "cpu", "cpu": "avx2"}
    relight = {"renderer": "relight", "numba": "0.62", "cpu": "avx2"}
    assert why_refused([cycles, relight], [relight, cycles], one_class=True) is None
    assert why_refused([cycles, relight], [cycles, {**relight, "numba": "0.63"}], False) == "numba 0.63, not 0.62"
    other = [{**facts, "synth": number} for facts, number in ((cycles, "1"), (relight, "2"))]
    assert why_refused(other[:1], other[1:], one_class=False) == "synth 2, not 1"
    refused = why_refused([cycles, relight], [cycles, {**relight, "cpu": "sse4.2"}], one_class=True)
    assert refused == "environment class sse4.2, not avx2 (--one-class)"
    assert environment_class([relight, cycles]) == "cpu avx2"
