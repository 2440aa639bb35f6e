"""What a card takes from a version besides its rows: checked, for a manifest may come from a stranger.

Next: `synth.card_measure` reads the rows, `synth.card_rights` says what may be done with what was used.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from synth.errors import UserError
from synth.recipe import canonical_sha256
from synth.store import Dataset
from synth.store_record import RunFile, StoreError, read_model
from synth.store_tag import Tag, read_tags
from synth.store_write import Run

_Text = Annotated[str, StringConstraints(max_length=4096)]


class NoVersion(UserError):
    """A dataset of which nothing is committed that a card could describe."""


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ScanUsed(_Checked):
    """A scan of the version's library."""

    scan_id: _Text
    key: _Text
    licence: _Text | None = None


class BackgroundUsed(_Checked):
    """A background of the version's library."""

    background_id: _Text
    sha256: _Text
    kind: Literal["hdri", "plate", "light"] = "hdri"
    """`light` is a panorama that is never seen."""


class Recorded(_Checked):
    """What the papers beside a scan said when it was rendered, see `synth.card_rights.scan_rights`."""

    key: _Text
    attribution: _Text | None
    no_ai: bool
    non_commercial: bool
    no_sharing: bool


class Environment(_Checked):
    """What made some of the samples."""

    env_id: _Text
    samples: int = Field(ge=0)
    facts: dict[_Text, _Text] | None
    """Names and versions; None where the dataset no longer says."""


class _Assets(_Checked):
    scans: tuple[ScanUsed, ...]
    backgrounds: tuple[BackgroundUsed, ...]


class Made(_Checked):
    """How a version came about, as its manifest says."""

    root: str
    spec_sha256: str
    assets: _Assets
    environments: tuple[Environment, ...]
    members: dict[_Text, dict[_Text, str | int | float]]
    """By extension, what it means."""
    conventions: dict[_Text, _Text]


class _Lineage(_Checked):
    scan_rights: tuple[Recorded, ...] = ()


class Origin(_Checked):
    """All of a version that is not in its rows."""

    made: Made
    spec: dict[str, Any]
    """What was asked for: config, seed, library; its hash is the manifest's."""
    recorded: dict[str, Recorded]
    """What papers said, by the scan's key; lacks what older versions of synth did not write down."""
    tag: Tag | None
    """The version's number, if it has one."""


def read_origin(dataset: Dataset) -> Origin:
    """Of a committed version. Raises NoVersion for one that is being rendered, StoreError for one that lies."""
    manifest, folder = dataset.manifest, dataset.folder
    if manifest["index"] is None:
        raise NoVersion(
            f"{folder.place}: is being rendered, and a card describes a version: let `synth render` finish, or name "
            f"a tag, DATASET@1.0.0"
        )
    file = Run(folder.place, manifest["spec_sha256"][:12]).file
    run = read_model(RunFile, folder, file)
    if canonical_sha256(run.spec) != manifest["spec_sha256"]:
        raise StoreError(f"{folder.where(file)}: was changed, its spec's sha256 is not that of the manifest")
    digest = f"sha256:{canonical_sha256(manifest)}"
    try:
        made, lineage = Made.model_validate(manifest), _Lineage.model_validate(run.lineage)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{folder.place}: {digest[7:19]}: {where}: {first['msg']}"[:500]) from error
    return Origin(
        made=made,
        spec=run.spec,
        recorded={entry.key: entry for entry in lineage.scan_rights},
        tag=next((tag for tag in read_tags(folder) if tag.manifest == digest), None),
    )
