"""Textures in tiles: found by name, dealt to faces by UV."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renderers.raycast import ScanCaster, cast_labels
from renderers.surface import ScanPaint, lookup_albedo
from synth.camera import Camera, look_at, matrix4
from synth.scans import load_library, load_prepared
from synth.scans_raw import RawMaterial, RawMesh
from synth.scans_tiles import find_tiles, split_tiles, tile_of

COLOURS = {"1001": (200, 30, 30), "1002": (30, 200, 30), "1011": (30, 30, 200)}


@pytest.mark.parametrize(
    ("name", "tile"),
    [("skin_1001.jpg", ("skin", (0, 0))), ("Skin.1012.png", ("skin", (1, 1))), ("a_u1_v2.png", ("a", (1, 2))),
     ("u1_v1_dif.png", None), ("skin_900.jpg", None), ("skin1001.jpg", None), ("skin_1001_dif.jpg", None)],
)  # fmt: skip
def test_tile_names(name, tile):
    assert tile_of(Path(name)) == tile


def test_tiles_of_a_set_are_counted_from_zero():
    files = [Path("t", n) for n in ("a_u1_v1.png", "a_u2_v1.png", "a_u1_v1.jpg", "b_u1_v2.png", "a.png")]
    assert find_tiles(files[0], files) == {(0, 0): files[0], (1, 0): files[1]}
    assert find_tiles(files[3], files) == {}
    mudbox = [Path("t", n) for n in ("a_u0_v0.png", "a_u1_v0.png")]
    assert find_tiles(mudbox[1], mudbox) == {(0, 0): mudbox[0], (1, 0): mudbox[1]}


def tiled_ball() -> RawMesh:
    """A ball whose thirds by azimuth lie in the tiles 1001, 1002 and 1011."""
    rings, columns = 24, 48
    polar, turn = np.meshgrid(np.linspace(0.05, np.pi - 0.05, rings), np.arange(columns + 1) / columns, indexing="ij")
    azimuth = 2 * np.pi * turn
    positions = 0.14 * np.stack(
        [np.sin(polar) * np.cos(azimuth), np.cos(polar), -np.sin(polar) * np.sin(azimuth)], axis=-1
    )
    triangles, uvs = [], []
    for i in range(rings - 1):
        for j in range(columns):
            a = i * (columns + 1) + j
            quad = [a, a + columns + 1, a + columns + 2, a + 1]
            shift = [(0, 0), (1, 0), (0, 1)][3 * j // columns]
            inner = [(0.1 + 0.8 * (k % (columns + 1)) / columns, 0.5) for k in quad]
            for corners in ([0, 1, 2], [0, 2, 3]):
                triangles.append([quad[c] for c in corners])
                uvs.append([np.add(inner[c], shift) for c in corners])
    return RawMesh(
        positions=positions.reshape(-1, 3),
        triangles=np.array(triangles, np.int32),
        normals=None,
        uvs=np.array(uvs, np.float32),
        colors=None,
        material=np.zeros(len(triangles), np.uint16),
        materials=(RawMaterial("all", None, False, (0.8, 0.8, 0.8, 1.0), 0.0, 0.5),),
    )


def test_faces_go_to_their_tile():
    mesh, pictures = split_tiles(tiled_ball(), {(0, 0): Path("a"), (1, 0): Path("b"), (5, 5): Path("never")})
    assert pictures == (Path("a"), Path("b"), None)
    place = np.floor(mesh.uvs.mean(axis=1)).astype(int)
    assert (mesh.material == np.select([(place == (0, 0)).all(1), (place == (1, 0)).all(1)], [0, 1], 2)).all()


@pytest.mark.parametrize("mtl", ["", "newmtl all\nmap_Kd tex/skin_<UDIM>.png\n"])
def test_every_tile_is_seen(tmp_path, mtl):
    root = tmp_path / "scans"
    (root / "tex").mkdir(parents=True)
    (root / "ball.obj").write_text("mtllib ball.mtl\n" if mtl else "no library\n")
    if mtl:
        (root / "ball.mtl").write_text(mtl)
    for number, colour in COLOURS.items():
        Image.new("RGB", (64, 64), colour).save(root / "tex" / f"skin_{number}.png")
    library = load_library([root], tmp_path / "cache", lambda path, root: tiled_ball())
    assert [v.path for v in library.verdicts if "picture" in v.reason and v.verdict == "ignored"] == [
        f"tex/skin_{number}.png" for number in COLOURS
    ]
    scan = load_prepared(library.store, library.entries[0].key)
    caster, paint, found = ScanCaster(scan), ScanPaint(scan), set()
    for yaw in np.radians((60, 180, 300)):
        middle = np.array([0, 0, scan.facts.height_m / 2])
        pose = look_at(middle + 2 * np.array([np.cos(yaw), np.sin(yaw), 0]), middle, 0.0)
        camera = Camera(width=32, height=32, focal_px=150, center_px=(16, 16), world_from_camera=matrix4(pose))
        labels = cast_labels(camera, [(caster, np.eye(4))])
        albedo = lookup_albedo(camera, labels, [(paint, np.eye(4))])
        found |= {tuple(int(v) for v in colour) for colour in albedo[labels.instance > 0]}
    assert found == set(COLOURS.values())


def test_frames_with_a_picture_each_are_no_tiles(tmp_path):
    root = tmp_path / "scans"
    root.mkdir()
    for number, colour in COLOURS.items():
        (root / f"run_{number}.obj").write_text(number)
        Image.new("RGB", (64, 64), colour).save(root / f"run_{number}.png")
    from dataclasses import replace

    flat = replace(tiled_ball(), uvs=np.mod(tiled_ball().uvs, 1).astype(np.float32))
    library = load_library([root], tmp_path / "cache", lambda path, root: flat)
    assert len(library.entries) == 3
    for entry in library.entries:
        assert any(f"run_{entry.scan_id[-4:]}.png" in change for change in entry.facts.changes)
