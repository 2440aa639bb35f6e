"""A run's figures among Ray's metrics."""

import pytest

pytest.importorskip("ray", reason="no ray: pip install 'synth[render]'")
import ray

from synth.pipeline_metrics import ray_gauges


class FakeGauge:
    """Keeps what it was set to, by name and tags."""

    values: dict = {}  # noqa: RUF012

    def __init__(self, name, description, tag_keys=()):
        assert description and name.startswith("synth_")
        self.name, self.tag_keys = name, tag_keys

    def set(self, value, tags=None):
        assert set(tags or {}) == set(self.tag_keys)
        self.values[self.name, *(tags or {}).values()] = value


STATE = {
    "made": 30, "missing_at_start": 100, "images_per_s": 2.5, "core_hours": 0.25, "bytes": 1000,
    "workers": {"a": 3, "b": 2}, "refused": {"magenta": 4, "black": 1},
}  # fmt: skip


def test_the_state_becomes_gauges(monkeypatch):
    monkeypatch.setattr(FakeGauge, "values", {})
    publish = ray_gauges(FakeGauge)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    publish(STATE)
    assert not FakeGauge.values  # a gauge without Ray would be an error
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    publish(STATE)
    assert FakeGauge.values == {
        ("synth_images_made",): 30, ("synth_images_missing",): 70, ("synth_images_per_second",): 2.5,
        ("synth_core_hours",): 0.25, ("synth_bytes_written",): 1000, ("synth_workers",): 5,
        ("synth_refused", "magenta"): 4, ("synth_refused", "black"): 1,
    }  # fmt: skip


@pytest.mark.ray
def test_ray_takes_them():
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        ray_gauges()(STATE)
    finally:
        ray.shutdown()
