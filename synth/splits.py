"""Which split a person or a place belongs to: by the hash of its name, so that nobody moves when others come.

A sample's person and background are drawn from one split: what a model is tested on, it has never seen.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: With fewer names than this, chance would leave a split empty too often: then they are counted out instead.
FEW = 10


@dataclass(frozen=True)
class Splits:
    """The split of each person, and of each background by hash; whoever is not named is in `train`."""

    person: Mapping[str, Split] = field(default_factory=dict)
    background: Mapping[str, Split] = field(default_factory=dict)


def deal_splits(
    names: Iterable[str], shares: Mapping[Split, float], known: Mapping[str, Split] | None = None
) -> dict[str, Split]:
    """A split for every name. shares: what each split should have, any scale; known: names whose split is settled.

    From ten names on each is dealt by its own hash alone, and stays where it is when names come or go. Fewer are
    ranked by hash, and every split with a share gets at least one while there are three or more; of one or two names
    all are in the split of the greatest share.
    """
    known = known or {}
    names = sorted({*names})
    wanted = [split for split in SPLITS if shares.get(split, 0) > 0]
    main = max(wanted, key=lambda split: shares[split])
    settled = {name: known[name] for name in names if name in known}
    rest = sorted((name for name in names if name not in known), key=_rank)
    if len(names) >= FEW:
        return settled | {name: _by_hash(name, shares, wanted) for name in rest}
    if len(names) < 3:
        return {name: main for name in rest} | settled
    dealt = dict(settled)
    total = sum(shares[split] for split in wanted)
    for split in reversed(wanted):  # from the end, so that the main split takes what is left
        if split == main:
            continue
        here = sum(of == split for of in dealt.values())
        count = max(1, int(shares[split] / total * len(names))) - here
        for name in rest[: max(0, min(count, len(rest) - 1))]:
            dealt[name] = split
        rest = [name for name in rest if name not in dealt]
    return dealt | {name: main for name in rest}


def missing_splits(dealt: Mapping[str, Split], shares: Mapping[Split, float]) -> list[Split]:
    """Splits that have a share but nobody in them."""
    return [split for split in SPLITS if shares.get(split, 0) > 0 and split not in dealt.values()]


def _rank(name: str) -> float:
    """A name's place in [0, 1)."""
    return int.from_bytes(hashlib.sha256(b"split:" + name.encode()).digest()[:7], "big") / 2**56


def _by_hash(name: str, shares: Mapping[Split, float], wanted: list[Split]) -> Split:
    place = _rank(name) * sum(shares[split] for split in wanted)
    for split in wanted:
        place -= shares[split]
        if place < 0:
            return split
    return wanted[-1]
