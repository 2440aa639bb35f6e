"""An export as a product: whole or not at all, the same bytes whoever made them how often, and one export a folder."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from exports import COUNT, export_sample, run_synth, tree, write_set
from test_store_write import write as write_store

from synth.cli import main
from synth.export import LAYOUTS
from synth.export_dest import opened, read_export
from synth.store import Dataset
from synth.store_folder import open_folder
from synth.version import make_tag

NOW = "2026-01-02T03:04:05+00:00"


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("export") / "people")


@pytest.fixture(scope="module")
def undisturbed(people, tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Each layout, made by one process in one go."""
    root = tmp_path_factory.mktemp("undisturbed")
    for layout in LAYOUTS:
        assert main(["export", str(people), "--to", layout, "--dest", str(root / layout), "--workers", "1"]) == 0
    return {layout: tree(root / layout) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_one_and_three_workers_write_the_same_bytes(people, undisturbed, layout, tmp_path, monkeypatch):
    from synth import export_job

    monkeypatch.setattr(export_job, "_PORTION", 6)  # enough tasks for three
    done = main(["export", str(people), "--to", layout, "--dest", str(tmp_path / "x"), "--workers", "3"])
    assert done == 0 and tree(tmp_path / "x") == undisturbed[layout]


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_what_is_missing_is_written_and_nothing_else(people, undisturbed, layout, tmp_path, monkeypatch):
    """As after a death: export.json unfinished, some files there, rubbish in tmp/."""
    from synth import export_dest

    dest = tmp_path / "x"
    names = [name for name, data in undisturbed[layout].items() if name[:7] != "export." and data[:3] != b"-> "]
    kept = [name for name in names[::2] if not name.endswith((".md", "croissant.json"))]
    for name in kept:
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        (dest / name).write_bytes(undisturbed[layout][name])
    finished = json.loads(undisturbed[layout]["export.json"])
    (dest / "export.json").write_text(json.dumps({**finished, "finished": False, "exported": None, "left_out": []}))
    (dest / "tmp").mkdir()
    (dest / "tmp" / "half").write_bytes(b"half")
    written, publish = [], export_dest.LocalFolder.publish
    monkeypatch.setattr(
        export_dest.LocalFolder, "publish", lambda self, name, data: written.append(name) or publish(self, name, data)
    )
    assert main(["export", str(people), "--to", layout, "--dest", str(dest), "--workers", "1"]) == 0
    assert tree(dest) == undisturbed[layout]
    if layout == "webdataset":
        assert not [name for name in written if name.startswith("shards/")]
    whole = {name for name in kept if all(other in kept for other in names if _sample(other) == _sample(name))}
    assert not whole & set(written) - {"samples.parquet"} - {name for name in written if "pointmap" in name}
    before = {path: path.stat().st_mtime_ns for path in dest.rglob("*")}
    assert main(["export", str(people), "--to", layout, "--dest", str(dest)]) == 0
    assert {path: path.stat().st_mtime_ns for path in dest.rglob("*")} == before


def _sample(name: str) -> str:
    """What tells the files of one sample from those of others."""
    return "".join(re.findall(r"\d{7,8}|data/.*|shards/.*|pointmap/.*", name)[:1]) or name


@pytest.mark.parametrize("layout", ["sapiens", "hf"])
def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(people, undisturbed, layout, tmp_path):
    dest = tmp_path / "x"
    args = ["export", str(people), "--to", layout, "--dest", str(dest), "--workers", "2"]
    code = "import sys; from synth.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *args]
    part = "mask" if layout == "sapiens" else "data"
    with subprocess.Popen(command, stdout=-1, stderr=-1, start_new_session=True) as process:
        deadline = time.monotonic() + 300
        while not (dest / part).is_dir() or not list((dest / part).iterdir()):
            assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        children = _children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert children and not read_export(dest).finished
    assert tree(dest) != undisturbed[layout]
    deadline = time.monotonic() + 120
    while any(_is_alive(child) for child in children):  # no worker stays behind
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = run_synth(*args)
    assert done.returncode == 0, done.stderr
    assert tree(dest) == undisturbed[layout]


def _children(pid: int) -> list[int]:
    """Processes that a process has started, through /proc."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_lineage_says_what_it_is_and_nothing_of_where(people, undisturbed):
    dataset = Dataset(people)
    for layout, files in undisturbed.items():
        about = json.loads(files["export.json"])
        assert about["asked"]["root"] == dataset.root and about["asked"]["layout"] == layout
        assert about["asked"]["spec_sha256"] == dataset.manifest["spec_sha256"]
        assert set(about["asked"]["tools"]) == {"synth", "numpy", "OpenEXR", "pillow", "pyarrow", "zlib-ng"}
        assert about["finished"] and about["exported"] == COUNT and about["licences"] == dataset.manifest["licences"]
        licences = files["README.md" if layout == "hf" else "LICENCES.md"].decode()
        assert "RenderPeople terms" in licences and "CC-BY-4.0" in licences and "unknown" in licences
        assert not [name for name, data in files.items() if str(people.parent).encode() in data]
        host = re.compile(rf"\b{re.escape(socket.gethostname())}\b".encode())
        assert not [name for name, data in files.items() if name.endswith((".json", ".md")) and host.search(data)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--to", "synthhuman"], "layout sapiens there, synthhuman asked for"),
        (["--where", "split == 'train'"], "where None there, split == 'train' asked for"),
        (["--fraction", "0.5"], "fraction 1.0 there, 0.5 asked for"),
        (["--to", "webdataset", "--encoding", "train"], "layout sapiens there"),
    ],
)
def test_another_export_is_refused_by_what_differs(people, tmp_path, capsys, change, message):
    dest = tmp_path / "x"
    args = ["export", str(people), "--to", "sapiens", "--dest", str(dest), "--workers", "1"]
    assert main(args) == 0
    before = tree(dest)
    capsys.readouterr()
    assert main([*args, *change]) == 1
    said = capsys.readouterr().err
    assert message in said and "give another --dest" in said and said.count("\n") == 1
    assert tree(dest) == before


def test_another_version_another_tool_and_anything_else_are_refused(people, tmp_path, capsys):
    out = write_set(tmp_path / "grows", [export_sample(index) for index in range(8)], first=4)
    make_tag(open_folder(out), "", NOW)
    args = ["--to", "webdataset", "--dest", str(tmp_path / "x"), "--workers", "1"]
    assert main(["export", f"{out}@1.0.0", *args]) == 0
    assert read_export(tmp_path / "x").version == "1.0.0"
    assert main(["export", f"{out}", *args]) == 0  # the same content by another name
    assert main(["export", str(people), *args]) == 1
    assert re.search(r"root [0-9a-f]{64} there, [0-9a-f]{64} asked for", capsys.readouterr().err)
    about = json.loads((tmp_path / "x" / "export.json").read_text())
    about["asked"]["tools"]["pillow"] = "0.1"
    (tmp_path / "x" / "export.json").write_text(json.dumps(about))
    assert main(["export", str(out), *args]) == 1 and "pillow 0.1 there" in capsys.readouterr().err
    (tmp_path / "x" / "export.json").write_text('{"format":"other"}')
    assert main(["export", str(out), *args]) == 1 and "export.json: " in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert main(["export", str(out), "--to", "hf", "--dest", str(tmp_path / "mine")]) == 1
    assert "holds 'thesis.tex' and is no export" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--workers", "0"], "--workers 0"),
        (["--fraction", "0"], "--fraction 0"),
        (["--where", "colour == 1"], "no column 'colour'; there are"),
        (["--encoding", "train"], "--encoding train: is for --to webdataset"),
    ],
)
def test_wrong_arguments_are_one_line_and_make_no_folder(people, tmp_path, capsys, args, message):
    assert main(["export", str(people), "--to", "sapiens", "--dest", str(tmp_path / "x"), *args]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "x").exists()


def test_a_dataset_that_is_being_rendered_is_no_version(tmp_path, capsys):
    out = tmp_path / "set"
    write_store(out, 130)
    args = ["--to", "sapiens", "--dest", str(tmp_path / "x")]
    assert main(["export", str(out), *args]) == 1
    assert "an export is of a version" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_two_at_once_do_not_meet(people, tmp_path, capsys):
    dest = tmp_path / "x"
    assert main(["export", str(people), "--to", "webdataset", "--dest", str(dest), "--workers", "1"]) == 0
    with opened(dest, read_export(dest)):
        assert main(["export", str(people), "--to", "webdataset", "--dest", str(dest)]) == 1
    assert "another `synth export` is writing here" in capsys.readouterr().err


def test_the_same_share_is_chosen_always_and_readers_of_splits_are_warned(people, tmp_path, capsys):
    counts = []
    for name in ("a", "b"):
        args = ["--to", "synthhuman", "--dest", str(tmp_path / name), "--fraction", "0.4", "--workers", "1"]
        assert main(["export", str(people), *args]) == 0
        counts.append(tree(tmp_path / name))
    assert counts[0] == counts[1] and 5 < read_export(tmp_path / "a").exported < 30
    assert "people of several splits" in capsys.readouterr().out
    args = ["--to", "sapiens", "--dest", str(tmp_path / "c"), "--where", "split == 'train'", "--workers", "1"]
    assert main(["export", str(people), *args]) == 0 and "several splits" not in capsys.readouterr().out


def test_a_dataset_in_a_bucket_is_exported_too(tmp_path):
    pytest.importorskip("obstore", reason="no obstore: pip install 'synth[cloud]'")
    place = f"memory://exported-{os.getpid()}"
    write_set(place, [export_sample(index) for index in range(4)], first=2)
    for layout in LAYOUTS:
        assert main(["export", place, "--to", layout, "--dest", str(tmp_path / layout)]) == 0
        assert read_export(tmp_path / layout).exported == 4
