"""Fixtures that several files share: a library of balls without Blender, and one that came through Blender."""

import contextlib
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from renderers.trial import ball_obj
from synth import scans_trust
from synth.backgrounds import BackgroundLibrary, load_backgrounds
from synth.scans import ScanLibrary, load_library
from synth.scans_raw import RawMaterial, RawMesh

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


#: Files of more than half a minute, about the longest first. `test_relight_store` compiles for all that comes later.
LONG = tuple(
    f"test_{name}.py"
    for name in (
        "cli", "relight_store", "train_trainer", "scans", "nasty", "export", "importers", "train_processes",
        "train_compile", "store_bucket", "engines_run", "status", "relight",
    )
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers of xdist begin with the long files (`--no-loadscope-reorder`): none is left alone with one at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def trust_measured_once() -> Iterator[None]:
    """What `measure_trust` says of a mesh is kept: it takes a second, and tests prepare the same few meshes often."""
    measure, known = scans_trust.measure_trust, {}

    def measure_once(*arrays: np.ndarray | None) -> np.ndarray:
        key = hashlib.sha256(pickle.dumps(arrays)).digest()
        if key not in known:
            known[key] = measure(*arrays)
        return known[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scans_trust, "measure_trust", measure_once)
        yield


def read_ball(path: Path, root: Path) -> RawMesh:
    """A probe that reads the OBJ of `ball_obj` without Blender."""
    lines = [line.split() for line in path.read_text().splitlines()]
    positions = np.array([[float(x) for x in line[1:4]] for line in lines if line[0] == "v"])
    triangles = []
    for line in (line for line in lines if line[0] == "f"):
        corners = [int(c.split("/")[0]) - 1 for c in line[1:]]
        triangles += [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]
    return RawMesh(
        positions=positions,
        triangles=np.array(triangles, np.int32),
        normals=None,
        uvs=None,
        colors=None,
        material=np.zeros(len(triangles), np.uint16),
        materials=(RawMaterial("ball", None, False, (0.5, 0.5, 0.5, 1.0), 0.0, 0.5),),
    )


@pytest.fixture(scope="session")
def built_once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder by name, not to be changed: the first that wants it builds it, the others of `scripts/test` wait."""
    root = Path(os.environ.get("SYNTH_TEST_SHARED") or tmp_path_factory.getbasetemp())

    def find_or_build(name: str, build: Callable[[Path], None]) -> Path:
        folder, done = root / name, root / f"{name}.built"
        with locked(root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                build(folder)
                done.touch()
        return folder

    return find_or_build


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While no other process is here. Where files cannot be locked nobody runs two workers."""
    with path.open("w") as file:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def balls(built_once, tmp_path_factory) -> ScanLibrary:
    """Three balls of different meshes, prepared without Blender."""

    def build(folder: Path) -> None:
        (folder / "scans").mkdir()
        for rings in (8, 10, 12):
            (folder / "scans" / f"ball{rings}.obj").write_text(ball_obj(rings))
        load_library([folder / "scans"], folder / "cache", read_ball)

    folder = tmp_path_factory.mktemp("balls")  # our own, for some tests harm what relight keeps beside scans
    shutil.copytree(built_once("balls", build), folder, dirs_exist_ok=True)
    return load_library([folder / "scans"], folder / "cache", read_ball)


@pytest.fixture(scope="session")
def skies(tmp_path_factory) -> BackgroundLibrary:
    """Two small panoramas with a soft sun."""
    from test_backgrounds import exr

    from synth.backgrounds import directions

    folder = tmp_path_factory.mktemp("skies")
    d = directions(128, 64)
    for name, tint in (("warm", (1.0, 0.8, 0.6)), ("cold", (0.6, 0.8, 1.1))):
        sun = 6 * np.exp(-20 * (1 - d @ np.array([0.5, 0.5, 0.7071])))
        (folder / f"{name}.exr").write_bytes(exr((0.5 + 0.4 * d[..., 2] + sun)[..., None] * np.array(tint)))
    return load_backgrounds(sorted(folder.iterdir()), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def blender(scans, skies):
    """A renderer of the test file's own `scans`."""
    from renderers.base import make_renderer

    renderer = make_renderer("cycles", scans.store, skies.store)
    yield renderer
    renderer.close()


_S3_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket on an S3 server of this machine, and the environment that says how to reach it."""
    for name in ("obstore", "moto"):
        if find_spec(name) is None:
            pytest.skip(f"no {name}: pip install 'synth[test]'")
    command = [sys.executable, "-c", _S3_SERVER]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as server:
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        with pytest.MonkeyPatch.context() as patch:
            for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
                patch.setenv(f"AWS_{key}", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_ENDPOINT_URL", endpoint)
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")).close()
            yield "s3://bucket"
        server.kill()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real scans that lie beside a development checkout; a stranger's clone has none and skips."""
    folder = Path(__file__).parents[2] / "shared" / "assets"
    if not (folder / "scans").is_dir():
        pytest.skip(f"no real scans: {folder} is not there")
    return folder


@pytest.fixture(scope="session")
def real_cache(shared, built_once) -> Path:
    """A cache in which the real scans are prepared: a minute's work for one core."""
    from renderers.importers import probe

    def build(folder: Path) -> None:
        load_library([shared / "scans"], folder, probe, jobs=2)

    return built_once("real", build)
