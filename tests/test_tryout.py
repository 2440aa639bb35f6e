"""A scan that kills, hangs or bloats Blender when it is rendered costs itself alone, before anything is drawn."""

import shutil
import sys

import pytest
from conftest import read_ball

from renderers import tryout
from renderers.trial import write_holed_ball
from synth.scans import ImporterBroken, load_library

CHILD = """
import os, sys, time
if "deaf" in sys.argv:
    sys.exit(1)
print("ready", flush=True)
for key in sys.argv[1:]:
    if key.startswith("abort"):
        os.abort()
    if key.startswith("hang"):
        time.sleep(600)
    if key.startswith("eat"):
        hog = [bytearray(2**20) for _ in range(2000)]
    print("bad " + key + " no picture" if key.startswith("bad") else "ok " + key, flush=True)
"""


@pytest.fixture
def child(monkeypatch):
    """A child that misbehaves as its keys say; counts how often it was started."""
    started = []

    def command(store, keys):
        started.append(list(keys))
        return [sys.executable, "-c", CHILD, *keys]

    monkeypatch.setattr(tryout, "_command", command)
    return started


def test_only_the_bad_ones_are_refused(tmp_path, child):
    keys = ["a", "abort1", "b", "hang1", "bad1", "c", "eat1", "d", "abort2", *(f"k{i}" for i in range(40))]
    found = tryout.try_scans(tmp_path, keys, timeout_s=1.5, memory_mb=200)
    assert {k for k, reason in found.items() if reason is None} == {"a", "b", "c", "d", *(f"k{i}" for i in range(40))}
    assert "SIGABRT" in found["abort1"] and "SIGABRT" in found["abort2"]
    assert "longer than" in found["hang1"]
    assert "memory" in found["eat1"]
    assert found["bad1"] == "no picture"
    assert set(found) == set(keys)
    assert max(len(batch) for batch in child) <= tryout.BATCH


def test_a_child_that_never_starts_condemns_no_scan(tmp_path, child):
    with pytest.raises(ImporterBroken, match="doctor"):
        tryout.try_scans(tmp_path, ["deaf"], timeout_s=5)


def test_what_fails_leaves_the_library_for_good(tmp_path, child):
    root = tmp_path / "scans"
    root.mkdir()
    from renderers.trial import ball_obj

    for rings in (8, 10):
        (root / f"ball{rings}.obj").write_text(ball_obj(rings))
    asked = []

    def refuse_first(store, keys):
        asked.append(list(keys))
        return {key: "killed by SIGSEGV" if key == min(keys) else None for key in keys}

    library = load_library([root], tmp_path / "cache", read_ball, tryout=refuse_first)
    assert [v.reason for v in library.verdicts if v.verdict == "refused"] == ["killed by SIGSEGV"]
    assert len(library.entries) == 1
    again = load_library([root], tmp_path / "cache", read_ball, tryout=refuse_first)
    assert again == library
    assert len(asked) == 1


def test_real_blender_renders_good_scans_and_refuses_a_dead_texture(tmp_path):
    from renderers.importers import probe

    good, bad = write_holed_ball(tmp_path / "good"), write_holed_ball(tmp_path / "bad", rings=40)
    library = load_library([good, bad], tmp_path / "cache", probe)
    first, second = (entry.key for entry in library.entries)
    texture = next((library.store / second / "textures").iterdir())
    texture.write_bytes(b"not a picture")
    found = tryout.try_scans(library.store, [first, second])
    assert found[first] is None
    assert "picture" in found[second]
    shutil.copy(next((library.store / first / "textures").iterdir()), texture)
    assert tryout.try_scans(library.store, [second]) == {second: None}
