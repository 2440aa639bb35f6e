"""CPU time of a command with all that it starts, Ray's own processes apart from its workers and the driver.

A mark in the environment, which children inherit, tells who belongs to it; `/proc` tells what each has used. It is read
so often that a process hides at most a fifth of a second before its end.
"""

import os
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

_MARK = "SYNTH_BENCHMARK_TREE"
_EVERY_S = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """Core-seconds."""

    driver: float
    """The command's own process, and children that are not Ray's."""
    workers: float
    """Processes that make samples."""
    ray: float
    """Ray's own: object store, scheduler, idle workers."""
    output: str
    code: int

    @property
    def ours(self) -> float:
        """Without Ray's own."""
        return self.driver + self.workers

    @property
    def all(self) -> float:
        """With it."""
        return self.ours + self.ray


def run_measured(command: list[str], **environment: str) -> Used:
    """Runs a command to its end, its output kept, and says what it used."""
    mark = f"{_MARK}={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment, name: value},
    )
    watch = _Watch(mark.encode())
    watch.start()
    try:
        output, _ = process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()
        watch.stop()
    ticks = watch.ticks
    kinds = {pid: _kind(command) for pid, command in watch.commands.items()}
    sums = {kind: sum(ticks[pid] for pid in ticks if kinds[pid] == kind) / _TICKS for kind in ("", "worker", "ray")}
    return Used(sums[""], sums["worker"], sums["ray"], output, process.returncode)


def _kind(command: str) -> str:
    if "ray::Actor" in command:
        return "worker"
    if "ray::" in command or "/ray/" in command or "raylet" in command or "gcs_server" in command:
        return "ray"
    return ""


class _Watch(threading.Thread):
    """Reads /proc until it is told to stop."""

    def __init__(self, mark: bytes):
        super().__init__(daemon=True)
        self._mark, self._over = mark, threading.Event()
        self._since = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        self.ticks: dict[str, int] = {}
        self.commands: dict[str, str] = {}

    def run(self) -> None:
        while not self._over.wait(_EVERY_S):
            for place in Path("/proc").iterdir():
                if place.name.isdigit():
                    self._look(place)

    def stop(self) -> None:
        """Returns when nothing is read any more."""
        self._over.set()
        self.join()

    def _look(self, place: Path) -> None:
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            who = f"{place.name} {fields[19]}"  # with its start: numbers are given again
            if int(fields[19]) < self._since:  # older than this process, so none of its children
                return
            if who not in self.ticks and self._mark not in (place / "environ").read_bytes().split(b"\0"):
                return
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, IndexError):
            return  # it ended meanwhile
        self.ticks[who] = int(fields[11]) + int(fields[12])
        if command and "ray::Actor" not in self.commands.get(who, ""):
            self.commands[who] = command


if __name__ == "__main__":
    used = run_measured(sys.argv[1:])
    print(used.output)
    print(used)
