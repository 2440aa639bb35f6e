"""probe(): a scan file as raw arrays, read by Blender in a child process that can do no harm.

Here, in the parent: the file is looked at (its claims against its size), everything it refers to is resolved or
refused, and a copy that refers to nothing is laid out in a temporary folder. Only that copy meets Blender, in
`renderers.importers_blender`, under the limits of `synth.sandbox`. What comes back is plain arrays.
"""

import json
import mmap
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from synth.sandbox import ChildFailed, last_line, module_command, module_environment, run_child
from synth.scans_arrays import atlas_of
from synth.scans_formats import obj_references, ply_references, read_mtl, sniff
from synth.scans_georeference import shift_obj, shift_ply
from synth.scans_gltf import Gltf, read_gltf, stage_gltf
from synth.scans_raw import BadScan, HostLimit, ImporterBroken, RawMaterial, RawMesh, RawPicture

#: A 1 M-triangle OBJ takes about 10 s on one slow core.
TIMEOUT_S = 300.0
MEMORY_MB = 3500
#: Exit statuses of the child: the file's fault, and Blender's own.
REFUSED, BROKEN = 3, 4


def probe(path: Path, root: Path, timeout_s: float = TIMEOUT_S, memory_mb: int = MEMORY_MB) -> RawMesh:
    """All surfaces of a mesh file (.obj .ply .glb .gltf .fbx .pkl .npz, any case) in the file's own coordinates.

    root: the folder that nothing may be read outside of. Raises BadScan with the reason when the file is not usable,
    ImporterBroken when Blender does not start here.
    """
    sniff(path)
    if path.suffix.lower() in (".pkl", ".npz"):
        return _probe_arrays(path, timeout_s, memory_mb)
    with tempfile.TemporaryDirectory(prefix="synth-import-", ignore_cleanup_errors=True) as scratch:
        stage, out = Path(scratch, "in"), Path(scratch, "out")
        stage.mkdir()
        out.mkdir()
        suffix = path.suffix.lower()
        gltf = read_gltf(path, root) if suffix in (".glb", ".gltf") else None
        source, offset = stage_gltf(gltf, stage) if gltf else stage / f"scan{suffix}", np.zeros(3)
        if not gltf:
            offset = _stage_plain(path, root, source)
        _run_blender(source, out, scratch, timeout_s, memory_mb)
        mesh = _load(out, offset)
    if gltf:
        return _with_gltf_pictures(mesh, gltf)
    if suffix == ".obj":
        return _with_mtl_pictures(mesh, path, root)
    if suffix == ".ply":
        return _with_ply_picture(mesh, path, root)
    return mesh


def _stage_plain(path: Path, root: Path, staged: Path) -> np.ndarray:
    """Lays out the file as Blender may read it; returns the offset that was taken off its vertices, (3,)."""
    if path.suffix.lower() == ".obj":
        offset = shift_obj(path, staged)
        _without_libraries(staged)
        return offset
    if path.suffix.lower() == ".ply":
        ply_references(path, root)  # refuses a header that lies: Blender would abort on it
        offset = shift_ply(path, staged)
        if offset is not None:
            return offset
    staged.symlink_to(path.resolve())
    return np.zeros(3)


def _without_libraries(obj: Path) -> None:
    """Blender follows `mtllib` wherever it leads: it becomes a comment. We read the library ourselves."""
    with obj.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as data:
        at = data.find(b"mtllib")
        while at >= 0:
            data[at] = ord("#")
            at = data.find(b"mtllib", at)


def _probe_arrays(path: Path, timeout_s: float, memory_mb: int) -> RawMesh:
    """A mesh that is arrays: read without Blender, in a child all the same."""
    with tempfile.TemporaryDirectory(prefix="synth-import-", ignore_cleanup_errors=True) as scratch:
        atlas = atlas_of(path)
        arguments = [str(path), scratch, *([str(atlas)] if atlas else [])]
        _run("synth.scans_arrays", arguments, "its arrays", scratch, timeout_s, memory_mb)
        return replace(_load(Path(scratch), np.zeros(3)), v_trusted=False)


def _run_blender(source: Path, out: Path, scratch: str, timeout_s: float, memory_mb: int) -> None:
    _run("renderers.importers_blender", [str(source), str(out)], "Blender's importer", scratch, timeout_s, memory_mb)


def _run(module: str, arguments: list[str], what: str, scratch: str, timeout_s: float, memory_mb: int) -> None:
    try:
        run_child(module_command(module, *arguments), timeout_s, memory_mb, module_environment(TMPDIR=scratch))
    except ChildFailed as failure:
        if failure.returncode == REFUSED and failure.ending == "failed":
            reason = last_line(failure.stderr).replace(arguments[0], "the file") or "no reason given"
            raise BadScan(f"Blender cannot read it: {reason}" if "Blender" in what else reason) from failure
        if failure.ending == "failed":
            raise ImporterBroken(f"{what} does not run here: {failure}; try `synth doctor`") from failure
        kind = BadScan if failure.ending == "crashed" else HostLimit
        raise kind(f"{what} {failure}") from failure


def _load(out: Path, offset: np.ndarray) -> RawMesh:
    facts = json.loads((out / "mesh.json").read_text())
    if not facts["meshes"]:
        raise BadScan("no mesh in it")
    arrays = {file.stem: np.load(file, allow_pickle=False) for file in out.glob("*.npy")}
    if len(arrays["triangles"]) == 0:
        raise BadScan("no faces: a point cloud, or an empty export")
    materials = []
    for index, material in enumerate(facts["materials"]):
        file = out / f"picture{index}.bin"
        name = material.pop("picture")
        picture = None if name is None else RawPicture(name, file.read_bytes() if file.exists() else None)
        materials.append(RawMaterial(picture=picture, **{**material, "base_color": tuple(material["base_color"])}))
    return RawMesh(
        positions=arrays["positions"] + offset,
        triangles=arrays["triangles"],
        normals=arrays.get("normals"),
        uvs=arrays.get("uvs"),
        colors=arrays.get("colors"),
        material=arrays["material"],
        materials=tuple(materials),
        notes=tuple(facts["notes"]),
        offset=tuple(offset.tolist()),
    )


def _with_gltf_pictures(mesh: RawMesh, gltf: Gltf) -> RawMesh:
    materials = [replace(m, picture=gltf.picture(m.picture.name) if m.picture else None) for m in mesh.materials]
    return replace(mesh, materials=tuple(materials))


def _with_mtl_pictures(mesh: RawMesh, path: Path, root: Path) -> RawMesh:
    """Pictures by material name; where no name fits and the library has one picture, that one."""
    library = {m.name: m for part in obj_references(path, root).parts for m in read_mtl(part)}
    pictures = list(dict.fromkeys(m.picture for m in library.values() if m.picture))
    if not any(m.name in library for m in mesh.materials) and len(pictures) == 1:
        only = next(m for m in library.values() if m.picture)
        library = {m.name: only for m in mesh.materials}
    materials = []
    for material in mesh.materials:
        entry = library.get(material.name)
        if entry is not None and entry.picture:
            material = replace(material, picture=RawPicture(entry.picture), alpha=entry.alpha)
        materials.append(material)
    return replace(mesh, materials=tuple(materials))


def _with_ply_picture(mesh: RawMesh, path: Path, root: Path) -> RawMesh:
    """PLY `comment TextureFile`: Blender reads s, t of the vertices but not the comment."""
    mesh = replace(mesh, v_trusted=False)
    names = ply_references(path, root).pictures
    if not names or mesh.uvs is None:
        return mesh
    notes = (*mesh.notes, f"only the first of {len(names)} TextureFile comments is used") if names[1:] else mesh.notes
    materials = tuple(replace(m, picture=RawPicture(names[0])) for m in mesh.materials)
    return replace(mesh, materials=materials, notes=notes)
