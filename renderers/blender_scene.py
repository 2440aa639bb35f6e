"""Recipe values as Blender data: mesh, materials, world, camera. No decision about pictures is made here.

Called by `renderers.blender`; everything comes from prepared arrays, so that Blender never opens a stranger's file
except the pictures of textures, which ingestion has opened before.
"""

import contextlib
from collections.abc import Iterator, Sequence

import bpy
import numpy as np

from synth.camera import GL_FROM_CV, Camera
from synth.recipe import Material
from synth.scans import BadScan, PreparedScan, ScanMaterial

_COLOUR_ATTRIBUTE = "colour"
_SENSOR_MM = 36.0
#: Cycles samples light by a map this many times as wide as the panorama. One is too coarse for a sun of one texel,
#: which interpolation spreads over its neighbours; four, Cycles' own choice, costs seconds a frame
#: (benchmarks/render.py).
_LIGHT_MAP_SCALE = 2


def clear_scene() -> bpy.types.Scene:
    """An empty scene in an empty file; the user's preferences and add-ons are not loaded."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


def build_scan(scan: PreparedScan, policy: Material) -> bpy.types.Object:
    """A prepared scan as an object in the scene, frame scan, with its materials. Raises BadScan on a dead texture."""
    mesh = bpy.data.meshes.new("scan")
    _fill_mesh(mesh, scan)
    for number, material in enumerate(scan.facts.materials):
        mesh.materials.append(_build_material(scan, number, material, policy))
    obj = bpy.data.objects.new("scan", mesh)
    bpy.context.scene.collection.objects.link(obj)
    return obj


def remove_scan(obj: bpy.types.Object) -> None:
    """Takes the object and all that `build_scan` made for it out of Blender's memory."""
    mesh = obj.data
    materials = [slot for slot in mesh.materials if slot is not None]
    images = [node.image for m in materials for node in m.node_tree.nodes if node.type == "TEX_IMAGE" and node.image]
    bpy.data.batch_remove([obj, mesh, *materials, *set(images)])


def place(obj: bpy.types.Object, world_from_scan: np.ndarray) -> None:
    """Sets the object's pose (4x4)."""
    obj.matrix_world = np.asarray(world_from_scan, np.float64).T  # mathutils reads columns of what numpy lays in rows


def build_camera() -> bpy.types.Object:
    """The scene's camera; `aim_camera` moves it."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = _SENSOR_MM
    data.clip_start, data.clip_end = 0.01, 10000.0
    obj = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(obj)
    bpy.context.scene.camera = obj
    return obj


def aim_camera(obj: bpy.types.Object, camera: Camera) -> None:
    """Gives the scene's camera and the picture size the values of ours."""
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = camera.width, camera.height
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0
    obj.data.lens = camera.focal_px * _SENSOR_MM / camera.width
    obj.data.shift_x = (camera.width / 2 - camera.center_px[0]) / camera.width
    obj.data.shift_y = (camera.center_px[1] - camera.height / 2) / camera.width
    place(obj, np.array(camera.world_from_camera) @ GL_FROM_CV)


def build_world() -> bpy.types.World:
    """A world lit by one panorama; `light_world` sets which."""
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    world.cycles.sampling_method = "MANUAL"
    nodes, links = world.node_tree.nodes, world.node_tree.links
    coordinates = nodes.new("ShaderNodeTexCoord")
    mapping = nodes.new("ShaderNodeMapping")
    mapping.name = "turn"
    picture = nodes.new("ShaderNodeTexEnvironment")
    picture.name = "panorama"
    links.new(coordinates.outputs["Generated"], mapping.inputs["Vector"])
    links.new(mapping.outputs["Vector"], picture.inputs["Vector"])
    links.new(picture.outputs["Color"], nodes["Background"].inputs["Color"])
    bpy.context.scene.world = world
    return world


def light_world(world: bpy.types.World, panorama: np.ndarray) -> bpy.types.Image | None:
    """Lights the world by a panorama (h, w, 3), linear. Returns the picture it replaces, for the caller to remove.

    Not before the next render has ended: Cycles' persistent data knows a picture by its address, and a new one at the
    address of one just freed would be taken for the old.
    """
    node = world.node_tree.nodes["panorama"]
    replaced = node.image
    node.image = _float_image("panorama", panorama)
    world.cycles.sample_map_resolution = _LIGHT_MAP_SCALE * panorama.shape[1]
    world.update_tag()
    return replaced


def turn_world(world: bpy.types.World, yaw_deg: float) -> None:
    """Turns the panorama counter-clockwise about z: the mapping turns the lookup the other way."""
    world.node_tree.nodes["turn"].inputs["Rotation"].default_value = (0.0, 0.0, -np.radians(yaw_deg))


@contextlib.contextmanager
def backdrop(scene: bpy.types.Scene, light: np.ndarray | None) -> Iterator[None]:
    """For a while the scene shows what is behind its subjects: its world, or a picture (H, W, 3) of linear light."""
    scene.render.film_transparent = light is not None
    image = None if light is None else _float_image("plate", light)
    if image is not None:
        _composite_over(scene, image)
    try:
        yield
    finally:
        scene.render.film_transparent = True
        if image is not None:
            scene.node_tree.nodes.clear()
            scene.use_nodes = scene.render.use_compositing = False
            bpy.data.images.remove(image)


def _composite_over(scene: bpy.types.Scene, image: bpy.types.Image) -> None:
    scene.use_nodes = scene.render.use_compositing = True
    nodes, links = scene.node_tree.nodes, scene.node_tree.links
    nodes.clear()
    picture, layers = nodes.new("CompositorNodeImage"), nodes.new("CompositorNodeRLayers")
    over, result = nodes.new("CompositorNodeAlphaOver"), nodes.new("CompositorNodeComposite")
    picture.image = image
    fit = nodes.new("CompositorNodeScale")
    fit.space = "RENDER_SIZE"
    links.new(picture.outputs["Image"], fit.inputs["Image"])
    links.new(fit.outputs["Image"], over.inputs[1])
    links.new(layers.outputs["Image"], over.inputs[2])
    links.new(over.outputs["Image"], result.inputs["Image"])


def _float_image(name: str, light: np.ndarray) -> bpy.types.Image:
    """A picture (h, w, 3) of linear light in Blender's memory."""
    h, w = light.shape[:2]
    image = bpy.data.images.new(name, w, h, float_buffer=True, alpha=False)
    image.colorspace_settings.name = "Linear Rec.709"
    pixels = np.ones((h, w, 4), np.float32)
    pixels[..., :3] = light[::-1]  # Blender's rows start at the bottom
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    return image


def _fill_mesh(mesh: bpy.types.Mesh, scan: PreparedScan) -> None:
    faces = len(scan.triangles)
    mesh.vertices.add(len(scan.positions))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(scan.positions).ravel())
    mesh.loops.add(3 * faces)
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(scan.triangles).ravel())
    mesh.polygons.add(faces)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * faces, 3, dtype=np.int32))
    mesh.polygons.foreach_set("material_index", np.asarray(scan.material).astype(np.int32))
    if scan.uvs is not None:
        mesh.uv_layers.new(name="uv").data.foreach_set("uv", np.ascontiguousarray(scan.uvs).ravel())
    if scan.colors is not None:
        colours = mesh.color_attributes.new(_COLOUR_ATTRIBUTE, "BYTE_COLOR", "CORNER")
        colours.data.foreach_set("color_srgb", (np.asarray(scan.colors, np.float32) / 255).ravel())
    # Free corner normals: exact, where the older encoding of split normals rounds to 16 bit.
    normals = mesh.attributes.new("custom_normal", "FLOAT_VECTOR", "CORNER")
    normals.data.foreach_set("vector", np.ascontiguousarray(scan.normals).ravel())
    mesh.update()


def _build_material(scan: PreparedScan, number: int, facts: ScanMaterial, policy: Material) -> bpy.types.Material:
    material = bpy.data.materials.new(f"material{number}")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    output = nodes.new("ShaderNodeOutputMaterial")
    surface = nodes.new("ShaderNodeBsdfDiffuse" if policy == "diffuse" else "ShaderNodeBsdfPrincipled")
    if policy == "authored":
        surface.inputs["Metallic"].default_value = facts.metallic
        surface.inputs["Roughness"].default_value = facts.roughness
    colour = surface.inputs["Color" if policy == "diffuse" else "Base Color"]
    colour.default_value = facts.base_color
    alpha = None
    if facts.texture is not None:
        picture = nodes.new("ShaderNodeTexImage")
        picture.image = _load_texture(scan, facts)
        links.new(picture.outputs["Color"], colour)
        alpha = picture.outputs["Alpha"]
    elif scan.colors is not None:
        attribute = nodes.new("ShaderNodeVertexColor")
        attribute.layer_name = _COLOUR_ATTRIBUTE
        links.new(attribute.outputs["Color"], colour)
    _link_surface(nodes, links, surface.outputs["BSDF"], alpha if facts.alpha else None, output.inputs["Surface"])
    return material


def _link_surface(nodes, links, surface, alpha, output) -> None:
    if alpha is None:
        links.new(surface, output)
        return
    mix = nodes.new("ShaderNodeMixShader")
    clear = nodes.new("ShaderNodeBsdfTransparent")
    links.new(alpha, mix.inputs[0])
    links.new(clear.outputs["BSDF"], mix.inputs[1])
    links.new(surface, mix.inputs[2])
    links.new(mix.outputs["Shader"], output)


def _load_texture(scan: PreparedScan, facts: ScanMaterial) -> bpy.types.Image:
    path = scan.folder / "textures" / facts.texture
    try:
        image = bpy.data.images.load(str(path))
    except RuntimeError as error:
        raise BadScan(f"{path}: the prepared texture cannot be loaded; delete its folder and run again") from error
    if image.size[0] == 0 or image.size[1] == 0:  # Cycles would paint it magenta
        raise BadScan(f"{path}: the prepared texture is not a picture; delete its folder and run again")
    image.alpha_mode = "STRAIGHT" if facts.alpha else "NONE"
    return image


def enable_device(kind: str) -> list[str]:
    """Turns on a GPU kind (cuda, optix, hip, metal, oneapi) for Cycles; names its devices, if there are any."""
    preferences = bpy.context.preferences.addons["cycles"].preferences
    preferences.compute_device_type = kind.upper()
    preferences.get_devices()
    found: Sequence = [d for d in preferences.devices if d.type == kind.upper()]
    for device in preferences.devices:
        device.use = device in found
    bpy.context.scene.cycles.device = "GPU"
    return [device.name for device in found]
