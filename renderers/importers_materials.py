"""What a Blender material says about colour: the picture behind its base colour, and the plain values.

Used by `renderers.importers_blender` only, in the child process.
"""

import bpy
import numpy as np

DEFAULT_MATERIAL = {"name": "", "picture": None, "alpha": False, "base_color": (0.8, 0.8, 0.8, 1.0), "metallic": 0.0,
                    "roughness": 0.5}  # fmt: skip


def read_material(material) -> tuple[dict, bytes | None, tuple | None]:
    """(RawMaterial's fields with the picture's name, the picture's bytes if the file holds them, its UVs).

    UVs: (layer name or None, 2x3 affine map of uv or None), or None where there is no picture.
    """
    facts = {**DEFAULT_MATERIAL, "name": material.name}
    tree = material.node_tree
    if tree is None:
        return {**facts, "base_color": tuple(map(float, material.diffuse_color))}, None, None
    surface = next((n for n in tree.nodes if n.type == "BSDF_PRINCIPLED"), None)
    picture = None
    if surface is not None:
        color = surface.inputs["Base Color"]
        facts["base_color"] = tuple(map(float, color.default_value))
        facts["metallic"] = float(surface.inputs["Metallic"].default_value)
        facts["roughness"] = float(surface.inputs["Roughness"].default_value)
        facts["alpha"] = surface.inputs["Alpha"].is_linked
        # Many photogrammetry exports put the photograph into emission, over black.
        picture = _picture_behind(color) or _picture_behind(surface.inputs["Emission Color"])
    else:  # unlit: an emission or background node somewhere before the output
        output = next((n for n in tree.nodes if n.type == "OUTPUT_MATERIAL"), None)
        picture = _picture_behind(output.inputs["Surface"]) if output else None
        facts["alpha"] = picture is not None and picture.outputs["Alpha"].is_linked
    if picture is None:
        return {**facts, "alpha": False}, None, None
    image = picture.image
    facts["picture"] = image.get("reference", image.name)
    data = bytes(image.packed_file.data) if image.packed_file and "reference" in image else None
    return facts, data, _uv_of(picture)


def _picture_behind(socket):
    """The nearest image node upstream of a socket, breadth first: through mix, gamma, separate and group nodes."""
    queue = [link.from_node for link in socket.links]
    seen = set()
    while queue:
        node = queue.pop(0)
        if node.name in seen:
            continue
        seen.add(node.name)
        if node.type == "TEX_IMAGE" and node.image is not None:
            return node
        if node.type == "NORMAL_MAP":
            continue
        queue += [link.from_node for entry in node.inputs for link in entry.links]
    return None


def _uv_of(picture) -> tuple[str | None, list | None]:
    """Which UV layer an image node uses, and the shift of a Mapping node before it."""
    layer, transform = None, None
    node = _source(picture.inputs["Vector"])
    while node is not None:
        if node.type == "MAPPING" and node.vector_type == "POINT" and transform is None:
            transform = _affine(node)
            node = _source(node.inputs["Vector"])
        elif node.type == "UVMAP":
            layer = node.uv_map or None
            break
        else:
            break
    return layer, transform


def _source(socket) -> "bpy.types.Node | None":
    return socket.links[0].from_node if socket.links else None


def _affine(mapping) -> list[list[float]]:
    """2x3: a Mapping node of type POINT scales, then turns about z, then moves."""
    move = mapping.inputs["Location"].default_value
    scale = mapping.inputs["Scale"].default_value
    angle = mapping.inputs["Rotation"].default_value[2]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * np.array([scale[0], scale[1]])
    return [[*linear[0], move[0]], [*linear[1], move[1]]]
