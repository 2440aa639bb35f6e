"""The head of a README for the Hugging Face Hub: YAML by which it is found, filtered and loaded.

Keys and values: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md.
"""

from collections.abc import Sequence

import yaml

from synth.card_rights import Right, known_name
from synth.card_subject import Subject

#: Known name here -> licence id of the Hub. What is not listed has none there.
_HUB_LICENCES = {
    "CC0-1.0": "cc0-1.0", "MIT": "mit", "Apache-2.0": "apache-2.0", "BSD": "bsd", "BSD-3-Clause": "bsd-3-clause",
    **{f"CC-BY-{v}": f"cc-by-{v}" for v in ("2.0", "2.5", "3.0", "4.0")},
    **{f"CC-BY-SA-{v}": f"cc-by-sa-{v}" for v in ("3.0", "4.0")},
    **{f"CC-BY-NC-{v}": f"cc-by-nc-{v}" for v in ("2.0", "3.0", "4.0")},
    **{f"CC-BY-NC-SA-{v}": f"cc-by-nc-sa-{v}" for v in ("2.0", "3.0", "4.0")},
    **{f"CC-BY-NC-ND-{v}": f"cc-by-nc-nd-{v}" for v in ("3.0", "4.0")},
    "CC-BY-ND-4.0": "cc-by-nd-4.0",
}  # fmt: skip
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TAGS = ("synthetic", "humans", "surface-normals", "photogrammetry", "blender", "webdataset", "croissant")

#: What the Hub calls the one list of samples: a shard holds samples of every split, each says its own.
HUB_SPLIT = "samples"


def front_matter(subject: Subject, data_files: list[dict[str, str]] | None = None) -> str:
    """YAML between two lines of dashes. data_files: of each split, where they are not the dataset's own shards."""
    licence = hub_licence(subject.rights)
    paths = "shards/*.tar" if subject.all_shards else [shard["path"] for shard in subject.manifest["shards"]]
    tags = [tag for tag in _TAGS if data_files is None or tag != "webdataset"]
    data_files = data_files or [{"split": HUB_SPLIT, "path": paths}]
    head = {
        "pretty_name": subject.name,
        **licence,
        "task_categories": ["depth-estimation", "image-segmentation"],
        "size_categories": [_size(subject.figures.samples)],
        "annotations_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "tags": tags,
        "configs": [{"config_name": "default", "data_files": data_files}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120)}---"


def hub_licence(rights: Sequence[Right]) -> dict[str, str]:
    """`license`, with `license_name` where the Hub has no id for all of it.

    One id stands there only if every asset has that one licence, CC0 aside, which asks nothing.
    """
    names = {known_name(right.licence) for right in rights}
    asking = names - {"CC0-1.0"} or names
    if names <= {None}:
        return {"license": "unknown"}
    (name, *others) = sorted(asking, key=str)
    if not others and name in _HUB_LICENCES:
        return {"license": _HUB_LICENCES[name]}
    return {"license": "other", "license_name": "see-licences-and-attributions"}


def _size(samples: int) -> str:
    return next((name for limit, name in _SIZES if samples < limit), "1M<n<10M")
