"""Meshes far from the origin: staged with an offset taken off in double precision, before single precision eats them.

Photogrammetry in map coordinates lies millions of metres away, where single precision, which importers keep, has steps
of half a metre. What is not understood here is left as it is: the importer then says what it thinks of it.
Used by `renderers.importers` while a file is staged.
"""

import re
from pathlib import Path

import numpy as np

#: Vertices that are looked at to decide.
_SAMPLED = 4000
_LONGEST_LINE = 4096
#: Steps of single precision above this share of the extent call for an offset: 0.02 mm of a person.
_STEP = 1e-5
#: Whose own numbers are coarser than these shares of the extent is a staircase already, and no offset mends it: numbers
#: that were single precision once, as importers would refuse them, and decimals, 3 mm of a person.
_SINGLE, _DECIMALS = 1 / 4000, 1 / 500
_PLY_TYPES = {"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
              "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
              "double": "f8", "float64": "f8"}  # fmt: skip


def shift_obj(source: Path, staged: Path) -> np.ndarray:
    """Copies an OBJ, its vertices less the offset that is returned, (3,) float64; zeros and a plain copy where near."""
    offset = _offset(_sample_obj(source))
    with source.open("rb") as read, staged.open("wb") as write:
        if not offset.any():
            while block := read.read(2**22):
                write.write(block)
            return offset
        for line in read:
            write.write(_shifted_line(line, 1, offset) if line[:2] in (b"v ", b"v\t") else line)
    return offset


def shift_ply(source: Path, staged: Path) -> np.ndarray | None:
    """As `shift_obj` for a PLY whose vertices come first; None, and no copy, where there is nothing to shift."""
    with source.open("rb") as read:
        head = read.read(64 * 2**10)
    end = re.search(rb"\nend_header[ \t]*\r?\n", head)
    layout = end and _ply_layout(head[: end.end()])
    if not layout:
        return None
    count, kind, fields = layout
    start = end.end()
    if kind == "ascii":
        return _shift_ascii(source, staged, start, count, [name for name, _ in fields])
    order = "<" if kind == "binary_little_endian" else ">"
    dtype = np.dtype([(name, order + code) for name, code in fields])
    if start + count * dtype.itemsize > source.stat().st_size or dtype["x"].kind != "f" or dtype["x"].itemsize < 8:
        return None  # single precision is past help
    vertices = np.memmap(source, dtype, "r", start, (count,))
    chosen = vertices[np.linspace(0, count - 1, min(count, _SAMPLED)).astype(int)]
    offset = _offset(np.stack([chosen[axis].astype(np.float64) for axis in "xyz"], axis=1))
    if not offset.any():
        return None
    shifted = np.array(vertices)
    for axis, by in zip("xyz", offset, strict=True):
        shifted[axis] -= by
    with source.open("rb") as read, staged.open("wb") as write:
        write.write(read.read(start))
        write.write(shifted.tobytes())
        read.seek(start + count * dtype.itemsize)
        while block := read.read(2**22):
            write.write(block)
    return offset


def _offset(points: np.ndarray) -> np.ndarray:
    """(3,) what to take off points (N, 3): their rounded middle where single precision is too coarse, else zeros."""
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 3:
        return np.zeros(3)
    low, high = np.percentile(points, [5, 95], axis=0)
    reach = min(float(np.abs([low, high]).max()), 1e30)
    if not 0 < float((high - low).max()) < np.spacing(np.float32(reach)) / _STEP:
        return np.zeros(3)
    if _is_staircase(points[(np.abs(points) < 1e30).all(axis=1)], float((high - low).max())):
        return np.zeros(3)
    return np.round((low + high) / 2)


def _is_staircase(points: np.ndarray, extent: float) -> bool:
    """Whether the numbers themselves, (N, 3), stand on steps too coarse for a mesh of that extent."""
    single = points.astype(np.float32)
    step = np.spacing(np.abs(single)).astype(np.float64)
    # What was single precision once, and written with fewer digits, lies near its steps; other numbers lie anywhere.
    was_single = (np.abs(points - single) < 0.1 * step).all(axis=0) & (np.ptp(points, axis=0) > 0)
    if (was_single & (step.max(axis=0) > _SINGLE * extent)).any():
        return True
    coarsest = 10.0 ** np.floor(np.log10(_DECIMALS * extent) + 1)  # the least power of ten above the limit
    off = np.abs(points / coarsest - np.round(points / coarsest))
    return bool(((off < 1e-6).all(axis=0) & (np.ptp(points, axis=0) > 0)).any())


def _sample_obj(path: Path) -> np.ndarray:
    """(N, 3) float64 of the file's first vertices."""
    points = []
    with path.open("rb") as stream:
        while len(points) < _SAMPLED and (line := stream.readline(_LONGEST_LINE)):
            if line[:2] in (b"v ", b"v\t"):
                point = _numbers(line.split()[1:4])
                if point is not None:
                    points.append(point)
    return np.array(points, np.float64).reshape(-1, 3)


def _numbers(words: list[bytes]) -> list[float] | None:
    try:
        return [float(word) for word in words] if len(words) == 3 else None
    except ValueError:
        return None


def _shifted_line(line: bytes, first: int, offset: np.ndarray) -> bytes:
    """A text line whose three words from `first` on are coordinates, shifted; as it is where they are no numbers."""
    words = line.split()
    point = _numbers(words[first : first + 3])
    if point is None:
        return line
    words[first : first + 3] = [f"{value - by:.9g}".encode() for value, by in zip(point, offset, strict=True)]
    return b" ".join(words) + b"\n"


def _ply_layout(header: bytes) -> tuple[int, str, list[tuple[str, str]]] | None:
    """(vertices, format, fields of a vertex) of a PLY header whose first element is the vertex, without lists."""
    lines = [line.split() for line in header.decode("latin-1").splitlines()]
    kind = next((words[1] for words in lines if words[:1] == ["format"] and len(words) > 1), None)
    elements = [i for i, words in enumerate(lines) if words[:1] == ["element"]]
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian") or not elements:
        return None
    element = lines[elements[0]]
    if len(element) != 3 or element[1] != "vertex" or not re.fullmatch(r"\d{1,12}", element[2]):
        return None
    fields = []
    for words in lines[elements[0] + 1 : elements[1] if len(elements) > 1 else len(lines)]:
        if words[:1] == ["property"]:
            if len(words) != 3 or words[1] not in _PLY_TYPES:
                return None
            fields.append((words[2], _PLY_TYPES[words[1]]))
    names = [name for name, _ in fields]
    usable = int(element[2]) > 0 and {"x", "y", "z"} <= set(names) and len(set(names)) == len(names)
    return (int(element[2]), kind, fields) if usable else None


def _shift_ascii(source: Path, staged: Path, start: int, count: int, names: list[str]) -> np.ndarray | None:
    first = names.index("x")
    if names[first : first + 3] != ["x", "y", "z"]:
        return None
    points = []
    with source.open("rb") as read:
        read.seek(start)
        while len(points) < min(count, _SAMPLED) and (line := read.readline(_LONGEST_LINE)):
            points.append(_numbers(line.split()[first : first + 3]) or [np.nan] * 3)
    offset = _offset(np.array(points, np.float64).reshape(-1, 3))
    if not offset.any():
        return None
    with source.open("rb") as read, staged.open("wb") as write:
        write.write(read.read(start))
        for number, line in enumerate(read):
            write.write(_shifted_line(line, first, offset) if number < count else line)
    return offset
