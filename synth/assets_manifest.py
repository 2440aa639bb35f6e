"""What `assets_manifest.yaml` may say: every demo scan and background with its source, licence, split and checksums.

Nothing here touches the network. Next: `synth.assets` brings the files.
"""

import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synth.assets_look import Look
from synth.errors import UserError

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)]
Resolution = Literal["1k", "2k", "4k", "8k"]


class AssetError(UserError):
    """An asset that cannot be had or is not what was named."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Checksum(_Entry):
    """What is known of one file."""

    sha256: Sha256 | None = None
    pixels_sha256: Sha256 | None = None
    """Of the decoded RGB bytes, row by row: the bytes of a PNG that we write depend on the zlib at hand."""
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    size: int | None = Field(None, gt=0)
    verified: bool = True
    """False where the figures are those of a mirror's copy, not the publisher's."""

    @property
    def names_content(self) -> bool:
        """Whether any checksum is known."""
        return bool(self.sha256 or self.pixels_sha256 or self.md5)


class PackageMembers(_Entry):
    """Files taken as they are from a package of the Python index."""

    type: Literal["package"]
    requirement: str
    sha256: Sha256
    members: dict[PlainName, str]
    """File name here -> path in the archive."""


class MakehumanBody(_Entry):
    """A body made from MakeHuman's data in a package of the Python index; clothes and colour are ours."""

    type: Literal["makehuman"]
    requirement: str
    sha256: Sha256
    root: str
    """Folder of the data in the archive."""
    targets: dict[str, float]
    """Morph target -> weight."""
    look: Look


class BpyWorld(_Entry):
    """A panorama inside the bpy wheel; used where it lies."""

    type: Literal["bpy"]


class PolyHaven(_Entry):
    """A panorama of polyhaven.com; the asset's id is their name for it."""

    type: Literal["polyhaven"]
    res: Resolution
    ext: Literal["hdr"]
    max_bytes: int = Field(gt=0)
    """A longer download is refused."""
    known: dict[Resolution, Checksum] = {}
    """Resolution -> what is known of that file. Not known: the first download is recorded and believed."""


class Asset(_Entry):
    """One scan or panorama."""

    id: Annotated[str, Field(pattern="^[a-z0-9_]+$", max_length=64)]
    kind: Literal["scan", "hdri"]
    split: Literal["train", "val", "test"]
    licence: Annotated[str, Field(min_length=1)]
    attribution: Annotated[str, Field(min_length=1)]
    source: Annotated[PackageMembers | MakehumanBody | BpyWorld | PolyHaven, Field(discriminator="type")]
    files: dict[PlainName, Checksum] = {}
    """File name -> what it must be; Poly Haven's are in `source.known`."""
    scene: str | None = None
    """The place pictured, where another asset shows it too: both are in one split."""


class Manifest(_Entry):
    """All assets."""

    version: Literal[1]
    polyhaven_template: str
    """Address of a file, with {ext}, {res} and {slug}."""
    defaults: dict = {}
    """YAML anchors that keep the list short; read by nobody."""
    assets: tuple[Asset, ...]

    @model_validator(mode="after")
    def _ids_once(self) -> "Manifest":
        ids = [asset.id for asset in self.assets]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"ids that stand twice: {', '.join(twice)}")
        return self

    def places(self) -> dict[str, tuple[str, str]]:
        """Of each panorama, by its file's name less suffix and resolution: the place pictured and its split."""
        found = {}
        for asset in self.assets:
            if asset.kind == "hdri":
                names = [name.rsplit(".", 1)[0] for name in asset.files] or [asset.id]
                found.update({name: (asset.scene or asset.id, asset.split) for name in names})
        return found

    def select(self, ids: Sequence[str] | None) -> list[Asset]:
        """The assets of these ids or groups (`demo`: the scans, `hdri`: the panoramas); None is all."""
        groups = {"demo": "scan", "hdri": "hdri"}
        known = {asset.id for asset in self.assets} | set(groups)
        for name in ids or ():
            if name not in known:
                raise AssetError(f"no asset {name!r}: `synth assets list` names them all, groups are demo and hdri")
        wanted = {groups.get(name, name) for name in ids or ()}
        return [asset for asset in self.assets if ids is None or wanted & {asset.id, asset.kind}]


def load_manifest(path: Path | None = None) -> Manifest:
    """The manifest at `path`, or the one that came with synth. Raises AssetError with one line."""
    path = path or _own_manifest()
    try:
        return Manifest.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise AssetError(f"{path}: {key}: {first['msg']} (got {str(first['input'])[:80]})") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AssetError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error


def _own_manifest() -> Path:
    """Beside the packages in a checkout, in share/synth of an installed wheel."""
    name = "assets_manifest.yaml"
    places = [Path(__file__).parents[1] / name, Path(sysconfig.get_path("data")) / "share" / "synth" / name]
    for place in places:
        if place.is_file():
            return place
    raise AssetError(f"no {name} in {places[0].parent} or {places[1].parent}: install synth from its checkout")
