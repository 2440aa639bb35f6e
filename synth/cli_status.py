"""`synth status DATASET`: how far a run is, from any terminal or machine that sees its folder."""

import argparse
import json
import time
from datetime import UTC, datetime

from synth.cli_library import data_size, say
from synth.pipeline_status import Status, read_status

#: Seconds between looks of --follow.
_EVERY_S = 5.0
#: A driver writes every few seconds while images come; one that is silent for longer is slow, or gone.
_SILENT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --follow, --json."""
    parser.add_argument("dataset", metavar="DATASET", help="folder or URL that `synth render` writes")
    parser.add_argument("--follow", action="store_true", help="look again every few seconds until the run ends")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead")


def run(args: argparse.Namespace) -> int:
    """Prints the status; exit 1 if the folder is no dataset."""
    while True:
        status = read_status(args.dataset)
        say(json.dumps(status.facts) if args.json else describe(status, datetime.now(UTC)))
        if not args.follow or status.facts["state"] != "rendering":
            return 0
        time.sleep(_EVERY_S)


def describe(status: Status, now: datetime) -> str:
    """The status for people, several lines. now: with a time zone."""
    f = status.facts
    total = f["n"] if f["n"] is not None else f["sealed"] + f["staged"]
    lines = [f"{status.folder.place}: {_state(f, now)}; {f['sealed'] + f['staged']} of {total} images"]
    lines.append(f"  sealed {f['sealed']}, staged {f['staged']}, missing {max(0, total - f['sealed'] - f['staged'])}")
    if f["made"] is not None:
        eta = f", {duration(f['eta_s'])} left" if f["eta_s"] and f["state"] == "rendering" else ""
        lines.append(
            f"  this session: {f['made']} images in {duration(f['seconds'])}, {f['images_per_s']:.3g} images/s{eta}, "
            f"{f['core_hours']:.2f} core-hours, {data_size(f['bytes'])}"
        )
        refused = ", ".join(f"{reason} {count}" for reason, count in f["refused"].items())
        lines.append(f"  refused: {refused or 'none'}")
    if f["workers"]:
        lines.append("  workers: " + ", ".join(f"{node} {count}" for node, count in f["workers"].items()))
    if f["slowest_scans"]:
        slowest = ", ".join(f"{scan} {seconds:.2f}" for scan, seconds in f["slowest_scans"])
        lines.append(f"  slowest scans, core-seconds an image: {slowest}")
    for error in f["last_errors"][-3:]:
        told = error.get("detail") or "; ".join(error.get("lines", ())) or error.get("reason", "")
        lines.append(f"  {error['time']} {error['event']}: {told[:200]}")
    if f["event_log"]:
        lines.append(f"  event log: {status.folder.where(f['event_log'])}")
    if f["first_sheet"]:
        lines.append(f"  first images: {status.folder.where(f['first_sheet'])}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """E.g. `3 d 4 h`, `2 h 5 min`, `90 s`."""
    seconds = round(seconds)
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _state(f: dict, now: datetime) -> str:
    if f["state"] != "rendering":
        return f["state"] + (f" ({f['detail']})" if f["detail"] else "")
    silent = (now - datetime.fromisoformat(f["updated"])).total_seconds()
    if silent < _SILENT_S:
        return f"rendering on {f['host']}"
    return f"silent for {duration(silent)}: slow, or its driver on {f['host']} is gone; the same command goes on"
