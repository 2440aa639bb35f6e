"""Which machines may work on one dataset: versions must match, the class of device and CPU may differ.

Bytes are promised within a class. A class is what chooses other machine code for the same numbers: the device, and the
CPU's vector instructions.
"""

from collections.abc import Iterable, Mapping
from itertools import product

#: Fields of an environment that make its class; all others are versions.
CLASS_FIELDS = ("device", "device_name", "cpu")


def environment_class(environments: Iterable[Mapping[str, str]]) -> str:
    """E.g. `cpu avx2`, for people and for comparing; of a worker with several engines, what they have between them."""
    fields = {name: value for facts in environments for name, value in facts.items() if name in CLASS_FIELDS}
    return " ".join(fields[name] for name in CLASS_FIELDS if fields.get(name))


def version_difference(known: Mapping[str, str], facts: Mapping[str, str]) -> str | None:
    """`bpy 4.5.14, not 4.5.15` for each version of `facts` that is not the known one; None if all match.

    Different renderers, of a mixture of engines, have only some versions in common.
    """
    same = known.get("renderer") == facts.get("renderer")
    compared = {*known, *facts} if same else {*known} & {*facts} - {"renderer"}
    names = sorted(compared - set(CLASS_FIELDS))
    lines = [f"{n} {facts.get(n, 'none')}, not {known.get(n, 'none')}" for n in names if known.get(n) != facts.get(n)]
    return "; ".join(lines) or None


OTHER_VERSIONS = "a dataset is made by one set of versions: install the same on every node, or give another --out"


def why_refused(
    known: Iterable[Mapping[str, str]], environments: Iterable[Mapping[str, str]], one_class: bool
) -> str | None:
    """Why a worker with these environments may not join those whose environments are known; None if it may."""
    for other, facts in product(known, environments):
        difference = version_difference(other, facts)
        if difference:
            return difference
        same = other.get("renderer") == facts.get("renderer")
        ours, theirs = environment_class([facts]), environment_class([other])
        if one_class and same and ours != theirs:
            return f"environment class {ours}, not {theirs} (--one-class)"
    return None
