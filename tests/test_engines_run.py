"""Relight and mixtures through worker, command line and Ray: the bytes depend on the image alone."""

import hashlib
from pathlib import Path

import pytest
from test_cli import place, synth
from test_randomize import CONFIG, library

from synth.config import load_config
from synth.pipeline import plan_work, render_dataset
from synth.pipeline_worker import Job, Places, make_sample, open_engines
from synth.randomize import Library, draw_recipe, stream
from synth.recipe import canonical_json
from synth.store import Dataset
from synth.store_index import commit
from synth.store_write import open_run

__all__ = ["place"]  # a fixture of the command line's tests

SMALL = {"width": 48, "height": 64, "film.spp": 2}
SPEC = {"test": 1}


@pytest.fixture
def job(balls, skies):
    def of(engine: str) -> Job:
        config = load_config(None, {"film.engine": engine, **SMALL})
        return Job(config, Library(balls.entries, skies.entries), 0, balls.store, skies.store, threads=1)

    return of


def render(job: Job, out: Path, n: int, workers: int = 0, on_fate=lambda fate, tally: None) -> tuple[dict, str]:
    run = open_run(out, SPEC)
    render_dataset(job, run, plan_work(run, n), Places(workers) if workers else None, 0.2, on_fate)
    shards = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((out / "shards").iterdir())}
    return shards, commit(run, lineage={})["root"]


def members(job: Job, order: list[int]) -> dict[int, dict[str, bytes]]:
    engines = open_engines(job)
    made = {index: make_sample(engines, job, index)[0].members for index in order}
    engines.close()
    return made


@pytest.mark.parametrize("seed", [0, 7])
def test_a_recipe_for_cycles_is_spelt_as_before_there_were_other_engines(seed):
    for index in range(20):
        film = draw_recipe(CONFIG, library(), seed, index).film
        noise = int(stream(seed, index, 0, "noise").integers(2**31))
        assert canonical_json(film) == (
            f'{{"cycles_seed":{noise},"denoise":true,"engine":"cycles","exposure_ev":{film.exposure_ev!r},'
            '"material":"diffuse","spp":8,"view_transform":"Standard"}'
        )


def test_engines_of_one_process_do_not_see_each_other(job):
    mixed = job("analytic:0.5,relight:0.5")
    order = list(range(12))
    forth, back = members(mixed, order), members(mixed, order[::-1])
    assert forth == back
    drawn = {index: draw_recipe(mixed.config, mixed.library, 0, index).film.engine for index in order}
    assert set(drawn.values()) == {"analytic", "relight"}
    for engine in ("analytic", "relight"):
        mine = [index for index in order if drawn[index] == engine]
        assert {index: forth[index] for index in mine} == members(job(engine), mine)


@pytest.mark.blender
def test_blender_in_the_process_changes_no_byte_of_relight(job):
    """Path tracers set the processor to round tiny numbers to nothing, which others in the process would feel."""
    mixed = job("cycles:0.5,relight:0.5")
    order = list(range(8))
    drawn = {index: draw_recipe(mixed.config, mixed.library, 0, index).film.engine for index in order}
    relit = [index for index in order if drawn[index] == "relight"]
    assert 2 <= len(relit) <= 6
    forth, back = members(mixed, order), members(mixed, order[::-1])
    assert forth == back
    assert {index: forth[index] for index in relit} == members(job("relight"), relit)


def test_every_sample_is_recorded_with_its_own_environment(job, tmp_path):
    render(job("analytic:0.5,relight:0.5"), tmp_path / "set", 12)
    dataset, seen = Dataset(tmp_path / "set"), set()
    for position, sample in enumerate(dataset):
        environment, engine = dataset.environment_of(position), sample.recipe.film.engine
        assert environment["renderer"] == engine and ("numba" in environment) == (engine == "relight")
        seen.add(engine)
    assert seen == {"analytic", "relight"}


@pytest.mark.parametrize("engine", ["relight", "analytic:0.3,relight:0.7"])
def test_interrupted_and_continued_gives_the_same_bytes(job, tmp_path, engine):
    whole = render(job(engine), tmp_path / "whole", 30)
    for stop_after in (4, 11):

        def stop(fate, tally, stop_after=stop_after):
            if tally.made >= stop_after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            render(job(engine), tmp_path / "pieces", 30, on_fate=stop)
    assert 0 < plan_work(open_run(tmp_path / "pieces", SPEC), 30).missing < 30
    assert render(job(engine), tmp_path / "pieces", 30) == whole


@pytest.mark.ray
def test_ray_workers_give_the_same_bytes_as_none(job, tmp_path):
    mixed = job("analytic:0.2,relight:0.8")
    assert render(mixed, tmp_path / "two", 40, workers=2) == render(mixed, tmp_path / "alone", 40)


@pytest.mark.blender
def test_from_the_command_line_to_a_proof(place, tmp_path):
    given = ["--scans", place / "scans", "--cache", place / "cache", "--backgrounds", place / "backgrounds"]
    given += ["--width", 48, "--height", 64, "--engine", "relight"]
    out = tmp_path / "set"
    done = synth("render", *given, "--n", 6, "--out", out, "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert {sample.recipe.film.engine for sample in Dataset(out)} == {"relight"}
    checked = synth("check", out)
    assert checked.returncode == 0 and "no fault" in checked.stdout, checked.stdout
    again = synth("dataset", "rerender", out, "--cache", place / "cache", "--workers", 0)
    assert again.returncode == 0 and "IDENTICAL 6" in again.stdout, again.stdout + again.stderr
    one = synth("render", *given, "--index", 3, "--out", tmp_path / "one", "--workers", 0)
    assert one.returncode == 0, one.stderr
    assert (tmp_path / "one" / "00000003.rgb.png").read_bytes() == Dataset(out).members(3)["rgb.png"]
    blend = synth("render", *given, "--index", 3, "--out", tmp_path / "one", "--save-blend", tmp_path / "scene.blend")
    assert blend.returncode == 1 and "relight engine has no Blender scene" in blend.stderr
    planned = synth("plan", *given, "--n", 1000, "--samples", 2)
    assert planned.returncode == 0 and "core-seconds" in planned.stdout, planned.stderr
    config = tmp_path / "shiny.yaml"
    config.write_text("film: {material: authored}")
    shiny = synth("render", *given, "--n", 6, "--out", tmp_path / "shiny", "--config", config)
    assert shiny.returncode == 1 and "matte" in shiny.stderr and len(shiny.stderr.splitlines()) == 1
