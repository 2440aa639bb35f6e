"""Mangled scans: does any kill or hang `synth scans`, find a hole in it, or make it read outside of the folder?

`python benchmarks/scans_fuzz.py --n 2000 --seed 0`: seeded mutations of small OBJ, MTL, PLY, GLB, glTF, FBX, zip,
pickle, npz and texture files, each in a folder of its own with sound companions, through `load_library`. Every batch
runs in a process of its own, which stands for the parent of a run: its end by a signal, its time running out, or a
verdict that calls a fault of this program are faults. So is a read outside: references are also turned to files beside
the scans folder, which are pipes, so that whoever opens one, Blender too, hangs and is found.

Most inputs that pass our own readers go no further than the door of Blender; one of `--blender` goes through it, for
each start takes a second. Faults are kept in `--keep` for a closer look. Exit status 1 when there are any.
"""

import argparse
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
from backgrounds_fuzz import mutated
from PIL import Image

from renderers import importers
from renderers.trial import ball_obj
from synth.sandbox import ChildFailed, run_child
from synth.scans import BadScan, BadScans, load_library

_BATCH = 50
_BATCH_TIMEOUT_S = 300.0
_MEMORY_MB = 4000
#: Where text formats are sent to: pipes that nobody writes to.
_OUTSIDE = ("outside.png", "outside.mtl", "outside.bin")
FORMATS = ("obj", "mtl", "ply", "plyb", "glb", "gltf", "fbx", "png", "jpg", "zip", "pkl", "npz")


def main() -> int:
    """Prints a table by format; 1 when there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blender", type=int, default=8, help="every so-manieth input may go through Blender")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="where faults are kept")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return judge(args.child, args.blender)
    started, table, faults = time.monotonic(), Counter(), []
    for first in range(0, args.n, _BATCH):
        numbers = range(first, min(first + _BATCH, args.n))
        for number, verdict in try_batch(numbers, args.seed, args.blender, args.keep).items():
            table[FORMATS[number % len(FORMATS)], verdict] += 1
            faults += [number] if verdict not in ("accepted", "refused") else []
        print(f"  {numbers.stop} of {args.n}, {len(faults)} faults", file=sys.stderr, flush=True)
    kinds = ["accepted", "refused", *sorted({v for _, v in table} - {"accepted", "refused"})]
    print(f"{'format':<8}" + "".join(f"{kind:>12}" for kind in ("inputs", *kinds)))
    for name in FORMATS:
        row = [table[name, kind] for kind in kinds]
        print(f"{name:<8}{sum(row):>12}" + "".join(f"{count:>12}" for count in row))
    print(f"{args.n} inputs, seed {args.seed}, {len(faults)} faults {faults[:20] or ''}, ", end="")
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if faults else 0


def try_batch(numbers: range, seed: int, blender: int, keep: Path) -> dict[int, str]:
    """Verdict of each input; where a batch ends badly its inputs are tried one by one."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder, "scans")
        for number in numbers:
            write_case(root / f"{number:06d}", number, seed)
        for name in _OUTSIDE:
            os.mkfifo(Path(folder, name))
        command = [sys.executable, __file__, "--child", str(root), "--blender", str(blender)]
        try:
            said = json.loads(run_child(command, _BATCH_TIMEOUT_S, _MEMORY_MB).stdout.splitlines()[-1])
        except (ChildFailed, ValueError, IndexError) as failure:
            if len(numbers) > 1:
                return {n: v for k in numbers for n, v in try_batch(range(k, k + 1), seed, blender, keep).items()}
            said = {f"{numbers.start:06d}": getattr(failure, "ending", "silent")}
        verdicts = {number: said.get(f"{number:06d}", "lost") for number in numbers}
        for number, verdict in verdicts.items():
            if verdict not in ("accepted", "refused"):
                shutil.copytree(root / f"{number:06d}", keep / f"{seed}-{number:06d}-{verdict}", dirs_exist_ok=True)
    return verdicts


def judge(root: Path, blender: int) -> int:
    """The child: a library of all cases, and what became of each, as JSON on the last line."""
    real = importers._run_blender
    opened: list[str] = []
    outside = {str(root.parent / name) for name in _OUTSIDE}

    def door(source: Path, *rest) -> None:
        number = int(current.name)
        if number // len(FORMATS) % blender:
            raise BadScan("at the door of Blender")
        real(source, *rest)

    def probe(path: Path, folder: Path):
        nonlocal current
        current = folder / path.relative_to(folder).parts[0] if path.is_relative_to(root) else root / "0"
        return importers.probe(path, folder, timeout_s=60)

    def watch(event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]) in outside:
            opened.append(str(arguments[0]))

    current = root / "0"
    sys.addaudithook(watch)
    with patch.object(importers, "_run_blender", door):
        try:
            verdicts = load_library([root], root.parent / "cache", probe).verdicts
        except BadScans as error:
            if not error.verdicts:  # the importer is said not to work here at all
                raise
            verdicts = error.verdicts
    said: dict[str, str] = {}
    for verdict in verdicts:
        case = verdict.path.split("/")[0]
        fault = "fault of this program" in verdict.reason or bool(opened) or "longer than" in verdict.reason
        word = "fault" if fault else verdict.verdict
        said[case] = max(said.get(case, ""), {"ignored": "refused"}.get(word, word), key=_weight)
    sys.stdout.write("\n" + json.dumps(said) + "\n")
    return 0


def _weight(word: str) -> int:
    return ("", "refused", "accepted", "fault").index(word)


def write_case(folder: Path, number: int, seed: int) -> None:
    """Case `number`: sound files of one format, the one that the case is about mangled."""
    rng = np.random.default_rng([seed, number])
    kind = FORMATS[number % len(FORMATS)]
    files = sound(kind)
    target = next(name for name in files if name.endswith(_SUFFIX.get(kind, f".{kind}")))
    data = files[target]
    if rng.random() < 0.3:
        data = _sent_outside(data, rng)
    files[target] = mutated(data, rng)
    if kind in ("obj", "mtl", "gltf") and rng.random() < 0.5:
        files[target] = _words_swapped(files[target], rng)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


_SUFFIX = {"plyb": ".ply"}


def _sent_outside(data: bytes, rng: np.random.Generator) -> bytes:
    """References turned to the pipes beside the scans folder, in one of the ways that names are written."""
    way = (b"../../%s", b"..\\..\\%s", b"file://../../%s", b"./../.././../scans/../%s", b"%%2e%%2e/%%2e%%2e/%s")
    for old, new in ((b"skin.png", _OUTSIDE[0]), (b"ball.mtl", _OUTSIDE[1]), (b"ball.bin", _OUTSIDE[2])):
        data = data.replace(old, way[int(rng.integers(len(way)))] % new.encode())
    return data


def _words_swapped(data: bytes, rng: np.random.Generator) -> bytes:
    """A few numbers of a text replaced by odd ones."""
    odd = (b"-1", b"0", b"nan", b"inf", b"1e400", b"99999999999", b"1/0/0", b"-2147483648", b"", b"\xff\xfe", b"1.5")
    words = data.split(b" ")
    for _ in range(int(rng.integers(1, 8))):
        words[int(rng.integers(len(words)))] = odd[int(rng.integers(len(odd)))]
    return b" ".join(words)


def sound(kind: str) -> dict[str, bytes]:
    """Sound files of a scan in one format: a small ball with a texture."""
    picture = _picture("JPEG" if kind == "jpg" else "PNG")
    if kind in ("obj", "mtl", "png", "jpg"):
        skin = "skin.jpg" if kind == "jpg" else "skin.png"
        text = f"mtllib ball.mtl\nusemtl m\n{_obj_with_uvs()}"
        return {
            "ball.obj": text.encode(),
            "ball.mtl": f"newmtl m\nmap_Kd {skin}\nmap_d {skin}\n".encode(),
            skin: picture,
        }
    if kind in ("ply", "plyb"):
        return {"ball.ply": _ply(kind == "plyb"), "skin.png": picture}
    if kind in ("glb", "gltf"):
        document, buffer = _gltf(kind == "glb")
        if kind == "glb":
            return {"ball.glb": _glb(document, buffer)}
        return {"ball.gltf": json.dumps(document).encode(), "ball.bin": buffer, "skin.png": picture}
    if kind == "fbx":
        return {"ball.fbx": _fbx()}
    if kind == "zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sound("obj").items():
                archive.writestr(zipfile.ZipInfo(f"ball/{name}"), data)
        return {"ball.zip": stream.getvalue()}
    positions, triangles = _ball()
    arrays = {"vertices": positions, "faces": triangles, "uvs": positions[:, :2] * 0.5 + 0.5}
    if kind == "pkl":
        return {
            "mesh-f00001.pkl": pickle.dumps(arrays, 4),
            "atlas-f00001.pkl": pickle.dumps(np.zeros((8, 8, 3), np.uint8)),
        }
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return {"ball.npz": stream.getvalue()}


def _ball() -> tuple[np.ndarray, np.ndarray]:
    lines = [line.split() for line in ball_obj(6).splitlines()]
    positions = np.array([line[1:] for line in lines if line[0] == "v"], np.float32)
    faces = [[int(c.split("/")[0]) - 1 for c in line[1:]] for line in lines if line[0] == "f"]
    return positions, np.array([[f[0], f[k], f[k + 1]] for f in faces for k in range(1, len(f) - 1)], np.int32)


def _obj_with_uvs() -> str:
    positions, triangles = _ball()
    lines = ["v {} {} {}".format(*p) for p in positions] + ["vt {} {}".format(*(p[:2] * 3 + 0.5)) for p in positions]
    return "\n".join([*lines, *("f " + " ".join(f"{k + 1}/{k + 1}" for k in t) for t in triangles)]) + "\n"


def _ply(binary: bool) -> bytes:
    positions, triangles = _ball()
    form = "binary_little_endian" if binary else "ascii"
    head = f"ply\nformat {form} 1.0\ncomment TextureFile skin.png\nelement vertex {len(positions)}\n"
    head += "".join(f"property float {name}\n" for name in ("x", "y", "z", "s", "t"))
    head += f"property uchar red\nelement face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    if binary:
        body = b"".join(struct.pack("<5fB", *p, *p[:2], 9) for p in positions)
        return head.encode() + body + b"".join(struct.pack("<B3i", 3, *t) for t in triangles)
    rows = [" ".join(map(str, (*p, *p[:2], 9))) for p in positions] + [f"3 {a} {b} {c}" for a, b, c in triangles]
    return (head + "\n".join(rows) + "\n").encode()


def _gltf(inside: bool) -> tuple[dict, bytes]:
    positions, triangles = _ball()
    uvs = (positions[:, :2] * 3 + 0.5).astype("<f4")
    parts = [positions.astype("<f4").tobytes(), uvs.tobytes(), triangles.astype("<u2").tobytes(), _picture("PNG")]
    offsets = np.cumsum([0, *(len(part) + -len(part) % 4 for part in parts)])
    views = [
        {"buffer": 0, "byteOffset": int(o), "byteLength": len(p)} for o, p in zip(offsets[:-1], parts, strict=True)
    ]
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": len(positions), "type": "VEC3",
         "min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()},
        {"bufferView": 1, "componentType": 5126, "count": len(uvs), "type": "VEC2"},
        {"bufferView": 2, "componentType": 5123, "count": 3 * len(triangles), "type": "SCALAR"},
    ]  # fmt: skip
    image = {"bufferView": 3, "mimeType": "image/png"} if inside else {"uri": "skin.png"}
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
    document = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}], "images": [image], "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "buffers": [{"byteLength": int(offsets[-1]), **({} if inside else {"uri": "ball.bin"})}],
        "bufferViews": views, "accessors": accessors,
    }  # fmt: skip
    return document, b"".join(part + b"\0" * (-len(part) % 4) for part in parts)


def _glb(document: dict, buffer: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(buffer), 0x004E4942) + buffer
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _fbx() -> bytes:
    """A binary FBX of one triangle with a texture, as little of it as its readers look at."""

    def node(name: bytes, properties: bytes, count: int, inner: bytes, at: int) -> bytes:
        body = properties + (inner + bytes(13) if inner else b"")
        end = at + 13 + len(name) + len(body)
        return struct.pack("<III", end, count, len(properties)) + bytes([len(name)]) + name + body

    def text(value: bytes) -> bytes:
        return b"S" + struct.pack("<I", len(value)) + value

    data = b"Kaydara FBX Binary  \x00\x1a\x00" + struct.pack("<I", 7400)
    data += node(b"Creator", text(b"fuzz"), 1, b"", len(data))
    inner = node(b"RelativeFilename", text(b"skin.png"), 1, b"", len(data) + 13 + 7)
    data += node(b"Texture", b"", 0, inner, len(data))
    return data + bytes(13)


def _picture(form: str) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(4).integers(0, 255, (24, 24, 3 if form == "JPEG" else 4)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())
