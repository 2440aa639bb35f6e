"""`synth view` as a command, and its recording for Rerun, of which a stand-in remembers what it was told."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from test_report import blocks, rows_of
from test_store_write import write

from synth import report
from synth.cli import main
from synth.cli_proof import pick
from synth.report_rerun import write_recording
from synth.store import Dataset
from synth.store_folder import open_folder
from synth.store_index import commit
from synth.version import make_tag


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """Ten samples tagged 1.0.0, then twelve committed; not to be changed."""
    out = tmp_path_factory.mktemp("grown") / "people"
    commit(write(out, 10), lineage={})
    make_tag(open_folder(out), "the first", "2026-01-01T00:00:00Z")
    commit(write(out, 12), lineage={})
    return out


def page_of(out: Path) -> tuple[str, list[dict]]:
    text = (out / "index.html").read_text()
    (data,) = blocks(text, 'id="data"')
    return text, rows_of(data)


def test_a_version_is_shown_beside_the_latest(grown, capsys):
    assert main(["view", str(grown)]) == main(["view", f"{grown}@1.0.0"]) == 0
    text, rows = page_of(grown / "report")
    assert len(rows) == 12 and "<h1>people</h1>" in text and "12 samples<" in text
    text, rows = page_of(grown / "report-1.0.0")
    assert len(rows) == 10 and "<h1>people 1.0.0</h1>" in text
    assert str(grown / "report-1.0.0" / "index.html") in capsys.readouterr().out
    assert Dataset(grown).complete, "pages are no part of the dataset"


def test_a_fraction_is_always_the_same_samples(grown, tmp_path):
    for out in ("a", "b"):
        assert main(["view", str(grown), "--fraction", "0.5", "--out", str(tmp_path / out)]) == 0
    text, rows = page_of(tmp_path / "a")
    assert text == page_of(tmp_path / "b")[0] and f"{len(rows)} of 12 samples" in text and 0 < len(rows) < 12
    assert [row["index"] for row in rows] == Dataset(grown).ids[pick(Dataset(grown).ids, 0.5)].tolist()
    with Image.open(tmp_path / "a" / "contact_sheet.png") as sheet:
        assert sheet.width > 500


def test_a_dataset_that_is_still_being_rendered_is_shown_and_says_so(tmp_path):
    write(tmp_path / "set", 3)  # sealed, in no version
    assert main(["view", str(tmp_path / "set"), "--workers", "1"]) == 0
    text, rows = page_of(tmp_path / "set" / "report")
    assert len(rows) == 3 and "more exist or are being rendered" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--fraction", "0"], "--fraction 0.0: expected more than 0 and at most 1"),
        (["--fraction", "1.5"], "--fraction 1.5"),
        (["--workers", "0"], "--workers 0: expected at least 1"),
    ],
)
def test_what_cannot_be_meant_is_one_line(grown, tmp_path, capsys, arguments, message):
    assert main(["view", str(grown), "--out", str(tmp_path / "out"), *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and not (tmp_path / "out").exists()


def test_too_many_samples_are_one_line_before_anything_is_made(grown, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "MOST", 8)
    assert main(["view", str(grown), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.strip()
    assert "people: 12 samples are more than the 8 of one page; --fraction 0.666 fits" in error and "\n" not in error
    assert not (tmp_path / "out").exists()
    assert main(["view", str(grown), "--out", str(tmp_path / "out"), "--fraction", "0.3"]) == 0


def test_a_broken_sample_is_named(grown, tmp_path, capsys):
    place = shutil.copytree(grown, tmp_path / "people")
    (shard,) = (place / "shards").glob("00000000-00000009-*")
    offset, length, _ = Dataset(grown).row(4)["members"]["normal.exr"]
    data = bytearray(shard.read_bytes())
    data[offset : offset + length] = bytes(length)
    shard.write_bytes(data)
    assert main(["view", str(place), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.strip()
    assert "sample 00000004: normal.exr" in error and "\n" not in error
    assert not list((tmp_path / "out").iterdir())


def test_an_object_store_is_read_by_several_processes(s3, tmp_path, capsys):
    commit(write(f"{s3}/viewed", 70), lineage={})
    assert main(["view", f"{s3}/viewed", "--workers", "2", "--out", str(tmp_path)]) == 0
    text, rows = page_of(tmp_path)
    assert [row["index"] for row in rows] == list(range(70)) and "<h1>viewed</h1>" in text
    assert len(list(tmp_path.glob("data-*/*.js"))) == 5
    assert s3 not in text, "the place is nobody's business"


# --rerun


class Stream:
    """Remembers what a recording was told, in order."""

    def __init__(self, application: str):
        self.calls = [("start", application)]

    def save(self, path: Path) -> None:
        self.calls.append(("save", path))
        path.write_bytes(b"RRF2")

    def set_time(self, timeline: str, *, sequence: int) -> None:
        self.calls.append(("time", timeline, sequence))

    def log(self, entity: str, value: object, *, static: bool = False) -> None:
        self.calls.append(("log", entity, value, static))

    def disconnect(self) -> None:
        self.calls.append(("disconnect",))


class Archetype:
    """What it was made of, by name."""

    def __init__(self, *values: object, **named: object):
        self.values, self.named = values, named


@pytest.fixture
def streams(monkeypatch) -> list[Stream]:
    """The recordings made with a stand-in for the package."""
    made: list[Stream] = []
    module = ModuleType("rerun")

    def start(application: str) -> Stream:
        made.append(Stream(application))
        return made[-1]

    module.RecordingStream = start
    for name in ("Pinhole", "Transform3D", "Points3D", "EncodedImage", "DepthImage", "SegmentationImage", "Image"):
        setattr(module, name, type(name, (Archetype,), {}))
    module.TextDocument = type("TextDocument", (Archetype,), {})
    module.ViewCoordinates = type("ViewCoordinates", (), {"RDF": "RDF", "RIGHT_HAND_Z_UP": "z up"})
    monkeypatch.setitem(sys.modules, "rerun", module)
    return made


def test_a_recording_holds_cameras_labels_and_points_in_their_frames(grown, tmp_path, streams):
    told = []
    write_recording(Dataset(grown), [2, 7], tmp_path / "a.rrd", told.append)
    (stream,) = streams
    assert stream.calls[:3] == [
        ("start", "synth"), ("save", tmp_path / "a.rrd"), ("log", "world", "z up", True)
    ]  # fmt: skip
    assert stream.calls[-1] == ("disconnect",) and told == [1, 2]
    assert [call[1:] for call in stream.calls if call[0] == "time"] == [("sample", 2), ("sample", 7)]
    start = stream.calls.index(("time", "sample", 7))
    logged = {call[1]: call[2] for call in stream.calls[start:] if call[0] == "log"}
    sample = Dataset(grown)[7]
    pose, lens = logged["world/camera"].named, logged["world/camera/image"].named
    world_from_camera = np.array(sample.recipe.camera.world_from_camera)
    (points,), colors = logged["world/camera/points"].values, logged["world/camera/points"].named["colors"]
    assert lens["camera_xyz"] == "RDF" and points.shape == colors.shape and len(points) > 10
    # a point projected by the lens falls onto the pixel whose depth and colour it has
    u, v = (points[:, :2] / points[:, 2:] * lens["focal_length"] + lens["principal_point"]).T
    row, column = np.floor(v).astype(int), np.floor(u).astype(int)
    np.testing.assert_allclose(points[:, 2], sample.depth_m[row, column], rtol=1e-6)
    assert np.array_equal(colors, sample.rgb[row, column])
    assert np.array_equal(pose["translation"], world_from_camera[:3, 3])
    assert np.array_equal(pose["mat3x3"], world_from_camera[:3, :3])
    depth = logged["world/camera/image/depth"]
    assert depth.named["meter"] == 1.0 and np.array_equal(depth.values[0] > 0, sample.mask)
    assert np.array_equal(logged["world/camera/image/instance"].values[0], sample.instance)
    assert logged["world/camera/image/rgb"].named["contents"] == Dataset(grown).members(7)["rgb.png"]
    assert json.loads(logged["recipe"].values[0])["index"] == 7


def test_rerun_is_asked_for_by_a_flag(grown, tmp_path, streams, capsys):
    recording = tmp_path / "people.rrd"
    assert main(["view", str(grown), "--out", str(tmp_path / "out"), "--rerun", str(recording)]) == 0
    assert recording.read_bytes() and str(recording) in capsys.readouterr().out and len(streams) == 1


def test_without_the_package_a_recording_is_one_line_before_any_work(grown, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main(["view", str(grown), "--out", str(tmp_path / "out"), "--rerun", str(tmp_path / "x.rrd")]) == 1
    error = capsys.readouterr().err.strip()
    assert re.search(r"rerun-sdk is missing; pip install 'synth\[rerun\]'", error) and "\n" not in error
    assert not list(tmp_path.iterdir())


def test_the_real_package_writes_a_recording(grown, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk wants NumPy 2: it is tried in an environment of its own")
    write_recording(Dataset(grown), [0, 1], tmp_path / "a.rrd", lambda done: None)
    assert (tmp_path / "a.rrd").read_bytes()[:4] in (b"RRF2", b"RRF3")
