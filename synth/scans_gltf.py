"""glTF and GLB files: read, held against their size, and rewritten so that an importer can open nothing else.

Blender's importer believes every count and follows every URI: an accessor may ask for 15 GiB, a node may be its own
ancestor, an image may be `file:///etc/passwd`. `read_gltf` refuses such files; `stage_gltf` writes a copy whose
buffers lie beside it and whose images are stand-ins that only carry their index. Pictures are taken from here.
"""

import base64
import binascii
import json
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from synth.scans_files import leaves_folder, resolve_uri
from synth.scans_formats import References
from synth.scans_raw import BadScan, RawPicture

_MAX_JSON_BYTES = 64 * 2**20
#: Accessors without a buffer view (Draco, zeros) cost memory without costing bytes of the file.
_MAX_VIRTUAL_ELEMENTS = 100_000_000
_MAX_NODE_DEPTH = 256  # Blender's importer recurses about three frames per level, Python allows 1000
_MAX_IMAGES = 1024
_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
#: A 1 x 1 PNG: what stands in for every image while Blender imports.
_STAND_IN = ("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBg"
             "AAAABQABh6FO1AAAAABJRU5ErkJggg==")  # fmt: skip
#: What Blender 4.5 reads of what a file may require.
_EXTENSIONS = re.compile(
    r"KHR_materials_\w+|KHR_lights_punctual|KHR_draco_mesh_compression|KHR_mesh_quantization|KHR_texture_transform"
    r"|EXT_texture_webp|EXT_mesh_gpu_instancing"
)
_STAND_IN_NAME = "gltf-image-"


@dataclass(frozen=True)
class Buffer:
    """Bytes of a glTF buffer: a stretch of a file, or the bytes themselves."""

    file: Path | None
    offset: int
    length: int
    data: bytes | None = None

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of the buffer."""
        if self.data is not None:
            return self.data[offset : offset + length]
        with self.file.open("rb") as stream:
            stream.seek(self.offset + offset)
            return stream.read(length)


@dataclass(frozen=True)
class Gltf:
    """A glTF document that was held against its bytes."""

    document: dict
    buffers: tuple[Buffer, ...]

    def picture(self, image_name: str) -> RawPicture | None:
        """The picture that a stand-in's name in Blender means; None for names that are not ours."""
        index = image_name.removeprefix(_STAND_IN_NAME)
        if index == image_name or not index.isdigit():
            return None
        image = self.document["images"][int(index)]
        if "bufferView" in image:
            view = self.document["bufferViews"][image["bufferView"]]
            data = self.buffers[view["buffer"]].read(view.get("byteOffset", 0), view["byteLength"])
            return RawPicture(image.get("name") or f"image {index}", data)
        uri = image.get("uri", "")
        if uri.startswith("data:"):
            return RawPicture(image.get("name") or f"image {index}", _data_uri(uri))
        return RawPicture(uri)


def read_gltf(path: Path, root: Path) -> Gltf:
    """A .gltf or .glb, with every count and offset within its bytes and nodes that form a forest. Raises BadScan."""
    document, chunk = _read_glb(path) if path.suffix.lower() == ".glb" else (_read_json(path), None)
    try:
        buffers = tuple(_buffer(b, i, chunk, path, root) for i, b in enumerate(document.get("buffers", [])))
        views = document.get("bufferViews", [])
        for index, view in enumerate(views):
            _check_view(view, index, buffers)
        for index, accessor in enumerate(document.get("accessors", [])):
            _check_accessor(accessor, index, views)
        _check_nodes(document.get("nodes", []))
        _check_images(document.get("images", []), views, path, root)
        foreign = [name for name in document.get("extensionsRequired", []) if not _EXTENSIONS.fullmatch(name)]
        if foreign:
            raise BadScan(f"it requires {', '.join(foreign)}, which Blender cannot read; export it without")
        if not document.get("meshes"):
            raise BadScan("no mesh in it (a scene of cameras and lights?)")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise BadScan(f"the glTF structure is broken ({type(error).__name__}: {error})") from error
    return Gltf(document, buffers)


def gltf_references(path: Path, root: Path) -> References:
    """Buffers and images of a glTF outside of itself."""
    gltf = read_gltf(path, root)
    images = gltf.document.get("images", [])
    uris = [image["uri"] for image in images if "uri" in image and not image["uri"].startswith("data:")]
    parts = [buffer.file for buffer in gltf.buffers if buffer.file is not None and buffer.file != path]
    licence, attribution = _credit(gltf.document.get("asset"))
    return References(
        parts=tuple(dict.fromkeys(parts)),
        pictures=tuple(dict.fromkeys(uris)),
        embedded=len(uris) < len(images),
        licence=licence,
        attribution=attribution,
    )


def stage_gltf(gltf: Gltf, folder: Path) -> Path:
    """A copy of the document in `folder` that refers to nothing outside of it; the path of its .gltf."""
    document = dict(gltf.document)
    document["buffers"] = []
    for index, buffer in enumerate(gltf.buffers):
        name = f"buffer{index}.bin"
        with (folder / name).open("wb") as copy:
            if buffer.data is not None:
                copy.write(buffer.data)
            else:
                with buffer.file.open("rb") as stream:
                    stream.seek(buffer.offset)
                    shutil.copyfileobj(_Limited(stream, buffer.length), copy, 2**20)
        document["buffers"].append({"byteLength": buffer.length, "uri": name})
    images = gltf.document.get("images", [])
    document["images"] = [{"name": f"{_STAND_IN_NAME}{i}", "uri": _STAND_IN} for i in range(len(images))]
    staged = folder / "scan.gltf"
    staged.write_text(json.dumps({key: value for key, value in document.items() if value != []}))
    return staged


class _Limited:
    """The next `left` bytes of a stream."""

    def __init__(self, stream, left: int):
        self._stream, self._left = stream, left

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


def _read_glb(path: Path) -> tuple[dict, Buffer | None]:
    """JSON and binary chunk of a GLB."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(20)
        if len(head) < 20 or head[:4] != b"glTF":
            raise BadScan("not a GLB file: it does not start with `glTF` and a chunk")
        _, version, total, length, kind = struct.unpack("<4sIIII", head)
        if version != 2 or kind != 0x4E4F534A:
            raise BadScan("not a glTF 2 binary")
        if total > size or 20 + length > size:
            raise BadScan(f"cut short: its header promises {max(total, 20 + length)} bytes, the file has {size}")
        document = _parse(_read_limited(stream, length))
        start = 20 + length
        head = stream.read(8)
    if len(head) < 8:
        return document, None
    length, kind = struct.unpack("<II", head)
    if kind != 0x004E4942:
        return document, None
    if start + 8 + length > size:
        raise BadScan(f"cut short: its binary chunk promises {length} bytes, {size - start - 8} are there")
    return document, Buffer(path, start + 8, length)


def _read_json(path: Path) -> dict:
    with path.open("rb") as stream:
        return _parse(_read_limited(stream, path.stat().st_size))


def _read_limited(stream, length: int) -> bytes:
    if length > _MAX_JSON_BYTES:  # parsed it would take ten times as much memory
        raise BadScan(f"its JSON is larger than {_MAX_JSON_BYTES // 2**20} MiB")
    return stream.read(length)


def _parse(data: bytes) -> dict:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadScan(f"its JSON cannot be read ({str(error)[:80]})") from error
    if not isinstance(document, dict):
        raise BadScan("its JSON is not a glTF document")
    return document


def _buffer(buffer: dict, index: int, chunk: Buffer | None, path: Path, root: Path) -> Buffer:
    length, uri = _natural(buffer["byteLength"], "byteLength"), buffer.get("uri")
    if uri is None:
        if chunk is None or index != 0:
            raise BadScan(f"buffer {index} has no bytes")
        found = chunk
    elif uri.startswith("data:"):
        data = _data_uri(uri)
        found = Buffer(None, 0, len(data), data)
    elif leaves_folder(uri, path.parent, root):
        raise BadScan(f"buffer {uri[:100]!r} leads out of the scans folder")
    elif (file := resolve_uri(uri, path.parent, root)) is None:
        raise BadScan(f"its buffer {uri[:100]!r} is missing")
    else:
        found = Buffer(file, 0, file.stat().st_size)
    if length > found.length:
        raise BadScan(f"buffer {index} promises {length} bytes, {found.length} are there")
    return Buffer(found.file, found.offset, length, found.data)


def _data_uri(uri: str) -> bytes:
    head, _, data = uri.partition(",")
    if not head.endswith(";base64"):
        raise BadScan("a data URI that is not base64")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BadScan("a data URI that is not base64") from error


def _credit(asset) -> tuple[str | None, str | None]:
    """Licence and attribution of `asset`: its extras as Sketchfab writes them, else its copyright."""
    asset = asset if isinstance(asset, dict) else {}
    extras = asset.get("extras") if isinstance(asset.get("extras"), dict) else {}
    said = {key: _line(extras.get(key)) for key in ("license", "author", "title", "source")}
    parts = [f'"{said["title"]}"' if said["title"] else None, said["author"] and f"by {said['author']}", said["source"]]
    attribution = " ".join(part for part in parts if part) or _line(asset.get("copyright"))
    return said["license"], attribution


def _line(value) -> str | None:
    """A stranger's text as one printable line of at most 300 characters."""
    if not isinstance(value, str):
        return None
    return "".join(c if c.isprintable() else " " for c in value).strip()[:300] or None


def _check_view(view: dict, index: int, buffers: tuple[Buffer, ...]) -> None:
    end = _natural(view.get("byteOffset", 0), "byteOffset") + _natural(view["byteLength"], "byteLength")
    length = buffers[_natural(view["buffer"], "buffer")].length
    if end > length:
        raise BadScan(f"buffer view {index} ends at byte {end} of {length}")


def _check_accessor(accessor: dict, index: int, views: list) -> None:
    count = _natural(accessor["count"], "count")
    if "bufferView" not in accessor:
        if count > _MAX_VIRTUAL_ELEMENTS:
            raise BadScan(f"accessor {index} asks for {count} elements without bytes")
        return
    view = views[_natural(accessor["bufferView"], "bufferView")]
    element = _COMPONENT_BYTES[accessor["componentType"]] * _COMPONENTS[accessor["type"]]
    stride = _natural(view.get("byteStride", 0), "byteStride") or element
    end = _natural(accessor.get("byteOffset", 0), "byteOffset") + (count - 1) * stride + element
    if count and end > view["byteLength"]:
        raise BadScan(f"accessor {index} promises {count} elements, {end} bytes of {view['byteLength']}")


def _check_nodes(nodes: list) -> None:
    """Every node has one parent at most, none is its own ancestor, the tree is not absurdly deep."""
    parent: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for child in node.get("children", []):
            if _natural(child, "children") >= len(nodes) or child in parent:
                raise BadScan(f"node {index} has a child {child} that does not exist or has two parents")
            parent[child] = index
    depth: dict[int, int] = {}
    for start in range(len(nodes)):
        chain, node = [], start
        while node not in depth and node in parent and len(chain) <= _MAX_NODE_DEPTH:
            chain.append(node)
            node = parent[node]
        if len(chain) + depth.get(node, 0) > _MAX_NODE_DEPTH:
            raise BadScan(f"its nodes form a circle or are nested deeper than {_MAX_NODE_DEPTH}")
        level = depth.setdefault(node, 0)
        depth.update({link: level + len(chain) - i for i, link in enumerate(chain)})


def _check_images(images: list, views: list, path: Path, root: Path) -> None:
    if len(images) > _MAX_IMAGES:
        raise BadScan(f"it has {len(images)} images")
    for image in images:
        uri = image.get("uri")
        if uri is None and "bufferView" in image:
            views[_natural(image["bufferView"], "bufferView")]
        elif uri is not None and not uri.startswith("data:") and leaves_folder(uri, path.parent, root):
            raise BadScan(f"image {uri[:100]!r} leads out of the scans folder")


def _natural(value, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadScan(f"the glTF has {name} = {str(value)[:40]!r}")
    return value
