"""Tags: versions with a number that nobody can move.

`refs/<number>.json` is created once and never replaced. It names its manifest by hash, says what changed since the tag
before it, and holds what a manifest must not: the time and people's words. `synth.version` makes them.
"""

import json
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from synth.store_folder import Folder
from synth.store_index import Manifest, named_manifest, read_manifest
from synth.store_record import Sha256, StoreError

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
_HASH = re.compile(r"[0-9a-f]{6,64}")
#: A ref has a few hundred bytes and a message.
_LARGEST_REF = 2**20


class Tag(BaseModel):
    """A version with a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    manifest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    number: str
    previous: str | None
    """The number of the tag before it."""
    message: Annotated[str, StringConstraints(max_length=10_000)]
    created: Annotated[str, StringConstraints(max_length=40)]
    """When, in UTC."""
    root: Sha256
    samples: int = Field(ge=0)
    counts: dict[str, int]
    """What changed since `previous`, see `Diff.counts`."""


def parse_number(text: str) -> tuple[int, int, int] | None:
    """(major, minor, patch) of a version number; None if it is none."""
    match = _NUMBER.fullmatch(text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def read_tags(folder: Folder) -> list[Tag]:
    """All tags, oldest number first. Raises StoreError on a ref that is not what its name says."""
    numbers = [name.removesuffix(".json") for name in folder.listing("refs")]
    return [_read_tag(folder, number) for number in sorted(filter(parse_number, numbers), key=parse_number)]


def find_manifest(folder: Folder, version: str) -> Manifest:
    """The manifest of `latest`, of a tag's number, or of a manifest's hash (or its beginning, 6 digits at least).

    Raises StoreError that names what there is.
    """
    if version == "latest":
        manifest = read_manifest(folder)
        if manifest is None:
            raise StoreError(f"{folder.place}: no version is committed yet; let `synth render` finish")
        return manifest
    if parse_number(version):
        if f"{version}.json" in folder.listing("refs"):
            return manifest_of(folder, _read_tag(folder, version))
        there = ", ".join(tag.number for tag in read_tags(folder)) or "none"
        raise StoreError(f"{folder.place}: no version {version}; tags: {there}; and there is latest")
    found = [n for n in folder.listing("manifests") if n.startswith(version)] if _HASH.fullmatch(version) else []
    if len(found) != 1:
        problem = f"{len(found)} manifests begin with {version}" if found else f"no version {version!r}"
        raise StoreError(f"{folder.place}: {problem}; a version is latest, 1.2.3, or a manifest's hash")
    return named_manifest(folder, found[0].removesuffix(".json"), "it")


def manifest_of(folder: Folder, tag: Tag) -> Manifest:
    """The manifest that a tag names."""
    return named_manifest(folder, tag.manifest.removeprefix("sha256:"), f"{tag.number}.json")


def ref_name(number: str) -> str:
    """Where a tag lies."""
    return f"refs/{number}.json"


def _read_tag(folder: Folder, number: str) -> Tag:
    data = folder.read(ref_name(number), _LARGEST_REF)
    try:
        tag = Tag.model_validate(json.loads(data))
        if tag.number != number:
            raise ValueError(f"it is of version {tag.number}")
    except (ValueError, ValidationError) as error:
        where = folder.where(ref_name(number))
        raise StoreError(f"{where}: is no tag ({' '.join(str(error).split())[:200]})") from error
    return tag
