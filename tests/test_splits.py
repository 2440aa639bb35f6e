"""People and places are dealt to splits by name alone."""

from collections import Counter

import pytest

from synth.splits import SPLITS, deal_splits, missing_splits

SHARES = {"train": 0.9, "val": 0.05, "test": 0.05}


@pytest.mark.parametrize("count", range(3, 10))
def test_few_names_fill_every_split(count):
    dealt = deal_splits((f"p{i}" for i in range(count)), SHARES)
    counted = Counter(dealt.values())
    assert set(counted) == set(SPLITS)
    assert counted["train"] == count - 2


def test_few_names_follow_larger_shares():
    dealt = deal_splits((f"p{i}" for i in range(9)), {"train": 0.4, "val": 0.3, "test": 0.3})
    assert Counter(dealt.values()) == {"train": 5, "val": 2, "test": 2}


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_names_stay_together(count):
    assert set(deal_splits((f"p{i}" for i in range(count)), SHARES).values()) == {"train"}


def test_a_split_without_a_share_gets_nobody():
    dealt = deal_splits((f"p{i}" for i in range(5)), {"train": 0.5, "val": 0.5, "test": 0})
    assert set(dealt.values()) == {"train", "val"}
    assert missing_splits(dealt, {"train": 0.5, "val": 0.5, "test": 0}) == []


def test_many_names_keep_their_split_when_others_come():
    some, more = [f"p{i}" for i in range(10)], [f"p{i}" for i in range(3000)]
    one, two = deal_splits(some, SHARES), deal_splits(more, SHARES)
    assert {name: two[name] for name in some} == one
    counted = Counter(two.values())
    for split, share in SHARES.items():
        assert counted[split] / 3000 == pytest.approx(share, abs=4 * (share * (1 - share) / 3000) ** 0.5)


def test_order_and_repeats_mean_nothing():
    names = [f"p{i}" for i in range(7)]
    assert deal_splits(names[::-1] + names, SHARES) == deal_splits(names, SHARES)


def test_known_names_stay_where_they_are_and_count():
    names = ["a", "b", "c", "d"]
    known = {"a": "val", "x": "test"}
    dealt = deal_splits(names, SHARES, known)
    assert dealt["a"] == "val"
    assert Counter(dealt.values()) == {"train": 2, "val": 1, "test": 1}
    assert deal_splits(["a", "b"], SHARES, known) == {"a": "val", "b": "train"}
    assert missing_splits({"a": "val", "b": "train"}, SHARES) == ["test"]
