"""Ctrl-C and SIGTERM during a run: noted at once, obeyed between two samples, never lost.

A KeyboardInterrupt raised at a bad moment is swallowed (Blender prints and forgets one that comes while it renders), so
a signal only sets a mark here, and whoever drives the run looks at it.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator


class Stopped(KeyboardInterrupt):
    """The run was asked to stop."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], Stopped | None]]:
    """Within it signals only set a mark; the function it gives tells what to raise once there is one, else None.

    A second signal ends the process at once. Enter it after ray.init, which sets a handler of its own.
    """
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield lambda: None
        return
    mark: list[int] = []

    def note(number: int, _: object) -> None:
        mark.append(number)
        if len(mark) > 1:
            os._exit(128 + number)

    def asked_to_stop() -> Stopped | None:
        return Stopped(mark[0]) if mark else None

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked_to_stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
