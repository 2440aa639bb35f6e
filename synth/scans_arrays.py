"""Meshes that are arrays: the pickles of X-Humans and 4D-DRESS, the .npz of 3DBodyTex.

The child of `renderers.importers`: `python -m synth.scans_arrays SOURCE OUT [ATLAS]` writes what its other child,
Blender's, writes: plain .npy files, picture0.bin and mesh.json. It runs under limits, for strangers' arrays may claim
any size.
"""

import io
import json
import math
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from synth.scans_raw import BadScan
from synth.scans_unpickle import BadPickle, load_plain
from synth.scans_zipfile import check_member, open_zip

#: Exit status when the file is at fault; the reason stands last on standard error.
REFUSED = 3
_MOST_VERTICES, _MOST_FACES = 20_000_000, 40_000_000
_MOST_BYTES = 2 * 2**30
_MOST_PIXELS = 2**28
_FRAME = re.compile(r"mesh([-_]f\d+)", re.IGNORECASE)
#: Names of one thing in the data sets, the first that is there counts.
_NAMES = {"vertices": ("vertices", "verts", "v"), "faces": ("faces", "triangles", "f"), "normals": ("normals", "vn"),
          "uvs": ("uvs", "texcoords", "uv", "vt"), "uv_faces": ("texcoords_indices", "uv_faces", "ft"),
          "colors": ("colors", "vertex_colors"), "texture": ("texture", "atlas", "tex")}  # fmt: skip


def is_mesh_pickle(path: Path) -> bool:
    """Whether a pickle's name is one of a mesh; parameters of bodies and cameras are pickles too."""
    return _FRAME.fullmatch(path.stem) is not None


def atlas_of(path: Path) -> Path | None:
    """The texture of a pickled mesh: `atlas-f00011.pkl` beside `mesh-f00011.pkl`."""
    match = _FRAME.fullmatch(path.stem)
    atlas = path.with_name(f"atlas{match[1]}{path.suffix}") if match else None
    return atlas if atlas is not None and atlas.is_file() and not atlas.is_symlink() else None


def npz_is_mesh(path: Path) -> bool:
    """Whether an .npz holds vertices and faces, by its member names."""
    try:
        with open_zip(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (BadScan, OSError):
        return True  # a broken archive is worth a word
    return bool(names & set(_NAMES["vertices"])) and bool(names & set(_NAMES["faces"]))


def main(source: Path, out: Path, atlas: Path | None) -> None:
    """Reads, checks and writes. Raises BadScan."""
    arrays = _read_npz(source) if source.suffix.lower() == ".npz" else _read_pickle(source)
    found = {what: next((arrays[n] for n in names if n in arrays), None) for what, names in _NAMES.items()}
    if atlas is not None:
        found["texture"] = _read_atlas(atlas)
    # Lists of lists would be read by numpy by rules of its own: arrays are all that counts.
    found = {what: array if isinstance(array, np.ndarray) else None for what, array in found.items()}
    mesh = _mesh(found)
    for name, array in mesh.items():
        np.save(out / f"{name}.npy", array, allow_pickle=False)
    picture = _picture(found["texture"])
    if picture is not None:
        (out / "picture0.bin").write_bytes(picture)
    material = {"name": "", "picture": "texture" if picture else None, "alpha": False, "metallic": 0.0,
                "base_color": [0.8, 0.8, 0.8, 1.0], "roughness": 0.5}  # fmt: skip
    (out / "mesh.json").write_text(json.dumps({"meshes": 1, "materials": [material], "notes": []}))


def _mesh(found: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """RawMesh's arrays from what the file calls by any of its names."""
    vertices = _shaped(found["vertices"], "vertices", 3, _MOST_VERTICES).astype(np.float64)
    triangles = _indices(found["faces"], "faces", len(vertices))
    mesh = {"positions": vertices, "triangles": triangles, "material": np.zeros(len(triangles), np.uint16)}
    if found["normals"] is not None and found["normals"].shape == vertices.shape:
        mesh["normals"] = _shaped(found["normals"], "normals", 3, _MOST_VERTICES).astype(np.float32)[triangles]
    if found["uvs"] is not None:
        uvs = _shaped(found["uvs"], "uvs", 2, 3 * _MOST_FACES).astype(np.float32)
        uv_faces = found["uv_faces"] if found["uv_faces"] is not None else _uv_faces(uvs, vertices, triangles)
        corners = uvs[_indices(uv_faces, "uv faces", len(uvs))]
        if len(corners) != len(triangles):
            raise BadScan(f"{len(corners)} faces have UVs, {len(triangles)} have places")
        mesh["uvs"] = corners
    if found["colors"] is not None and found["colors"].ndim == 2 and len(found["colors"]) == len(vertices):
        mesh["colors"] = _colors(found["colors"])[triangles]
    return mesh


def _uv_faces(uvs: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    if len(uvs) == len(vertices):
        return triangles
    if len(uvs) == 3 * len(triangles):
        return np.arange(len(uvs)).reshape(-1, 3)
    raise BadScan(f"{len(uvs)} UVs for {len(vertices)} vertices and {len(triangles)} faces")


def _shaped(array: object, name: str, width: int, most: int) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "fiu":
        raise BadScan(f"its {name} are not an array of {width} columns")
    if not 0 < len(array) <= most:
        raise BadScan(f"it has {len(array)} {name}")
    return array


def _indices(array: object, name: str, count: int) -> np.ndarray:
    """(T, 3) int32 within [0, count)."""
    faces = _shaped(array, name, 3, _MOST_FACES)
    if not np.isfinite(faces).all() or faces.min() < 0 or faces.max() >= count or (faces != np.floor(faces)).any():
        raise BadScan(f"its {name} point outside of what they number")
    return np.ascontiguousarray(faces, np.int32)


def _colors(array: np.ndarray) -> np.ndarray:
    """(V, 4) uint8 of 3 or 4 columns, bytes or shares of 1."""
    if array.shape[1] not in (3, 4) or array.dtype.kind not in "fiu":
        raise BadScan("its colours have neither 3 nor 4 columns")
    values = np.nan_to_num(array.astype(np.float32)) * (255 if array.dtype.kind == "f" and array.max() <= 1 else 1)
    colors = np.full((len(array), 4), 255, np.uint8)
    colors[:, : array.shape[1]] = np.round(np.clip(values, 0, 255))
    return colors


def _picture(texture: np.ndarray | None) -> bytes | None:
    """A texture array (h, w, 3 or 4), row 0 on top, as a PNG."""
    if texture is None:
        return None
    if texture.ndim != 3 or texture.shape[2] not in (3, 4) or texture.dtype.kind not in "fiu":
        raise BadScan("its texture is not an array of rows, columns and 3 or 4 channels")
    if not 0 < texture.shape[0] * texture.shape[1] <= _MOST_PIXELS:
        raise BadScan(f"its texture has {texture.shape[1]} x {texture.shape[0]} pixels")
    if texture.dtype != np.uint8:
        scale = 255 if texture.dtype.kind == "f" and texture.max() <= 1 else 1
        texture = np.round(np.clip(np.nan_to_num(texture.astype(np.float32)) * scale, 0, 255)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(texture)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _read_pickle(path: Path) -> Mapping[str, object]:
    value = _load_pickle(path)
    if not isinstance(value, dict):
        raise BadScan("a pickle of something other than named arrays")
    return value


def _read_atlas(path: Path) -> object:
    value = _load_pickle(path)
    return next((value[n] for n in _NAMES["texture"] if n in value), None) if isinstance(value, dict) else value


def _load_pickle(path: Path) -> object:
    if path.stat().st_size > _MOST_BYTES:
        raise BadScan(f"a pickle of more than {_MOST_BYTES // 2**30} GiB")
    return load_plain(path.read_bytes())


def _read_npz(path: Path) -> Mapping[str, object]:
    wanted = {name for names in _NAMES.values() for name in names}
    arrays = {}
    with open_zip(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in wanted and name not in arrays:
                arrays[name] = _read_npy(archive, member)
    return arrays


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    check_member(member)
    with archive.open(member) as stream:
        # Version 2 is for the long headers of structured arrays, and may ask for 4 GB of header.
        if np.lib.format.read_magic(stream) != (1, 0):
            raise BadScan(f"{member.filename[:60]!r} is of another version than plain arrays")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or dtype.kind not in "fiub" or not 0 <= size <= min(_MOST_BYTES, member.file_size):
            raise BadScan(f"{member.filename[:60]!r} claims {str(dtype)[:60]} {str(shape)[:60]}, not what is there")
        data = stream.read(size)
    if len(data) != size:
        raise BadScan(f"{member.filename[:60]!r} is cut short")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    except (BadScan, BadPickle) as error:
        reason = str(error)
    except MemoryError:
        reason = "needs more memory than there is"
    except Exception as error:
        # numpy, zlib and tokenize each have exceptions of their own. Numbers and modules are loaded by now: what goes
        # wrong from here on is this one file's fault, and must not stop the others as a broken importer would.
        reason = f"its arrays cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:100]})"
    else:
        sys.exit(0)
    sys.stderr.write(f"\n{reason}\n")
    sys.exit(REFUSED)
