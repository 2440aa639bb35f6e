"""What scans are called, and what every file that is no scan is there for."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from synth.scans_colour import is_other_map
from synth.scans_discover import name_mesh
from synth.scans_files import MESH_SUFFIXES, FoundFile, is_picture
from synth.scans_jobs import Job
from synth.scans_licence import is_paper

_GENERIC = re.compile(
    r"(scene|model|mesh|scan|untitled|object|textured|output|export|source|body|head)?[-_ ]*\d*", re.IGNORECASE
)
_OTHER_MESHES = {".abc", ".stl", ".dae", ".usd", ".usda", ".usdc", ".usdz", ".blend", ".wrl", ".x3d", ".off", ".3ds",
                 ".3mf", ".max", ".ma", ".mb", ".c4d", ".ztl", ".e57", ".las", ".laz", ".vtk"}  # fmt: skip
_ARCHIVES = {".7z", ".rar", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".zip"}
HIDDEN = "hidden file"


def name_scans(jobs: Sequence[Job]) -> list[str]:
    """A scan_id for each job: the file's stem, its folder's name where the stem says nothing; unique, [A-Za-z0-9._-].

    All scans of one name get the start of their key appended, so that no id depends on the order of files.
    """
    names = [_base_name(job.file) for job in jobs]
    clashes = Counter(names)
    return [n if clashes[n] == 1 else f"{n}-{job.key[:8]}" for n, job in zip(names, jobs, strict=True)]


def ignored_reason(file: FoundFile, jobs: Sequence[Job], used_by: dict[Path, Job]) -> str | None:
    """Why a file is no scan; None for a mesh file that should be looked at. used_by: companions' first users."""
    parts = file.path.relative_to(file.root).parts
    if "__MACOSX" in parts:
        return "left over from a macOS archive"
    if any(part.startswith(".") for part in parts):
        return HIDDEN
    if file.path.suffix.lower() in MESH_SUFFIXES:
        return None
    if file.refusal is not None:
        return file.refusal
    if file.path in used_by:
        return _use(file.path, used_by[file.path])
    neighbour = _neighbour(file, jobs)
    if is_picture(file.path):
        what = "a map of something other than colour" if is_other_map(file.path.name) else "a picture that is not used"
        return f"{what}, beside {neighbour}" if neighbour else f"{what}, beside no mesh"
    if is_paper(file.path.name):
        return f"licence or notes of {neighbour}" if neighbour else "licence or notes"
    if file.path.suffix.lower() in _ARCHIVES:
        return "an archive that this version does not open: unpack it, or make it a .zip"
    if file.path.suffix.lower() in _OTHER_MESHES:
        return "a mesh in a format this version does not read: export it as .glb, .obj, .ply or .fbx"
    return "not a mesh this version reads"


def _base_name(file: FoundFile) -> str:
    """A scan's name before clashes are settled; at most 80 characters."""
    known = name_mesh(file.name).scan
    return _slug(known) if known is not None else _own_name(file)


def _own_name(file: FoundFile) -> str:
    stem, folder = file.path.stem, file.path.parent.name if file.path.parent != file.root else ""
    if not folder and file.archive:
        folder = file.archive.path.stem
    if _GENERIC.fullmatch(stem) and folder:
        stem = f"{folder}-{stem}" if re.search(r"\d$", stem) and stem != folder else folder
    return _slug(stem)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:80].strip("._-") or "scan"


def _use(path: Path, job: Job) -> str:
    if path in job.parts:
        return f"{'material library' if path.suffix.lower() == '.mtl' else 'data'} of {job.file.name}"
    if path == job.source.beside:
        return f"picture beside {job.file.name}"
    return f"picture of {job.file.name}"


def _neighbour(file: FoundFile, jobs: Sequence[Job]) -> str | None:
    """The mesh that a file lies beside: in its folder, or in the nearest one above."""
    folder = file.path.parent
    while folder.is_relative_to(file.root):
        beside = [job.file.name for job in jobs if job.file.path.parent == folder]
        if beside:
            return beside[0] if len(beside) == 1 else f"{beside[0]} and {len(beside) - 1} more"
        folder = folder.parent
    return None
