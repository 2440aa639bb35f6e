"""Tasks shared out to processes of this machine: each process is told once what all tasks have in common.

Results come in the order of the tasks, whoever made them: what is written from them does not depend on the number of
processes.
"""

import os
import signal
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


def run_tasks(
    work: Callable[[_Shared, _Task], _Result], shared: _Shared, tasks: Sequence[_Task], workers: int
) -> Iterator[_Result]:
    """`work(shared, task)` of every task, in order. workers: processes; up to 1: this one alone.

    work, shared and tasks are pickled. Raises what `work` raises, or UserError when a process was killed.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from (work(shared, task) for task in tasks)
        return
    # spawn: the threads of an object store's client do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (work, shared)) as pool:
        try:
            yield from pool.map(_run, tasks)
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed; run the same command again with fewer --workers") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_job: tuple[Callable, Any]  # of a worker process


def _start(work: Callable, shared: Any) -> None:
    global _job
    _job = work, shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is left to the parent
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker keeps its own queue open: nothing else would end it after `kill -9` of its parent."""
    connection.wait([parent_process().sentinel])
    os._exit(1)


def _run(task: Any) -> Any:
    work, shared = _job
    return work(shared, task)
