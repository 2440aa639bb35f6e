"""Files through the real Blender: what was written comes back, and what is hostile comes to nothing.

The mesh is a ball whose colour is a known function of the place in space, so that positions, axes, UVs, pictures
and vertex colours check each other without knowing the order of faces.
"""

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_scans_colour import field, paint_atlas, png
from test_scans_geometry import cube_sphere

from renderers.importers import probe
from synth.scans import load_library
from synth.scans_raw import BadScan, HostLimit, ImporterBroken

pytestmark = pytest.mark.blender

STEPS = 16
# Semi-axes and place tell every axis, sign and unit apart.
AXES, MOVE = np.array([1.0, 2.0, 3.0]), np.array([0.5, -0.25, 7.0])

EXPORT = """
import sys, bpy, numpy as np
folder = sys.argv[1]
data = np.load(folder + "/ball.npz")
bpy.ops.wm.read_factory_settings(use_empty=True)
mesh = bpy.data.meshes.new("ball")
mesh.from_pydata(data["positions"].tolist(), [], data["triangles"].tolist())
layer = mesh.uv_layers.new(name="UVMap")
layer.uv.foreach_set("vector", data["uvs"][data["triangles"]].ravel().astype(np.float32))
mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
mesh.normals_split_custom_set_from_vertices(data["normals"].tolist())
ball = bpy.data.objects.new("ball", mesh)
bpy.context.collection.objects.link(ball)
material = bpy.data.materials.new("skin")
material.use_nodes = True
image = material.node_tree.nodes.new("ShaderNodeTexImage")
image.image = bpy.data.images.load(folder + "/skin.png")
surface = material.node_tree.nodes["Principled BSDF"]
material.node_tree.links.new(image.outputs["Color"], surface.inputs["Base Color"])
mesh.materials.append(material)
bpy.context.view_layer.objects.active = ball
ball.select_set(True)
bpy.ops.export_scene.gltf(filepath=folder + "/textured.glb", export_format="GLB", export_image_format="AUTO")
bpy.ops.export_scene.gltf(filepath=folder + "/apart/textured.gltf", export_format="GLTF_SEPARATE")
bpy.ops.export_scene.fbx(filepath=folder + "/embedded.FBX", path_mode="COPY", embed_textures=True)
bpy.ops.export_scene.fbx(filepath=folder + "/named/named.fbx", path_mode="ABSOLUTE")
bpy.ops.wm.obj_export(filepath=folder + "/obj/textured.obj", path_mode="COPY")
mesh.materials.clear()
for name, kind in (("bytes", "BYTE_COLOR"), ("floats", "FLOAT_COLOR")):
    colors = mesh.color_attributes.new(name=kind, type=kind, domain="POINT")
    colors.data.foreach_set("color_srgb", data["colors"].ravel().astype(np.float32))
    mesh.color_attributes.active_color = colors
    bpy.ops.wm.ply_export(filepath=folder + "/" + name + ".ply", export_colors="SRGB", up_axis="Z", forward_axis="Y")
    bpy.ops.wm.obj_export(filepath=folder + "/" + name + ".obj", export_colors=True, export_materials=False)
    bpy.ops.export_scene.gltf(filepath=folder + "/" + name + ".glb", export_format="GLB",
                              export_vertex_color="ACTIVE", export_active_vertex_color_when_no_material=True)
    mesh.color_attributes.remove(colors)
# A rigged ball: at rest, and 10 units higher in its first animated frame.
armature = bpy.data.objects.new("rig", bpy.data.armatures.new("rig"))
bpy.context.collection.objects.link(armature)
bpy.context.view_layer.objects.active = armature
bpy.ops.object.mode_set(mode="EDIT")
bone = armature.data.edit_bones.new("bone")
bone.tail = (0, 0, 1)
bpy.ops.object.mode_set(mode="OBJECT")
group = ball.vertex_groups.new(name="bone")
group.add(range(len(mesh.vertices)), 1.0, "REPLACE")
ball.parent = armature
ball.modifiers.new("rig", "ARMATURE").object = armature
pose = armature.pose.bones["bone"]
for frame, height in ((7, 10.0), (20, 20.0)):
    pose.location = (0, height, 0)
    pose.keyframe_insert("location", frame=frame)
armature.select_set(True)
for frame in (1,):
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 7, 20
bpy.ops.export_scene.gltf(filepath=folder + "/rigged.glb", export_format="GLB")
"""


def ball_points(positions: np.ndarray) -> np.ndarray:
    return positions * AXES + MOVE


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder of files that Blender itself has written."""
    folder = tmp_path_factory.mktemp("written")
    for name in ("apart", "named", "obj"):
        (folder / name).mkdir()
    positions, triangles, uvs = cube_sphere(STEPS)
    normals = positions / AXES
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    colors = np.column_stack([field(positions), np.ones(len(positions))])
    np.savez(folder / "ball.npz", positions=ball_points(positions), triangles=triangles, uvs=uvs, normals=normals,
             colors=colors)  # fmt: skip
    (folder / "skin.png").write_bytes(png(paint_atlas(768)))
    done = subprocess.run([sys.executable, "-c", EXPORT, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    os.rename(folder / "skin.png", folder / "named" / "SKIN.png")
    return folder


def in_blender_axes(name: str, positions: np.ndarray) -> np.ndarray:
    """The importer's coordinates as the ones the ball was made in: OBJ is written y up, and kept as written."""
    if name.lower().endswith(".obj"):
        return np.stack([positions[..., 0], -positions[..., 2], positions[..., 1]], axis=-1)
    return positions


def on_sphere(name: str, positions: np.ndarray) -> np.ndarray:
    return (in_blender_axes(name, positions) - MOVE) / AXES


def assert_is_the_ball(name: str, mesh) -> None:
    sphere = on_sphere(name, mesh.positions)
    assert np.abs(np.linalg.norm(sphere, axis=1) - 1).max() < 1e-5
    assert np.allclose(np.ptp(in_blender_axes(name, mesh.positions), axis=0), 2 * AXES, atol=1e-5)
    assert len(mesh.triangles) == 12 * STEPS**2
    corners = sphere[mesh.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((face * corners.mean(axis=1)).sum(axis=1) > 0).all()


@pytest.mark.parametrize(
    "name", ["textured.glb", "apart/textured.gltf", "embedded.FBX", "named/named.fbx", "obj/textured.obj"]
)
def test_textured_files_come_back(files, name):
    mesh = probe(files / name, files)
    assert_is_the_ball(name, mesh)
    (material,) = {mesh.materials[i] for i in np.unique(mesh.material)}
    assert material.name == "skin"
    data = material.picture.data
    if data is None:  # beside the file, or where it only says: see below
        found = next((files / name).parent.glob(Path(material.picture.name.replace("\\", "/")).name), None)
        data = (found or files / "named/SKIN.png").read_bytes()
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    uv = mesh.uvs.reshape(-1, 2)
    texel = picture[((1 - uv[:, 1]) * 512).astype(int), (uv[:, 0] * 768).astype(int)] / 255
    truth = field(on_sphere(name, mesh.positions)[mesh.triangles].reshape(-1, 3))
    assert np.abs(texel - truth).max() < 0.06
    normals = in_blender_axes(name, mesh.normals.astype(float)) * AXES
    normals = normals / np.linalg.norm(normals, axis=2, keepdims=True)
    cosine = (normals * on_sphere(name, mesh.positions)[mesh.triangles]).sum(axis=2)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_vertex_colours_come_back_as_srgb(files, kind, suffix):
    name = f"{kind}.{suffix}"
    mesh = probe(files / name, files)
    assert_is_the_ball(name, mesh)
    truth = field(on_sphere(name, mesh.positions)[mesh.triangles]) * 255
    assert np.abs(mesh.colors[..., :3] - truth).max() <= 1.5
    assert mesh.colors[..., 3].min() == 255


def test_a_rigged_file_is_taken_at_its_first_animated_frame_without_bone_shapes(files):
    mesh = probe(files / "rigged.glb", files)
    assert len(mesh.triangles) == 12 * STEPS**2
    centre = (mesh.positions.min(axis=0) + mesh.positions.max(axis=0)) / 2
    assert np.allclose(centre - MOVE, (0, 0, 10), atol=1e-4)


def write_obj(path: Path, head: str = "mtllib a.mtl\nusemtl skin\n", scale: float = 0.1) -> None:
    positions, triangles, uvs = cube_sphere(STEPS)
    lines = [head]
    lines += ["v {} {} {}".format(*p) for p in (positions * (0.8, 1.2, 1.0) * scale)]
    lines += ["vt {} {}".format(*t) for t in uvs]
    lines += ["f " + " ".join(f"{i}/{i}" for i in t) for t in triangles + 1]
    path.write_text("\n".join(lines) + "\n")


def test_hostile_files_come_to_nothing_and_the_others_go_on(files, tmp_path):
    """One load of a folder in which nearly everything is wrong."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(png(np.full((8, 8, 3), (255, 0, 255), np.uint8)))
    (outside / "secret.mtl").write_text("newmtl skin\nmap_Kd secret.png\n")
    root = tmp_path / "scans"
    for name in ("windows/tex", "case", "escape", "gone", "good", "picture", "deep"):
        (root / name).mkdir(parents=True)
    skin = png(paint_atlas(96))
    write_obj(root / "good/good.obj")
    (root / "good/a.mtl").write_text("newmtl skin\nmap_Kd a b.png\n")
    (root / "good/a b.png").write_bytes(skin)
    write_obj(root / "windows/windows.obj", scale=0.11)
    (root / "windows/a.mtl").write_text("newmtl skin\nmap_Kd C:\\Users\\me\\Skin.PNG\n")
    (root / "windows/tex/skin.png").write_bytes(skin)
    write_obj(root / "case/case.OBJ", "mtllib A.MTL\nusemtl skin\n", scale=0.12)
    (root / "case/a.mtl").write_text("newmtl skin\nmap_Kd SKIN.png\n")
    (root / "case/skin.PNG").write_bytes(skin)
    write_obj(root / "escape/escape.obj", "mtllib ../../outside/secret.mtl\nmtl\\\nlib ../../outside/secret.mtl\n",
              scale=0.105)  # fmt: skip
    write_obj(root / "picture/picture.obj", scale=0.115)
    (root / "picture/a.mtl").write_text("newmtl skin\nmap_Kd ../../outside/secret.png\n")
    write_obj(root / "gone/gone.obj", scale=0.125)
    (root / "gone/a.mtl").write_text("newmtl skin\nmap_Kd nowhere.png\n")
    (root / "empty.obj").write_bytes(b"")
    (root / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    (root / "index.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 2147483647\n")
    whole = (files / "textured.glb").read_bytes()
    (root / "cut.glb").write_bytes(whole[: len(whole) // 2])
    whole = (files / "embedded.FBX").read_bytes()
    (root / "cut.fbx").write_bytes(whole[: len(whole) // 2])
    header = "ply\nformat ascii 1.0\nelement vertex 2000000000\nproperty float x\nelement face 4000000000\n"
    (root / "liar.ply").write_text(header + "property list uchar int vertex_indices\nend_header\n0\n")
    library = load_library([root], tmp_path / "cache", probe, jobs=2)
    verdicts = {v.path: v for v in library.verdicts if v.verdict != "ignored"}
    assert {p: v.colour for p, v in verdicts.items() if v.verdict == "accepted"} == {
        "good/good.obj": "texture", "windows/windows.obj": "texture", "case/case.OBJ": "texture",
        "escape/escape.obj": "none", "picture/picture.obj": "none", "gone/gone.obj": "none",
    }  # fmt: skip
    refused = {p: v.reason for p, v in verdicts.items() if v.verdict == "refused"}
    assert set(refused) == {"empty.obj", "points.obj", "index.obj", "cut.glb", "cut.fbx", "liar.ply"}
    assert "cut short" in refused["cut.glb"]
    assert "promises 2000000000 vertex" in refused["liar.ply"]
    assert str(tmp_path) not in "".join(refused.values())
    assert any("leads out" in w for w in verdicts["escape/escape.obj"].warnings)
    assert any("nowhere.png" in w for w in verdicts["gone/gone.obj"].warnings)
    secret = (outside / "secret.png").read_bytes()
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.read_bytes() == secret]


def test_an_fbx_picture_is_found_by_its_base_name_and_never_by_its_path(files, tmp_path):
    root, outside = tmp_path / "scans", files.parent / "x"
    root.mkdir()
    outside.mkdir()
    (outside / "skin.png").write_bytes(png(paint_atlas(96)))
    data = (files / "named/named.fbx").read_bytes()
    assert str(files / "skin.png").encode() in data
    there = str(outside / "skin.png")  # of the same length, so that the file stays whole
    padded = there[:1] + "/" * (len(str(files / "skin.png")) - len(there)) + there[1:]
    (root / "ball.fbx").write_bytes(data.replace(str(files / "skin.png").encode(), padded.encode()))
    library = load_library([root], tmp_path / "cache", probe)
    assert library.entries[0].facts.colour == "none"
    (root / "Skin.PNG").write_bytes(png(paint_atlas(96)))
    library = load_library([root], tmp_path / "cache", probe)
    assert library.entries[0].facts.colour == "texture"
    assert library.entries[0].facts.texture_px == 96


def test_a_ply_with_a_texture_comment(tmp_path):
    positions, triangles, uvs = cube_sphere(STEPS)
    fields = "".join(f"property float {name}\n" for name in ("x", "y", "z", "s", "t"))
    header = f"""ply
format binary_little_endian 1.0
comment TextureFile skin.png
element vertex {len(positions)}
{fields}element face {len(triangles)}
property list uchar int vertex_indices
end_header
"""
    body = np.column_stack([positions * (0.08, 0.12, 0.1), uvs]).astype("<f4").tobytes()
    body += b"".join(struct.pack("<B3i", 3, *t) for t in triangles)
    for name, picture in (("up", paint_atlas(192)), ("down", paint_atlas(192)[::-1])):
        root = tmp_path / name
        root.mkdir()
        (root / "ball.ply").write_bytes(header.encode() + body)
        (root / "skin.png").write_bytes(png(picture))
        facts = load_library([root], tmp_path / "cache", probe).entries[0].facts
        assert facts.colour == "texture"
        assert any(("v is up" if name == "up" else "v was down") in change for change in facts.changes)


def test_limits_of_the_child(files):
    with pytest.raises(HostLimit, match=r"longer than 0\.1 s"):
        probe(files / "bytes.ply", files, timeout_s=0.1)
    with pytest.raises(HostLimit, match="more than 20 MiB"):
        probe(files / "bytes.ply", files, memory_mb=20)


def test_an_importer_that_does_not_start_is_nobodys_fault(files, monkeypatch):
    monkeypatch.setattr("synth.sandbox.sys.executable", "/bin/false")
    with pytest.raises(ImporterBroken, match="does not run here"):
        probe(files / "bytes.ply", files)


def test_a_gltf_with_picture_beside_and_shifted_uvs(files, tmp_path):
    """KHR_texture_transform is part of the UVs; an embedded picture and a missing one are told apart."""
    source = json.loads((files / "apart/textured.gltf").read_text())
    (tmp_path / "textured.bin").write_bytes((files / "apart/textured.bin").read_bytes())
    texture = source["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
    texture["extensions"] = {"KHR_texture_transform": {"offset": [0.25, 0.125], "scale": [0.5, 0.25]}}
    source["extensionsUsed"] = ["KHR_texture_transform"]
    source["images"][0]["uri"] = "gone%20away.png"
    (tmp_path / "a.gltf").write_text(json.dumps(source))
    moved, plain = probe(tmp_path / "a.gltf", tmp_path), probe(files / "apart/textured.gltf", files)
    assert moved.materials[0].picture.name == "gone%20away.png"
    assert moved.materials[0].picture.data is None
    down = plain.uvs * (1, -1) + (0, 1)  # glTF's v runs down
    expected = (down * (0.5, 0.25) + (0.25, 0.125)) * (1, -1) + (0, 1)
    assert np.abs(moved.uvs - expected).max() < 1e-5


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises((BadScan, OSError)):
        probe(tmp_path / "a.obj", tmp_path)
