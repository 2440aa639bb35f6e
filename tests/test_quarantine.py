"""Scans that abort, hang or bloat Blender are refused with their reason; the others are rendered and the run is good.

The three files are real: nothing is staged but shorter limits. What only the renderer dies on is hard to come by, so
the child that tries scans is made to die on one.
"""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from test_backgrounds import exr, sky

from renderers.trial import ball_obj
from synth.store import Dataset

pytestmark = [pytest.mark.blender, pytest.mark.ray]

#: The child that tries scans, but it aborts on the smallest mesh and eats memory on the next.
EVIL = """
import os
import sys
import renderers.blender_tryout as child
from pathlib import Path

render = child._render

def evil(scan, camera):
    if len(scan.positions) < {few}:
        os.abort()
    if len(scan.positions) < {more}:
        hog = [bytes([k % 250 + 1]) * 2**20 for k in range(3000)]
    render(scan, camera)

child._render = evil
child.main(Path(sys.argv[1]), sys.argv[2:])
"""
#: `synth` with the limits of a small machine.
COMMAND = """
import sys
import renderers.importers as importers, renderers.tryout as tryout
from synth.cli import main
importers.probe.__defaults__ = (30.0, 1000)
tryout.try_scans.__defaults__ = (120.0, 1000)
tryout._command = lambda store, keys: [sys.executable, "-c", sys.argv[1], str(store), *keys]
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("quarantine")
    scans = root / "scans"
    scans.mkdir()
    for rings in (8, 12, 16, 20):
        (scans / f"ball{rings}.obj").write_text(ball_obj(rings))
    (scans / "aborts.ply").write_text(ply_with_a_count_beyond_int())
    (scans / "hangs.obj").write_text(obj_with_one_huge_face())
    (scans / "eats.fbx").write_bytes(fbx_that_inflates())
    (root / "backgrounds").mkdir()
    (root / "backgrounds" / "sky.exr").write_bytes(exr(sky()))
    return root


def synth(place: Path, *more: object) -> subprocess.CompletedProcess:
    vertices = {rings: ball_obj(rings).count("\nv ") for rings in (8, 12, 16)}
    evil = EVIL.format(few=vertices[8] + 2, more=vertices[12] + 2)
    said = ["render", "--scans", place / "scans", "--backgrounds", place / "backgrounds", "--cache", place / "cache"]
    said += ["--width", 48, "--height", 64, "--spp", 1, "--n", 8, "--workers", 1, *more]
    return subprocess.run(
        [sys.executable, "-c", COMMAND, evil, *map(str, said)], capture_output=True, text=True, timeout=300
    )


def test_each_ends_refused_with_its_reason_and_the_others_are_rendered(place):
    done = synth(place, "--out", place / "set")
    assert done.returncode == 0, done.stderr
    reasons = {
        line.split()[1].rstrip(":"): line for line in done.stdout.splitlines() if line.strip().startswith("refused ")
    }
    assert set(reasons) == {"aborts.ply", "hangs.obj", "eats.fbx", "ball8.obj", "ball12.obj"}, done.stdout
    for name, words in {
        "aborts.ply": ("importer", "SIGABRT"), "hangs.obj": ("importer", "longer than 30 s"),
        "eats.fbx": ("importer", "memory"), "ball8.obj": ("renderer", "SIGABRT"), "ball12.obj": ("renderer", "memory"),
    }.items():  # fmt: skip
        assert all(word in reasons[name] for word in words), reasons[name]
    seen = {subject.scan_id for sample in Dataset(place / "set") for subject in sample.recipe.subjects}
    assert seen == {"ball16", "ball20"}


def test_strict_wants_every_scan(place):
    done = synth(place, "--out", place / "strict", "--strict")
    assert done.returncode == 1 and "aborts.ply" in done.stdout + done.stderr
    assert not list((place / "strict").glob("shards/*"))


def ply_with_a_count_beyond_int() -> str:
    """Blender's reader hands the count of any element to `std::stoi` and does not catch what that throws."""
    points = "".join(f"property float {axis}\n" for axis in "xyz")
    header = f"ply\nformat ascii 1.0\nelement vertex 3\n{points}element other 99999999999\n"
    faces = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    return f"{header}{faces}0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"


def obj_with_one_huge_face(corners: int = 60_000) -> str:
    """One polygon that crosses itself everywhere: cutting it into triangles is quadratic in Blender and worse."""
    points = np.random.default_rng(0).normal(size=(corners, 3))
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in points]
    return "\n".join([*lines, "f " + " ".join(map(str, range(1, corners + 1)))]) + "\n"


def fbx_that_inflates(gib: int = 2) -> bytes:
    """Some megabytes whose array of vertices takes `gib` GiB once inflated."""
    deflate = zlib.compressobj(1)
    packed = b"".join(deflate.compress(bytes(2**24)) for _ in range(64 * gib)) + deflate.flush()
    vertices = b"d" + struct.pack("<III", gib * 2**27, 1, len(packed)) + packed

    def text(value: bytes) -> bytes:
        return b"S" + struct.pack("<I", len(value)) + value

    mesh = b"L" + struct.pack("<q", 1) + text(b"scan\0\x01Geometry") + text(b"Mesh")
    tree = [(b"Objects", b"", 0, [(b"Geometry", mesh, 3, [(b"Vertices", vertices, 1, [])])])]
    header = b"Kaydara FBX Binary  \0\x1a\0" + struct.pack("<I", 7400)
    return header + _fbx_nodes(tree, len(header)) + bytes(13 + 160)


def _fbx_nodes(nodes: list, at: int) -> bytes:
    """Nodes (name, properties, their count, children) from byte `at` of the file on."""
    out = b""
    for name, properties, count, children in nodes:
        inner = at + len(out) + 13 + len(name) + len(properties)
        body = _fbx_nodes(children, inner) + bytes(13) if children else b""
        out += struct.pack("<IIIB", inner + len(body), count, len(properties), len(name)) + name + properties + body
    return out
