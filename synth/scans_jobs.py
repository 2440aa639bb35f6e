"""One mesh file to a key, and a key to facts: from the cache if anyone has prepared it before, else through a probe.

The key is known before anything is imported: it hashes the mesh and every file that it uses. So a second run starts
no importer, two runs share work, and a scan that once crashed Blender is not tried again.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from synth.recipe import canonical_sha256
from synth.scans_colour import find_beside
from synth.scans_facts import IMPORTER_VERSION, ScanFacts
from synth.scans_files import FoundFile, HashMemory, resolve_reference, resolve_uri, write_atomically
from synth.scans_formats import (
    References,
    array_references,
    fbx_references,
    obj_references,
    ply_references,
    read_fbx,
    read_obj,
    sniff,
)
from synth.scans_gltf import gltf_references
from synth.scans_overrides import Override
from synth.scans_paint import Source
from synth.scans_prepare import prepare_scan
from synth.scans_raw import BadScan, HostLimit, Probe
from synth.scans_store import load_facts
from synth.scans_tiles import ANY_TILE, find_tiles

_REFERENCES = {".obj": obj_references, ".ply": ply_references, ".glb": gltf_references, ".gltf": gltf_references,
               ".fbx": fbx_references, ".pkl": array_references, ".npz": array_references}  # fmt: skip

#: Formats whose references are known only once the whole file is read: it is read once. Raise the number when the same
#: bytes would say something else.
_READ_ONCE = {".obj": ("obj 1", read_obj), ".fbx": ("fbx 2", read_fbx)}

_UNFORESEEN = (ArithmeticError, LookupError, MemoryError, TypeError, ValueError)


@dataclass(frozen=True)
class Job:
    """A mesh file whose companions are settled."""

    file: FoundFile
    source: Source
    parts: tuple[Path, ...]
    """Material libraries and buffers."""
    key: str

    @property
    def companions(self) -> tuple[Path, ...]:
        """Every other file that this mesh uses or may use."""
        beside = () if self.source.beside is None else (self.source.beside,)
        return (*self.parts, *self.source.pictures.values(), *beside, *self.source.tiles.values())


def plan_job(file: FoundFile, files: set[Path], hashes: HashMemory, override: Override) -> Job:
    """Settles what a mesh file uses, among `files`, and its key. Raises BadScan."""
    path, suffix = file.path, file.path.suffix.lower()
    try:
        sniff(path)
        said = (hashes.says(path, *_READ_ONCE[suffix]),) if suffix in _READ_ONCE else ()
        references = _REFERENCES[suffix](path, file.root, *said)
        source = _source(file, references, files, override)
        used = [("mesh", suffix, path), *(("part", part.name, part) for part in references.parts)]
        used += [("picture", name, picture) for name, picture in source.pictures.items()]
        used += [("beside", source.beside.name, source.beside)] if source.beside else []
        used += [("tile", f"{u} {v}", picture) for (u, v), picture in source.tiles.items()]
        content = sorted([role, name, hashes.sha256(part)] for role, name, part in used)
    except OSError as error:
        raise BadScan(f"cannot be read ({error.strerror})") from error
    wishes = override.model_dump(exclude_none=True, include={"up", "unit", "height_m", "kind", "parts"})
    key = canonical_sha256(
        {"content": content, "notes": source.notes, "wishes": wishes, "importer_version": IMPORTER_VERSION}
    )[:32]
    return Job(file, source, references.parts, key)


def run_job(job: Job, store: Path, probe: Probe) -> ScanFacts | str:
    """Facts of the prepared scan, or the reason why it is refused. Raises ImporterBroken; OSError for the cache."""
    refusal = store / f"{job.key}.refused"
    target = store / job.key
    try:
        return load_facts(store, job.key)
    except BadScan:
        shutil.rmtree(target, ignore_errors=True)  # not there, or damaged
    if (reason := _read_refusal(refusal)) is not None:
        return reason
    try:
        return prepare_scan(probe(job.file.path, job.file.root), job.source, target)
    except HostLimit as error:
        reason = f"{error}; to try again delete {refusal.name} from the cache"
    except BadScan as error:
        reason = str(error)
    except _UNFORESEEN as error:
        # A stranger's file found a hole in this program: that must cost one scan, not the run, and must be seen.
        return f"cannot be prepared, a fault of this program ({type(error).__name__}: {str(error)[:200]})"
    write_atomically(refusal, json.dumps({"reason": reason}).encode())
    return reason


def was_tried(store: Path, key: str) -> bool:
    """Whether the prepared scan has been rendered once."""
    return (store / f"{key}.tried").exists()


def remember_tryout(store: Path, key: str, reason: str | None) -> None:
    """Keeps that a prepared scan can be rendered, or takes it out of the store with the reason why it cannot."""
    if reason is None:
        write_atomically(store / f"{key}.tried", b"")
        return
    write_atomically(store / f"{key}.refused", json.dumps({"reason": reason}).encode())
    shutil.rmtree(store / key, ignore_errors=True)


def _source(file: FoundFile, references: References, files: set[Path], override: Override) -> Source:
    path, suffix = file.path, file.path.suffix.lower()
    resolve = resolve_uri if suffix in (".glb", ".gltf") else resolve_reference
    found = {name: resolve(name, path.parent, file.root) for name in references.pictures}
    pictures = {name: picture for name, picture in found.items() if picture is not None}
    # A PLY without TextureFile has no use for pictures.
    wants = not pictures and not references.embedded and (suffix != ".ply" or bool(references.pictures))
    beside = (_any_tile(references.pictures, path, file.root) or find_beside(path, files)) if wants else None
    return Source(
        suffix=suffix,
        pictures=pictures,
        beside=beside,
        tiles=find_tiles(beside, files) if beside else {},
        trust_beside=suffix == ".obj",
        notes=references.notes,
        licence=references.licence,
        attribution=references.attribution,
        override=override,
    )


def _any_tile(names: tuple[str, ...], path: Path, root: Path) -> Path | None:
    """The first tile of a picture that is named as a set of tiles."""
    tried = (ANY_TILE.sub(tile, name) for name in names if ANY_TILE.search(name) for tile in ("1001", "u1_v1"))
    return next((found for name in tried if (found := resolve_reference(name, path.parent, root))), None)


def _read_refusal(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_bytes())["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
