"""How far a run is: counted from the store itself, with what its last driver said of itself."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from synth.pipeline_journal import FIRST_SHEET
from synth.store_folder import Folder, open_folder
from synth.store_names import Place
from synth.store_record import check_store, read_model
from synth.store_write import only_run


class _Told(BaseModel):
    """`status.json`, checked: another machine's driver, or a stranger, wrote it."""

    model_config = ConfigDict(extra="ignore")

    state: str = Field(max_length=40)
    detail: str = Field(max_length=1000)
    updated: str = Field(max_length=40)
    host: str = Field(max_length=255)
    n: int
    made: int
    seconds: float
    images_per_s: float
    eta_s: float | None
    core_hours: float
    bytes: int
    refused: dict[str, int]
    workers: dict[str, int]
    slowest_scans: list[tuple[str, float]]
    last_errors: list[dict[str, Any]]
    event_log: str = Field(pattern=r"^runs/[0-9a-f]+/events/[^/]+\.jsonl$")


@dataclass(frozen=True)
class Status:
    """JSON values about a run."""

    folder: Folder
    facts: dict[str, Any]
    """`sealed`, `staged`, `first_sheet`, and what `status.json` holds; None where no driver has said anything."""


def read_status(place: Place) -> Status:
    """The status of a dataset folder. Raises StoreError when it is none or its status cannot be read."""
    folder = open_folder(place)
    check_store(folder)
    run = only_run(folder)
    try:
        told = read_model(_Told, folder, run.name("status.json")).model_dump(mode="json")
    except FileNotFoundError:
        told = dict.fromkeys(_Told.model_fields) | {"state": "no driver has reported", "workers": {}}
        told |= {"slowest_scans": [], "last_errors": [], "detail": ""}
    sheet = None if folder.size(FIRST_SHEET) is None else FIRST_SHEET
    counted = {"sealed": sum(len(ids) for ids in run.sealed_ids()), "staged": run.staged_count(), "first_sheet": sheet}
    return Status(folder, counted | told)
