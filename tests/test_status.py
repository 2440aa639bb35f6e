"""What a run tells of itself: first sheet, event log, status; and that none of it is in any byte of the dataset."""

import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import COMMAND, place, small, synth
from test_pipeline import SPEC, job, render

from synth.cli_record import recorded
from synth.cli_status import describe, duration
from synth.pipeline import plan_work, render_dataset
from synth.pipeline_journal import FIRST_SHEET, FirstSheet
from synth.pipeline_status import read_status
from synth.pipeline_tally import Tally
from synth.pipeline_work import FIRST, deal_tasks
from synth.pipeline_worker import Fate
from synth.report import write_contact_sheet
from synth.store import Dataset
from synth.store_files import LocalFolder
from synth.store_index import commit
from synth.store_kept import read_kept
from synth.store_write import Unit, open_run

__all__ = ["job", "place"]


def observed(job, out: Path, n: int, stop_at: int | None = None):
    run = open_run(out, SPEC)
    plan = plan_work(run, n)
    with recorded(run, plan, {"why": "test"}, on_ray=False) as record:

        def on_fate(fate: Fate, tally: Tally) -> None:
            record(fate, tally)
            if tally.made == stop_at:
                raise RuntimeError("pulled out")

        render_dataset(job, run, plan, None, 0.2, on_fate, on_event=record.journal.event)
    commit(run, lineage={})
    return run


def events(run) -> list[dict]:
    logs = sorted((run.out / run.name("events")).iterdir())
    return [json.loads(line) for path in logs for line in path.read_text().splitlines()]


def test_the_first_32_ids_come_first_whatever_n_is():
    for n in (20, 32, 500, 20_000):
        dealt = [i for task in deal_tasks([Unit(f, min(f + 127, n - 1)) for f in range(0, n, 128)], set(), 7, 0, 2)
                 for i in task.ids]  # fmt: skip
        assert sorted(dealt) == list(range(n)) and sorted(dealt[:FIRST]) == list(range(min(FIRST, n)))


@pytest.mark.parametrize("n", [5, 140])
def test_the_first_sheet_shows_the_first_samples_and_changes_no_byte(job, tmp_path, n, capsys):
    run = observed(job, tmp_path / "seen", n)
    sheet = tmp_path / "seen" / "report" / "first.png"
    assert f"first images: {sheet}" in capsys.readouterr().out
    dataset = Dataset(tmp_path / "seen")
    write_contact_sheet((dataset[i] for i in range(min(n, FIRST))), tmp_path / "again.png", columns=4, tile_height=256)
    assert np.array_equal(np.asarray(Image.open(sheet)), np.asarray(Image.open(tmp_path / "again.png")))
    assert dataset.root == render(job, tmp_path / "unseen", n)[1]
    kinds = [event["event"] for event in events(run)]
    assert kinds[0] == "started" and kinds[-1] == "finished" and kinds.count("first_sheet") == 1


def test_a_run_that_lost_its_sheet_makes_it_again(job, tmp_path):
    run = observed(job, tmp_path / "set", 40)
    sheet = FirstSheet(run, 40)
    assert not sheet.due
    (tmp_path / "set" / FIRST_SHEET).unlink()
    assert FirstSheet(run, 40).due
    observed(job, tmp_path / "set", 40)
    assert (tmp_path / "set" / FIRST_SHEET).exists()


def test_kept_samples_are_read_staged_and_sealed(job, tmp_path):
    with pytest.raises(RuntimeError):
        observed(job, tmp_path / "set", 140, stop_at=3)
    run = open_run(tmp_path / "set", SPEC)
    index = next(i for i in range(140) if run.is_staged(i))
    staged = read_kept(run, index)
    observed(job, tmp_path / "set", 140)
    assert not run.is_staged(index) and np.array_equal(read_kept(run, index).rgb, staged.rgb)


def test_status_of_a_run_that_failed_and_then_finished(job, tmp_path):
    with pytest.raises(RuntimeError):
        observed(job, tmp_path / "set", 140, stop_at=50)
    facts = read_status(tmp_path / "set").facts
    assert (facts["state"], facts["sealed"], facts["staged"], facts["n"]) == ("failed", 0, 50, 140)
    run = observed(job, tmp_path / "set", 140)
    facts = read_status(tmp_path / "set").facts
    assert (facts["state"], facts["sealed"], facts["staged"], facts["made"]) == ("finished", 140, 0, 90)
    assert facts["bytes"] > 0 and facts["slowest_scans"]
    told = events(run)
    assert [e["event"] for e in told if e["event"] in ("failed", "finished")] == ["failed", "finished"]
    assert all(datetime.fromisoformat(e["time"]).tzinfo for e in told)


def test_a_refused_attempt_and_a_lost_worker_are_in_the_log(job, tmp_path):
    run = open_run(tmp_path / "set", SPEC)
    with recorded(run, plan_work(run, 10), {}, on_ray=False) as record:
        tally = Tally()
        for fate in (Fate(0, True, ((0, "black", "too dark"),), (), 1.0), Fate(1, True, (), (), 1.0)):
            tally.add(fate)
            record(fate, tally)
        record.journal.event("worker_started", {"node": "n1", "pid": 1, "environment": "avx2"})
        record.journal.event("worker_started", {"node": "n1", "pid": 2, "environment": "avx2"})
        record.journal.event("worker_lost", {"node": "n1", "pid": 2, "reason": "crashed", "detail": "gone"})
        record.journal._write_state("rendering")
        assert read_status(tmp_path / "set").facts["workers"] == {"n1": 1}
    told = events(run)
    assert [e["attempts"] for e in told if e["event"] == "refused"] == [[[0, "black", "too dark"]]]
    facts = read_status(tmp_path / "set").facts
    assert facts["workers"] == {} and facts["last_errors"][0]["detail"] == "gone"
    text = describe(read_status(tmp_path / "set"), datetime.now(UTC))
    assert "black 1" in text and "worker_lost: gone" in text


def test_silence_is_told_from_work():
    class Fixed:
        folder = LocalFolder(Path("set"))
        facts = dict.fromkeys(("made", "n", "event_log", "first_sheet"))
        facts |= {"state": "rendering", "detail": "", "sealed": 1, "staged": 2, "workers": {}, "slowest_scans": []}
        facts |= {"last_errors": [], "host": "n1", "updated": "2026-01-01T00:00:00+00:00"}

    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert "rendering on n1" in describe(Fixed, start + timedelta(seconds=30))
    assert "silent for 10 min" in describe(Fixed, start + timedelta(minutes=10))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (150, "2 min"), (7500, "2 h 5 min"), (273_600, "3 d 4 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.blender
def test_status_of_a_killed_driver_and_strict(place, tmp_path):
    args = [*map(str, small(place, "--engine", "analytic", "--n", 3000, "--out", tmp_path / "set"))]
    strict = synth("render", *args, "--strict")
    assert strict.returncode == 1 and "--strict" in strict.stderr and "empty.obj" in strict.stderr
    assert not (tmp_path / "set").exists()
    process = subprocess.Popen([*COMMAND, "render", *args, "--workers", "0"], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("first images:"):
            break
    told = synth("status", tmp_path / "set", "--json")
    assert told.returncode == 0 and process.poll() is None, told.stderr
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    facts = json.loads(synth("status", tmp_path / "set", "--json").stdout)
    assert facts["staged"] + facts["sealed"] >= FIRST and facts["first_sheet"] == "report/first.png"
    nothing = synth("status", tmp_path)
    assert nothing.returncode == 1 and "is no dataset" in nothing.stderr
