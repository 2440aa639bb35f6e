"""The command line as a user meets it: one clear line and a true exit code for every wrong input; the main road end to
end through real Blender and real Ray."""

import ctypes.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_backgrounds import exr, sky

from renderers.trial import ball_obj
from synth.store import Dataset

COMMAND = [sys.executable, "-c", "import sys; from synth.cli import main; sys.exit(main())"]


def synth(*args, cwd=None, env=None, timeout=300) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})}, timeout=timeout,
    )  # fmt: skip


@pytest.fixture(scope="session")
def place(built_once) -> Path:
    """A folder with scans/, backgrounds/ and a cache/ in which they are prepared."""
    return built_once("place", build_place)


def build_place(root: Path) -> None:
    (root / "scans").mkdir()
    for rings in (16, 24):
        (root / "scans" / f"ball{rings}.obj").write_text(ball_obj(rings))
    (root / "scans" / "empty.obj").write_text("")
    (root / "scans" / "notes.txt").write_text("hello")
    (root / "backgrounds").mkdir()
    (root / "backgrounds" / "sky.exr").write_bytes(exr(sky()))
    (root / "backgrounds" / "wall.jpg").write_bytes(b"\xff\xd8")
    synth("render", *small(root, "--index", 0, "--engine", "analytic", "--out", root / "filled"))


def common(place: Path, *more) -> list:
    return ["--scans", place / "scans", "--cache", place / "cache", "--backgrounds", place / "backgrounds", *more]


def small(place: Path, *more) -> list:
    return common(place, "--width", 48, "--height", 64, "--spp", 2, *more)


def test_help_names_every_command_and_is_quick():
    started = os.times()
    done = synth("--help")
    used = os.times()
    assert done.returncode == 0
    for command in ("render", "scans", "check", "view", "config", "assets", "doctor", "plan"):
        assert command in done.stdout
    cpu = used.children_user + used.children_system - started.children_user - started.children_system
    assert cpu < 1.0  # measured 0.06; far above, for machines are noisy


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, ""),
        (["paint"], 2, "no command 'paint'"),
        (["render", "--scans", "x", "--out", "y", "--n", "0"], 1, "--n 0"),
        (["render", "--scans", "x", "--out", "y"], 1, "--n N"),
        (["render", "--scans", "x", "--out", "y", "--n", "3", "--set", "film.sp=3"], 1, "film.sp"),
        (["render", "--scans", "x", "--out", "y", "--n", "3", "--config", "no.yaml"], 1, "no.yaml"),
        (["render", "--scans", "no-such-folder", "--out", "y", "--n", "3"], 1, "no-such-folder"),
        (["render", "--scans", "x", "--out", "y", "--n", "3", "--workers", "-1"], 1, "--workers -1"),
        (["render", "--scans", "x", "--out", "y", "--n", "3", "--save-blend", "a.blend"], 1, "--index"),
        (["render", "--scans", "x", "--out", "y", "--n", "3", "--seed", "-4"], 2, "negative"),
        (["render", "--scans", "x", "--out", "y", "--n", "3", "--outputs", "trust,shine"], 1, "'shine'"),
        (["check", "no-such-dataset"], 1, "no-such-dataset"),
        (["view", "no-such-dataset"], 1, "no-such-dataset"),
        (["scans", "no-such-folder"], 1, "no-such-folder"),
    ],
)
def test_bad_input_is_one_line_and_a_true_exit_code(args, code, message, tmp_path):
    done = synth(*args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert code == 2 or len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "a refused command left something behind"


def test_config_show_and_schema():
    import yaml

    assert yaml.safe_load(synth("config", "show").stdout)["width"] == 768
    assert json.loads(synth("config", "schema").stdout)["properties"]["film"]


@pytest.mark.blender
def test_scans_gives_every_file_a_verdict(place, tmp_path):
    done = synth("scans", place / "scans", "--cache", place / "cache", "--json", tmp_path / "v.json")
    assert done.returncode == 0, done.stderr
    verdicts = {v["path"]: v for v in json.loads((tmp_path / "v.json").read_text())}
    assert {path: v["verdict"] for path, v in verdicts.items()} == {
        "ball16.obj": "accepted", "ball24.obj": "accepted", "empty.obj": "refused", "notes.txt": "ignored",
    }  # fmt: skip
    assert set(verdicts["ball16.obj"]) == {
        "path", "scan_id", "verdict", "reason", "warnings", "height_m", "faces", "colour", "kind", "person",
        "texture_px", "licence",
    }  # fmt: skip
    assert "empty.obj" in done.stdout and verdicts["empty.obj"]["reason"]


@pytest.mark.blender
def test_a_folder_without_scans_is_one_line(place, tmp_path):
    done = synth("scans", place / "backgrounds", "--cache", tmp_path / "cache")
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.blender
@pytest.mark.ray
def test_the_main_road_is_the_same_for_every_number_of_workers_and_after_ctrl_c(place, tmp_path):
    """Through the real command: 0 and 2 workers, and runs stopped by Ctrl-C, continued by others."""
    roots = {}
    for workers in (0, 2):
        out = tmp_path / f"w{workers}"
        done = synth("render", *small(place, "--n", 10, "--out", out, "--workers", workers))
        assert done.returncode == 0, done.stderr
        roots[workers] = (Dataset(out).root, _shards(out))
    for workers, others in ((2, 0), (0, 2)):  # SIGTERM: test_chaos
        stopped = tmp_path / f"stopped-{workers}"
        _render_and_stop(place, stopped, workers)
        done = synth("render", *small(place, "--n", 10, "--out", stopped, "--workers", others))
        assert done.returncode == 0, done.stderr
        roots[stopped.name] = (Dataset(stopped).root, _shards(stopped))
    assert len({json.dumps(r) for r in roots.values()}) == 1, roots

    again = synth("render", *small(place, "--n", 10, "--out", stopped, "--workers", 0))
    assert again.returncode == 0 and "nothing to do" in again.stdout
    other = synth("render", *small(place, "--n", 10, "--out", stopped, "--set", "light.target_linear=0.3"))
    assert other.returncode == 1 and "target_linear" in other.stderr
    other = synth("render", *small(place, "--n", 10, "--out", stopped, "--seed", 5))
    assert other.returncode == 1 and "seed" in other.stderr

    checked = synth("check", stopped)
    assert checked.returncode == 0 and "no fault" in checked.stdout
    verified = synth("dataset", "verify", stopped, "--level", "decode", "--cache", place / "cache")
    assert verified.returncode == 0 and "no findings" in verified.stdout, verified.stdout + verified.stderr
    again = synth("dataset", "rerender", stopped, "--fraction", 0.3, "--workers", 0, "--cache", place / "cache")
    answers = [line for line in again.stdout.splitlines() if line.startswith("  0")]
    assert again.returncode == 0 and answers and all(line.endswith(" IDENTICAL") for line in answers), again.stdout
    viewed = synth("view", stopped)
    assert viewed.returncode == 0 and (stopped / "report" / "index.html").stat().st_size > 10_000


def _shards(out: Path) -> dict[str, int]:
    import hashlib

    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((out / "shards").iterdir())}


def _render_and_stop(place: Path, out: Path, workers: int) -> None:
    """Starts the command and, once two samples are staged, sends Ctrl-C as a terminal does, to the whole group."""
    args = small(place, "--n", 10, "--out", out, "--workers", workers)
    process = subprocess.Popen(
        [*COMMAND, "render", *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while len(list(out.glob("runs/*/staging/*/*.tar"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130 and "the same command goes on" in stderr, (process.returncode, stderr)


@pytest.fixture(scope="module")
def rendered(place, tmp_path_factory) -> Path:
    """Five images by Cycles; not to be changed."""
    out = tmp_path_factory.mktemp("rendered") / "set"
    assert synth("render", *small(place, "--n", 5, "--out", out, "--workers", 0)).returncode == 0
    return out


@pytest.mark.blender
def test_a_faulty_dataset_fails_the_check_by_name(rendered, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(rendered, out)
    shard = next((out / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    place_of_exr = data.index(b"v/1\x01")
    data[place_of_exr + 400] ^= 0xFF
    os.chmod(shard, 0o644)
    shard.write_bytes(data)
    done = synth("check", out)
    assert done.returncode == 1 and "1 faulty" in done.stdout and "00000000" in done.stdout


@pytest.mark.blender
def test_one_image_with_its_scene(place, rendered, tmp_path):
    done = synth(
        "render", *small(place, "--index", 4, "--out", tmp_path / "one", "--save-blend", tmp_path / "scene.blend")
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scene.blend").stat().st_size > 10_000
    for extension, data in Dataset(rendered).members(4).items():
        assert (tmp_path / "one" / f"00000004.{extension}").read_bytes() == data, extension


@pytest.mark.blender
def test_eevee_renders_where_there_is_egl(place, tmp_path):
    if ctypes.util.find_library("EGL") is None:
        pytest.skip("EEVEE needs libEGL: apt-get install libegl1")
    done = synth("render", *small(place, "--n", 2, "--engine", "eevee", "--out", tmp_path / "set", "--workers", 0))
    assert done.returncode == 0, done.stderr
    for sample in Dataset(tmp_path / "set"):
        inside = sample.alpha[sample.mask]
        assert np.median(inside) == 255 and sample.rgb[sample.mask].std() > 2


@pytest.mark.blender
def test_analytic_needs_no_blender_once_scans_are_prepared_and_plan_measures(place, tmp_path):
    args = small(place, "--engine", "analytic")
    done = synth("render", *args, "--n", 130, "--out", tmp_path / "set", "--workers", 0)
    assert done.returncode == 0, done.stderr
    dataset = Dataset(tmp_path / "set")
    assert len(dataset) == 130 and len(list((tmp_path / "set" / "shards").iterdir())) == 2
    assert np.isfinite(dataset[7].depth_m[dataset[7].mask]).all()
    done = synth("dataset", "card", tmp_path / "set")
    assert done.returncode == 0 and "The licence of 2 scans is not known" in done.stdout
    (run,) = (tmp_path / "set" / "runs").glob("*/run.json")
    assert len(json.loads(run.read_text())["lineage"]["scan_rights"]) == 2
    done = synth("plan", *args, "--n", 500000)
    assert done.returncode == 0 and "core-hours" in done.stdout and "3907 shards" in done.stdout


@pytest.mark.parametrize("engine", ["analytic", "cycles"])
def test_outputs_are_rendered_checked_and_shown(place, tmp_path, engine):
    out = tmp_path / "set"
    names = "trust, albedo,pointmap,trust"
    done = synth(
        "render", *small(place, "--engine", engine, "--outputs", names, "--out", out, "--n", 2, "--workers", 0)
    )
    assert done.returncode == 0, done.stderr
    for sample in Dataset(out):
        assert sample.recipe.outputs == ("albedo", "pointmap", "trust")
        assert sample.albedo[sample.mask].any() and (sample.trust[sample.mask] == 255).all()
        assert np.isfinite(sample.pointmap()[sample.mask]).all()
    assert synth("check", out).returncode == 0
    assert synth("view", out).returncode == 0
    changed = synth("render", *small(place, "--engine", engine, "--out", out, "--n", 2, "--workers", 0))
    assert changed.returncode == 1 and "outputs" in changed.stderr


@pytest.mark.blender
def test_a_full_disk_is_one_line_and_loses_nothing(place, tmp_path):
    """A limit on file size stands in for a full disk: the same error from the same calls."""
    out = tmp_path / "set"
    code = (
        "import resource, signal, sys; from synth.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); sys.exit(main())"
    )
    args = list(map(str, small(place, "--n", 3, "--engine", "analytic", "--out", out, "--workers", 0)))
    done = subprocess.run([sys.executable, "-c", code, "render", *args], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("synth:")]
    assert done.returncode == 1 and len(said) == 1 and "Traceback" not in done.stderr, done.stderr
    assert str(out) in done.stderr
    assert synth("render", *args).returncode == 0
    assert len(Dataset(out)) == 3
