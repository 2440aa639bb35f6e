"""A small share of `scripts/fuzz` on every run, and proof that it sees what it is there to see."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it watches through inotify")


@pytest.fixture
def fuzz(monkeypatch):
    """The fuzzer's folder on the path, for this test."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


def test_hostile_files_come_to_nothing_without_blender(tmp_path):
    done = run("benchmarks/fuzz.py", 72, "--without-blender", "--seed", 5, "--failures", tmp_path / "faults")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    rows = {line.split()[0]: [int(word) for word in line.split()[1:7]] for line in done.stdout.splitlines()[1:14]}
    assert rows["all"][0] == 72 and rows["all"][0] == sum(rows["all"][1:])
    assert rows["all"][1] > 5  # or nothing would be tried behind the first look
    assert set(rows) == {
        "obj",
        "mtl",
        "ply",
        "glb",
        "gltf",
        "texture",
        "zip",
        "pkl",
        "npz",
        "hdr",
        "exr",
        "photo",
        "all",
    }


# What a careless change might do; each must be seen. Names of the cases' formats, and what they are found to be.
BREAKS = {
    "follows references wherever they lead": ("mtl", "leaked", """
import synth.scans_formats as f, synth.scans_jobs as j
from pathlib import Path
there = lambda name, folder, root: next((p for p in [Path(folder, name.strip())] if p.is_file()), None)
f.resolve_reference = j.resolve_reference = there"""),
    "follows links": ("mtl", "leaked", """
import synth.scans_files as f
f._why_not_opened = lambda root, path: None"""),
    "lets an exception through": ("glb", "crashed", """
import synth.scans_jobs as j
def broken(path, root): raise KeyError(path.name)
j._REFERENCES[".glb"] = broken"""),
    "one file stops the others": ("pkl", "crashed", """
import synth.sandbox, renderers.importers as i
i.REFUSED = 77"""),
    "unpickles": ("pkl", "leaked", """
import pickle, synth.scans_formats as f
def load(path): pickle.loads(path.read_bytes()); return True
f.is_mesh_pickle = load"""),
    "dies": ("npz", "crashed", """
import os, synth.scans_formats as f
f.npz_is_mesh = lambda path: os.abort()"""),
}  # fmt: skip

WORKER = """
import sys; sys.path.insert(0, "benchmarks")
{broken}
import argparse, fuzz
from pathlib import Path
work = Path({work!r})
(work / "sources").mkdir()
args = argparse.Namespace(n={count}, seed=1, work=work, failures=work / "faults", worker=0, first=0, stride=1,
                          log=work / "log", blender=False)
fuzz.Worker(args, [{kind!r}]).run()
"""


@pytest.mark.parametrize("name", BREAKS)
def test_what_a_careless_change_would_do_is_seen(tmp_path, name):
    kind, fault, broken = BREAKS[name]
    done = run("-c", WORKER.format(broken=broken, work=str(tmp_path), kind=kind, count=120 if "links" in name else 30))
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    if name == "dies":  # the supervisor makes `crashed` of it
        assert done.returncode < 0 and rows[-1][2] == "started"
        return
    assert done.returncode == 0, done.stderr[-2000:]
    found = [row for row in rows if row[2] == fault]
    assert found, {row[2] for row in rows}
    kept = tmp_path / "faults" / f"{kind}-{found[0][0]}"
    assert kept.is_dir() and fault in kept.with_suffix(".txt").read_text()


def test_the_trap_sees_reads_and_calls(fuzz, tmp_path):
    from fuzz_watch import Trap

    trap = Trap(tmp_path / "outside")
    assert trap.touched() == []
    subprocess.run(["cat", str(tmp_path / "outside" / "secret.png")], check=True, capture_output=True)
    (tmp_path / "outside" / "ran").touch()
    socket.create_connection(("127.0.0.1", trap.port)).close()
    touched = trap.touched()
    trap.close()
    assert touched == ["ran", "secret.png", "the port"]


def test_a_case_can_be_made_again(fuzz, tmp_path):
    from fuzz_mangle import Bait, make_case
    from fuzz_sources import make_sources

    sources, bait = make_sources([b"\0" * 99 + b"ball.png"]), Bait(tmp_path, 1)
    for kind, whole in sources.items():
        cases = [make_case(kind, number, 3, whole, bait) for number in range(8)]
        assert cases[5] == make_case(kind, 5, 3, whole, bait)
        assert len({repr(case.files) + repr(case.links) for case in cases}) > 4
