"""A child process with limits: for whatever may kill, hang or bloat the process that runs it.

A mesh from a stranger can abort Blender (nothing to catch) or ask for all memory there is. Here a command runs in a
session of its own under a time and a memory limit; the caller gets its output, or an exception that says how it
ended. No shell, no network rules, Linux for the memory limit (elsewhere only time is limited). Who uses it:
`renderers.importers`.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: How often the child's memory is looked at. Touching fresh pages runs at about 2 GB/s, so the overshoot is ~50 MB.
_POLL_S = 0.02
#: Kept from the end of each output: a traceback fits, a flood of warnings does not fill our memory.
_TAIL_BYTES = 64 * 1024

Ending = Literal["failed", "crashed", "timeout", "memory"]


@dataclass(frozen=True)
class Finished:
    """A child that ended with exit status 0."""

    stdout: str
    """The last 64 KiB."""
    stderr: str
    """The last 64 KiB."""


class ChildFailed(Exception):
    """A child that did not end well. The message is one line.

    ending: `failed` left with a status other than 0, `crashed` was ended by a signal, `timeout` and `memory` were
    ended by us. returncode: exit status, or minus the signal's number. stderr: its last 64 KiB.
    """

    def __init__(self, ending: Ending, detail: str, returncode: int, stdout: str, stderr: str):
        super().__init__(detail)
        self.ending: Ending = ending
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


def run_child(
    command: Sequence[str], timeout_s: float, memory_mb: int, env: Mapping[str, str] | None = None
) -> Finished:
    """Runs a command to its end, within `timeout_s` seconds and `memory_mb` MiB of resident memory.

    env: the whole environment, or None for ours. Standard input is empty. Whatever the child started and left
    behind in its process group is ended too. Raises ChildFailed; OSError when the command cannot be started.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, start_new_session=True
        )
        try:
            _limit(child.pid, timeout_s)
            ending = _watch(child, timeout_s, memory_mb)
        finally:
            _kill_group(child)
        stdout, stderr = _tail(out), _tail(err)
    code = child.returncode
    if ending is None and code == 0:
        return Finished(stdout, stderr)
    if ending is None:
        ending = "crashed" if code < 0 else "failed"
    detail = {
        "timeout": f"took longer than {timeout_s:g} s",
        "memory": f"needed more than {memory_mb} MiB of memory",
        "crashed": f"killed by {_signal_name(-code)}",
        "failed": f"left with status {code}",
    }[ending]
    if ending in ("crashed", "failed") and (last := last_line(stderr)):
        detail += f" ({last})"
    raise ChildFailed(ending, detail, code, stdout, stderr)


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our own modules in this Python, nothing of the working folder in its way."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment(**changes: str) -> dict[str, str]:
    """Our environment for `module_command`, in which our packages are found from anywhere; changes win."""
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}


def last_line(text: str, width: int = 200) -> str:
    """The last line of a text that is not blank, cut to `width` characters; "" if there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:width] if lines else ""


def _limit(pid: int, timeout_s: float) -> None:
    if not hasattr(resource, "prlimit"):
        return
    # If we are killed there is nobody to stop the child: then its processor time does. No core files either way.
    cpu_s = int(timeout_s * (os.cpu_count() or 1)) + 5
    try:
        resource.prlimit(pid, resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    except (ProcessLookupError, PermissionError):
        pass  # already gone, or a container that forbids it: the clock below still holds


def _watch(child: subprocess.Popen, timeout_s: float, memory_mb: int) -> Ending | None:
    """Waits for the child's end; why it has to be ended instead, if so."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            child.wait(_POLL_S)
            return None
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > deadline:
            return "timeout"
        if resident_mb(child.pid) > memory_mb:
            return "memory"


def resident_mb(pid: int | None = None) -> float:
    """Resident memory of a process, ours by default, MiB; 0 where that cannot be known."""
    # Resident, not virtual: bpy maps far more than it touches, so RLIMIT_AS would refuse honest scans.
    if not sys.platform.startswith("linux"):
        return 0.0
    try:
        pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * resource.getpagesize() / 2**20


def _kill_group(child: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # an empty group is what we want
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _tail(file) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read().decode("utf-8", "replace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
