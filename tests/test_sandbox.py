"""A child process must end in every way a reader can end, and leave nothing behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from synth.sandbox import ChildFailed, last_line, run_child


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_of_a_child_that_finishes():
    done = run_child(python("import sys; print('out'); print('err', file=sys.stderr)"), 20, 500)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_environment_is_the_one_given():
    done = run_child(python("import os; print(sorted(k for k in os.environ if k.startswith('SYNTH_')))"), 20, 500,
                     {"SYNTH_X": "1"})  # fmt: skip
    assert done.stdout == "['SYNTH_X']\n"


@pytest.mark.parametrize(
    ("code", "ending", "says"),
    [
        ("import sys; print('because', file=sys.stderr); sys.exit(3)", "failed", "status 3 (because)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "crashed", "SIGABRT"),
        ("import time; time.sleep(60)", "timeout", "longer than 0.5 s"),
        ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", "timeout", "0.5 s"),
    ],
)
def test_endings(code, ending, says):
    started = time.monotonic()
    with pytest.raises(ChildFailed, match=says.replace("(", r"\(").replace(")", r"\)")) as failure:
        run_child(python(code), 0.5 if ending == "timeout" else 20, 500)
    assert failure.value.ending == ending
    assert time.monotonic() - started < 15


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_memory_is_limited_while_it_grows_and_not_while_it_is_only_reserved():
    run_child(python("import mmap; m = mmap.mmap(-1, 4 << 30)"), 20, 200)
    with pytest.raises(ChildFailed, match="more than 200 MiB") as failure:
        run_child(python("import time\nx = bytearray()\nwhile True: x += b'1' * 2**22; time.sleep(0.005)"), 20, 200)
    assert failure.value.ending == "memory"


def test_grandchildren_are_ended_too(tmp_path):
    file = tmp_path / "pid"
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, file=open({str(file)!r}, "w"), flush=True)
time.sleep(60)
"""
    with pytest.raises(ChildFailed):
        run_child(python(code), 2, 500)
    pid = int(file.read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":  # dead, waiting for init
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the grandchild lives on")


def test_a_flood_of_output_is_cut_to_its_end():
    done = run_child(python("for i in range(200000): print(i)"), 20, 500)
    assert len(done.stdout) <= 64 * 1024
    assert done.stdout.endswith("199999\n")


def test_a_command_that_is_not_there():
    with pytest.raises(OSError):
        run_child(["/nonexistent/command"], 5, 100)


@pytest.mark.parametrize(("text", "line"), [("", ""), ("a\n b \n\n", "b"), ("x" * 500, "x" * 200)])
def test_last_line(text, line):
    assert last_line(text) == line
