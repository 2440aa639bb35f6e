"""Renderers of one thread share out the cores of a machine among themselves."""

import os
import subprocess
import sys

import pytest

from renderers.core import Core

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process")

HOLD = "import sys; from renderers.core import Core; print(Core().number, flush=True); sys.stdin.read()"


def test_a_core_is_held_by_one_and_given_back():
    before = os.sched_getaffinity(0)
    mine = Core()
    if mine.number is None:
        pytest.skip("every core of this machine is held by a renderer")
    assert os.sched_getaffinity(0) == {mine.number}
    mine.close()
    mine.close()
    assert os.sched_getaffinity(0) == before


def test_two_processes_hold_two_cores_and_a_killed_one_frees_its_own():
    def hold() -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return process, process.stdout.readline().strip()

    def end(process: subprocess.Popen) -> None:
        process.kill()
        process.communicate()

    (first, one), (second, two) = hold(), hold()
    try:
        assert one == "None" or one != two
        end(first)
        third, three = hold()
        end(third)
        assert one == "None" or three == one
    finally:
        end(second)
