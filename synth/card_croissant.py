"""Croissant (https://docs.mlcommons.org/croissant/docs/croissant-spec.html): the version for machines that load data.

Files with their checksums, and the rows of the index as records. Pictures lie in the shards, under each row's id; the
record set does not unpack them, for its readers would unpack a terabyte before the first record.
"""

import json
from dataclasses import dataclass
from typing import Any

from synth.card_front import HUB_SPLIT
from synth.card_rights import known_name
from synth.card_subject import Subject
from synth.card_words import bibtex, limits, published, summary
from synth.recipe import sample_id
from synth.scans_licence import known_licence
from synth.store_record import Row
from synth.store_table import schema

_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty", "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "name": {"@container": "@language"}, "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
_TYPES = {"string": "sc:Text", "int32": "sc:Integer", "float": "sc:Float"}
#: Known names that are in the SPDX list, besides Creative Commons with a version.
_SPDX = ("MIT", "Apache-2.0", "BSD-3-Clause")


@dataclass(frozen=True)
class Packing:
    """How samples lie in the files that a manifest calls its shards."""

    encoding: str
    """Media type of a file."""
    naming: str
    pictures: str
    """Where a sample's pictures are."""


SHARDS = Packing(
    "application/x-tar", "WebDataset naming", f"the shards' members {sample_id(0)}.rgb.png and so on, by sample_id"
)


def croissant_json(subject: Subject, packing: Packing = SHARDS) -> str:
    """JSON-LD that conforms to Croissant 1.1."""
    licences = sorted({_licence(right.licence) for right in subject.rights})
    tag = subject.origin.tag
    about = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": subject.name,
        "description": summary(subject),
        "version": tag.number if tag else f"0.0.0-root{subject.origin.made.root[:12]}",
        **({"datePublished": day} if (day := published(tag)) else {}),
        "license": licences,
        "citeAs": bibtex(subject),
        "rai:dataLimitations": limits(subject),
        "distribution": _files(subject.manifest, packing),
        "recordSet": [_records(packing)],
    }
    return json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _licence(licence: str | None) -> str:
    """An address of the SPDX list, or the licence's own words."""
    name = known_name(licence)
    if name is None:
        return "unknown"
    is_spdx = name in _SPDX or (name == known_licence(name) and name.startswith("CC") and name[-1].isdigit())
    return f"https://spdx.org/licenses/{name}.html" if is_spdx else name


def _files(manifest: dict, packing: Packing) -> list[dict[str, Any]]:
    """The index, and every shard."""
    index = {**manifest["index"], "samples": manifest["index"]["rows"]}
    files = [_file("index.parquet", index, "application/x-parquet", "one row for every sample")]
    for shard in manifest["shards"]:
        name = shard["path"].removeprefix("shards/")
        files.append(_file(name, shard, packing.encoding, f"{shard['samples']} samples, {packing.naming}"))
    return files


def _file(name: str, entry: dict, encoding: str, description: str) -> dict[str, Any]:
    size = {"contentSize": f"{entry['bytes']} B"} if "bytes" in entry else {}
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": entry["path"],
        **size,
        "encodingFormat": encoding,
        "sha256": entry["sha256"],
    }


def _records(packing: Packing) -> dict[str, Any]:
    """One record for every sample: what the index says of it, hashes and places aside."""
    technical = ("_off", "_len", "_sha256", "_hash", "shard")
    fields = [_field(column) for column in schema() if not column.name.endswith(technical)]
    return {
        "@type": "cr:RecordSet",
        "@id": HUB_SPLIT,
        "name": HUB_SPLIT,
        "description": f"one record for every sample; its pictures are {packing.pictures}",
        "key": {"@id": f"{HUB_SPLIT}/sample_id"},
        "field": fields,
    }


def _field(column) -> dict[str, Any]:
    is_list = str(column.type).startswith("list")
    kind = str(column.type.value_type if is_list else column.type)
    described = Row.model_fields[column.name].description if column.name in Row.model_fields else None
    return {
        "@type": "cr:Field",
        "@id": f"{HUB_SPLIT}/{column.name}",
        "name": column.name,
        **({"description": described} if described else {}),
        "dataType": _TYPES[kind],
        **({"repeated": True} if is_list else {}),
        "source": {"fileObject": {"@id": "index.parquet"}, "extract": {"column": column.name}},
    }
