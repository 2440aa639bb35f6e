"""Shards as bytes: what `tarfile` and WebDataset readers see, and ranges that are the members."""

import io
import tarfile

import pytest

from synth.codec import MEMBERS
from synth.store_shard import BLOCK, END_OF_ARCHIVE, fragment, locate, split

SIZES = (0, 1, 511, 512, 513, 1024, 3000)


def members(shift: int = 0) -> dict[str, bytes]:
    """A member of every kind, with sizes around the block size; given in the wrong order."""
    sizes = {name: SIZES[(k + shift) % len(SIZES)] for k, name in enumerate(MEMBERS)}
    return {name: bytes([k + 1]) * sizes[name] for k, name in reversed(list(enumerate(MEMBERS)))}


@pytest.mark.parametrize("shift", range(len(SIZES)))
def test_ranges_are_the_members_and_tarfile_agrees(shift):
    samples = {f"{i:08d}": members(shift + i) for i in range(3)}
    shard = b"".join(fragment(name, data) for name, data in samples.items()) + END_OF_ARCHIVE
    start, expected = 0, []
    for name, data in samples.items():
        offsets, start = locate({extension: len(d) for extension, d in data.items()}, start)
        assert list(offsets) == list(MEMBERS)
        for extension, offset in offsets.items():
            assert shard[offset : offset + len(data[extension])] == data[extension]
            expected.append((f"{name}.{extension}", offset, len(data[extension])))
    assert start + len(END_OF_ARCHIVE) == len(shard)
    with tarfile.open(fileobj=io.BytesIO(shard), mode="r:") as tar:
        assert [(info.name, info.offset_data, info.size) for info in tar] == expected


def test_headers_hold_nothing_but_name_and_size():
    with tarfile.open(fileobj=io.BytesIO(fragment("00000007", members()) + END_OF_ARCHIVE)) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
            assert info.mode == 0o644 and info.isreg() and not info.pax_headers


def test_webdataset_readers_group_by_what_stands_before_the_first_dot():
    """The rule of the format: key = name up to the first dot, a new key begins a new sample."""
    shard = b"".join(fragment(f"{i:08d}", members(i)) for i in range(3)) + END_OF_ARCHIVE
    samples: list[dict] = []
    with tarfile.open(fileobj=io.BytesIO(shard)) as tar:
        for info in tar:
            key, _, extension = info.name.partition(".")
            if not samples or samples[-1]["__key__"] != key:
                samples.append({"__key__": key})
            samples[-1][extension] = tar.extractfile(info).read()
    assert [sample.pop("__key__") for sample in samples] == ["00000000", "00000001", "00000002"]
    assert samples == [members(i) for i in range(3)]


def test_split_is_the_inverse_and_refuses_any_other_byte():
    data = fragment("00000007", members())
    lengths = {name: len(value) for name, value in members().items()}
    assert split("00000007", lengths, data) == members()
    offsets, _ = locate(lengths)
    inside = {at for name, offset in offsets.items() for at in range(offset, offset + lengths[name])}
    for at in range(0, len(data), 7):
        if at not in inside:
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(ValueError, match="headers"):
                split("00000007", lengths, changed)
    for other in (data[:-BLOCK], data + bytes(BLOCK), b""):
        with pytest.raises(ValueError, match="headers"):
            split("00000007", lengths, other)
    with pytest.raises(ValueError, match="headers"):
        split("00000008", lengths, data)


def test_an_unknown_member_is_an_error():
    with pytest.raises(ValueError, match=r"00000001.*'notes\.txt'"):
        fragment("00000001", {"notes.txt": b""})
