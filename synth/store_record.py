"""What is written down about samples: the row of one sample, the record of one sealed unit, and their hashes.

Every record is read back through these models: a row that contradicts itself, a member outside its shard or a shard
name that is more than a file name is refused here, before anything is opened. Next: `synth.store_write` makes them.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import pairwise
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import to_json  # spells texts as canonical_json does, at a third of its cost: twice for every sample

from synth.codec import MEMBERS, OPTIONAL
from synth.recipe import Framing, sample_id
from synth.store_folder import Folder
from synth.store_names import StoreError
from synth.store_shard import BLOCK, END_OF_ARCHIVE, LARGEST_MEMBER, end_of_member, locate

STORE_FORMAT = "synth-store/1"

#: Ids of one shard: 128 samples at 1024 x 768 are about 284 MB.
SHARD_SIZE = 128
#: Ids are written with eight digits, and sorted by name.
MOST_SAMPLES = 10**8

_ALLOWED, _REQUIRED = set(MEMBERS), set(MEMBERS) - set(OPTIONAL)

#: Folder of a run's revisions.
REVISIONS = "revisions"

UNIT_NAME = re.compile(r"([0-9]{8})-([0-9]{8})")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShardName = Annotated[str, StringConstraints(pattern=r"^[0-9]{8}-[0-9]{8}-[0-9a-f]{12}\.tar$")]
_Index = Annotated[int, Field(ge=0, lt=MOST_SAMPLES)]
_Count = Annotated[int, Field(ge=0)]
_Length = Annotated[int, Field(ge=0, le=LARGEST_MEMBER)]
_Text = Annotated[str, StringConstraints(max_length=4096)]
_Model = TypeVar("_Model", bound=BaseModel)

#: A record of 128 samples has about 250 kB, a manifest of 500 000 samples about 1 MB.
LARGEST_JSON = 64 * 2**20


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Row(_Value):
    """All that is known about a stored sample besides its bytes."""

    id: str
    index: _Index
    members: dict[str, tuple[Annotated[int, Field(ge=0)], _Length, Sha256]]
    """By extension: offset of the data (in the fragment; in the shard once sealed), length, sha256."""
    content_sha256: Sha256
    """`content_hash` of the members: changes when any byte does."""
    recipe_sha256: Sha256
    """`recipe.canonical_sha256`: changes when another picture is asked for."""
    pixels_sha256: dict[str, Sha256]
    """By array, hash of the decoded values (C order, little endian): survives another compression."""
    env_id: _Text
    """What software and device made it; see `Run.add_environment`."""
    seconds: float = Field(ge=0)
    """Time it took, seconds."""
    split: _Text
    scans: tuple[_Text, ...]
    people: tuple[_Text, ...]
    background: _Text
    flags: tuple[_Text, ...]
    attempt: int = Field(ge=0)
    refused: tuple[tuple[int, _Text, _Text], ...]
    """Attempts refused before this one: (attempt, reason, detail)."""
    framing: Framing
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    focal_px: float
    camera_distance_m: float
    """From the camera to the first subject's origin (between its feet)."""
    camera_yaw_deg: float
    """Where the camera stands around the first subject, counter-clockwise from world x, 0..360."""
    camera_pitch_deg: float
    """Elevation of the viewing direction below the horizon: positive looks down."""
    exposure_ev: float
    background_yaw_deg: float
    magnification: float
    """Pixels per background texel."""
    covered: float
    """Share of the frame that subjects cover."""
    border: float
    """Share of the frame's border that subjects touch."""
    depth_p50_m: float
    """Median depth of the subjects, metres."""
    back_faces: _Count
    leaning_normals: _Count
    unproven_depth: _Count
    """Pixels; see `sample.LabelCounts`."""

    @model_validator(mode="after")
    def _consistent(self) -> "Row":
        if self.id != sample_id(self.index):
            raise ValueError(f"id {self.id!r} is not that of index {self.index}")
        if not _REQUIRED <= self.members.keys() <= _ALLOWED:
            raise ValueError(f"{self.id}: members {sorted(self.members)} are not those of a sample")
        if self.content_sha256 != content_hash({name: entry[2] for name, entry in self.members.items()}):
            raise ValueError(f"{self.id}: content_sha256 is not that of its members")
        return self

    @property
    def pixels_hash(self) -> str:
        """One hash over `pixels_sha256`: that of its canonical JSON."""
        return hashlib.sha256(to_json(dict(sorted(self.pixels_sha256.items())))).hexdigest()

    @property
    def pictures_hash(self) -> str:
        """`content_hash` of the pictures and labels alone, without what the `.json` member says of them."""
        return content_hash({name: entry[2] for name, entry in self.members.items() if name != "json"})

    @property
    def lengths(self) -> dict[str, int]:
        """Bytes by member."""
        return {name: entry[1] for name, entry in self.members.items()}

    def verify(self, members: Mapping[str, bytes]) -> None:
        """Raises ValueError naming the first member whose bytes are not those of this row."""
        for name, (_, _, digest) in self.members.items():
            if hashlib.sha256(members[name]).hexdigest() != digest:
                raise ValueError(f"{name} does not match its hash")

    def at(self, start: int) -> "Row":
        """The same row with its fragment beginning at `start` of a shard."""
        offsets, _ = locate(self.lengths, start)
        moved = {name: (offsets[name], length, digest) for name, (_, length, digest) in self.members.items()}
        return self.model_copy(update={"members": moved})


class RunFile(_Value):
    """`run.json`: what is rendered, and what the caller wants remembered of how."""

    format: Literal["synth-run/1"] = "synth-run/1"
    spec: dict[str, Any]
    lineage: dict[str, Any] = {}


class StoreFile(BaseModel):
    """`store.json`."""

    format: _Text


class ShardRecord(_Value):
    """Samples that lie in one shard."""

    first: _Index
    last: _Index
    shard: ShardName
    """File name inside `shards/`."""
    bytes: int = Field(gt=0)
    sha256: Sha256
    rows: tuple[Row, ...]
    """Ascending, of samples first..last."""

    def row(self, index: int) -> Row | None:
        """The row of a sample; None if it has none."""
        at = bisect_left(self.rows, index, key=attrgetter("index"))
        return self.rows[at] if at < len(self.rows) and self.rows[at].index == index else None

    @model_validator(mode="after")
    def _consistent(self) -> "ShardRecord":
        if self.shard != shard_name(self.first, self.last, self.sha256):
            raise ValueError(f"shard {self.shard!r} is not named by its ids and hash")
        end = 0
        for row in self.rows:
            for entry in filter(None, map(row.members.get, MEMBERS)):
                if entry[0] != end + BLOCK:
                    raise ValueError(f"{row.id}: its members do not lie behind those of the sample before")
                end = end_of_member(entry[0], entry[1])
        if end + len(END_OF_ARCHIVE) != self.bytes:
            raise ValueError(f"the samples end at {end} of {self.bytes} bytes")
        return self


class UnitRecord(ShardRecord):
    """A sealed unit: all of first..last. Its creation is the commit: what has a record is in the dataset."""

    format: Literal["synth-unit/1"] = "synth-unit/1"

    @model_validator(mode="after")
    def _complete(self) -> "UnitRecord":
        if [row.index for row in self.rows] != list(range(self.first, self.last + 1)):
            raise ValueError(f"rows are not the samples {self.first}..{self.last}")
        return self


class PatchRecord(ShardRecord):
    """Some of first..last, sealed anew by a revision (`synth.store_revision`), which alone puts them in effect."""

    format: Literal["synth-patch/1"] = "synth-patch/1"

    @model_validator(mode="after")
    def _ascending(self) -> "PatchRecord":
        ids = [self.first - 1, *(row.index for row in self.rows), self.last + 1]
        if not self.rows or any(a >= b for a, b in pairwise(ids)):
            raise ValueError(f"rows are not samples of {self.first}..{self.last}, ascending")
        return self


def unit_name(first: int, last: int) -> str:
    """`<first>-<last>`, eight digits each."""
    return f"{first:08d}-{last:08d}"


def shard_name(first: int, last: int, sha256: str) -> str:
    """File name of a shard: its ids and the beginning of its hash."""
    return f"{unit_name(first, last)}-{sha256[:12]}.tar"


def content_hash(sha256_by_member: Mapping[str, str]) -> str:
    """Hash over the sorted (member, sha256) pairs of a sample: that of their canonical JSON."""
    return hashlib.sha256(to_json(sorted(sha256_by_member.items()))).hexdigest()


def root_hash(contents: Iterable[tuple[str, str]]) -> str:
    """Hash over (sample_id, content_sha256) pairs, ascending: the identity of a dataset's content."""
    root = hashlib.sha256()
    for name, content in contents:
        root.update(root_line(name, content))
    return root.hexdigest()


def root_line(name: str, content: str) -> bytes:
    """What the root hashes of a sample."""
    return f"{name} {content}\n".encode()


def check_store(folder: Folder) -> None:
    """Raises StoreError unless the folder is a dataset that this version can read."""
    try:
        found = read_model(StoreFile, folder, "store.json").format
    except FileNotFoundError as error:
        what = "is no dataset (it has no store.json)" if folder.listing("") else "does not exist or is empty"
        raise StoreError(f"{folder.place} {what}; give the folder that `synth render --out` wrote") from error
    if found != STORE_FORMAT:
        raise StoreError(f"{folder.place}: is of format {found!r:.80}, this version reads {STORE_FORMAT!r}")


def read_record(folder: Folder, name: str) -> ShardRecord:
    """The record of a file: a unit's, or a revision's patch. Raises FileNotFoundError or StoreError."""
    return parse_record(folder, name, folder.read(name, LARGEST_JSON))


def parse_record(folder: Folder, name: str, data: bytes) -> ShardRecord:
    """The record in a file's bytes. Raises StoreError."""
    record = _parse(PatchRecord if f"/{REVISIONS}/" in name else UnitRecord, folder, name, data)
    if not name.endswith(f"/{unit_name(record.first, record.last)}.json"):
        raise StoreError(f"{folder.where(name)}: holds the record of samples {record.first}..{record.last}")
    return record


def read_model(model: type[_Model], folder: Folder, name: str) -> _Model:
    """A value of `model` from a JSON file. Raises FileNotFoundError, or StoreError naming file and fault."""
    return _parse(model, folder, name, folder.read(name, LARGEST_JSON))


def _parse(model: type[_Model], folder: Folder, name: str, data: bytes) -> _Model:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{folder.where(name)}: {where + ': ' if where else ''}{first['msg']}"
        raise StoreError(message[:500]) from error
