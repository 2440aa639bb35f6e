"""The child of `renderers.importers`: one mesh file through Blender's importer to plain arrays.

`python -m renderers.importers_blender SOURCE OUT` writes OUT/{positions,triangles,normals,uvs,colors,material}.npy,
picture<material>.bin for pictures that the file holds itself, and mesh.json. The source is a staged copy that
refers to no other file. Materials are read by `renderers.importers_materials`.
"""

import json
import signal
import sys
from pathlib import Path

import bpy
import numpy as np

from renderers.importers import BROKEN, REFUSED, TIMEOUT_S
from renderers.importers_materials import DEFAULT_MATERIAL, read_material
from synth.scans_formats import fbx_name


def main(source: Path, out: Path) -> int:
    """Imports, evaluates, writes. Returns the exit status; the reason stands last on standard error."""
    signal.alarm(int(4 * TIMEOUT_S))  # an orphan that hangs still ends
    bpy.ops.wm.read_factory_settings(use_empty=True)
    try:
        _read(source, out)
    except RuntimeError as error:
        print("\n" + _reason(error), file=sys.stderr)
        return REFUSED
    except OSError:
        raise
    except Exception as error:  # a stranger's file found a hole: it costs that file
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return REFUSED
    return 0


def _read(source: Path, out: Path) -> None:
    _import(source)
    _go_to_first_frame()
    parts, materials = _collect()
    facts = {"meshes": len(parts), "materials": materials["facts"], "notes": []}
    for index, data in materials["pictures"].items():
        (out / f"picture{index}.bin").write_bytes(data)
    if parts:
        for name, array in _join(parts).items():
            np.save(out / f"{name}.npy", array, allow_pickle=False)
    (out / "mesh.json").write_text(json.dumps(facts))


def _import(source: Path) -> None:
    path, suffix = str(source), source.suffix
    if suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=path, forward_axis="Y", up_axis="Z")
    elif suffix == ".ply":
        bpy.ops.wm.ply_import(filepath=path, forward_axis="Y", up_axis="Z", import_colors="SRGB")
    elif suffix == ".gltf":
        bpy.ops.import_scene.gltf(
            filepath=path, disable_bone_shape=True, import_pack_images=False, import_webp_texture=True
        )
    else:
        _stop_picture_search()
        bpy.ops.import_scene.fbx(filepath=path, use_image_search=False, use_custom_props=False)


def _stop_picture_search() -> None:
    """The FBX importer opens any path that the file names: give it an empty picture that remembers the name.

    Pictures inside the file are packed into it afterwards by the importer; others are looked for by `synth.scans`.
    """
    from bpy_extras import image_utils

    def stand_in(imagepath, dirname="", **_ignored):
        image = bpy.data.images.new("stand-in", 1, 1)
        image["reference"] = fbx_name(str(imagepath).removeprefix(f"{dirname}/"))
        return image

    image_utils.load_image = stand_in


def _reason(error: RuntimeError) -> str:
    """The line of a Python traceback or Blender report that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Location:", "File ", "Traceback"))]
    reason = lines[-1] if lines else "no reason given"
    return reason.removeprefix("Error:").removeprefix("RuntimeError:").strip()


def _go_to_first_frame() -> None:
    """Rigged people rest in a T-pose; their first animated frame is how they were scanned."""
    actions = [o.animation_data.action for o in bpy.data.objects if o.animation_data and o.animation_data.action]
    starts = [action.frame_range[0] for action in actions]
    if starts and all(np.isfinite(starts)):
        frame = float(np.clip(min(starts), -100_000, 100_000))
        bpy.context.scene.frame_set(int(np.floor(frame)), subframe=frame - np.floor(frame))


def _collect() -> tuple[list[dict], dict]:
    """Arrays of every visible mesh instance, and the materials they use, in an order that is the file's own."""
    shapes = {bone.custom_shape for o in bpy.data.objects if o.pose for bone in o.pose.bones if bone.custom_shape}
    depsgraph = bpy.context.evaluated_depsgraph_get()
    parts: list[dict] = []
    slots: dict[str | None, int] = {}
    materials: dict = {"facts": [], "pictures": {}, "uv": []}
    for instance in depsgraph.object_instances:
        item = instance.object
        if item.type != "MESH" or item.original in shapes or not instance.show_self:
            continue
        mesh = item.to_mesh()
        mesh.calc_loop_triangles()
        if len(mesh.loop_triangles):
            order = [_slot(slot.material, slots, materials) for slot in item.material_slots]
            order = order or [_slot(None, slots, materials)]
            parts.append(_arrays(mesh, np.array(instance.matrix_world, dtype=np.float64), order, materials["uv"]))
        item.to_mesh_clear()
    return parts, materials


def _slot(material, slots: dict, materials: dict) -> int:
    """Index of a material among all, read when it is met first."""
    name = material.name if material else None
    if name not in slots:
        slots[name] = len(slots)
        facts, data, uv = read_material(material.original) if material else (DEFAULT_MATERIAL, None, None)
        materials["facts"].append(facts)
        materials["uv"].append(uv)
        if data is not None:
            materials["pictures"][slots[name]] = data
    return slots[name]


def _arrays(mesh, matrix: np.ndarray, order: list[int], uv_of: list) -> dict[str, np.ndarray | None]:
    """One mesh as arrays in world coordinates; see RawMesh for shapes."""
    count = len(mesh.loop_triangles)
    loops = _get(mesh.loop_triangles, "loops", np.int32, 3 * count)
    triangles = _get(mesh.loop_triangles, "vertices", np.int32, 3 * count).reshape(-1, 3)
    local = np.clip(_get(mesh.loop_triangles, "material_index", np.int32, count), 0, len(order) - 1)
    material = np.array(order, dtype=np.uint16)[local]
    positions = _get(mesh.vertices, "co", np.float32, 3 * len(mesh.vertices)).reshape(-1, 3).astype(np.float64)
    normals = None
    if mesh.has_custom_normals:
        corner = _get(mesh.corner_normals, "vector", np.float32, 3 * len(mesh.loops)).reshape(-1, 3)
        normals = (corner[loops] @ _normal_matrix(matrix).T).reshape(-1, 3, 3).astype(np.float32)
    part = {
        "positions": positions @ matrix[:3, :3].T + matrix[:3, 3],
        "triangles": triangles,
        "normals": normals,
        "uvs": _uvs(mesh, loops, material, uv_of),
        "colors": _colors(mesh, loops, triangles),
        "material": material,
    }
    if np.linalg.det(matrix[:3, :3]) < 0:  # a mirror turns every triangle inside out
        for name in ("triangles", "normals", "uvs", "colors"):
            part[name] = None if part[name] is None else part[name][:, ::-1]
    return part


def _normal_matrix(matrix: np.ndarray) -> np.ndarray:
    """Inverse transpose up to a positive factor, also for singular matrices: the cofactors, with the sign of det."""
    a, b, c = matrix[:3, :3].T
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    return cofactors * (-1.0 if np.linalg.det(matrix[:3, :3]) < 0 else 1.0)


def _uvs(mesh, loops: np.ndarray, material: np.ndarray, uv_of: list) -> np.ndarray | None:
    """Per corner, from the layer and with the shift that each triangle's material asks for."""
    layers = {layer.name: layer for layer in mesh.uv_layers}
    if not layers:
        return None
    standard = next((layer.name for layer in mesh.uv_layers if layer.active_render), next(iter(layers)))
    read = {}
    uvs = np.zeros((len(material), 3, 2), dtype=np.float32)
    for index in np.unique(material):
        name, transform = uv_of[index] or (None, None)
        name = name if name in layers else standard
        if name not in read:
            read[name] = _get(layers[name].uv, "vector", np.float32, 2 * len(mesh.loops)).reshape(-1, 2)
        chosen = material == index
        corners = read[name][loops].reshape(-1, 3, 2)[chosen]
        if transform is not None:
            corners = corners @ np.array(transform)[:, :2].T + np.array(transform)[:, 2]
        uvs[chosen] = corners
    return uvs


def _colors(mesh, loops: np.ndarray, triangles: np.ndarray) -> np.ndarray | None:
    layer = mesh.color_attributes.active_color or next(iter(mesh.color_attributes), None)
    if layer is None or layer.domain not in ("POINT", "CORNER") or not len(layer.data):
        return None
    # Blender keeps byte colours encoded and float colours linear; color_srgb is encoded for both.
    values = _get(layer.data, "color_srgb", np.float32, 4 * len(layer.data)).reshape(-1, 4)
    chosen = values[loops].reshape(-1, 3, 4) if layer.domain == "CORNER" else values[triangles]
    return np.round(np.clip(np.nan_to_num(chosen), 0, 1) * 255).astype(np.uint8)


def _get(collection, name: str, dtype, count: int) -> np.ndarray:
    array = np.empty(count, dtype=dtype)
    collection.foreach_get(name, array)
    return array


def _join(parts: list[dict]) -> dict[str, np.ndarray]:
    """All parts as one mesh; an array that only some parts have is filled where that loses nothing."""
    offsets = np.cumsum([0] + [len(part["positions"]) for part in parts]).astype(np.int32)
    counts = [len(part["triangles"]) for part in parts]
    joined = {
        "positions": np.concatenate([part["positions"] for part in parts]),
        "triangles": np.concatenate([p["triangles"] + o for p, o in zip(parts, offsets[:-1], strict=True)]),
        "material": np.concatenate([part["material"] for part in parts]),
    }
    filler = {"normals": np.zeros((3, 3), np.float32), "uvs": np.zeros((3, 2), np.float32),
              "colors": np.full((3, 4), 255, np.uint8)}  # fmt: skip
    for name, empty in filler.items():
        if any(part[name] is not None for part in parts):
            joined[name] = np.concatenate(
                [np.broadcast_to(empty, (n, *empty.shape)) if p[name] is None else p[name]
                 for p, n in zip(parts, counts, strict=True)]
            )  # fmt: skip
    return {name: np.ascontiguousarray(array) for name, array in joined.items()}


if __name__ == "__main__":
    try:
        status = main(Path(sys.argv[1]), Path(sys.argv[2]))
    except MemoryError:
        print("needs more memory than there is", file=sys.stderr)
        status = REFUSED
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        status = BROKEN
    sys.exit(status)
