"""Children of `scripts/fuzz` without the second that Blender takes to start: forks of one process that has it loaded.

`Forks.run_child` stands in for `synth.sandbox.run_child`: same command, limits and endings, and each child is a process
of its own that runs the module's `__main__` as `python -m` would. What ends badly in a fork is run again by the real
`run_child`, whose word counts. `python benchmarks/fuzz_fork.py FOLDER WARNINGS MODULE...` is the process that forks.
"""

import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fuzz_watch import watch_opens

from synth.sandbox import ChildFailed, Finished, last_line, run_child

_TAIL = 64 * 1024


class Forks:
    """A process that has some modules loaded, and forks a child for each command."""

    def __init__(self, folder: Path, modules: Sequence[str], warnings: Path, most_s: float):
        self._folder, self._modules, self._warnings, self._most_s = folder, tuple(modules), warnings, most_s
        self.ended: list[str] = []
        """How children ended that were ended by a signal or a limit, in the real run."""
        self._process = None

    def run_child(
        self, command: Sequence[str], timeout_s: float, memory_mb: int, env: Mapping[str, str] | None = None
    ) -> Finished:
        """As `synth.sandbox.run_child`, for commands `python -P -m MODULE ...`; other modules than ours refuse."""
        timeout_s = min(timeout_s, self._most_s)
        module, arguments = command[3], list(command[4:])
        if module not in self._modules:
            raise ChildFailed("failed", "left with status 3", 3, "", "not asked here")
        status, seconds = self._fork(module, arguments, timeout_s, memory_mb, dict(env or os.environ))
        out, err = (_read_tail(self._folder / name) for name in ("out", "err"))
        if status == 0:
            return Finished(out, err)
        if status is not None and status > 0:
            said = f" ({last})" if (last := last_line(err)) else ""
            raise ChildFailed("failed", f"left with status {status}{said}", status, out, err)
        try:
            return run_child(command, timeout_s, memory_mb, env)
        except ChildFailed as failure:
            if failure.ending != "failed":
                self.ended.append(f"{module} {failure} (in a fork: {status}, {seconds:.1f} s)")
            raise

    def _fork(self, module: str, arguments: list[str], timeout_s: float, memory_mb: int, env: dict) -> tuple:
        """(exit status, minus the signal, or None where a limit ended it; seconds)."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        began = time.monotonic()
        self._process.stdin.write(json.dumps([module, arguments, env]).encode() + b"\n")
        self._process.stdin.flush()
        pid, limited = int(self._process.stdout.readline()), False
        while not select.select([self._process.stdout], [], [], 0.02)[0]:
            if time.monotonic() - began > timeout_s or _resident_mb(pid) > memory_mb:
                limited = True
                os.killpg(pid, signal.SIGKILL)
                break
        status = os.waitstatus_to_exitcode(int(self._process.stdout.readline()))
        return (None if limited else status), time.monotonic() - began

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(self._folder), str(self._warnings), *self._modules]
        # Unbuffered: select must see each answer.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()


def serve(folder: Path, warnings: Path, modules: Sequence[str]) -> None:
    """The process that forks: a command a line, answered by the child's pid and then by its status."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for module in modules:
        __import__(module)
    log = os.open(warnings, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    work = folder.parents[1]
    settings = Path.home() / ".config" / "blender"  # Blender's own, read at its start
    watch_opens(
        [work / "tmp", work / "cases" / "case", settings], lambda said: os.write(log, f"child: {said}\n".encode())
    )
    for line in sys.stdin:
        module, arguments, env = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(folder, module, arguments, env)
        os.write(answers, f"{pid}\n".encode())
        os.write(answers, f"{os.waitpid(pid, 0)[1]}\n".encode())


def _become(folder: Path, module: str, arguments: list[str], env: dict) -> None:
    """What `python -P -m MODULE` would have been; does not return."""
    status = 1
    try:
        os.setsid()
        for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, folder / "out", os.O_WRONLY),
                                    (2, folder / "err", os.O_WRONLY)):  # fmt: skip
            os.dup2(os.open(name, flags | os.O_CREAT | (os.O_TRUNC if number else 0)), number)
        os.environ.clear()
        os.environ.update(env)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = [module, *arguments]
        sys.modules.pop(module, None)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError, ValueError):
        return 0.0


def _read_tail(path: Path) -> str:
    return path.read_bytes()[-_TAIL:].decode("utf-8", "replace")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
