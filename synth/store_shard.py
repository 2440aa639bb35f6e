"""Bytes of a shard: a plain ustar archive in WebDataset naming, and where each member's bytes lie in it.

A sample is a *fragment*: its members, each a 512-byte header and data padded to 512, without end-of-archive blocks. A
shard is fragments one after another and the end: where everything lies follows from the members' lengths alone.
Pure functions; who writes the bytes where: `synth.store_write`.
"""

import tarfile
from collections.abc import Mapping

from synth.codec import MEMBERS

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)

#: No member is larger: the largest picture (4096 x 3072) has 75 MB of half-float normals.
LARGEST_MEMBER = 256 * 2**20


def fragment(sample_id: str, members: Mapping[str, bytes]) -> bytes:
    """The tar bytes of a sample: {extension: data}, stored in the order of `codec.MEMBERS`.

    Headers hold nothing but name and size: no time, no owner, so that the same members are the same bytes.
    """
    unknown = set(members) - set(MEMBERS)
    if unknown:
        raise ValueError(f"sample {sample_id}: unknown member {sorted(unknown)[0]!r}")
    pieces = []
    for extension in (name for name in MEMBERS if name in members):
        pieces.append(tar_entry(f"{sample_id}.{extension}", members[extension]))
    return b"".join(pieces)


def tar_entry(name: str, data: bytes) -> bytes:
    """A file in an archive: its header, its bytes, and what fills the last block."""
    return b"".join((_header(name, len(data)), data, bytes(-len(data) % BLOCK)))


def locate(lengths: Mapping[str, int], start: int = 0) -> tuple[dict[str, int], int]:
    """Offsets of the members' data in a fragment that begins at `start`, and the offset behind the fragment."""
    offsets, end = {}, start
    for extension in (name for name in MEMBERS if name in lengths):
        offsets[extension] = end + BLOCK
        end = end_of_member(end + BLOCK, lengths[extension])
    return offsets, end


def end_of_member(offset: int, length: int) -> int:
    """Where the padding ends behind a member's data: there the next header begins."""
    return offset + length + -length % BLOCK


def split(sample_id: str, lengths: Mapping[str, int], data: bytes) -> dict[str, bytes]:
    """The members of a fragment: the inverse of `fragment`. Headers and padding must be what `fragment` writes.

    Raises ValueError when a single byte outside the members' data differs.
    """
    offsets, end = locate(lengths)
    members = {extension: data[offset : offset + lengths[extension]] for extension, offset in offsets.items()}
    if len(data) != end or fragment(sample_id, members) != data:
        raise ValueError("not the tar headers of this sample")
    return members


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)  # a regular file, mode 0644, time 0, owner 0
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
