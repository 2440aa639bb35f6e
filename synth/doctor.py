"""Is this machine able to render? One finding per thing that has stopped somebody, with the command that mends it.

Nothing heavy is imported here: packages are tried in child processes, for a Blender without its system libraries may
abort. `synth doctor` prints the findings and brings a trial render along.
"""

import importlib.metadata
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synth.sandbox import ChildFailed, last_line, run_child
from synth.scans import default_cache

#: Distribution -> (module, oldest version that works, first that does not). pyarrow 26 refuses the numpy 1 of bpy 4.5,
#: and `pip check` does not notice.
PACKAGES = {
    "numpy": ("numpy", "1.26", "2"),
    "pillow": ("PIL", "12", None),
    "pydantic": ("pydantic", "2.12", None),
    "OpenEXR": ("OpenEXR", "3.5.2", None),
    "pyarrow": ("pyarrow", "22", "26"),
    "trimesh": ("trimesh", "4.5", None),
    "embreex": ("embreex", "4.4", None),
    "numba": ("numba", "0.60", None),
    "zlib-ng": ("zlib_ng", "1", None),
    "ray": ("ray", "2.50", None),
    "bpy": ("bpy", "4.5", "4.6"),
}

#: Shared library -> Debian and Ubuntu package. What bpy 4.5 needs on a bare Debian 12, measured.
SYSTEM_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
    "libXext.so.6": "libxext6",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
}

MIN_MEMORY_MB = 3000
"""One worker: Blender with a scan and a panorama, beside Ray's own 0.4 GB."""
MIN_SHM_MB = 256
"""A worker's passes lie there uncompressed: 250 MB at 4096 x 3072."""
MIN_CACHE_MB = 2000
MIN_FILES = 1024


@dataclass(frozen=True)
class Finding:
    """One thing looked at. remedy: what to do when it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose(render_one: Callable[[], str] | None = None) -> list[Finding]:
    """All findings, in the order in which they are best mended.

    render_one: renders a frame and returns a line about its labels; raises where it cannot. None leaves it out.
    """
    findings = [_python(), *(_package(name) for name in PACKAGES if name != "bpy")]
    findings += [_libraries(), _package("bpy"), _egl(), _memory(), _shared_memory(), _cache(), _open_files()]
    if render_one is not None:
        if all(finding.ok for finding in findings if finding.name in {"python", "system libraries", *PACKAGES}):
            findings.append(_render(render_one))
        else:
            findings.append(Finding("render", False, "not tried", "mend the findings above first"))
    return findings


def missing_libraries(ldd_output: str) -> list[str]:
    """Names that ldd could not find, each once, in its order."""
    names = re.findall(r"^\s*(\S+) => not found", ldd_output, re.MULTILINE)
    return list(dict.fromkeys(names))


def install_command(libraries: list[str]) -> str:
    """The command that installs shared libraries on Debian and Ubuntu, and the names nobody packages."""
    known = sorted({SYSTEM_LIBRARIES[name] for name in libraries if name in SYSTEM_LIBRARIES})
    other = [name for name in libraries if name not in SYSTEM_LIBRARIES]
    parts = [f"apt-get install {' '.join(known)}"] if known else []
    return "; ".join(parts + ([f"find the packages of {', '.join(other)}"] if other else []))


def version_fits(version: str, oldest: str, too_new: str | None) -> bool:
    """Whether a version lies in [oldest, too_new); only leading numbers count, so 26.0rc1 is 26.0."""
    number = _numbers(version)
    return number >= _numbers(oldest) and (too_new is None or number < _numbers(too_new))


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    fits = sys.version_info[:2] == (3, 11) and sys.implementation.name == "cpython"
    remedy = "make the environment with CPython 3.11: bpy 4.5 has wheels for no other; scripts/setup does it"
    return Finding("python", fits, f"{sys.implementation.name} {version}, {sys.executable}", remedy)


def _package(name: str) -> Finding:
    module, oldest, too_new = PACKAGES[name]
    bounds = f">={oldest}" + (f",<{too_new}" if too_new else "")
    remedy = f"{sys.executable} -m pip install '{name}{bounds}', or scripts/setup"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "is not installed", remedy)
    if not version_fits(version, oldest, too_new):
        return Finding(name, False, f"{version} is here, {bounds} is needed", remedy)
    try:
        run_child([sys.executable, "-c", f"import {module}"], timeout_s=120, memory_mb=4096)
    except (ChildFailed, OSError) as error:
        reason = last_line(getattr(error, "stderr", "")) or str(error)
        return Finding(name, False, f"{version} cannot be imported: {reason}", remedy)
    return Finding(name, True, version)


def blender_misses() -> list[str]:
    """Shared libraries that bpy names and this machine lacks, by ldd: an import would tell only the first."""
    spec = importlib.util.find_spec("bpy")
    if spec is None or not spec.origin or not sys.platform.startswith("linux") or shutil.which("ldd") is None:
        return []  # then the import of bpy is the judge
    done = subprocess.run(["ldd", spec.origin], capture_output=True, text=True, timeout=60)
    return missing_libraries(done.stdout)


def _libraries() -> Finding:
    missing = blender_misses()
    detail = f"bpy misses {', '.join(missing)}" if missing else "nothing that bpy names is missing"
    return Finding("system libraries", not missing, detail, install_command(missing))


def _egl() -> Finding:
    """Only eevee needs it, so its absence is no fault, but it aborts there and nothing can catch that."""
    try:
        run_child([sys.executable, "-c", "import ctypes; ctypes.CDLL('libEGL.so.1')"], timeout_s=30, memory_mb=1024)
    except (ChildFailed, OSError):
        return Finding("EGL", True, "not here: --engine cycles is fine, eevee would abort (apt-get install libegl1)")
    return Finding("EGL", True, "here, so --engine eevee can start")


def _memory() -> Finding:
    free = free_memory_mb()
    if free is None:
        return Finding("memory", True, "not looked at: this system does not say")
    remedy = f"free some, or give the container more: a worker wants about {MIN_MEMORY_MB} MB"
    return Finding("memory", free >= MIN_MEMORY_MB, f"{free:.0f} MB free", remedy)


def free_memory_mb() -> float | None:
    """Memory that can be had without swapping, MB, also under a container's limit; None where unknown."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    free = int(found[1]) / 1024 if found else None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        left = (int(limit) - used) / 2**20 if limit != "max" else None
    except (OSError, ValueError):
        left = None
    return min((value for value in (free, left) if value is not None), default=None)


def _shared_memory() -> Finding:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        return Finding("/dev/shm", True, "not here: passes go through the temporary folder, which is slower")
    remedy = "mount -o remount,size=1g /dev/shm, or docker run --shm-size=1g"
    return _space("/dev/shm", shm, MIN_SHM_MB, remedy)


def _cache() -> Finding:
    folder = default_cache().absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    remedy = "free some, or set SYNTH_CACHE to a folder on a larger disk"
    if not os.access(there, os.W_OK):
        return Finding("cache", False, f"{folder} cannot be written", "set SYNTH_CACHE to a folder of your own")
    found = _space("cache", there, MIN_CACHE_MB, remedy)
    return Finding("cache", found.ok, f"{found.detail} at {folder}", remedy)


def _space(name: str, folder: Path, least_mb: int, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free / 2**20
    return Finding(name, free >= least_mb, f"{free:.0f} MB free, {least_mb} are wanted", remedy)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fits = soft == resource.RLIM_INFINITY or soft >= MIN_FILES
    return Finding("open files", fits, f"limit {soft}, at most {hard}", "ulimit -n 4096")


def _render(render_one: Callable[[], str]) -> Finding:
    try:
        return Finding("render", True, render_one())
    except Exception as error:  # whatever stopped it is the finding
        text = " ".join(str(error).split()) or type(error).__name__
        return Finding("render", False, text, "run it with --debug, and tell us with this output")
