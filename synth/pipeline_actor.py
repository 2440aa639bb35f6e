"""The worker's side of the farm: a process with one renderer, asked for batches of fates.

Plain calls that return lists, not streams: Ray's client (`ray://`) has no streams of actors. `synth.pipeline_farm` is
who asks.
"""

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray

from synth.pipeline_output import Output
from synth.pipeline_work import Task
from synth.pipeline_worker import Fate, Job, Worker
from synth.scratch import scratch_folder
from synth.store_write import Run

#: A worker answers once it has worked so long on a batch: at every sample when they are slow, thousands of fast ones
#: a second cost the driver little.
_BATCH_S = 0.5


@dataclass(frozen=True)
class Hello:
    """A worker that can render."""

    node: str
    """Host name."""
    pid: int
    facts: dict[str, dict[str, str]]
    """Its environments, by engine."""
    log: Path
    """Where its standard output and error go, on its machine."""


@dataclass(frozen=True)
class Batch:
    """Fates of consecutive ids of a task."""

    fates: tuple[Fate, ...]
    done: bool
    """No id of the task is left."""
    drained: bool
    """The worker was asked to end, by SIGTERM; what is left of its task is for another."""


class Actor:
    """Made remote by `synth.pipeline_ray`. Its methods run one at a time in the main thread, where signals arrive."""

    def __init__(self, job: Job, run: Run):
        self._asked_to_end = False
        # Ray's own handler waits for the render to end, and driver and worker then hang.
        signal.signal(signal.SIGTERM, self._note)
        self._folder = scratch_folder(in_memory=False)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder)  # bpy leaves an empty folder per process
        self._output = Output(self._folder / "output.log")
        self._worker = Worker(job, run)
        self._fates: Iterator[Fate] = iter(())
        self._left = 0

    def hello(self) -> Hello:
        """Who this is."""
        return Hello(socket.gethostname(), os.getpid(), self._worker.facts, self._output.path)

    def work(self, task: Task | None) -> Batch:
        """Begins a task, or goes on with the one it has; answers after a while, or when the task ends."""
        if task is not None:
            self._fates, self._left = self._worker.render(task), len(task.ids)
        began, fates = time.monotonic(), []
        while self._left and not self._asked_to_end and (not fates or time.monotonic() - began < _BATCH_S):
            fate = next(self._fates)
            self._left -= 1
            fates.append(fate.with_errors(self._output.new_errors()))
        return Batch(tuple(fates), done=not self._left, drained=self._asked_to_end)

    def leave(self) -> None:
        """Tidies up and ends the process, with exit code 0."""
        self._worker.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        ray.actor.exit_actor()

    def _note(self, number: int, frame: object) -> None:
        self._asked_to_end = True
