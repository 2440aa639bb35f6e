"""Revisions: samples of a run sealed anew, because they were rendered again or to leave dead bytes behind.

A revision is planned (which ids), sealed shard by shard under `runs/<run>/revisions/<number>-<plan's hash>/`, and put
in effect by creating `runs/<run>/revisions/<number>.json`, which is the only commit point: before it nothing has
changed for anybody. Numbers have no gaps, and a plan is made for one number: of two plans at the same time the slower
one is refused, so that neither undoes the other unseen. Nothing of the run itself changes; older versions are read as
before. `synth.store_overlay` puts revisions over what the units hold.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from synth.recipe import canonical_json, canonical_sha256
from synth.store_folder import Folder
from synth.store_record import (
    MOST_SAMPLES,
    REVISIONS,
    SHARD_SIZE,
    PatchRecord,
    Row,
    StoreError,
    read_model,
    read_record,
    unit_name,
)
from synth.store_seal import seal_samples
from synth.store_stage import Staging
from synth.store_write import Run

_NUMBER = re.compile(r"([0-9]{6})\.json")

Kind = Literal["rerender", "compact"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Plan(_Value):
    """What a revision seals anew."""

    format: Literal["synth-plan/1"] = "synth-plan/1"
    number: int = Field(ge=1, lt=10**6)
    """Which revision of the run it will be."""
    kind: Kind
    ids: tuple[Annotated[int, Field(ge=0, lt=MOST_SAMPLES)], ...] = Field(min_length=1)
    """Ascending."""

    @model_validator(mode="after")
    def _ascending(self) -> "Plan":
        if any(a >= b for a, b in pairwise(self.ids)):
            raise ValueError("ids are not ascending")
        return self

    @property
    def name(self) -> str:
        """Of its folder: number and content, so that the same plan is found again."""
        return f"{self.number:06d}-{canonical_sha256(self)[:12]}"


class InEffect(_Value):
    """`<number>.json`: a revision that counts."""

    format: Literal["synth-revision/1"] = "synth-revision/1"
    plan: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}-[0-9a-f]{12}$")]
    """Name of its folder."""
    units: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9]{8}-[0-9]{8}$")], ...] = Field(min_length=1)
    """Names of its patches, ascending."""


@dataclass(frozen=True)
class Revision:
    """A revision on its way. Holds no handle: it may be sent to any process that sees the place."""

    run: Run
    plan: Plan

    @cached_property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Ids of each shard."""
        ids = self.plan.ids
        return tuple(ids[start : start + SHARD_SIZE] for start in range(0, len(ids), SHARD_SIZE))

    @property
    def staging(self) -> Staging:
        """Where its finished samples wait for their shard."""
        return Staging(self.run.folder, self._name("staging"))

    def add_environment(self, facts: Mapping[str, str]) -> str:
        """As `Run.add_environment`, beside the run's own: who goes on with the run need not match these."""
        return self._as_run.add_environment(facts)

    def environments(self) -> list[dict[str, str]]:
        """Environments that its samples were made in so far."""
        return self._as_run.environments()

    def sealed(self) -> tuple[tuple[int, ...], ...]:
        """Chunks that have a patch."""
        names = set(self.run.folder.listing(self._name("units")))
        return tuple(chunk for chunk in self.chunks if f"{_chunk_name(chunk)}.json" in names)

    def patch(self, chunk: tuple[int, ...]) -> PatchRecord:
        """What was sealed of a chunk."""
        return read_record(self.run.folder, self._patch(chunk))

    def seal(self, chunk: tuple[int, ...], ids: Iterable[int], take: Callable[[int], tuple[Row, bytes]]) -> None:
        """Seals `ids` of a chunk, as `take` gives their rows and fragments, and removes what was staged of it."""
        samples = map(take, ids)
        seal_samples(self.run.folder, self._patch(chunk), PatchRecord, chunk[0], chunk[-1], samples)
        self.staging.remove(chunk)

    def put_in_effect(self) -> None:
        """Makes all its patches count. Raises StoreError when another revision has its number."""
        effect = InEffect(plan=self.plan.name, units=tuple(map(_chunk_name, self.sealed())))
        name = _effect_name(self.run, self.plan.number)
        self.run.folder.create(name, [canonical_json(effect).encode()])
        if read_model(InEffect, self.run.folder, name).plan != self.plan.name:
            raise StoreError(
                f"{self.run.out}: another revision was put in effect meanwhile; run the same command again"
            )

    def discard(self) -> None:
        """Forgets it: its shards are orphans then."""
        folder = self.run.folder
        folder.remove([self._name("plan.json")])  # first: what is left without it is nobody's
        folder.remove(revision_files(folder, self._name()))

    def _name(self, *parts: str) -> str:
        return self.run.name(REVISIONS, self.plan.name, *parts)

    def _patch(self, chunk: tuple[int, ...]) -> str:
        return self._name("units", f"{_chunk_name(chunk)}.json")

    @property
    def _as_run(self) -> Run:
        return Run(self.run.out, "/".join((self.run.run_id, REVISIONS, self.plan.name)))


def open_revision(run: Run, kind: Kind, ids: Iterable[int]) -> Revision:
    """The next revision of a run, begun if it is not: the same ids go on where they stopped."""
    plan = Plan(number=revision_count(run) + 1, kind=kind, ids=tuple(ids))
    revision = Revision(run, plan)
    run.folder.create(revision._name("plan.json"), [canonical_json(plan).encode()])
    for chunk in revision.sealed():  # whoever sealed it may have died before
        revision.staging.remove(chunk)
    return revision


def revision_count(run: Run) -> int:
    """How many revisions are in effect, from their names alone."""
    numbers = sorted(int(m[1]) for m in map(_NUMBER.fullmatch, run.folder.listing(run.name(REVISIONS))) if m)
    if numbers != list(range(1, len(numbers) + 1)):
        raise StoreError(f"{run.folder.where(run.name(REVISIONS))}: holds revisions {numbers}, one is missing")
    return len(numbers)


def revisions_in_effect(run: Run) -> list[InEffect]:
    """In the order they count: a later one wins."""
    numbers = range(1, revision_count(run) + 1)
    return [read_model(InEffect, run.folder, _effect_name(run, number)) for number in numbers]


def read_plan(run: Run, name: str) -> Plan | None:
    """The plan of a revision's folder; None if there is none. Raises StoreError when it is not what its name says."""
    try:
        plan = read_model(Plan, run.folder, run.name(REVISIONS, name, "plan.json"))
    except FileNotFoundError:
        return None
    if plan.name != name:
        raise StoreError(f"{run.folder.where(run.name(REVISIONS, name))}: its plan was changed")
    return plan


def patch_names(run: Run, effect: InEffect) -> list[str]:
    """Where a revision's patches lie."""
    return [run.name(REVISIONS, effect.plan, "units", f"{unit}.json") for unit in effect.units]


def revision_files(folder: Folder, name: str) -> list[str]:
    """All files of a revision's folder: plan, environments, patches, what is staged."""
    here = [f"{name}/{file}" for file in folder.sizes(name)]
    for below in ("units", "environments"):
        here += [f"{name}/{below}/{file}" for file in folder.sizes(f"{name}/{below}")]
    for bucket in folder.listing(f"{name}/staging"):
        here += [f"{name}/staging/{bucket}/{file}" for file in folder.sizes(f"{name}/staging/{bucket}")]
    return here


def _chunk_name(chunk: tuple[int, ...]) -> str:
    return unit_name(chunk[0], chunk[-1])


def _effect_name(run: Run, number: int) -> str:
    return run.name(REVISIONS, f"{number:06d}.json")
