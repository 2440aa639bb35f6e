"""What OBJ, MTL, PLY and FBX files refer to and claim, read without any importer.

References must be known before Blender runs: they are part of a scan's content hash, and Blender is never allowed to
open them itself. Claims (a PLY header) are held against the file's size, because Blender aborts on a lie.
glTF is in `synth.scans_gltf`; where a reference leads is decided by `synth.scans_files`.
"""

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from synth.scans_arrays import atlas_of, is_mesh_pickle, npz_is_mesh
from synth.scans_fbx import check_fbx
from synth.scans_files import leaves_folder, printable, resolve_reference
from synth.scans_raw import BadScan, NoMesh

_MAX_MTL_BYTES = 16 * 2**20
_MAX_HEADER_BYTES = 64 * 2**10
_MAX_NAMES = 256
_MAX_BROKEN = 10_000
#: How many values follow each option of an MTL texture statement; None: one to three numbers.
_MTL_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-texres": 1,
                "-type": 1, "-bm": 1, "-mm": 2, "-o": None, "-s": None, "-t": None}  # fmt: skip
_PLY_BYTES = {"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2,
              "int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8,
              "float64": 8}  # fmt: skip
_FBX_NAME = re.compile(rb"(?:RelativeFilename|FileName|Filename)S(.{4})", re.DOTALL)
_FBX_CONTENT = re.compile(rb"ContentR(.{4})", re.DOTALL)


@dataclass(frozen=True)
class References:
    """What a mesh file needs from other files."""

    parts: tuple[Path, ...] = ()
    """Companions without which the file is not whole: material libraries, buffers. Inside the scans folder."""
    pictures: tuple[str, ...] = ()
    """Names of pictures, as written, that are to be looked for."""
    embedded: bool = False
    """The file holds pictures itself."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    licence: str | None = None
    """As the file states it, one line."""
    attribution: str | None = None
    """As the file states it, one line."""


@dataclass(frozen=True)
class MtlMaterial:
    """One `newmtl` of a material library."""

    name: str
    picture: str | None
    alpha: bool
    """Its opacity comes from the picture."""


def sniff(path: Path) -> None:
    """Raises BadScan for files that are nothing of what their name says, in words that help."""
    if path.stat().st_size == 0:
        raise BadScan("empty file (0 bytes)")
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise BadScan("a git-lfs pointer, not the file itself; run `git lfs pull` where it came from")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise BadScan("a saved web page, not a mesh")
    if path.suffix.lower() == ".fbx" and not head.startswith(b"Kaydara FBX Binary"):
        kind = "an ASCII FBX; export it as binary FBX" if head.lstrip().startswith(b";") else "not an FBX file"
        raise BadScan(kind)


def read_obj(path: Path) -> dict:
    """What the whole text of an OBJ says: `libraries`, as `obj_libraries` has them, and `notes`."""
    return {"libraries": obj_libraries(path), "notes": _broken_uvs(path)}


def obj_references(path: Path, root: Path, said: dict | None = None) -> References:
    """Material libraries of an OBJ that lie in the folder, and the colour pictures they name.

    said: what `read_obj` found in it, if that is known; it reads the whole file.
    """
    said = read_obj(path) if said is None else said
    parts: list[Path] = []
    notes: list[str] = []
    for line in said["libraries"]:
        # A name may hold blanks, and a line may hold several names: the file system decides.
        whole = resolve_reference(line, path.parent, root)
        names = [line] if whole else line.split()
        for name in names:
            library = whole or resolve_reference(name, path.parent, root)
            if leaves_folder(name, path.parent, root):
                notes.append(f"material library {name!r} leads out of the scans folder: not read")
            elif library is None:
                notes.append(f"material library {name!r} is missing")
            elif library not in parts:
                parts.append(library)
    pictures = [m.picture for part in parts for m in read_mtl(part) if m.picture]
    notes += said["notes"]
    return References(tuple(parts), tuple(dict.fromkeys(pictures)), notes=tuple(notes))


def _broken_uvs(path: Path) -> list[str]:
    """A note on texture coordinates that are no numbers: Blender puts 0 for them, which nobody sees afterwards."""
    lines = set()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for word in (b"nan", b"NaN", b"NAN", b"inf", b"Inf", b"INF"):
            at = data.find(word)
            while at >= 0 and len(lines) < _MAX_BROKEN:
                start = data.rfind(b"\n", max(0, at - 256), at) + 1
                if data[start : start + 2] == b"vt":
                    lines.add(start)
                at = data.find(word, at + len(word))
    more = "at least " if len(lines) >= _MAX_BROKEN else ""
    return [f"{more}{len(lines)} texture coordinates are no numbers: read as 0"] if lines else []


def obj_libraries(path: Path) -> list[str]:
    """The rest of each `mtllib` line of an OBJ, in order."""
    names: list[str] = []
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(b"mtllib")
        while at >= 0 and len(names) < _MAX_NAMES:
            start = data.rfind(b"\n", max(0, at - 64), at) + 1 or max(0, at - 64)
            end = data.find(b"\n", at, at + 4096)
            line = data[at + 6 : end if end >= 0 else at + 4096]
            if not data[start:at].strip() and line[:1] in (b" ", b"\t"):
                names.append(_text(line).strip())
            at = data.find(b"mtllib", at + 6)
    return [name for name in dict.fromkeys(names) if name]


def read_mtl(path: Path) -> list[MtlMaterial]:
    """Materials of a library; what is not understood is skipped, as every reader of the format does."""
    if path.stat().st_size > _MAX_MTL_BYTES:
        raise BadScan(f"material library {printable(path.name)!r} is larger than {_MAX_MTL_BYTES // 2**20} MiB")
    found: list[dict] = []
    for line in _text(path.read_bytes()).splitlines():
        word, _, rest = line.strip().partition(" ")
        word, rest = word.lower().rstrip("\t"), rest.strip()
        if word == "newmtl":
            found.append({"name": rest, "picture": None, "opacity": None})
        elif found and word == "map_kd":
            found[-1]["picture"] = _picture_name(rest)
        elif found and word == "map_d":
            found[-1]["opacity"] = _picture_name(rest)
    return [MtlMaterial(m["name"], m["picture"], bool(m["picture"]) and m["opacity"] == m["picture"]) for m in found]


def ply_references(path: Path, root: Path) -> References:
    """Pictures that a PLY names in `comment TextureFile`; checks the header against the file's size on the way."""
    header, size = _ply_header(path)
    lines = [line.split() for line in header.splitlines()]
    _check_ply(lines, len(header), size)
    pictures = [line.strip()[len("comment TextureFile") :].strip()
                for line in _text(header).splitlines() if line.strip().startswith("comment TextureFile")]  # fmt: skip
    return References(pictures=tuple(dict.fromkeys(p for p in pictures[:_MAX_NAMES] if p)))


def read_fbx(path: Path) -> dict:
    """What a binary FBX says: `pictures` it names, whether it has `embedded` some, found by their field names.

    Raises BadScan where it lies about its size.
    """
    names: list[str] = []
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        check_fbx(data)
        for match in _FBX_NAME.finditer(data):
            (length,) = struct.unpack("<I", match[1])
            if 0 < length < 4096 and len(names) < _MAX_NAMES:
                names.append(fbx_name(_text(data[match.end() : match.end() + length])))
        embedded = any(struct.unpack("<I", match[1])[0] > 0 for match in _FBX_CONTENT.finditer(data))
    return {"pictures": list(dict.fromkeys(names)), "embedded": embedded}


def fbx_references(path: Path, root: Path, said: dict | None = None) -> References:
    """Pictures that a binary FBX names, and whether it holds some. said: what `read_fbx` found in it, if known."""
    said = read_fbx(path) if said is None else said
    return References(pictures=tuple(said["pictures"]), embedded=said["embedded"])


def array_references(path: Path, root: Path) -> References:
    """Of a mesh that is arrays: the pickle of its texture. Raises NoMesh where the file holds other arrays."""
    if path.suffix.lower() == ".npz":
        if not npz_is_mesh(path):
            raise NoMesh("arrays, but no mesh")
        return References(embedded=True)
    if not is_mesh_pickle(path):
        raise NoMesh("a pickle, but no mesh by its name")
    atlas = atlas_of(path)
    return References(parts=(atlas,) if atlas else (), embedded=True)


def fbx_name(name: str) -> str:
    """The one spelling of a picture's name in an FBX, whichever of its fields and importers it comes from."""
    return name.replace("\\", "/").lstrip("/")


def _picture_name(rest: str) -> str | None:
    """The file name of an MTL texture statement, without the options before it."""
    words = rest.split()
    while words and words[0].lower() in _MTL_OPTIONS:
        count = _MTL_OPTIONS[words[0].lower()]
        if count is None:
            count = next((i for i, word in enumerate(words[1:4]) if not _is_number(word)), len(words[1:4]))
        words = words[1 + count :]
    if not words:
        return None
    # From the first word that is no option on, blanks belong to the name.
    return re.search(r"\s+".join(map(re.escape, words)) + r"\s*$", rest).group().strip()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _ply_header(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as stream:
        head = stream.read(_MAX_HEADER_BYTES)
    if not re.match(rb"ply\s", head):
        raise BadScan("not a PLY file: it does not start with `ply`")
    end = re.search(rb"\nend_header[ \t]*\r?\n?", head)
    if end is None:
        raise BadScan("the PLY header has no end")
    return head[: end.end()], path.stat().st_size


def _check_ply(lines: list[list[bytes]], header_bytes: int, size: int) -> None:
    """Raises BadScan when the header promises more than the file can hold, or no faces."""
    binary = any(line[:1] == [b"format"] and line[1:2] != [b"ascii"] for line in lines)
    least, counts, names = 0, {}, set()
    element = None
    for line in lines:
        if line[:1] == [b"element"]:
            if len(line) != 3 or not re.fullmatch(rb"\d{1,18}", line[2]):
                raise BadScan(f"the PLY header has an element without a count: {_text(b' '.join(line))[:60]!r}")
            element = _text(line[1])
            counts[element] = counts.get(element, 0) + int(line[2])
        elif line[:1] == [b"property"] and element is not None and len(line) >= 3:
            kind = line[2] if line[1] == b"list" else line[1]
            least += counts[element] * (_PLY_BYTES.get(_text(kind), 1) if binary else 2)
            names.add(_text(line[-1]))
    claimed = ", ".join(f"{count} {name}" for name, count in counts.items())
    if least - 1 > size - header_bytes:  # the last number of a text file needs no blank after it
        raise BadScan(f"its header promises {claimed}, at least {least} bytes, but the file has {size}")
    if {"f_dc_0", "rot_0"} <= names:
        raise BadScan("a Gaussian splat, not a mesh")
    if not counts.get("vertex"):
        raise BadScan("no vertices")
    if not counts.get("face") and not counts.get("tristrips"):
        raise BadScan("a point cloud: it has no faces; mesh it first")


def _text(data: bytes) -> str:
    # Old exporters write the code page of their day; any byte is a character there.
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
