"""Zips of one scan: a folder for the library, a cage for everything else."""

import io
import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from test_scans import FakeProbe, verdicts
from test_scans_colour import paint_atlas, png

from synth.scans import load_library
from synth.scans_raw import BadScan
from synth.scans_zip import unpack_zip

GOOD = {"anna/anna.obj": b"mtllib anna.mtl\nfull", "anna/anna.mtl": b"newmtl m\nmap_Kd tex\\a.png\n",
        "anna/tex/a.png": png(paint_atlas(8)), "license.txt": b"CC0", "__MACOSX/._anna.obj": b"x", "run.sh": b"rm",
        "inner.zip": b"PK"}  # fmt: skip


def zipped(path: Path, members: dict, compress: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_a_folder_of_the_library(tmp_path):
    root = tmp_path / "scans"
    zipped(root / "people" / "anna.zip", GOOD)
    zipped(root / "scene.zip", {"model.obj": "head"})
    (root / "old.rar").write_bytes(b"Rar!")
    (root / "scans.yaml").write_text("- {match: people/anna.zip/**/*.obj, person: her}\n")
    probe = FakeProbe()
    library = load_library([root], tmp_path / "cache", probe)
    said = verdicts(library)
    assert said["people/anna.zip/anna/anna.obj"][0] == "accepted"
    assert said["people/anna.zip/anna/tex/a.png"][1] == "picture of people/anna.zip/anna/anna.obj"
    assert said["people/anna.zip"] == ("ignored", "unpacked: 4 files")
    assert "unpack it" in said["old.rar"][1]
    assert {(e.scan_id, e.person) for e in library.entries} == {("anna", "her"), ("scene", "scene")}
    again = FakeProbe()
    assert load_library([root], tmp_path / "cache", again) == library
    assert again.seen == []


@pytest.mark.parametrize(
    "name", ["../evil.obj", "/etc/evil.obj", "C:\\evil.obj", "a/../../evil.obj", "a\\..\\..\\evil.obj", "b\x01.obj",
             "n" * 300 + ".obj"],
)  # fmt: skip
def test_names_that_lead_out_are_refused(tmp_path, name):
    path = zipped(tmp_path / "a.zip", {"a.obj": "full", name: "full"})
    with pytest.raises(BadScan, match="leads out"):
        unpack_zip(path, "0" * 64, tmp_path / "cache")
    assert [p.name for p in tmp_path.rglob("*.obj")] == []


def test_links_bombs_and_broken_zips_are_refused(tmp_path):
    def refused(path: Path) -> str:
        with pytest.raises(BadScan) as caught:
            unpack_zip(path, "1" * 64, tmp_path / "cache")
        assert not list((tmp_path / "cache").rglob("*.obj"))
        return str(caught.value)

    link = zipfile.ZipInfo("link.obj")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "link" in refused(tmp_path / "link.zip")
    assert "bomb" in refused(zipped(tmp_path / "bomb.zip", {"a.obj": bytes(80 * 2**20)}))
    assert "no mesh" in refused(zipped(tmp_path / "photos.zip", {"a.png": b"x"}))
    whole = zipped(tmp_path / "whole.zip", {"a.obj": os.urandom(5000)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:3000])
    assert "cannot be read" in refused(tmp_path / "cut.zip")
    (tmp_path / "flip.zip").write_bytes(whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:])
    assert "cannot be read" in refused(tmp_path / "flip.zip")
    (tmp_path / "locked.zip").write_bytes(_encrypted(zipped(tmp_path / "w2.zip", {"a.obj": "full"}).read_bytes()))
    assert "encrypted" in refused(tmp_path / "locked.zip")
    assert "members" in refused(zipped(tmp_path / "many.zip", {f"{i}.obj": "" for i in range(5000)}))


def test_bombs_of_many_members_long_directories_and_odd_packing(tmp_path):
    def refused(path: Path) -> str:
        with pytest.raises(BadScan) as caught:
            unpack_zip(path, "4" * 64, tmp_path / "cache")
        assert not list((tmp_path / "cache").rglob("*.obj"))
        return str(caught.value)

    many = zipped(tmp_path / "many.zip", {f"{i}.obj": bytes(20 * 2**20) for i in range(6)})
    assert "bomb" in refused(many)  # none of them large
    assert "bomb" in refused(_overlapping(tmp_path / "overlap.zip", 300, 20 * 2**20))
    assert (tmp_path / "overlap.zip").stat().st_size < 50_000  # for 6 GB
    assert "packed in a way" in refused(zipped(tmp_path / "lzma.zip", {"a.obj": "full"}, zipfile.ZIP_LZMA))
    entry = b"PK\x01\x02" + bytes(24) + (5).to_bytes(2, "little") + bytes(16) + b"a.obj"
    body = entry * (5 * 2**20 // len(entry))
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 65535, 65535, len(body), 0, 0)
    (tmp_path / "directory.zip").write_bytes(body + end)
    assert "directory is larger" in refused(tmp_path / "directory.zip")


def _overlapping(path: Path, count: int, size: int) -> Path:
    """One packed member under `count` names, as in Fifield's 42 kB bomb."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000.obj", bytes(size))
    data = path.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entries = b"".join(data[start:end].replace(b"000.obj", b"%03d.obj" % i) for i in range(count))
    path.write_bytes(
        data[:start] + entries + b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, count, count, len(entries), start, 0)
    )
    return path


def test_a_full_disk_is_said_before_anything_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("synth.scans_zip.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    path = zipped(tmp_path / "a.zip", {"a.obj": "full"})
    with pytest.raises(BadScan, match="free in the cache"):
        unpack_zip(path, "5" * 64, tmp_path / "cache")


def _encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + bytes([data[at] | 1]) + data[at + 1 :]


def test_a_member_that_is_larger_than_it_says_is_cut_off(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.obj", bytes(200_000))
    data = bytearray(stream.getvalue())
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(mark) + at
        data[start : start + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(BadScan):
        unpack_zip(tmp_path / "a.zip", "2" * 64, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.obj"))


def test_names_that_differ_in_case_only_are_one_file(tmp_path):
    path = zipped(tmp_path / "a.zip", {"A.obj": "full", "a.OBJ": "head"})
    folder = unpack_zip(path, "3" * 64, tmp_path / "cache")
    assert [p.name for p in folder.iterdir() if not p.name.startswith(".")] == ["A.obj"]
