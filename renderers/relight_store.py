"""Transport on disk, beside the prepared scan it belongs to: `<store>/<key>.relight-v<version>/`, plain arrays.

Made once by whoever needs it first, mapped into memory by all workers of a machine. Nothing in it is believed before
its hashes and ranges are checked, for compiled code indexes with it; what fails is made anew.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from renderers.raycast import ScanCaster
from renderers.relight_nodes import grid_size
from renderers.relight_transport import DIRECTIONS, TRANSPORT_VERSION, Transport, build_transport
from renderers.surface import ScanPaint
from synth.scans import PreparedScan

_FACTS = "facts.json"
_NAMES = tuple(field.name for field in fields(Transport))
_KINDS = {
    "part": (np.int32, 1), "level": (np.uint8, 1), "start": (np.int64, 1), "grid": (np.int32, 1),
    "blend_row": (np.int32, 2), "blend_share": (np.float32, 2), "normal": (np.float32, 2),
    "back": (np.int32, 1), "bits": (np.uint8, 2), "seen_start": (np.int64, 1), "seen_patch": (np.uint16, 1),
    "seen_direction": (np.uint16, 1), "patch_light": (np.uint8, 2), "patch_albedo": (np.float32, 2),
    "link_start": (np.int64, 1), "link_patch": (np.int32, 1), "link_share": (np.float32, 1),
}  # fmt: skip


class BadTransport(Exception):
    """Stored transport that cannot be used; the message says why."""


def open_transport(store: Path, key: str, scan: PreparedScan, caster: ScanCaster, paint: ScanPaint) -> Transport:
    """The transport of a prepared scan, memory-mapped; built and stored where it is missing or damaged.

    Where the store cannot be written it is built for this process alone.
    """
    folder = _folder(store, key)
    with contextlib.suppress(BadTransport):
        return read_transport(folder, scan)
    with _lock(folder):
        with contextlib.suppress(BadTransport):  # another worker was first
            return read_transport(folder, scan)
        transport = build_transport(scan, caster, paint)
        try:
            write_transport(folder, transport)
        except OSError:  # a store that is read only, or full
            return transport
    return read_transport(folder, scan)


def read_transport(folder: Path, scan: PreparedScan) -> Transport:
    """The transport in a folder. Raises BadTransport unless every array is what was written and fits the scan."""
    try:
        hashes = json.loads((folder / _FACTS).read_text())["sha256"]
        arrays = {name: _map(folder / f"{name}.npy", *_KINDS[name], hashes[name]) for name in _NAMES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadTransport(f"{folder}: {error}") from error
    transport = Transport(**arrays)
    _check(transport, len(scan.triangles), folder)
    return transport


def write_transport(folder: Path, transport: Transport) -> None:
    """Stores transport as a whole in place of what is there."""
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        hashes = {}
        for name in _NAMES:
            path = temporary / f"{name}.npy"
            np.save(path, np.ascontiguousarray(getattr(transport, name)), allow_pickle=False)
            hashes[name] = _sha256(path)
        (temporary / _FACTS).write_text(json.dumps({"version": TRANSPORT_VERSION, "sha256": hashes}))
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _folder(store: Path, key: str) -> Path:
    return store / f"{key}.relight-v{TRANSPORT_VERSION}"


def _map(path: Path, dtype: type, dimensions: int, sha256: str) -> np.ndarray:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.ndim != dimensions:
        raise ValueError(f"{path.name} holds {array.dtype} of {array.ndim} dimensions")
    if _sha256(path) != sha256:
        raise ValueError(f"{path.name} is not what was written")
    return array


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(t: Transport, triangles: int, folder: Path) -> None:
    """Raises BadTransport where an index would point outside of its array."""
    rows, patches = len(t.normal), len(t.patch_albedo)
    sizes = grid_size(t.level)
    fits = {
        "triangles": len(t.part) == len(t.level) == len(t.start) == triangles and t.level.min(initial=1) >= 1,
        "grid": len(t.grid) == sizes.sum() and np.array_equal(t.start, np.cumsum(sizes) - sizes),
        "nodes": _within(t.grid, len(t.blend_row)) and len(t.back) <= rows,
        "blend": t.blend_row.shape == t.blend_share.shape and _within(t.blend_row, len(t.back)),
        "back": _within(t.back[t.back >= 0], rows) and t.back.min(initial=0) >= -1,
        "rows": t.normal.shape == (rows, 3) and t.bits.shape == (rows, DIRECTIONS // 8),
        "seen": _is_index(t.seen_start, rows, len(t.seen_patch)) and len(t.seen_patch) == len(t.seen_direction),
        "seen_patch": _within(t.seen_patch, patches),
        "seen_direction": _within(t.seen_direction, DIRECTIONS),
        "patches": t.patch_light.shape == (patches, DIRECTIONS) and t.patch_albedo.shape == (patches, 3),
        "links": _is_index(t.link_start, patches, len(t.link_patch)) and len(t.link_patch) == len(t.link_share),
        "link_patch": _within(t.link_patch, patches),
        "numbers": all(np.isfinite(a).all() for a in (t.blend_share, t.normal, t.patch_albedo, t.link_share)),
    }
    wrong = [name for name, right in fits.items() if not right]
    if wrong:
        raise BadTransport(f"{folder}: {', '.join(wrong)} cannot be of this scan")


def _within(index: np.ndarray, size: int) -> bool:
    return index.size == 0 or bool(index.min() >= 0 and index.max() < size)


def _is_index(start: np.ndarray, rows: int, size: int) -> bool:
    return len(start) == rows + 1 and start[0] == 0 and start[-1] == size and bool((np.diff(start) >= 0).all())


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One builder at a time on this machine, where the system has such locks; elsewhere all build the same."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        import fcntl

        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
    except (ImportError, OSError):
        yield
        return
    with file:
        yield
