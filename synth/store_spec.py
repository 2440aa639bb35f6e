"""What a run renders (its spec), as JSON, and the one-line difference of two specs."""

from typing import Any

from synth.recipe import canonical_json

_LONGEST = 60
_MOST_NAMED = 5


def spec_difference(there: Any, here: Any, path: str = "") -> str:
    """What differs, e.g. `config.film.spp is 8 there, 16 here; scans: came 'bob'`; empty if nothing does.

    there: the spec of a stored run; here: the one of this command. Items of a list that have an `..._id` are
    compared by it.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(set(there) | set(here), key=str)
        parts = [_key_difference(there, here, key, f"{path}.{key}" if path else str(key)) for key in keys]
        return "; ".join(part for part in parts if part)
    if canonical_json([there]) == canonical_json([here]):  # 1 and 1.0 are equal in Python, not in a hash
        return ""
    if isinstance(there, list) and isinstance(here, list):
        names = _id_key(there + here)
        if names is not None:
            return _items_difference(there, here, names, path)
    return f"{path or 'spec'} is {_short(there)} there, {_short(here)} here"


def _key_difference(there: dict, here: dict, key: str, path: str) -> str:
    if key not in here:
        return f"{path} is {_short(there[key])} there, not set here"
    if key not in there:
        return f"{path} is not set there, {_short(here[key])} here"
    return spec_difference(there[key], here[key], path)


def _id_key(items: list) -> str | None:
    """The `..._id` key that all items have."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    common = set.intersection(*(set(item) for item in items))
    return next((key for key in sorted(common) if key.endswith("_id")), None)


def _items_difference(there: list, here: list, id_key: str, path: str) -> str:
    old, new = ({str(item[id_key]): item for item in items} for items in (there, here))
    said = []
    for verb, names in (
        ("came", sorted(new.keys() - old.keys())),
        ("went", sorted(old.keys() - new.keys())),
        ("changed", sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
    ):
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            said.append(f"{verb} {', '.join(_short(name) for name in names[:_MOST_NAMED])}{more}")
    return f"{path}: {', '.join(said) or 'another order'}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
