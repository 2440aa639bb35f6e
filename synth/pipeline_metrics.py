"""A run's figures as Ray's own metrics, which Ray's agents on each node serve to Prometheus.

Gauges, all named `synth_...`: images_made, images_missing, images_per_second, core_hours, bytes_written, workers and
refused (by `reason`). Nothing is to be set up here: where Ray's metrics are collected (`ray[default]`,
`ray metrics launch-prometheus`), these are among them. See docs/farm.md.
"""

from collections.abc import Callable

import ray
from ray.util.metrics import Gauge

#: Gauge: what it says.
_GAUGES = {
    "images_made": "images finished by this session",
    "images_missing": "images still to be made by this session",
    "images_per_second": "mean rate of this session",
    "core_hours": "core-hours spent on images by this session",
    "bytes_written": "bytes of samples written by this session",
    "workers": "workers alive",
}


def ray_gauges(make: Callable = Gauge) -> Callable[[dict], None]:
    """A function that takes the state of `synth.pipeline_journal` and sets Ray's gauges; nothing while Ray is off."""
    gauges = {name: make(f"synth_{name}", description=text) for name, text in _GAUGES.items()}
    refused = make("synth_refused", description="attempts refused by this session", tag_keys=("reason",))

    def publish(state: dict) -> None:
        if not ray.is_initialized():
            return
        values = {
            "images_made": state["made"],
            "images_missing": max(0, state["missing_at_start"] - state["made"]),
            "images_per_second": state["images_per_s"],
            "core_hours": state["core_hours"],
            "bytes_written": state["bytes"],
            "workers": sum(state["workers"].values()),
        }
        for name, value in values.items():
            gauges[name].set(value)
        for reason, count in state["refused"].items():
            refused.set(count, tags={"reason": reason})

    return publish
