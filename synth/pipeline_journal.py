"""What a run leaves for people: an event log, the state it is in, and a sheet of its first pictures.

All of it lies beside the samples and is part of no hash. `runs/<run>/events/<start>-<host>-<pid>.jsonl` has a line for
whatever is out of the ordinary, and for progress now and then, never one for a plain sample; `runs/<run>/status.json`
is replaced every few seconds; `report/first.png` shows the first 32 images as soon as they are made. `synth status`
reads them, from any machine.
"""

import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from synth.pipeline_tally import Tally
from synth.pipeline_work import FIRST
from synth.pipeline_worker import Fate
from synth.recipe import canonical_json
from synth.store_kept import read_kept
from synth.store_write import Run

#: Seconds between states, and between progress lines in the event log.
_STATE_S, _PROGRESS_S = 5.0, 30.0
_MOST_ERRORS = 10
#: In the dataset.
FIRST_SHEET = "report/first.png"
_STARTED, _ENDED = {"worker_started"}, {"worker_lost", "worker_drained", "worker_replaced"}


class Journal:
    """One session of a driver. Its methods are cheap enough to be called for every image."""

    def __init__(self, run: Run, n: int, missing: int, facts: dict, publish: Callable[[dict], None]):
        """n: images asked for. missing: of them to be made now. facts: JSON values that begin the log.

        publish: hears every state that is written, for whoever shows it elsewhere.
        """
        self._publish = publish
        self._run, self._n, self._missing = run, n, missing
        self._began = self._state_at = self._progress_at = time.monotonic()
        self._session = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{socket.gethostname()}-{os.getpid()}"
        self._tally = Tally()
        self._workers: Counter[str] = Counter()
        self._errors: list[dict] = []
        self._log = run.folder.open_log(self.name)
        self.event("started", {"n": n, "missing": missing, **facts})

    @property
    def name(self) -> str:
        """The event log of this session, in the dataset."""
        return self._run.name("events", f"{self._session}.jsonl")

    def event(self, kind: str, facts: dict) -> None:
        """Writes a line: when, what, and `facts` (JSON values)."""
        if kind in _STARTED:
            self._workers[facts["node"]] += 1
        elif kind in _ENDED and facts.get("node"):
            self._workers[facts["node"]] -= 1
        if kind in ("worker_lost", "renderer_error", "node_refused"):
            self._errors = [*self._errors, {"time": _now(), "event": kind, **facts}][-_MOST_ERRORS:]
        self._log.write(canonical_json({"time": _now(), "event": kind, **facts}) + "\n")

    def fate(self, fate: Fate, tally: Tally) -> None:
        """Counts an image; notes it if anything about it was out of the ordinary."""
        self._tally = tally
        if fate.refused:
            attempts = [list(attempt) for attempt in fate.refused]
            self.event("refused", {"index": fate.index, "staged": fate.staged, "attempts": attempts})
        now = time.monotonic()
        if now - self._state_at >= _STATE_S:
            self._write_state("rendering")
        if now - self._progress_at >= _PROGRESS_S:
            self._progress_at = now
            self.event("progress", self._figures())

    def close(self, state: str, detail: str = "") -> None:
        """Writes the last state: finished, stopped or failed, and why."""
        self._workers.clear()
        try:
            self.event(state, {"detail": detail, **self._figures()})
            self._write_state(state, detail)
        finally:
            self._log.close()

    def _write_state(self, state: str, detail: str = "") -> None:
        self._state_at = time.monotonic()
        facts = {
            "format": "synth-status/1",
            "state": state,
            "detail": detail,
            "updated": _now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "n": self._n,
            "missing_at_start": self._missing,
            "workers": {node: count for node, count in sorted(self._workers.items()) if count > 0},
            "slowest_scans": self._tally.slowest_scans(),
            "last_errors": self._errors,
            "event_log": self.name,
            **self._figures(),
        }
        self._publish(facts)
        self._run.folder.publish(self._run.name("status.json"), [canonical_json(facts).encode()])

    def _figures(self) -> dict:
        tally = self._tally
        seconds = time.monotonic() - self._began
        rate = tally.made / seconds if seconds > 0 else 0.0
        return {
            "made": tally.made,
            "seconds": round(seconds, 1),
            "images_per_s": round(rate, 4),
            "eta_s": round((self._missing - tally.made) / rate) if rate else None,
            "core_hours": round(tally.core_seconds / 3600, 4),
            "bytes": tally.size,
            "refused": dict(tally.refused.most_common()),
        }


class FirstSheet:
    """Writes the sheet of images 0..31 once all of them are made."""

    def __init__(self, run: Run, n: int):
        self._run, self._ids = run, range(min(FIRST, n))
        sealed = run.sealed_ids()
        missing = {i for i in self._ids if not (run.is_staged(i) or any(i in ids for ids in sealed))}
        there = run.folder.size(FIRST_SHEET) is not None
        self._awaited = set() if there else missing
        self.due = not there and not self._awaited

    def made(self, index: int) -> bool:
        """Counts an image; whether the sheet can be written now."""
        if index in self._awaited:
            self._awaited.discard(index)
            self.due = not self._awaited
        return self.due

    def write(self) -> str:
        """Writes it and says where. Raises StoreError, OSError or BadBytes when a sample cannot be read."""
        from synth.report import write_contact_sheet

        self.due = False
        with tempfile.TemporaryDirectory(prefix="synth-sheet-") as folder:
            picture = Path(folder, "first.png")
            write_contact_sheet((read_kept(self._run, i) for i in self._ids), picture, columns=4, tile_height=256)
            self._run.folder.publish(FIRST_SHEET, [picture.read_bytes()])
        return self._run.folder.where(FIRST_SHEET)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
