"""What a short calibration says of a whole dataset: arithmetic by hand."""

import pytest

from synth.cli_plan import Measured, project


def test_hours_bytes_shards_and_cost_are_plain_arithmetic():
    facts = project(Measured((3.0, 5.0), 0.0, 2e6, 1, 7.2), 128_001, scans=10, cores=16, price=0.04)
    core_hours = 4.0 * 128_001 / 3600
    assert facts["core_hours"] == pytest.approx(core_hours) and facts["shards"] == 1001
    assert facts["hours"] == pytest.approx(core_hours / 16 + 0.002)
    assert facts["bytes"] == pytest.approx(2e6 * 128_001)
    assert facts["cost"] == pytest.approx(0.04 * core_hours)
    spread = 2 * 2**0.5 / 2**0.5  # two standard errors of (3, 5)
    assert facts["core_hours_range"] == pytest.approx([(4 - spread) * 128_001 / 3600, (4 + spread) * 128_001 / 3600])


def test_one_measured_image_says_little_and_a_price_is_optional():
    facts = project(Measured((4.0,), 0.0, 1e6, 0, 0.0), 3600, scans=1, cores=1, price=None)
    assert facts["core_hours_range"] == pytest.approx([0.0, 8.0])
    assert facts["cost"] is None and facts["cost_range"] is None


@pytest.mark.parametrize(("n", "scans", "counted"), [(10_000, 600, 600), (100, 600, 100)])
def test_what_is_done_once_a_scan_is_counted_once_a_scan(n, scans, counted):
    dear, cheap = (project(Measured((1.0, 1.0), once, 1e6, 0, 0.0), n, scans, 1, None) for once in (9.0, 0.0))
    assert dear["core_hours"] - cheap["core_hours"] == pytest.approx(9.0 * counted / 3600)
    assert dear["core_hours_range"] == pytest.approx([dear["core_hours"]] * 2)
