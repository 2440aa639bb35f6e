"""What a render leaves besides samples, while it goes on: the journal, and the sheet of the first images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from synth.cli_library import say
from synth.codec import BadBytes
from synth.pipeline import Plan
from synth.pipeline_journal import FIRST_SHEET, FirstSheet, Journal
from synth.pipeline_stop import Stopped
from synth.pipeline_tally import Tally
from synth.pipeline_worker import Fate
from synth.store_record import StoreError
from synth.store_write import Run


@dataclass(frozen=True)
class Record:
    """To be called with every fate."""

    journal: Journal
    sheet: FirstSheet

    def __call__(self, fate: Fate, tally: Tally) -> None:
        self.journal.fate(fate, tally)
        if self.sheet.made(fate.index):
            self.write_sheet()

    def write_sheet(self) -> None:
        """Writes the first sheet and says where; one that cannot be written must not stop a run."""
        try:
            where = self.sheet.write()
        except (StoreError, BadBytes, OSError) as error:
            self.journal.event("sheet_failed", {"detail": str(error)})
            return
        self.journal.event("first_sheet", {"path": FIRST_SHEET})
        say(f"first images: {where}")


@contextmanager
def recorded(run: Run, plan: Plan, facts: dict, on_ray: bool) -> Iterator[Record]:
    """The record of a session; however the block is left, the journal says so. on_ray: Ray's metrics have it too."""
    publish: Callable[[dict], None] = _nowhere
    if on_ray:
        from synth.pipeline_metrics import ray_gauges

        publish = ray_gauges()
    journal = Journal(run, plan.n, plan.missing, facts, publish)
    record = Record(journal, FirstSheet(run, plan.n))
    try:
        if record.sheet.due:
            record.write_sheet()
        yield record
    except Stopped as stop:
        journal.close("stopped", str(stop))
        raise
    except BaseException as error:
        journal.close("failed", " ".join(str(error).split())[:500])
        raise
    else:
        journal.close("finished")


def _nowhere(state: dict) -> None:
    """Where a state goes that nobody else shows."""
