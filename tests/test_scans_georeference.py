"""Meshes in map coordinates: what reaches the importer is near the origin, and nothing of it is lost."""

import struct

import numpy as np
import pytest

from renderers.trial import ball_obj
from synth.scans_georeference import shift_obj, shift_ply

MAP = np.array([448262.0, 5411932.0, 112.0])


def far_obj(rings: int = 12) -> tuple[str, np.ndarray]:
    """A ball of 0.14 m in map coordinates, to the tenth of a millimetre, and where its vertices are."""
    lines, points = [], []
    for line in ball_obj(rings).splitlines():
        words = line.split()
        if words[0] == "v":
            point = np.round(np.array([float(w) for w in words[1:]]) + MAP, 4)
            points.append(point)
            line = "v {:.4f} {:.4f} {:.4f} 0.5 0.25 1".format(*point)
        lines.append(line)
    return "\n".join(lines) + "\n", np.array(points)


def test_an_obj_far_away_is_shifted_and_keeps_all_else(tmp_path):
    text, points = far_obj()
    (tmp_path / "far.obj").write_text(text + "v nan 1 2 0.5 0.25 1\nv broken 0.5 0.25 1\n")
    offset = shift_obj(tmp_path / "far.obj", tmp_path / "near.obj")
    assert np.abs(offset - MAP).max() < 1
    lines = (tmp_path / "near.obj").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith("v ") and "broken" not in line]
    assert all(word[4:] == ["0.5", "0.25", "1"] for word in words)
    found = np.array([[float(x) for x in word[1:4]] for word in words])
    assert np.abs(found[:-1].astype(np.float32).astype(float) + offset - points).max() < 1e-7
    assert np.isnan(found[-1, 0])
    assert [line for line in lines if line[:2] != "v "] == [line for line in text.splitlines() if line[:2] != "v "]
    assert "v broken 0.5 0.25 1" in lines


@pytest.mark.parametrize("text", [ball_obj(8), "v 1 2 3\n", "", "v 1e300 0 0\nv 0 0 0\nv 1 1 1\n", "v\nv a b c\n"])
def test_what_is_near_or_nothing_is_copied_byte_for_byte(tmp_path, text):
    (tmp_path / "a.obj").write_text(text)
    assert not shift_obj(tmp_path / "a.obj", tmp_path / "b.obj").any()
    assert (tmp_path / "b.obj").read_text() == text


@pytest.mark.parametrize("spoil", [lambda p: p.astype(np.float32), lambda p: np.round(p, 2)])
def test_what_is_a_staircase_already_is_left_to_be_refused(tmp_path, spoil):
    points = spoil(np.random.default_rng(0).uniform(0, 1.7, (500, 3)) + MAP)
    for digits in ("%.3f", "%.9f"):
        text = "\n".join("v " + " ".join(digits % value for value in point) for point in points)
        (tmp_path / "far.obj").write_text(text + "\nf 1 2 3\n")
        assert not shift_obj(tmp_path / "far.obj", tmp_path / "near.obj").any()
        (tmp_path / "far.ply").write_bytes(ply(points, "binary_little_endian"))
        assert shift_ply(tmp_path / "far.ply", tmp_path / "near.ply") is None


def ply(points: np.ndarray, kind: str, code: str = "d", tail: bytes = b"\x03\0\0\0\0\x01\0\0\0\x02\0\0\0") -> bytes:
    name = {"d": "double", "f": "float"}[code]
    head = f"ply\nformat {kind} 1.0\nelement vertex {len(points)}\nproperty uchar red\nproperty {name} x\n"
    head += (
        f"property {name} y\nproperty {name} z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    if kind == "ascii":
        body = b"".join(f"7 {p[0]:.5f} {p[1]:.5f} {p[2]:.5f}\n".encode() for p in points) + b"3 0 1 2\n"
    else:
        order = "<" if "little" in kind else ">"
        body = b"".join(struct.pack(order + "B3" + code, 7, *p) for p in points) + tail
    return head.encode() + body


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_a_ply_in_double_precision_is_shifted(tmp_path, kind):
    points = np.round(np.random.default_rng(0).uniform(0, 1.7, (50, 3)) + MAP, 5)
    (tmp_path / "far.ply").write_bytes(ply(points, kind))
    offset = shift_ply(tmp_path / "far.ply", tmp_path / "near.ply")
    near = points - offset
    assert np.abs(near).max() < 3
    expected = ply(near, kind)
    found = (tmp_path / "near.ply").read_bytes()
    if kind == "ascii":
        rows = [[float(x) for x in line.split()] for line in found.split(b"end_header\n")[1].splitlines()[:50]]
        assert np.abs(np.array(rows)[:, 1:] - near).max() < 1e-8
        assert found.endswith(b"3 0 1 2\n")
    else:
        assert len(found) == len(expected) and found[:60] == expected[:60] and found[-13:] == expected[-13:]
        at = found.index(b"end_header\n") + 11
        dtype = np.dtype([("red", "u1"), ("p", ("<" if "little" in kind else ">") + "f8", 3)])
        vertices = np.frombuffer(found, dtype, 50, at)
        assert np.abs(vertices["p"] - near).max() < 1e-9 and (vertices["red"] == 7).all()


@pytest.mark.parametrize(
    "data",
    [ply(np.zeros((5, 3)) + np.eye(5, 3), "binary_little_endian"), ply(np.eye(5, 3) + MAP, "binary_little_endian", "f"),
     ply(np.eye(50, 3) + MAP, "binary_little_endian")[:400], b"ply\nend_header\n", b"not a ply",
     b"ply\nformat ascii 1.0\nelement vertex 9\nproperty list uchar int x\nend_header\n",
     b"ply\nformat ascii 1.0\nelement vertex 999999999999\nproperty double x\nproperty double y\nproperty double z\n"
     b"end_header\n1 2\n"],
)  # fmt: skip
def test_a_ply_that_is_near_single_or_broken_is_left_alone(tmp_path, data):
    (tmp_path / "a.ply").write_bytes(data)
    assert shift_ply(tmp_path / "a.ply", tmp_path / "b.ply") is None
    assert not (tmp_path / "b.ply").exists()


@pytest.mark.blender
def test_blender_reads_a_far_ball_as_smooth_as_a_near_one(tmp_path):
    from renderers.importers import probe

    text, points = far_obj(32)
    (tmp_path / "far.obj").write_text(text)
    mesh = probe(tmp_path / "far.obj", tmp_path)
    assert np.abs(mesh.positions - points).max() < 1e-7
    assert mesh.colors is not None
