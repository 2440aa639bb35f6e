"""The doctor: what it reads out of ldd, versions and limits, and that a finding never stops the others."""

import importlib.metadata
import sys

import pytest

from synth import doctor
from synth.doctor import Finding, diagnose, free_memory_mb, install_command, missing_libraries, version_fits

LDD = """\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibX11.so.6 => not found
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)
\tlibSM.so.6 => not found
\tlibX11.so.6 => not found
\tlibodd.so.9 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f)
"""

LDD_TABLE = {
    "": [],
    "\tnot a dynamic executable\n": [],
    "\tlibm.so.6 => /lib/libm.so.6 (0x7f)\n": [],
    "\tlibEGL.so.1 => not found\n": ["libEGL.so.1"],
    "a.so: /lib/libc.so.6: version `GLIBC_2.34' not found\n\tlibGL.so.1 => not found\n": ["libGL.so.1"],
    LDD: ["libX11.so.6", "libSM.so.6", "libodd.so.9"],
}


@pytest.mark.parametrize("text", LDD_TABLE)
def test_missing_libraries_of_ldd(text):
    assert missing_libraries(text) == LDD_TABLE[text]


def test_missing_libraries_become_one_command():
    assert install_command([]) == ""
    assert install_command(["libSM.so.6", "libGL.so.1"]) == "apt-get install libgl1 libsm6"
    assert install_command(["libSM.so.6", "libodd.so.9"]) == "apt-get install libsm6; find the packages of libodd.so.9"
    assert install_command(["libodd.so.9"]) == "find the packages of libodd.so.9"


VERSIONS = [
    ("26.0.1", "22", "26", False),
    ("25.0.1", "22", "26", True),
    ("26.0rc1", "22", "26", False),
    ("3.5.10", "3.5.2", None, True),  # not by text: "3.5.10" < "3.5.2"
    ("3.5.1", "3.5.2", None, False),
    ("1.26.4", "1.26", "2", True),
    ("2.0", "1.26", "2", False),
    ("4.4.0.post1", "4.4", None, True),
    ("4.5", "4.5", "4.6", True),
    ("odd", "1", None, False),
]


@pytest.mark.parametrize(("version", "oldest", "too_new", "fits"), VERSIONS)
def test_version_fits(version, oldest, too_new, fits):
    assert version_fits(version, oldest, too_new) is fits


def finding(name: str, render_one=None) -> Finding:
    """The one finding of that name."""
    return next(f for f in diagnose(render_one) if f.name == name)


@pytest.fixture
def light(monkeypatch):
    """Only numpy is looked at, and Blender's libraries are all there."""
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": ("numpy", "1.26", None), "bpy": ("math", "0", None)})
    monkeypatch.setattr(doctor, "blender_misses", list)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.0")
    monkeypatch.setattr(sys, "version_info", (3, 11, 9))


def test_a_healthy_machine_renders(light):
    findings = diagnose(lambda: "labels right")
    assert findings[-1] == Finding("render", True, "labels right")
    assert {"python", "numpy", "memory", "cache", "open files", "system libraries"} <= {f.name for f in findings}


def test_every_bad_finding_has_a_way_out(light, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": ("no_such_module", "1.26", None), "bpy": ("math", "9", None)})
    monkeypatch.setattr(doctor, "blender_misses", lambda: ["libSM.so.6"])
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    for limit in ("MIN_MEMORY_MB", "MIN_SHM_MB", "MIN_CACHE_MB"):
        monkeypatch.setattr(doctor, limit, 10**9)
    monkeypatch.setattr(doctor, "MIN_FILES", 10**12)
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda which: (256, 4096))
    bad = [f for f in diagnose(lambda: pytest.fail("must not be tried")) if not f.ok]
    names = {f.name for f in bad}
    assert {"python", "numpy", "bpy", "system libraries", "memory", "cache", "open files", "render"} <= names
    assert all(f.remedy and "\n" not in f.remedy + f.detail for f in bad)
    assert "no_such_module" in next(f.detail for f in bad if f.name == "numpy")
    assert next(f.remedy for f in bad if f.name == "system libraries") == "apt-get install libsm6"


def test_a_failed_render_is_a_finding(light):
    def fails() -> str:
        raise RuntimeError("depth off\nby 3 mm")

    assert finding("render", fails) == Finding("render", False, "depth off by 3 mm", finding("render", fails).remedy)


def test_a_package_that_kills_its_process_is_a_finding(light, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": ("os; os.abort()", "0", None), "bpy": ("math", "0", None)})
    found = finding("numpy")
    assert not found.ok and "SIGABRT" in found.detail


def test_free_memory_is_believable():
    free = free_memory_mb()
    if free is None:
        pytest.skip("this system does not say how much memory is free")
    assert 10 < free < 10**8
