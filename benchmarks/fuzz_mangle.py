"""How `scripts/fuzz` mangles a sound folder: bytes, numbers, structure, and references that try to lead out of it.

Case k of a format is a pure function of (seed, format, k, the sources, the bait): a failing one can be made again.
"""

import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from backgrounds_fuzz import mutated
from fuzz_sources import BACKGROUNDS, Source, glb_of, zip_of

_NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e999", "-1e38", "1e-320", "2147483647", "4294967295", "-2147483648",
            "9" * 40, "0x10", "", "1/", "//", "1//2/3", "\u0661", "1e", "x" * 300)  # fmt: skip
_VALUES = (None, True, -1, 0, 1, 2**31 - 1, 2**32, 2**63, 10**30, 1.5, 1e308, "", "x", "\ud800", [], {}, [[]], [0], "0",
           {"a": 1}, "POSITION", "VEC3", 5126, "data:,", "data:image/png;base64,AAAA")  # fmt: skip
#: One share of the cases each: bytes; lines, numbers and structure; references; links in the file system.
_SHARES = (0.40, 0.80, 0.97)


@dataclass(frozen=True)
class Bait:
    """Where references try to lead: a folder that nobody may open, a port that nobody may call."""

    folder: Path
    port: int

    def references(self, suffix: str) -> list[str]:
        """Ways to write `secret<suffix>`, seen from a scans folder two levels below the bait's own parent."""
        there = f"{self.folder}/secret{suffix}"
        relative = f"../../{self.folder.name}/secret{suffix}"
        return [there, f"/{there}", relative, relative.replace("/", "\\"), relative.replace("..", "%2e%2e"),
                f"./x/../{relative}", f"file://{there}", f"file:{there}", f"FILE://localhost{there}",
                f"http://127.0.0.1:{self.port}/secret{suffix}", f"//127.0.0.1:{self.port}/secret{suffix}",
                f'"{there}"', f"{there}\0.png", f"~/../..{there}", f"-s 1 1 1 {there}"]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A folder to be read."""

    files: dict[str, bytes]
    links: dict[str, Path]
    """Names that are symbolic links."""
    way: str
    """What was done, for people."""


def make_case(kind: str, number: int, seed: int, sources: list[Source], bait: Bait) -> Case:
    """Case `number` of a format."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(kind.encode()), number)))
    source = sources[number % len(sources)]
    data, suffix = source.files[source.target], Path(source.target).suffix
    dice = rng.random()
    # Backgrounds are files that the user names, links among them are followed.
    if dice >= _SHARES[2] and kind not in BACKGROUNDS:
        name = str(rng.choice(sorted(source.files)))
        rest = {other: data for other, data in source.files.items() if other != name}
        return Case(rest, {name: bait.folder / f"secret{Path(name).suffix}"}, f"{name} is a link out")
    if dice >= _SHARES[1] and suffix in _LURES:
        way, data = "reference", _LURES[suffix](data, bait, rng)
    elif dice >= _SHARES[0] and suffix in _STRUCTURES:
        way, data = "structure", _STRUCTURES[suffix](data, rng)
    else:
        way, data = "bytes", mutated(data, rng)
    return Case({**source.files, source.target: data}, {}, f"{source.target}: {way}")


def write_case(case: Case, folder: Path) -> None:
    """The files and links of a case in a new folder."""
    folder.mkdir(parents=True)
    for name, data in case.files.items():
        (folder / name).write_bytes(data)
    for name, target in case.links.items():
        (folder / name).symlink_to(target)


def _pick(options, rng: np.random.Generator):
    return options[int(rng.integers(len(options)))]


def _lines(data: bytes, rng: np.random.Generator) -> bytes:
    """A few lines of a text doubled, dropped, moved, or with another number in them; numbers of a PLY's header too."""
    lines = data.split(b"\n")
    for _ in range(int(rng.integers(1, 5))):
        # Half of the time near the start, where headers are.
        at = int(rng.integers(min(len(lines), 24) if rng.random() < 0.5 else len(lines)))
        words = lines[at].split(b" ")
        way = rng.integers(6)
        if way == 0:
            lines.insert(at, lines[at] * int(rng.integers(1, 3)))
        elif way == 1 and len(lines) > 1:
            del lines[at]
        elif way == 2:
            lines.insert(int(rng.integers(len(lines))), lines[at])
        else:
            words[int(rng.integers(len(words)))] = _pick(_NUMBERS, rng).encode()
            lines[at] = b" ".join(words)
    return b"\n".join(lines)


def _json(data: bytes, rng: np.random.Generator) -> bytes:
    """Values of a document replaced, dropped, or a whole part of it put elsewhere."""
    document = json.loads(data)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(document))
        holder, key = _pick(places, rng)
        way = rng.integers(4)
        if way == 0:
            del holder[key]
        elif way == 1:
            other, its = _pick(places, rng)
            holder[key] = json.loads(json.dumps(other[its]))
        else:
            holder[key] = _pick(_VALUES, rng)
        document = json.loads(json.dumps(document))
        if not list(_places(document)):
            break
    return json.dumps(document).encode()


def _places(value):
    """(holder, key) of everything in a document."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _glb_parts(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack("<I", data[12:16])
    return data[20 : 20 + length], data[28 + length :]


def _glb_json(data: bytes, rng: np.random.Generator) -> bytes:
    document, binary = _glb_parts(data)
    return glb_of(_json(document, rng), binary)


def _members(data: bytes, rng: np.random.Generator) -> bytes:
    """A zip whose members are mangled, but whole as members of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = _pick(sorted(files), rng)
    change = _lines if name.endswith((".obj", ".mtl")) else mutated
    return zip_of({**files, name: change(files[name], rng)})


def _obj_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    suffix, word = _pick([(".mtl", "mtllib"), (".mtl", " mtllib"), (".mtl", "mtl\\\nlib"), (".png", "map_Kd")], rng)
    line = f"{word} {_pick(bait.references(suffix), rng)}\n".encode()
    return line + data if rng.random() < 0.5 else data.replace(b"mtllib scan.mtl\n", line)


def _mtl_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    word = _pick(["map_Kd", "map_d", "map_Ka", "bump", "refl", "norm", "disp", "map_Pr"], rng)
    return data + f"{word} {_pick(bait.references('.png'), rng)}\n".encode()


def _ply_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    return data.replace(b"TextureFile skin.png", f"TextureFile {_pick(bait.references('.png'), rng)}".encode())


def _json_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    document = json.loads(data)
    part, suffix = _pick([("images", ".png"), ("buffers", ".bin")], rng)
    uri = _pick(bait.references(suffix), rng)
    if rng.random() < 0.3:
        document[part].append({"uri": uri, "byteLength": 4})
    else:
        document[part][0] = {**document[part][0], "uri": uri}
    return json.dumps(document).encode()


def _glb_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    document, binary = _glb_parts(data)
    return glb_of(_json_lure(document, bait, rng), binary)


def _fbx_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    """Every path of the picture replaced by one of the same length."""
    end = data.find(b"ball.png")
    while end >= 0:
        start = end
        while start > 0 and 32 <= data[start - 1] < 127 and data[start - 1 : start + 1] != b"S\0":
            start -= 1
        length = end + 8 - start
        path = _pick(bait.references(".png"), rng).encode()
        if len(path) <= length and (at := path.find(b"/")) >= 0:
            data = data[:start] + path[:at] + b"/" * (length - len(path)) + path[at:] + data[start + length :]
        end = data.find(b"ball.png", end + 8)
    return data


def _zip_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    """A member whose name leads out, that is a link, or a device."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    name = _pick([f"../../{bait.folder.name}/ran.obj", f"{bait.folder}/ran.obj", "..\\..\\ran.obj", "C:\\ran.obj",
                  "skin.png/ran.obj", "SKIN.PNG", "a/../../../ran.obj", ".unpacked", "scan.obj"], rng)  # fmt: skip
    info = zipfile.ZipInfo(name)
    content: bytes | str = files["scan.obj"]
    if rng.random() < 0.5:
        info = zipfile.ZipInfo(str(rng.choice(["skin.png", "scan.mtl", "tex", "scan2.obj"])))
        info.external_attr = int(rng.choice([stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR]) | 0o777) << 16
        content = f"{bait.folder}/secret.png"
    with zipfile.ZipFile(stream, "w") as archive:
        for member, inner in files.items():
            if member != info.filename:
                archive.writestr(member, inner)
        archive.writestr(info, content)
    return stream.getvalue()


def _pkl_lure(data: bytes, bait: Bait, rng: np.random.Generator) -> bytes:
    """A call of something put into the middle, or in place of what is called."""
    ran = f"{bait.folder}/ran".encode()
    module, name, argument = _pick([
        (b"os", b"system", b"touch " + ran), (b"builtins", b"eval", b"open('" + ran + b"', 'w')"),
        (b"builtins", b"exec", b"open('" + ran + b"', 'w')"), (b"numpy", b"load", bytes(bait.folder) + b"/secret.bin"),
        (b"numpy", b"fromfile", bytes(bait.folder) + b"/secret.bin"), (b"subprocess", b"getoutput", b"touch " + ran),
        (b"shutil", b"rmtree", bytes(bait.folder)), (b"numpy.f2py", b"compile", ran), (b"io", b"open", ran),
        (b"numpy.testing._private.utils", b"runstring", ran), (b"builtins", b"getattr", ran),
    ], rng)  # fmt: skip
    call = b"c" + module + b"\n" + name + b"\n\x8c" + bytes([len(argument)]) + argument + b"\x85R0"
    if rng.random() < 0.3:
        return data.replace(b"c_codecs\nencode\n", b"c" + module + b"\n" + name + b"\n").replace(
            b"\x8c\x0c_reconstruct", b"\x8c" + bytes([len(name)]) + name)  # fmt: skip
    at = 2 if rng.random() < 0.5 else int(rng.integers(2, len(data)))
    return data[:at] + call.removesuffix(b"0") * (rng.random() < 0.3) + call + data[at:]


_STRUCTURES: dict[str, Callable] = {".obj": _lines, ".mtl": _lines, ".ply": _lines, ".gltf": _json, ".glb": _glb_json,
                                    ".zip": _members, ".npz": _members, ".hdr": _lines}  # fmt: skip
_LURES: dict[str, Callable] = {".obj": _obj_lure, ".mtl": _mtl_lure, ".ply": _ply_lure, ".gltf": _json_lure,
                               ".glb": _glb_lure, ".fbx": _fbx_lure, ".zip": _zip_lure, ".pkl": _pkl_lure}  # fmt: skip
