"""Names inside of files, headers that lie, and hashes: all that is settled before an importer sees a byte."""

import base64
import json
import os
import struct

import pytest
from conftest import read_ball

from renderers.trial import ball_obj
from synth import scans_formats
from synth.scans import load_library
from synth.scans_fbx import check_fbx
from synth.scans_files import HashMemory, leaves_folder, list_files, resolve_reference, resolve_uri
from synth.scans_formats import fbx_references, obj_references, ply_references, read_mtl, sniff
from synth.scans_gltf import gltf_references, read_gltf, stage_gltf
from synth.scans_raw import BadScan


@pytest.fixture
def folder(tmp_path):
    """root/set/anna with pictures here and there, and a secret outside of root."""
    root = tmp_path / "root"
    for name in ("set/anna/skin.png", "set/anna/Tex/Anna_DIF.JPG", "set/shared.png", "set/anna/ü ber.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "set/anna/link.png").symlink_to(tmp_path / "secret.png")
    return root


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("skin.png", "set/anna/skin.png"),
        ("SKIN.PNG", "set/anna/skin.png"),
        ("./skin.png", "set/anna/skin.png"),
        ("../shared.png", "set/shared.png"),
        ("tex/anna_dif.jpg", "set/anna/Tex/Anna_DIF.JPG"),
        ("tex\\anna_dif.jpg", "set/anna/Tex/Anna_DIF.JPG"),
        ("C:\\Users\\me\\anna_dif.jpg", "set/anna/Tex/Anna_DIF.JPG"),
        ("/home/me/skin.png", "set/anna/skin.png"),
        ('"skin.png"', "set/anna/skin.png"),
        ("ü ber.png", "set/anna/ü ber.png"),
        ("elsewhere/skin.png", "set/anna/skin.png"),
        ("../../../secret.png", None),
        ("../../../../../../etc/passwd", None),
        ("/etc/passwd", None),
        ("link.png", None),
        ("http://example.org/skin.png", None),
        ("file:///etc/passwd", None),
        ("missing.png", None),
        ("", None),
        ("..", None),
        ("a\0b", None),
        ("x" * 5000, None),
    ],
)
def test_where_a_reference_leads(folder, name, found):
    path = resolve_reference(name, folder / "set/anna", folder)
    assert path == (None if found is None else folder / found)


def test_uris_are_percent_decoded(folder):
    assert resolve_uri("%C3%BC%20ber.png", folder / "set/anna", folder) == folder / "set/anna/ü ber.png"
    assert resolve_uri("..%2F..%2F..%2Fsecret.png", folder / "set/anna", folder) is None


@pytest.mark.parametrize(
    ("name", "leaves"),
    [("a.png", False), ("../../a.png", False), ("../../../a.png", True), ("%2e%2e/../../a", True), ("/a", True),
     ("https://x/a", True), ("..\\..\\..\\a", True)],
)  # fmt: skip
def test_attempts_to_leave_the_folder(folder, name, leaves):
    assert leaves_folder(name, folder / "set/anna", folder) == leaves


def test_every_file_is_listed_and_links_out_are_not_opened(folder, tmp_path):
    (folder / "nothing.obj").symlink_to(folder / "gone.obj")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.ply")
    listed = {file.name: file.refusal for file in list_files(folder)}
    assert list(listed) == sorted(listed)
    refused = {name: reason for name, reason in listed.items() if reason}
    assert set(refused) == {"nothing.obj", "out", "pipe.ply", "set/anna/link.png"}
    assert refused["nothing.obj"] == "a link to nothing"
    assert refused["pipe.ply"] == "not a regular file"
    assert "leads out" in refused["set/anna/link.png"]


def test_hashes_are_remembered_by_stamp(tmp_path):
    file, memory = tmp_path / "a.bin", tmp_path / "cache" / "hashes.json"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 10**18))
    first = HashMemory(memory)
    digest = first.sha256(file)
    first.save()
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 10**18))  # same size, time and inode: believed
    assert HashMemory(memory).sha256(file) == digest
    os.utime(file, ns=(1, 10**18 + 1))
    assert HashMemory(memory).sha256(file) != digest
    memory.write_text('{"half": [1,')
    assert HashMemory(memory).sha256(file) != digest


def test_what_a_file_says_is_read_once_and_a_damaged_memory_not_believed(tmp_path):
    file, memory, reads = tmp_path / "a.obj", tmp_path / "hashes.json", []

    def read(path):
        reads.append(path)
        return {"bytes": path.read_text()}

    file.write_text("one")
    os.utime(file, (1e9, 1e9))
    first = HashMemory(memory)
    assert first.says(file, "obj 1", read) == {"bytes": "one"} and len(first.sha256(file)) == 64
    first.save()
    assert HashMemory(memory).says(file, "obj 1", read) == {"bytes": "one"} and len(reads) == 1
    assert HashMemory(memory).says(file, "obj 2", read) == {"bytes": "one"} and len(reads) == 2
    file.write_text("two!")
    assert HashMemory(memory).says(file, "obj 1", read) == {"bytes": "two!"}
    os.utime(file, (1e9, 1e9))
    entries = json.loads(memory.read_text())
    memory.write_text(json.dumps({name: [*entry[:3], 7] for name, entry in entries.items()}))
    assert HashMemory(memory).says(file, "obj 1", read) == {"bytes": "two!"}


def test_a_library_from_the_cache_reads_no_mesh(tmp_path, monkeypatch):
    root = tmp_path / "scans"
    root.mkdir()
    (root / "ball.obj").write_text(ball_obj(8))
    os.utime(root / "ball.obj", (1e9, 1e9))
    first = load_library([root], tmp_path / "cache", read_ball)
    opened = []
    monkeypatch.setattr(scans_formats.mmap, "mmap", lambda *args, **options: opened.append(args))
    assert load_library([root], tmp_path / "cache", None).entries == first.entries and not opened


def test_obj_libraries_and_their_pictures(folder):
    obj = folder / "set/anna/anna.obj"
    (folder / "set/anna/my mats.mtl").write_text("newmtl a\nmap_Kd skin.png\nnewmtl b\nmap_kd -s 1 1 1 ü ber.png\n")
    names = ("my mats.mtl", "gone.mtl", "../../../../etc/passwd")
    obj.write_text("# mtllib comment.mtl\n" + "".join(f" mtllib {name}\n" for name in names) + "v 0 0 0\n")
    found = obj_references(obj, folder)
    assert found.parts == (folder / "set/anna/my mats.mtl",)
    assert found.pictures == ("skin.png", "ü ber.png")
    assert any("gone.mtl" in note and "missing" in note for note in found.notes)
    assert any("passwd" in note and "leads out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("statement", "picture"),
    [
        ("map_Kd a.png", "a.png"),
        ("map_Kd -clamp on -s 1 1 1 -o 0 0 a b.png", "a b.png"),
        ("map_Kd -o 0.5 a.png", "a.png"),
        ("map_Kd -bm 1.0 -mm 0 1 tex/a.png", "tex/a.png"),
        ("map_Kd -s 1 1 1", None),
        ("\tMAP_KD  C:\\x y\\a.png ", "C:\\x y\\a.png"),
        ("map_Bump a.png", None),
    ],
)
def test_mtl_picture_names(tmp_path, statement, picture):
    (tmp_path / "a.mtl").write_text(f"newmtl m\nKd 1 0 0\n{statement}\n")
    (material,) = read_mtl(tmp_path / "a.mtl")
    assert (material.name, material.picture, material.alpha) == ("m", picture, False)


def test_mtl_opacity_from_the_same_picture_and_old_code_pages(tmp_path):
    (tmp_path / "a.mtl").write_bytes("newmtl Haut-für\nmap_Kd ä.png\nmap_d ä.png\n".encode("cp1252"))
    (material,) = read_mtl(tmp_path / "a.mtl")
    assert (material.name, material.picture, material.alpha) == ("Haut-für", "ä.png", True)


PLY = """ply
format {format} 1.0
{comment}element vertex {v}
{props}element face {f}
property list uchar int i
end_header
"""
XYZ = "property float x\nproperty float y\nproperty float z\n"


def ply(v=3, f=1, format="binary_little_endian", props=XYZ, comment="", body=b"\0" * 49) -> bytes:
    return PLY.format(format=format, v=v, f=f, props=props, comment=comment).encode() + body


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (ply(), None),
        (ply(format="ascii", body=b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2"), None),
        (ply(v=2_000_000_000, f=4_000_000_000), "promises 2000000000 vertex"),
        (ply(v=10**17), "promises"),
        (ply(v=-3), "without a count"),
        (ply(v="three"), "without a count"),
        (ply(v=0, f=0), "no vertices"),
        (ply(f=0), "point cloud"),
        (ply(props=XYZ + "property float f_dc_0\nproperty float rot_0\n", body=b"\0" * 99), "Gaussian splat"),
        (b"ply\nformat ascii 1.0\nelement vertex 3\n", "has no end"),
        (b"hello", "not a PLY"),
        (ply(body=b"\0" * 30), "promises"),
    ],
)
def test_ply_headers_are_held_against_the_size(tmp_path, data, says):
    (tmp_path / "a.ply").write_bytes(data)
    if says is None:
        assert ply_references(tmp_path / "a.ply", tmp_path).pictures == ()
    else:
        with pytest.raises(BadScan, match=says):
            ply_references(tmp_path / "a.ply", tmp_path)


def test_ply_texture_comment(tmp_path):
    (tmp_path / "a.ply").write_bytes(ply(comment="comment TextureFile my skin.png\n"))
    assert ply_references(tmp_path / "a.ply", tmp_path).pictures == ("my skin.png",)


#: An FBX without nodes: header, version, the record that closes a list.
EMPTY_FBX = b"Kaydara FBX Binary  \0\x1a\0" + struct.pack("<I", 7400) + bytes(13)


def fbx_node(at: int, children: bytes = b"", count: int = 1, longer: int = 0) -> bytes:
    """A node `N` with one property, at byte `at` of a file of version 7400."""
    end = at + 13 + 1 + 5 + len(children) + longer
    return struct.pack("<IIIB", end, count, 5, 1) + b"NI\x01\0\0\0" + children


def test_fbx_nodes_lie_within_each_other():
    head = EMPTY_FBX[:27]
    inner = fbx_node(27 + 19) + fbx_node(27 + 38) + bytes(13)
    check_fbx(head + fbx_node(27, inner) + fbx_node(27 + 19 + len(inner)) + bytes(13) + b"footer")
    wide = head[:23] + struct.pack("<I", 7500)
    check_fbx(wide + struct.pack("<QQQB", 27 + 25 + 6, 1, 5, 1) + b"NI\x01\0\0\0" + bytes(25))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "cut short"),
        (fbx_node(27)[:-1], "cut short"),
        (fbx_node(27), "cut short"),  # the list is not closed
        (fbx_node(27, longer=9) + bytes(8), "ends at"),
        (fbx_node(27, fbx_node(27 + 19, longer=30)) + bytes(99), "ends at"),  # reaches out of its parent
        (fbx_node(27, longer=-6) + bytes(13), "ends at"),  # would be read again and again
        (fbx_node(27, count=2**32 - 1) + bytes(13), "claims 4294967295 properties"),
    ],
)
def test_fbx_that_lie_are_refused_before_blender_believes_them(body, reason):
    with pytest.raises(BadScan, match=reason):
        check_fbx(EMPTY_FBX[:27] + body)
    with pytest.raises(BadScan, match="header"):
        check_fbx(EMPTY_FBX[:20])


def test_fbx_names(tmp_path):
    def text(name, value):
        return bytes([len(name)]) + name.encode() + b"S" + struct.pack("<I", len(value)) + value.encode()

    data = EMPTY_FBX + text("RelativeFilename", "tex\\a.png") + text("FileName", "C:\\tex\\a.png")
    (tmp_path / "a.fbx").write_bytes(data + b"\x07ContentR" + struct.pack("<I", 0))
    found = fbx_references(tmp_path / "a.fbx", tmp_path)
    assert (found.pictures, found.embedded) == (("tex/a.png", "C:/tex/a.png"), False)
    (tmp_path / "a.fbx").write_bytes(data + b"\x07ContentR" + struct.pack("<I", 9) + b"x" * 9)
    assert fbx_references(tmp_path / "a.fbx", tmp_path).embedded


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.obj", b"", "empty file"),
        ("a.glb", b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        ("a.glb", b"\n<!DOCTYPE html>", "web page"),
        ("a.fbx", b"; FBX 7.3.0 project file", "ASCII FBX"),
        ("a.FBX", b"hello", "not an FBX"),
    ],
)
def test_files_that_are_nothing_of_what_they_say(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadScan, match=says):
        sniff(tmp_path / name)


def document(**changes) -> dict:
    """A glTF triangle whose buffer is in the file."""
    data = base64.b64encode(b"\0" * 36).decode()
    plain = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": 36, "uri": f"data:application/octet-stream;base64,{data}"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 3}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
    }
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 4}]}, "promises 4 elements"),
        ({"accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 4 * 10**9}]}, "promises"),
        ({"accessors": [{"componentType": 5126, "type": "VEC3", "count": 4 * 10**9}]}, "without bytes"),
        ({"accessors": [{"bufferView": -1, "componentType": 5126, "type": "VEC3", "count": 3}]}, "bufferView = '-1'"),
        ({"accessors": [{"bufferView": 7, "componentType": 5126, "type": "VEC3", "count": 3}]}, "broken"),
        ({"accessors": [{"bufferView": 0, "componentType": 1, "type": "VEC3", "count": 3}]}, "broken"),
        ({"accessors": {"a": 1}}, "broken"),
        ({"bufferViews": [{"buffer": 0, "byteOffset": 1, "byteLength": 36}]}, "ends at byte 37 of 36"),
        ({"buffers": [{"byteLength": 36}]}, "has no bytes"),
        ({"buffers": [{"byteLength": 36, "uri": "gone.bin"}]}, "missing"),
        ({"buffers": [{"byteLength": 36, "uri": "../../secret.bin"}]}, "leads out"),
        ({"buffers": [{"byteLength": 36, "uri": "http://example.org/a.bin"}]}, "leads out"),
        ({"images": [{"uri": "file:///etc/passwd"}]}, "leads out"),
        ({"nodes": [{"children": [1]}, {"children": [0]}]}, "circle"),
        ({"nodes": [{"children": [0]}]}, "circle"),
        ({"nodes": [{"children": [2]}, {"children": [2]}, {}]}, "two parents"),
        ({"nodes": [{"children": [i + 1]} for i in range(3000)] + [{}]}, "nested deeper"),
        ({"nodes": [{"children": [i + 1]} for i in range(200)] + [{}]}, None),
        ({"meshes": []}, "no mesh"),
        ({"extensionsRequired": ["EXT_meshopt_compression"]}, "EXT_meshopt_compression"),
        ({"extensionsRequired": ["KHR_draco_mesh_compression"]}, None),
    ],
)
def test_gltf_is_held_against_its_bytes(tmp_path, changes, says):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.gltf").write_text(json.dumps(document(**changes)))
    if says is None:
        read_gltf(root / "a.gltf", root)
    else:
        with pytest.raises(BadScan, match=says):
            read_gltf(root / "a.gltf", root)


def glb(document: dict, binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def test_glb_cut_anywhere_is_refused_or_whole(tmp_path):
    data = glb(document(buffers=[{"byteLength": 36}]), bytes(range(36)))
    path = tmp_path / "a.glb"
    path.write_bytes(data)
    assert read_gltf(path, tmp_path).buffers[0].read(4, 3) == b"\4\5\6"
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(BadScan):
            read_gltf(path, tmp_path)


def test_a_staged_gltf_refers_to_nothing_but_its_own_buffers(tmp_path):
    root, stage = tmp_path / "root", tmp_path / "stage"
    (root / "textures").mkdir(parents=True)
    stage.mkdir()
    (root / "textures/skin.png").write_bytes(b"picture")
    changes = {
        "buffers": [{"byteLength": 40}],
        "images": [{"uri": "textures/skin.png"}, {"bufferView": 1, "mimeType": "image/png", "name": "../../x"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 4}],
        "asset": {"version": "2.0", "extras": {"license": "CC-BY", "author": "A\nB", "title": "T"}},
    }
    (root / "a.glb").write_bytes(glb(document(**changes), b"\0" * 36 + b"PNG!"))
    gltf = read_gltf(root / "a.glb", root)
    staged = stage_gltf(gltf, stage)
    written = json.loads(staged.read_text())
    assert written["buffers"] == [{"byteLength": 40, "uri": "buffer0.bin"}]
    assert (stage / "buffer0.bin").read_bytes() == b"\0" * 36 + b"PNG!"
    assert [image["uri"][:22] for image in written["images"]] == ["data:image/png;base64,"] * 2
    pictures = [gltf.picture(image["name"]) for image in written["images"]]
    assert (pictures[0].name, pictures[0].data) == ("textures/skin.png", None)
    assert pictures[1].data == b"PNG!"
    assert gltf.picture("Image_0") is None
    references = gltf_references(root / "a.glb", root)
    assert references.pictures == ("textures/skin.png",)
    assert references.embedded
    assert (references.licence, references.attribution) == ("CC-BY", '"T" by A B')
