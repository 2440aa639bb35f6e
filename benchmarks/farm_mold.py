"""Samples by the ten thousand for benchmarks/farm.py: one real sample of the analytic engine, recast for every id.

Only its recipe says which id it is; pictures and labels stay the same. Every byte, hash and record is what the store
itself writes, so that whatever reads them checks as much as it would in a real run.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from renderers.importers import probe
from renderers.trial import ball_obj
from synth.assets import bpy_hdris
from synth.backgrounds import load_backgrounds
from synth.codec import sample_json
from synth.config import load_config
from synth.pipeline_worker import Job, environment, make_sample, open_engines
from synth.randomize import Library
from synth.recipe import canonical_json, canonical_sha256, sample_id
from synth.sample import Sample
from synth.scans import load_library
from synth.store_record import content_hash, shard_name
from synth.store_row import make_row
from synth.store_shard import END_OF_ARCHIVE, fragment, locate
from synth.store_write import Run, Unit

#: As in the largest run we plan for: tasks then have fourteen ids.
SCANS = 600
_SMALL = {"film.engine": "analytic", "width": 24, "height": 32}


def make_job(folder: Path, **changes) -> Job:
    """A job of the analytic engine on 600 names of one ball, 24 x 32 pixels. Its files stay in `folder`.

    changes: of the config.
    """
    (folder / "scans").mkdir(exist_ok=True)
    (folder / "scans" / "ball.obj").write_text(ball_obj(16))
    scans = load_library([folder / "scans"], folder / "cache", probe)
    skies = load_backgrounds(list(bpy_hdris().values())[:1], folder / "cache")
    (entry,) = scans.entries
    names = [(f"ball{number:03d}", f"p{number:03d}") for number in range(SCANS)]
    entries = tuple(entry.model_copy(update={"scan_id": ball, "person": person}) for ball, person in names)
    config = load_config(None, {**_SMALL, **changes})
    return Job(config, Library(entries, skies.entries), 0, scans.store, skies.store, threads=1)


@dataclass(frozen=True, eq=False)
class Mold:
    """A real sample with its row."""

    sample: Sample
    members: dict[str, bytes]
    row: dict

    def padded(self, size: int) -> "Mold":
        """The same with a colour picture of `size` bytes, of noise: no picture, but as good to hash."""
        noise = os.urandom(size)
        members = {**self.row["members"], "rgb.png": (0, size, hashlib.sha256(noise).hexdigest())}
        return Mold(self.sample, {**self.members, "rgb.png": noise}, {**self.row, "members": members})

    def cast(self, index: int) -> tuple[dict[str, bytes], dict]:
        """Members and row of the sample with this id."""
        recipe = self.sample.recipe.model_copy(update={"index": index})
        said = canonical_json(sample_json(recipe, self.sample.counts, tuple(self.row["flags"]))).encode()
        members = {**self.members, "json": said}
        offsets, _ = locate({name: len(data) for name, data in members.items()})
        digests = {name: entry[2] for name, entry in self.row["members"].items()}
        digests["json"] = hashlib.sha256(said).hexdigest()
        changes = {
            "id": sample_id(index),
            "index": index,
            "members": {name: (offset, len(members[name]), digests[name]) for name, offset in offsets.items()},
            "content_sha256": content_hash(digests),
            "recipe_sha256": canonical_sha256(recipe),
        }
        return members, {**self.row, **changes}


def make_mold(job: Job, run: Run) -> Mold:
    """Renders image 0."""
    engines = open_engines(job)
    made, refused = make_sample(engines, job, 0)
    env_id = run.add_environment(environment(engines.of(made.sample.recipe.film.engine)))
    row = make_row(made.sample, made.members, flags=made.flags, env_id=env_id, seconds=1.0, refused=refused)
    return Mold(made.sample, made.members, row)


def seal_directly(run: Run, mold: Mold, unit: Unit) -> None:
    """A sealed unit, as `Run.seal_if_complete` leaves it, without staging or waiting for the disk."""
    rows, pieces, start = [], [], 0
    for index in unit.ids:
        members, row = mold.cast(index)
        pieces.append(fragment(row["id"], members))
        offsets, end = locate({name: len(data) for name, data in members.items()}, start)
        moved = {name: (offsets[name], *entry[1:]) for name, entry in row["members"].items()}
        rows.append({**row, "members": moved})
        start = end
    data = b"".join([*pieces, END_OF_ARCHIVE])
    sha256 = hashlib.sha256(data).hexdigest()
    shard = run.out / "shards" / shard_name(unit.first, unit.last, sha256)
    shard.write_bytes(data)
    record = {"format": "synth-unit/1", "first": unit.first, "last": unit.last, "shard": shard.name}
    record |= {"bytes": len(data), "sha256": sha256, "rows": rows}
    (run.out / run.record_name(unit)).write_text(canonical_json(record))
