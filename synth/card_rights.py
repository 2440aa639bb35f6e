"""What may be done with what a dataset shows: licences, whom to name, and what they forbid, of every asset used.

A scan's licence is the one its spec states, with what the papers beside it said when it was rendered; a background's is
that of assets_manifest.yaml. Nothing here decides for the reader: what is forbidden is said, what is unknown too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from synth.assets_manifest import Asset, Manifest
from synth.card_manifest import BackgroundUsed, Recorded, ScanUsed
from synth.scans_facts import ScanEntry
from synth.scans_files import printable
from synth.scans_licence import known_licence, licence_in

#: What a licence may ask, gravest first, and what it means for whoever has the images.
TERMS = {
    "no_ai": "speaks against use for machine learning; do not train on these images before the owner has agreed",
    "no_sharing": "forbids to hand the original on; whether its images may be is for the owner to say, ask first",
    "no_derivatives": "forbids to hand on what is made from the original, and images rendered from it are; do not "
    "publish them",
    "unknown": "is not known; without one nothing is allowed, so ask the owner before you publish or train",
    "own_words": "is in words of its own, which no program can judge; read them before you publish or train",
    "non_commercial": "allows non-commercial use only",
    "share_alike": "asks that what is made from the original, its images too, carries the same licence",
}

_RESOLUTION = re.compile(r"_\d{1,2}k$")


@dataclass(frozen=True)
class Right:
    """What is known of one asset."""

    kind: str
    """`scan`, or a background's `hdri`, `plate` or `light`."""
    name: str
    licence: str | None
    attribution: str | None
    terms: frozenset[str]
    """Keys of TERMS."""
    source: str
    """Who says so."""
    images: int
    """In how many it is seen."""


def scan_rights(entries: Iterable[ScanEntry]) -> dict[str, list[dict]]:
    """What the scans' papers say, to be remembered with a run: part of no hash, for papers may be corrected."""
    names = ("attribution", "no_ai", "non_commercial", "no_sharing")
    return {
        "scan_rights": [{"key": e.key, **{name: getattr(e.facts, name) for name in names}} for e in entries],
    }


def rights_of_scans(
    scans: Iterable[ScanUsed], recorded: Mapping[str, Recorded], images: Mapping[str, int]
) -> list[Right]:
    """Of every scan that is seen, by name. images: in how many, by scan_id; one that no library has is unknown."""
    by_name = {scan.scan_id: scan for scan in scans}
    rights = []
    for name, count in sorted(images.items()):
        scan = by_name.get(name)
        papers = recorded.get(scan.key) if scan else None
        licence, attribution = scan.licence if scan else None, papers.attribution if papers else None
        terms = terms_of(licence)
        if papers:
            terms |= {term for term in ("no_ai", "non_commercial", "no_sharing") if getattr(papers, term)}
        source = "the scan's file or papers" if licence else "-"
        rights.append(Right("scan", name, licence, attribution, frozenset(terms), source, count))
    return rights


def rights_of_backgrounds(
    backgrounds: Iterable[BackgroundUsed], assets: Manifest, images: Mapping[str, int]
) -> list[Right]:
    """Of every background of the library: which panorama lit an image, its row does not say.

    images: in how many each is seen, by background_id.
    """
    by_hash = {sum_.sha256: asset for asset in assets.assets for sum_ in _checksums(asset) if sum_.sha256}
    by_name = {name: asset for asset in assets.assets if asset.kind == "hdri" for name in _names(asset)}
    rights = []
    for entry in sorted(backgrounds, key=lambda entry: entry.background_id):
        asset, source = by_hash.get(entry.sha256), "assets_manifest.yaml, by its content"
        if asset is None:
            asset, source = by_name.get(_RESOLUTION.sub("", entry.background_id)), "assets_manifest.yaml, by its name"
        licence, attribution = (asset.licence, asset.attribution) if asset else (None, None)
        count = images.get(entry.background_id, 0)
        terms = terms_of(licence)
        rights.append(
            Right(entry.kind, entry.background_id, licence, attribution, terms, source if asset else "-", count)
        )
    return rights


def terms_of(licence: str | None) -> frozenset[str]:
    """What a licence asks by its own words: keys of TERMS."""
    found = licence_in(f"License: {printable(licence)}", Path("licence")) if licence else None
    if found is None:
        return frozenset({"unknown"})
    said = {
        "own_words": known_licence(found.name) is None,
        "no_ai": found.no_ai,
        "non_commercial": found.non_commercial,
        "no_sharing": found.no_sharing,
        "no_derivatives": "-ND" in found.name,
        "share_alike": "-SA" in found.name,
    }
    return frozenset(term for term, holds in said.items() if holds)


def known_name(licence: str | None) -> str | None:
    """The name a licence is known by, `CC-BY-4.0`; else its own words; None where it has none."""
    return (known_licence(printable(licence)) or printable(licence)) if licence else None


def _checksums(asset: Asset) -> list:
    return [*asset.files.values(), *getattr(asset.source, "known", {}).values()]


def _names(asset: Asset) -> list[str]:
    return [_RESOLUTION.sub("", name.rsplit(".", 1)[0]) for name in asset.files] or [asset.id]
