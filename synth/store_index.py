"""Commit: all unit records of a run, and its revisions, become one Parquet index, one manifest and `refs/latest.json`.

A manifest is a version of the dataset: immutable, named by its hash, without a clock. The columns of the index and
their types: `synth.store_table`. Next: `synth.store` reads them back.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from synth.codec import MEMBER_FACTS
from synth.recipe import canonical_json, canonical_sha256
from synth.store_folder import Folder
from synth.store_gather import gather_rows
from synth.store_record import LARGEST_JSON, REVISIONS, RunFile, Sha256, StoreError, read_model
from synth.store_revision import revision_count
from synth.store_table import parquet_bytes
from synth.store_write import Run

Manifest = dict[str, Any]

MANIFEST_FORMAT = "synth-manifest/1"

#: The frame of every number in the dataset, repeated in its manifest.
CONVENTIONS = {
    "world": "right-handed, z up, metres; the first subject's lowest point near z = 0",
    "camera": "OpenCV: x right, y down, z forward; world_from_camera maps camera points to the world",
    "pixel": "the image spans [0, W] x [0, H]; the centre of (row, col) is (col + 0.5, row + 0.5)",
    "depth": "planar z in metres at the pixel centre; +inf where no subject",
    "normal": "unit, camera frame, towards the camera: a facing wall is (0, 0, -1); 0 where no subject",
    "instance": "0 background, k the k-th subject of the recipe, at the pixel centre; mask = instance > 0",
    "alpha": "soft coverage 0..255, for compositing, never supervision",
    "rgb": "sRGB, 8 bit",
    "content_sha256": "sha256 of the canonical JSON of sorted [member, sha256] pairs",
    "pixels_sha256": "sha256 of the canonical JSON of {array: sha256 of its decoded values, C order, little endian}",
    "root": "sha256 over lines '<sample_id> <content_sha256>', ascending",
}

_LATEST = "refs/latest.json"
_PATCH = r"^runs/[0-9a-f]{12}/revisions/[0-9]{6}-[0-9a-f]{12}/units/[0-9]{8}-[0-9]{8}\.json$"
_REF = re.compile(r"sha256:([0-9a-f]{64})")


class _Ref(BaseModel):
    manifest: str


class _IndexEntry(BaseModel):
    path: Annotated[str, StringConstraints(pattern=r"^indexes/[0-9a-f]{64}\.parquet$")]
    sha256: Sha256
    rows: int = Field(ge=0)


class _ShardEntry(BaseModel):
    path: Annotated[str, StringConstraints(pattern=r"^shards/[0-9]{8}-[0-9]{8}-[0-9a-f]{12}\.tar$")]
    bytes: int = Field(gt=0, lt=2**53)
    sha256: Sha256
    samples: int = Field(gt=0)
    record: Annotated[str, StringConstraints(pattern=_PATCH)] | None = None
    """Where its record is; without it the run's unit of the same ids."""


class _ManifestCheck(BaseModel):
    """What of a manifest is relied upon; the rest is for people."""

    format: Literal["synth-manifest/1"]
    root: Sha256
    spec_sha256: Sha256
    index: _IndexEntry
    shards: tuple[_ShardEntry, ...] = Field(min_length=1)
    revisions: tuple[str, ...] = ()


def commit(run: Run, *, lineage: dict, processes: int = 1) -> Manifest:
    """Makes all sealed units of the run the latest version of its dataset; returns the manifest.

    lineage: how it came about (hosts, times, revisions: JSON values), added to `run.json`; part of no hash. With
    nothing new sealed, the manifest is the one that was there and no file is written. processes: see
    `synth.store_gather.gather_rows`.
    """
    folder = run.folder
    _remember(run, lineage)
    latest = read_manifest(folder)
    if latest is not None and is_current(run, latest) and not _shard_fault(folder, latest):
        return latest
    table, manifest = gather(run, processes)
    if not table.num_rows:
        raise StoreError(f"{run.out}: no shard is sealed yet; run `synth render` again")
    fault = _shard_fault(folder, manifest)
    if fault:  # a record without its shard must not become a version
        raise StoreError(f"{fault}; put it back, or delete its unit record to render its samples again")
    data = parquet_bytes(table)
    digest = hashlib.sha256(data).hexdigest()
    manifest["index"] = {"path": f"indexes/{digest}.parquet", "sha256": digest, "rows": table.num_rows}
    folder.publish(manifest["index"]["path"], [data])
    data = canonical_json(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    folder.create(_manifest_name(digest), [data])
    folder.publish(_LATEST, [canonical_json({"manifest": f"sha256:{digest}"}).encode()])
    return manifest


def gather(run: Run, processes: int = 1):
    """All sealed units as (pyarrow table, manifest without its index). processes: see `gather_rows`."""
    spec = read_model(RunFile, run.folder, run.file).spec
    rows = gather_rows(run, processes)
    manifest = {
        "format": MANIFEST_FORMAT,
        "name": None,
        "version": None,
        "parents": [],
        "spec_sha256": canonical_sha256(spec),
        "root": rows.root,
        "index": None,
        "shards": rows.shards,
        "members": MEMBER_FACTS,
        "environments": [
            {"env_id": env_id, "samples": count, "facts": _environment(run, env_id, rows.revisions)}
            for env_id, count in sorted(rows.environments.items())
        ],
        **({"revisions": list(rows.revisions)} if rows.revisions else {}),
        "licences": _licences(spec),
        "assets": {kind: spec.get(kind, []) for kind in ("scans", "backgrounds")},
        "conventions": CONVENTIONS,
    }
    return rows.table, manifest


def read_manifest(folder: Folder) -> Manifest | None:
    """The latest manifest, checked against its hash; None when nothing has been committed. Raises StoreError."""
    try:
        ref = _REF.fullmatch(read_model(_Ref, folder, _LATEST).manifest)
    except FileNotFoundError:
        return None
    if ref is None:
        raise StoreError(f"{folder.where(_LATEST)}: does not name a manifest by its sha256")
    return named_manifest(folder, ref[1], "latest.json")


def named_manifest(folder: Folder, sha256: str, by: str) -> Manifest:
    """The manifest of a hash, checked; `by` names it. Raises StoreError when it is missing or was changed."""
    name = _manifest_name(sha256)
    try:
        read_model(_ManifestCheck, folder, name)
        data = folder.read(name, LARGEST_JSON)
    except FileNotFoundError as error:
        raise StoreError(f"{folder.where(name)}: is missing, though {by} names it") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(f"{folder.where(name)}: was changed, its sha256 is not its name")
    return json.loads(data)


def read_index(folder: Folder, manifest: Manifest, columns: list[str] | None = None):
    """The manifest's index (or those of some columns that it has) as a pyarrow table.

    Raises StoreError when it was changed.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    name = manifest["index"]["path"]
    where = folder.where(name)
    try:
        data = folder.read(name)
        if hashlib.sha256(data).hexdigest() != manifest["index"]["sha256"]:
            raise StoreError(f"{where}: was changed, its sha256 is not that of the manifest")
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        there = set(file.schema_arrow.names)
        table = file.read(columns and [name for name in columns if name in there])
    except (OSError, pyarrow.ArrowException) as error:
        raise StoreError(f"{where}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    if table.num_rows != manifest["index"]["rows"]:
        raise StoreError(f"{where}: has {table.num_rows} rows, the manifest says {manifest['index']['rows']}")
    return table


def is_current(run: Run, manifest: Manifest) -> bool:
    """Whether the manifest holds every sealed sample of the run and every revision, and its index is there."""
    sealed = sum(len(ids) for ids in run.sealed_ids())
    if manifest["index"]["rows"] < sealed or len(manifest.get("revisions", ())) < revision_count(run):
        return False
    return run.folder.size(manifest["index"]["path"]) is not None


def _manifest_name(sha256: str) -> str:
    return f"manifests/{sha256}.json"


def _remember(run: Run, lineage: dict) -> None:
    stored = read_model(RunFile, run.folder, run.file)
    changed = stored.model_copy(update={"lineage": {**stored.lineage, **json.loads(canonical_json(lineage))}})
    if changed != stored:
        run.folder.publish(run.file, [canonical_json(changed).encode()])


def _shard_fault(folder: Folder, manifest: Manifest) -> str | None:
    """What is wrong with the first shard that is missing or cut short, by name and size alone."""
    sizes = folder.sizes("shards")
    for shard in manifest["shards"]:
        size = sizes.get(shard["path"].removeprefix("shards/"))
        if size is None:
            return f"{folder.where(shard['path'])}: is missing"
        if size != shard["bytes"]:
            return f"{folder.where(shard['path'])}: has {size} bytes instead of {shard['bytes']}"
    return None


def _environment(run: Run, env_id: str, revisions: Iterable[str]) -> dict[str, str] | None:
    folder = run.folder
    places = [run.name("environments"), *(run.name(REVISIONS, name, "environments") for name in revisions)]
    # a stranger's text: it may hold a slash, so it is looked for among names
    place = next((place for place in places if f"{env_id}.json" in folder.listing(place)), None)
    if place is None:
        return None
    name = f"{place}/{env_id}.json"
    try:
        facts = json.loads(folder.read(name, LARGEST_JSON))
    except ValueError as error:
        raise StoreError(f"{folder.where(name)}: is no JSON ({error})") from error
    if not isinstance(facts, dict) or canonical_sha256(facts)[:12] != env_id:
        raise StoreError(f"{folder.where(name)}: was changed, its hash is not its name")
    return facts


def _licences(spec: dict) -> list[str]:
    """Licences that the spec's scans and backgrounds state."""
    items = [item for kind in ("scans", "backgrounds") for item in spec.get(kind, []) if isinstance(item, dict)]
    return sorted({item["licence"] for item in items if item.get("licence")})
