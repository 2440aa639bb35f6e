"""Diffs of hand-made indexes, and the numbers that follow from them."""

import numpy as np
import pyarrow as pa
import pytest

from synth.store_tag import parse_number
from synth.version_diff import diff_tables, next_number


def digest(number: int) -> bytes:
    return number.to_bytes(32, "little")


def table(rows: dict[int, tuple[int, int, int, int, str]]) -> pa.Table:
    """rows: by index, (content, recipe, pixels, pictures, env)."""
    widths = {"content_sha256": 32, "recipe_sha256": 32, "pixels_sha256": 32, "pictures_hash": 8}
    hashes = {
        name: pa.array([digest(row[k])[:width] for row in rows.values()], pa.binary(width))
        for k, (name, width) in enumerate(widths.items())
    }
    env = pa.array([row[4] for row in rows.values()], pa.string())
    return pa.table({"index": pa.array(list(rows), pa.int32()), **hashes, "env_id": env})


BASE = {i: (i, i, i, i, "e0") for i in (0, 1, 2, 5)}


@pytest.mark.parametrize(
    ("change", "aspects", "number"),
    [
        ({1: (91, 91, 91, 91, "e0")}, {"recipe", "pixels"}, "2.0.0"),
        ({1: (91, 91, 1, 1, "e0")}, {"recipe"}, "2.0.0"),
        ({1: (91, 1, 91, 91, "e1")}, {"environment", "pixels"}, "2.0.0"),
        ({1: (91, 1, 1, 91, "e0")}, {"encoding"}, "2.0.0"),
        ({1: (91, 1, 1, 1, "e0")}, {"metadata"}, "1.2.4"),
        ({1: (91, 1, 1, 1, "e1")}, {"metadata", "environment"}, "1.2.4"),
        ({1: (1, 1, 1, 1, "e1")}, {"environment"}, "1.2.4"),
    ],
)
def test_a_change_is_split_into_its_aspects(change, aspects, number):
    diff = diff_tables(table(BASE), table(BASE | change))
    assert diff.changed.tolist() == [1] and diff.same == 3 and not len(diff.added) and not len(diff.removed)
    assert {name for name, where in diff.aspects.items() if where.tolist() == [True]} == aspects
    assert all(len(where) == 1 for where in diff.aspects.values())
    assert next_number("1.2.3", diff) == number


def test_what_came_and_what_went():
    after = {i: BASE[i] for i in (0, 2, 5)} | {3: (3, 3, 3, 3, "e0"), 7: (7, 7, 7, 7, "e9")}
    diff = diff_tables(table(BASE), table(dict(sorted(after.items()))))
    assert (diff.added.tolist(), diff.removed.tolist(), diff.changed.tolist(), diff.same) == ([3, 7], [1], [], 3)
    assert next_number("1.2.3", diff) == "2.0.0"
    only_more = diff_tables(table(BASE), table(BASE | {9: (9, 9, 9, 9, "e0")}))
    assert next_number("1.2.3", only_more) == "1.3.0" and next_number(None, only_more) == "1.0.0"
    more_and_said = diff_tables(table(BASE), table(BASE | {1: (91, 1, 1, 1, "e0"), 9: (9, 9, 9, 9, "e0")}))
    assert next_number("1.2.3", more_and_said) == "1.3.0"
    assert diff_tables(table(BASE), table(BASE)).empty


def test_one_bit_anywhere_in_a_hash_is_seen():
    for byte in range(32):
        flipped = bytearray(digest(5))
        flipped[byte] ^= 0x80
        other = table(BASE)
        column = pa.array([digest(0), digest(1), digest(2), bytes(flipped)], pa.binary(32))
        diff = diff_tables(table(BASE), other.set_column(1, "content_sha256", column))
        assert diff.changed.tolist() == [5] and diff.aspects["metadata"].all()


def test_an_index_that_does_not_tell_pictures_from_words_counts_as_encoding():
    after, before = table(BASE | {1: (91, 1, 1, 1, "e0")}), table(BASE).drop_columns("pictures_hash")
    for pair in ((before, after), (after, before)):
        diff = diff_tables(*pair)
        assert diff.aspects["encoding"].tolist() == [True] and diff.aspects["metadata"].tolist() == [False]


def test_chunks_and_slices_do_not_matter():
    whole = table({i: (i, i, i, i, f"e{i % 3}") for i in range(50)})
    pieces = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 20), whole.slice(27)])
    assert diff_tables(whole, pieces).empty and diff_tables(pieces, whole).same == 50
    assert diff_tables(whole.slice(0, 0), pieces).added.tolist() == list(range(50))
    assert np.array_equal(diff_tables(whole.slice(10), pieces).added, np.arange(10))


@pytest.mark.parametrize("text", ["1.2", "01.2.3", "1.2.3 ", "v1.2.3", "1.2.-3", "latest", "1.2.3.json", "1٣.2.3"])
def test_what_is_no_number(text):
    assert parse_number(text) is None
