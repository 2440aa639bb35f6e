"""Tasks shared out to processes of this machine, which end with the one that started them.

Results come in the order of the tasks, whoever made them: what is written from them does not depend on the number of
processes.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from synth.errors import UserError

_Shared = TypeVar("_Shared")
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

#: prctl(2): the signal that a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1
_KILLED = "a worker process was killed; run the same command again with fewer --workers"


def run_tasks(
    work: Callable[[_Shared, _Task], _Result], shared: _Shared, tasks: Sequence[_Task], workers: int
) -> Iterator[_Result]:
    """`work(shared, task)` of every task, in order. workers: processes; up to 1: this one alone.

    work, shared and tasks are pickled; each process is told once what all tasks share. Raises what `work` raises, or
    UserError when a process was killed.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from (work(shared, task) for task in tasks)
        return
    yield from map_in_processes(_start, (work, shared), _run, tasks, workers)


def map_in_processes(
    start: Callable, arguments: tuple, run: Callable[[_Task], _Result], tasks: Sequence[_Task], workers: int,
    killed: str = _KILLED,
) -> Iterator[_Result]:  # fmt: skip
    """`run(task)` of every task, in order, in processes that each begin with `start(*arguments)`.

    Raises what `run` raises, or UserError with the line `killed` when a process was killed.
    """
    # spawn: Blender and the threads of an object store's client do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (start, arguments)) as pool:
        try:
            yield from pool.map(run, tasks)
        except BrokenProcessPool as error:
            raise UserError(killed) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(start: Callable, arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is left to the parent
    _end_with_parent()
    start(*arguments)


def _end_with_parent() -> None:
    """A process keeps its own queue open: nothing else would end it after `kill -9` of its parent.

    Linux ends it on request; a thread that watches the parent, as elsewhere, makes Blender hang at its exit.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if not parent_process().is_alive():  # it died before we asked
            os._exit(1)
    else:
        threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)


_job: tuple[Callable, Any]  # of a worker process


def _start(work: Callable, shared: Any) -> None:
    global _job
    _job = work, shared


def _run(task: Any) -> Any:
    work, shared = _job
    return work(shared, task)
