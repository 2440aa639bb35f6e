"""What no version and no record reaches, and its removal.

Reached is what `refs/` names (every tag, and latest), what is sealed and not committed yet, and what an unfinished
re-render has sealed. Every record that counts stays, also those of samples that were replaced: they are small, and old
versions are read by them. A running writer is safe by age: it publishes a shard and then its record, an index, then its
manifest, then the ref, within minutes, and what is younger than `young_s` stays. An old orphan that is published anew
is young again, which is looked at once more right before it goes. Staged samples of sealed units need no age: whoever
would seal them finds the record.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from synth.recipe import canonical_sha256
from synth.store_folder import Folder
from synth.store_index import Manifest, gather, is_current, read_manifest
from synth.store_record import REVISIONS, StoreError
from synth.store_revision import Revision, read_plan, revision_count, revision_files, revisions_in_effect
from synth.store_tag import manifest_of, read_tags
from synth.store_write import Run, only_run

#: Seconds that no writer needs between publishing a thing and what names it; as for temporary files.
YOUNG_S = 3600.0
#: Files that are removed between two looks at their ages.
_BATCH = 256

_NAMES = {
    "manifest": ("manifests", re.compile(r"[0-9a-f]{64}\.json")),
    "index": ("indexes", re.compile(r"[0-9a-f]{64}\.parquet")),
    "shard": ("shards", re.compile(r"[0-9]{8}-[0-9]{8}-[0-9a-f]{12}\.tar")),
    "temporary": ("tmp", re.compile(r".+")),
}
_FOLDER = re.compile(r"([0-9]{6})-[0-9a-f]{12}")


@dataclass(frozen=True)
class Garbage:
    """A file that nothing reaches."""

    kind: str
    """`manifest`, `index`, `revision`, `staged`, `temporary` or `shard`: what names comes before what is named."""
    name: str
    bytes: int


def find_garbage(folder: Folder, young_s: float = YOUNG_S) -> Iterator[Garbage]:
    """Files that nothing reaches, in an order in which they may be removed.

    Raises StoreError when anything that may reach others cannot be read: nothing is removed on a guess.
    """
    run = only_run(folder)
    ages = {place: folder.ages(place) for place, _ in _NAMES.values()}  # first: what comes later is young
    reached = _reached(run)
    for kind in ("manifest", "index"):
        yield from _unreached(folder, kind, reached, ages, young_s)
    yield from _dead_revisions(run, young_s)
    yield from _staged_again(run)
    for kind in ("temporary", "shard"):
        yield from _unreached(folder, kind, reached, ages, young_s)


def remove_garbage(folder: Folder, garbage: Iterable[Garbage], young_s: float = YOUNG_S) -> int:
    """Removes what `find_garbage` found and is not young again; returns how many bytes went."""
    removed, items = 0, list(garbage)
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        ages = {place: folder.ages(place) for place in {item.name.rpartition("/")[0] for item in batch}}
        old = [item for item in batch if _is_old(item, ages, young_s)]
        folder.remove(item.name for item in old)
        removed += sum(item.bytes for item in old)
    return removed


def _is_old(item: Garbage, ages: dict[str, dict[str, float]], young_s: float) -> bool:
    place, _, name = item.name.rpartition("/")
    return item.kind == "staged" or ages[place].get(name, -1.0) >= young_s


def _unreached(folder: Folder, kind: str, reached: set[str], ages: dict, young_s: float) -> Iterator[Garbage]:
    place, pattern = _NAMES[kind]
    for name, size in sorted(folder.sizes(place).items()):
        old = ages[place].get(name, -1.0) >= young_s
        if old and pattern.fullmatch(name) and f"{place}/{name}" not in reached:
            yield Garbage(kind, f"{place}/{name}", size)


def _reached(run: Run) -> set[str]:
    """Names of all manifests, indexes and shards that something reaches."""
    folder, reached = run.folder, set()
    # Unfinished ones first: what is put in effect from here on is among them, what was before is seen below.
    for name in _unfinished(run):
        revision = Revision(run, read_plan(run, name))
        reached |= {f"shards/{revision.patch(chunk).shard}" for chunk in revision.sealed()}
    for tag in read_tags(folder):
        reached.add(f"manifests/{tag.manifest.removeprefix('sha256:')}.json")
        reached |= _named_by(manifest_of(folder, tag))
    latest = read_manifest(folder)
    if latest is not None:
        reached |= {f"manifests/{canonical_sha256(latest)}.json", *_named_by(latest)}
    if latest is None or not is_current(run, latest):
        reached |= _named_by(gather(run)[1])
    return reached


def _named_by(manifest: Manifest) -> set[str]:
    index = {manifest["index"]["path"]} if manifest["index"] else set()
    return index | {shard["path"] for shard in manifest["shards"]}


def _unfinished(run: Run) -> list[str]:
    """Folders of revisions that can still be put in effect: planned for the next number."""
    names = [name for name in run.folder.listing(run.name(REVISIONS)) if _FOLDER.fullmatch(name)]
    following = revision_count(run) + 1
    return [name for name in names if int(name[:6]) >= following and read_plan(run, name) is not None]


def _dead_revisions(run: Run, young_s: float) -> Iterator[Garbage]:
    """Files of revisions that can never be put in effect: another has their number, or they were discarded."""
    folder = run.folder
    living = set(_unfinished(run))
    living |= {effect.plan for effect in revisions_in_effect(run)}  # in this order: one may come in effect between
    for name in sorted(folder.listing(run.name(REVISIONS))):
        if not _FOLDER.fullmatch(name) or name in living:
            continue
        files = revision_files(folder, run.name(REVISIONS, name))
        places = {file.rpartition("/")[0] for file in files}
        ages = {place: folder.ages(place) for place in places}
        if min((age for place in places for age in ages[place].values()), default=-1.0) < young_s:
            continue  # its command may still be running, and will be told that it came too late
        sizes = {f"{place}/{file}": size for place in places for file, size in folder.sizes(place).items()}
        yield from (Garbage("revision", file, sizes[file]) for file in files)


def _staged_again(run: Run) -> Iterator[Garbage]:
    """What was staged, or not yet removed, after its unit had been sealed."""
    sealed, staging = run.sealed_ids(), run.name("staging")
    for bucket in sorted(run.folder.listing(staging)):
        for file, size in sorted(run.folder.sizes(f"{staging}/{bucket}").items(), reverse=True):  # .tar before .json
            name = file.partition(".")[0]
            if name.isdigit() and any(int(name) in ids for ids in sealed):
                yield Garbage("staged", f"{staging}/{bucket}/{file}", size)


def unfinished_samples(folder: Folder) -> int:
    """Samples of re-renders that were begun and not finished; they are kept for the same command."""
    run = only_run(folder)
    plans = [read_plan(run, name) for name in _unfinished(run)]
    if any(plan is None for plan in plans):
        raise StoreError(f"{folder.place}: a re-render is being given up at this moment; run the same command again")
    return sum(len(plan.ids) for plan in plans)
