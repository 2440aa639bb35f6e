"""A binary FBX held against its own size before Blender sees it.

Blender's importer makes a list as long as a node says it has properties: four wrong bytes ask for 32 GB, and one in six
mangled files did so. Layout of nodes: https://code.blender.org/2013/08/fbx-binary-file-format-specification/.
"""

import struct
from mmap import mmap

from synth.scans_raw import BadScan

_HEADER_BYTES = 27
_MOST_NODES = 20_000_000
#: From this version on offsets have 64 bits.
_WIDE = 7500


def check_fbx(data: mmap | bytes) -> None:
    """Raises BadScan unless every node lies within its parent and has room for the properties it claims."""
    size = len(data)
    if size < _HEADER_BYTES:
        raise BadScan("cut short: the FBX ends within its header")
    (version,) = struct.unpack_from("<I", data, _HEADER_BYTES - 4)
    record = struct.Struct("<QQQB" if version >= _WIDE else "<IIIB")
    ends, at = [size], _HEADER_BYTES
    for _ in range(_MOST_NODES):
        if at >= ends[-1] and len(ends) > 1:
            at = ends.pop()
            continue
        if at + record.size > size:
            raise BadScan(f"cut short: a node starts at byte {at} of {size}")
        end, count, length, name = record.unpack_from(data, at)
        if end == 0:  # closes the list of a node's children; what follows the outermost is a footer
            if len(ends) == 1:
                return
            at = ends.pop()
            continue
        inner = at + record.size + name + length
        if not inner <= end <= ends[-1]:
            raise BadScan(f"cut short or broken: a node at byte {at} says that it ends at {end} of {size}")
        if 2 * count > length:  # a property has a type and a byte at least
            raise BadScan(f"broken: a node at byte {at} claims {count} properties in {length} bytes")
        ends.append(end)
        at = inner
    raise BadScan(f"it has more than {_MOST_NODES} nodes")
