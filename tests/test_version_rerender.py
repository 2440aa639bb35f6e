"""Samples made again: by the closed-form engine here, in one process and in two; what differs is named."""

import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from strikes import alive, descendants, kill, wait_for
from test_cli import COMMAND, place, small, synth
from test_pipeline import job, render

from renderers import base
from renderers.base import make_renderer
from synth.cli_proof import pick
from synth.errors import UserError
from synth.store import Dataset
from synth.version_rerender import Machine, answers, rerender

__all__ = ["job", "place"]


@pytest.fixture
def dataset(job, tmp_path) -> Dataset:
    render(job, tmp_path / "set", 12)
    return Dataset(tmp_path / "set")


def machine(job) -> Machine:
    return Machine(job.scan_store, job.background_store, "cpu", 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_recipes_give_the_same_bytes(dataset, job, workers):
    answers = list(rerender(dataset, [11, 0, 5], machine(job), workers))
    assert [answer.index for answer in answers] == [11, 0, 5]
    assert all(str(answer).endswith("every byte IDENTICAL") for answer in answers), answers


class Changed:
    """A renderer whose samples went through `change`, on another device."""

    def __init__(self, renderer, change):
        self.renderer, self.change, self.close = renderer, change, renderer.close

    def render(self, recipe):
        return self.change(self.renderer.render(recipe))

    def environment(self):
        return {**self.renderer.environment(), "device": "optix"}


def darker(sample):
    return replace(sample, rgb=sample.rgb // 2)


def one_step(sample):
    return replace(sample, rgb=sample.rgb ^ 1)


@pytest.mark.parametrize(("change", "verdict"), [(one_step, "EQUIVALENT"), (darker, "DIFFERENT")])
def test_another_device_is_named_and_judged_by_tolerances(dataset, job, monkeypatch, change, verdict):
    monkeypatch.setattr(base, "make_renderer", lambda *args: Changed(make_renderer(*args), change))
    (answer,) = rerender(dataset, [3], machine(job), 0)
    assert answer.verdict == verdict and str(answer).endswith(verdict)
    assert any(field.startswith("device: ") and field.endswith("-> optix") for field in answer.env)
    assert ("colour" in answer.figures) or verdict == "EQUIVALENT"


class Dying:
    """A maker that Blender, or the kernel for want of memory, kills."""

    def answer(self, position):
        os.kill(os.getpid(), 9)


def test_a_killed_process_is_said_in_one_line():
    with pytest.raises(UserError, match=r"was killed.*run the same command again"):
        list(answers(Dying, [0, 1], 1))


@pytest.mark.blender
@pytest.mark.ray
def test_through_blender_with_another_number_of_workers(place, tmp_path):
    """The commands as a user gives them: a tenth again, some of them kept, the whole run killed and repeated."""
    out, cache = tmp_path / "set", ["--cache", place / "cache"]
    assert synth("render", *small(place), "--n", 24, "--out", out, "--workers", 0).returncode == 0
    done = synth("dataset", "rerender", out, "--fraction", 0.1, "--workers", 1, *cache)
    lines = [line for line in done.stdout.splitlines() if line.endswith("IDENTICAL")]
    assert done.returncode == 0 and len(lines) == len(pick(np.arange(24), 0.1)) >= 2, done.stdout + done.stderr
    assert f"rendered again: IDENTICAL {len(lines)}" in done.stdout
    assert synth("dataset", "tag", out).stdout.startswith(f"{out}@1.0.0: 24 samples")

    run = next(out.glob("runs/*"))
    same = synth("dataset", "rerender", out, "--ids", "3,7-9", "--replace", "--workers", 0, *cache)
    assert same.returncode == 0 and "no new version" in same.stdout, same.stdout + same.stderr
    record = next(run.glob("units/*.json"))  # as if older software had made it
    record.write_text(record.read_text().replace(Dataset(out).row(0)["env_id"], "0" * 12))
    (out / "refs" / "latest.json").unlink()
    assert synth("render", *small(place), "--n", 24, "--out", out, "--workers", 0).returncode == 0

    command = ["dataset", "rerender", out, "--ids", "3,7-9", "--replace", "--workers", "1", *cache]
    process = subprocess.Popen([*COMMAND, *map(str, command)], stdout=-1, stderr=-1, text=True)
    wait_for(lambda: list(run.glob("revisions/*/staging/*/*.tar")), "a staged sample", process)
    workers = descendants(process.pid)
    kill([process.pid])
    wait_for(lambda: workers and not any(map(alive, workers)), "the workers' end")
    process.communicate()
    assert len(Dataset(out).manifest["shards"]) == 1
    done = synth(*command)
    assert done.returncode == 0 and "were there from a session before" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("IDENTICAL") < 4
    dataset = Dataset(out)
    assert [shard["samples"] for shard in dataset.manifest["shards"]] == [20, 4]
    assert synth("dataset", "verify", out, "--level", "decode").returncode == 0
    tagged = synth("dataset", "tag", out, "--message", "newer software").stdout
    assert "@1.0.1: 24 samples, +0 -0 ~20 (environment 20)" in tagged, tagged  # four are again what 1.0.0 holds
