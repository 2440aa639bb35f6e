"""Which machines may work on one dataset: versions must match, the class of device and CPU may differ.

Bytes are promised within a class. A class is what chooses other machine code for the same numbers: the device, and the
CPU's vector instructions.
"""

from collections.abc import Iterable, Mapping

#: Fields of an environment that make its class; all others are versions.
CLASS_FIELDS = ("device", "device_name", "cpu")


def environment_class(facts: Mapping[str, str]) -> str:
    """E.g. `cpu avx2`, for people and for comparing."""
    return " ".join(facts[name] for name in CLASS_FIELDS if facts.get(name))


def version_difference(known: Mapping[str, str], facts: Mapping[str, str]) -> str | None:
    """`bpy 4.5.14, not 4.5.15` for each version of `facts` that is not the known one; None if all match."""
    names = sorted({*known, *facts} - set(CLASS_FIELDS))
    lines = [f"{n} {facts.get(n, 'none')}, not {known.get(n, 'none')}" for n in names if known.get(n) != facts.get(n)]
    return "; ".join(lines) or None


OTHER_VERSIONS = "a dataset is made by one set of versions: install the same on every node, or give another --out"


def why_refused(known: Iterable[Mapping[str, str]], facts: Mapping[str, str], one_class: bool) -> str | None:
    """Why a worker may not join those whose environments are known; None if it may."""
    for other in known:
        difference = version_difference(other, facts)
        if difference:
            return difference
        if one_class and environment_class(other) != environment_class(facts):
            return f"environment class {environment_class(facts)}, not {environment_class(other)} (--one-class)"
    return None
