"""Samples made again: by the closed-form engine here, in one process and in two; what differs is named."""

from dataclasses import replace

import pytest
from test_pipeline import job, render

from renderers import base
from renderers.base import make_renderer
from synth.store import Dataset
from synth.version_rerender import Machine, rerender

__all__ = ["job"]


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
