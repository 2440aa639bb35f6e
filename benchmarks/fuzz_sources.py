"""Sound files of every format that `scripts/fuzz` mangles, made here: a small ball with a picture, and backgrounds.

Each source is a folder as a user would have it, by file name, and the file in it that is to be mangled. Only the FBX
need Blender; `export_fbx` writes them.
"""

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from backgrounds_fuzz import exr_bases, hdr_bases, photo_bases
from PIL import Image

BACKGROUNDS = ("hdr", "exr", "photo")
FORMATS = ("obj", "mtl", "ply", "glb", "gltf", "fbx", "texture", "zip", "pkl", "npz", *BACKGROUNDS)
#: Long, so that any other path fits in its place without moving a byte of the FBX.
_FBX_FOLDER = "a-folder-with-a-name-long-enough-for-any-path-that-takes-its-place-in-the-file-without-a-change-of-size"

_EXPORT = """
import sys, bpy
obj, plain, embedded = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.wm.obj_import(filepath=obj)
bpy.ops.export_scene.fbx(filepath=plain, path_mode="ABSOLUTE")
bpy.ops.export_scene.fbx(filepath=embedded, path_mode="COPY", embed_textures=True)
"""


@dataclass(frozen=True)
class Source:
    """A sound folder."""

    files: dict[str, bytes]
    target: str
    """The file that is mangled."""


def make_sources(fbx: list[bytes]) -> dict[str, list[Source]]:
    """Sound folders by format; fbx: files of `export_fbx`, or none."""
    ball, skin = make_ball(), make_skin("PNG")
    obj, mtl = _obj(ball), b"newmtl skin\nKd 0.8 0.8 0.8\nmap_Kd skin.png\nmap_d skin.png\n"
    whole = {"scan.obj": obj, "scan.mtl": mtl, "skin.png": skin}
    glb = _glb(ball, skin)
    gltf, binary = _gltf(ball)
    atlas = np.asarray(Image.open(io.BytesIO(skin)))[..., :3]
    named = {"vertices": ball[0].astype(np.float32), "normals": ball[0].astype(np.float32), "uvs": ball[2],
             "faces": ball[1].astype(np.int64)}  # fmt: skip
    found = {
        "obj": [Source(whole, "scan.obj")],
        "mtl": [Source(whole, "scan.mtl")],
        "ply": [Source({"scan.ply": _ply(ball, kind), "skin.png": skin}, "scan.ply") for kind in ("ascii", "<", ">")],
        "glb": [Source({"scan.glb": glb}, "scan.glb")],
        "gltf": [Source({"scan.gltf": gltf, "scan.bin": binary, "skin.png": skin}, "scan.gltf")],
        "fbx": [Source({"scan.fbx": data, "ball.png": skin}, "scan.fbx") for data in fbx],
        "texture": [Source({**whole, "skin.png": make_skin(kind)}, "skin.png")
                    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "TGA", "BMP")],
        "zip": [Source({"scan.zip": zip_of(whole)}, "scan.zip")],
        "pkl": [Source({"mesh-f00001.pkl": pickle.dumps(named, protocol), "atlas-f00001.pkl": pickle.dumps(atlas, 4)},
                       target) for protocol in (2, 4, 5) for target in ("mesh-f00001.pkl", "atlas-f00001.pkl")],
        "npz": [Source({"scan.npz": _npz(named, atlas, packed)}, "scan.npz") for packed in (False, True)],
        "hdr": [Source({"sky.hdr": data}, "sky.hdr") for data in hdr_bases()],
        "exr": [Source({"sky.exr": data}, "sky.exr") for data in exr_bases()],
        "photo": [Source({"photo.png": data}, "photo.png") for data in photo_bases()],
    }  # fmt: skip
    return {name: sources for name, sources in found.items() if sources}


def export_fbx(folder: Path) -> list[bytes]:
    """Two binary FBX of the ball by Blender: one names its picture, one holds it."""
    inside = folder / _FBX_FOLDER
    inside.mkdir(parents=True)
    (inside / "ball.obj").write_bytes(_obj(make_ball()))
    (inside / "scan.mtl").write_text("newmtl skin\nmap_Kd ball.png\n")
    (inside / "ball.png").write_bytes(make_skin("PNG"))
    paths = [str(inside / name) for name in ("ball.obj", "plain.fbx", "embedded.fbx")]
    subprocess.run([sys.executable, "-c", _EXPORT, *paths], check=True, capture_output=True, timeout=120)
    return [Path(path).read_bytes() for path in paths[1:]]


def make_ball(rings: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball of radius 0.14, y up: positions (V, 3), triangles (T, 3), uvs (V, 2), v up. Its seam is there twice."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    unit = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], axis=-1)
    uvs = np.stack([turn / (2 * np.pi), 1 - polar / np.pi], axis=-1).reshape(-1, 2).astype(np.float32)
    columns = 2 * rings + 1
    a = (np.arange(rings)[:, None] * columns + np.arange(2 * rings)).ravel()
    upper, lower = np.stack([a, a + 1, a + columns + 1], 1), np.stack([a, a + columns + 1, a + columns], 1)
    triangles = np.concatenate([upper[2 * rings :], lower[: -2 * rings]])  # the poles' triangles have lost a side
    return 0.14 * unit.reshape(-1, 3), triangles.astype(np.int32), uvs


def make_skin(kind: str) -> bytes:
    """A picture of 64 x 32 pixels in one of Pillow's formats, with alpha where the format has it."""
    row, column = np.indices((32, 64))
    pixels = np.stack([4 * column, 8 * row, 255 - 4 * column, np.full_like(row, 200)], axis=-1).astype(np.uint8)
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert("RGB") if kind in ("JPEG", "BMP") else image).save(stream, kind)
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip of some files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def glb_of(document: bytes, binary: bytes) -> bytes:
    """A GLB of a JSON document and its binary chunk."""
    document += b" " * (-len(document) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<II", len(document), 0x4E4F534A) + document + struct.pack("<II", len(binary), 0x4E4942)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks) + len(binary)) + chunks + binary


def _obj(ball: tuple) -> bytes:
    positions, triangles, uvs = ball
    lines = ["mtllib scan.mtl", "usemtl skin"]
    lines += ["v {:.6f} {:.6f} {:.6f}".format(*p) for p in positions]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*(p / 0.14)) for p in positions]
    lines += ["vt {:.5f} {:.5f}".format(*t) for t in uvs]
    lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in t) for t in triangles + 1]
    return ("\n".join(lines) + "\n").encode()


def _ply(ball: tuple, kind: str) -> bytes:
    """kind: `ascii`, or the byte order `<` or `>`."""
    positions, triangles, uvs = ball
    named = {"ascii": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[kind]
    floats = "".join(f"property float {name}\n" for name in ("x", "y", "z", "s", "t"))
    bytes_ = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    header = (
        f"ply\nformat {named} 1.0\ncomment TextureFile skin.png\nelement vertex {len(positions)}\n{floats}{bytes_}"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.concatenate([positions, uvs], axis=1)
    colours = (uvs[:, [0, 1, 0]] * 255).astype(np.uint8)
    if kind == "ascii":
        body = "".join(f"{' '.join(f'{x:.6f}' for x in r)} {c[0]} {c[1]} {c[2]}\n"
                       for r, c in zip(rows, colours, strict=True))  # fmt: skip
        body += "".join("3 {} {} {}\n".format(*t) for t in triangles)
        return (header + body).encode()
    body = b"".join(struct.pack(f"{kind}5f3B", *r, *c) for r, c in zip(rows, colours.tolist(), strict=True))
    return header.encode() + body + b"".join(struct.pack(f"{kind}B3i", 3, *t) for t in triangles.tolist())


def _gltf(ball: tuple) -> tuple[bytes, bytes]:
    """A .gltf and its .bin."""
    positions, triangles, uvs = ball
    arrays = [positions.astype("<f4"), (positions / 0.14).astype("<f4"), (uvs * (1, -1) + (0, 1)).astype("<f4"),
              triangles.astype("<u2").ravel()]  # fmt: skip
    views, accessors, binary = [], [], b""
    for array, kind, component in zip(arrays, ("VEC3", "VEC3", "VEC2", "SCALAR"), (5126, 5126, 5126, 5123),
                                      strict=True):  # fmt: skip
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        accessors.append({"bufferView": len(accessors), "componentType": component, "count": len(array), "type": kind})
        binary += array.tobytes()
    accessors[0] |= {"min": [-0.14] * 3, "max": [0.14] * 3}
    document = {
        "asset": {"version": "2.0", "extras": {"author": "nobody", "license": "CC0"}},
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "children": [1]}, {"name": "empty"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2}, "indices": 3,
                                    "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}], "images": [{"uri": "skin.png"}],
        "buffers": [{"uri": "scan.bin", "byteLength": len(binary)}], "bufferViews": views, "accessors": accessors,
    }  # fmt: skip
    return json.dumps(document).encode(), binary


def _glb(ball: tuple, skin: bytes) -> bytes:
    document, binary = _gltf(ball)
    found = json.loads(document)
    found["images"] = [{"bufferView": len(found["bufferViews"]), "mimeType": "image/png"}]
    found["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(skin)})
    found["buffers"] = [{"byteLength": len(binary) + len(skin)}]
    return glb_of(json.dumps(found).encode(), binary + skin)


def _npz(named: dict, atlas: np.ndarray, packed: bool) -> bytes:
    stream = io.BytesIO()
    save = np.savez_compressed if packed else np.savez
    save(stream, vertices=named["vertices"], faces=named["faces"], texcoords=named["uvs"],
         texcoords_indices=named["faces"], texture=atlas)  # fmt: skip
    return stream.getvalue()
