"""Versions of a dataset: a commit makes a manifest, a tag gives one the number that follows from what changed.

Shards are shared by all versions. What changed: `synth.version_diff`. How tags lie on disk: `synth.store_tag`.
"""

from synth.recipe import canonical_json, canonical_sha256
from synth.store_folder import Folder
from synth.store_index import Manifest, read_index, read_manifest
from synth.store_record import StoreError
from synth.store_tag import Tag, manifest_of, read_tags, ref_name
from synth.version_diff import DIFF_COLUMNS, Diff, diff_tables, next_number


def make_tag(folder: Folder, message: str, created: str) -> Tag:
    """Gives the latest version the number that follows from what changed since the last tag.

    created: UTC time as text. Raises StoreError when nothing is committed, nothing changed, or another was quicker.
    """
    latest = read_manifest(folder)
    if latest is None:
        raise StoreError(f"{folder.place}: no version is committed yet; let `synth render` finish")
    tags = read_tags(folder)
    last = tags[-1] if tags else None
    diff = diff_manifests(folder, manifest_of(folder, last) if last else None, latest)
    if last is not None and diff.empty:
        raise StoreError(f"{folder.place}: nothing changed since {last.number}; there is nothing to tag")
    number = next_number(last.number if last else None, diff)
    tag = Tag(
        manifest=f"sha256:{canonical_sha256(latest)}",
        number=number,
        previous=last.number if last else None,
        message=message,
        created=created,
        root=latest["root"],
        samples=latest["index"]["rows"],
        counts=diff.counts,
    )
    if not folder.create(ref_name(number), [canonical_json(tag).encode()]):
        raise StoreError(f"{folder.place}: {number} was tagged by another at this moment; look at `synth dataset log`")
    return tag


def diff_manifests(folder: Folder, before: Manifest | None, after: Manifest) -> Diff:
    """What changed from one version to another of the same folder; `before` None is the empty dataset."""
    table = read_index(folder, after, DIFF_COLUMNS)
    return diff_tables(table.slice(0, 0) if before is None else read_index(folder, before, DIFF_COLUMNS), table)
