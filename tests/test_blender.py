"""Blender against closed form, from mesh files through ingestion to stored bytes; and every known way to be wrong."""

import dataclasses

import numpy as np
import pytest
from worlds import angles_deg, make_camera

from renderers.film import srgb_from_linear, to_8bit
from renderers.panorama import render_panorama
from renderers.trial import ball_obj, measure_agreement, world_from_unit_ball
from synth.backgrounds import load_panorama
from synth.camera import distance_from_z, matrix4, pixel_rays
from synth.codec import stored
from synth.config import CheckLimits, load_config
from synth.randomize import Library, draw_recipe
from synth.recipe import Background, Film, SceneRecipe, Subject
from synth.sample import BadSample, check
from synth.scans import load_library

pytestmark = pytest.mark.blender

CAMERA = make_camera(
    width=240,
    height=320,
    focal_px=1500.0,
    eye=(2.8, 0.7, 0.8),
    target=(0, 0, 0.15),
    roll_deg=11,
    center_px=(131.5, 148),
)
#: Six planes in a file of their own: a slab of 0.5 x 1.7 x 0.06 m, y up.
SLAB = np.array([[-0.25, 0.0, -0.03], [0.25, 1.7, 0.03]])


def slab_obj() -> str:
    """OBJ text of the slab, each side with its own normal."""
    lines = []
    for axis in range(3):
        for side in (0, 1):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            ring = [(0, 0), (1, 0), (1, 1), (0, 1)] if side else [(0, 0), (0, 1), (1, 1), (1, 0)]
            for i, j in ring:
                corner = np.empty(3)
                corner[axis], corner[a], corner[b] = SLAB[side, axis], SLAB[i, a], SLAB[j, b]
                lines.append("v {} {} {}".format(*corner))
            normal = np.zeros(3)
            normal[axis] = 2 * side - 1
            lines.append("vn {} {} {}".format(*normal))
            count = 2 * axis + side
            lines.append("f " + " ".join(f"{4 * count + k + 1}//{count + 1}" for k in range(4)))
    return "\n".join(lines) + "\n"


def slab_labels(camera, world_from_file) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W), +inf outside, and normals (H, W, 3) of the slab in closed form: between three pairs of planes."""
    file_from_camera = np.linalg.inv(world_from_file) @ np.array(camera.world_from_camera)
    rays = pixel_rays(camera) @ file_from_camera[:3, :3].T
    crossings = (SLAB[:, None, None, :] - file_from_camera[:3, 3]) / rays
    enter, leave = crossings.min(axis=0), crossings.max(axis=0)
    depth, axis = enter.max(axis=-1), enter.argmax(axis=-1)
    depth = np.where((depth < leave.min(axis=-1)) & (depth > 0), depth, np.inf)
    normal_file = -np.eye(3)[axis] * np.sign(np.take_along_axis(rays, axis[..., None], -1))
    normal = normal_file @ file_from_camera[:3, :3]
    return depth, normal / np.linalg.norm(normal, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    from renderers.importers import probe

    folder = tmp_path_factory.mktemp("shapes")
    (folder / "ball.obj").write_text(ball_obj(96))
    (folder / "slab.obj").write_text(slab_obj())
    return load_library([folder], tmp_path_factory.mktemp("cache"), probe)


def recipe_of(scans, skies, placed, camera=CAMERA, **film) -> SceneRecipe:
    """A recipe by hand: [(scan_id, world_from_scan)]."""
    entries = {e.scan_id: e for e in scans.entries}
    sky = skies.entries[0]
    film = {"engine": "cycles", "spp": 4, "denoise": True, "exposure_ev": -1.0, "view_transform": "Standard",
            "material": "diffuse", "cycles_seed": 3, **film}  # fmt: skip
    return SceneRecipe(
        seed=0, index=0, attempt=0, framing="full", normals="smooth", camera=camera,
        subjects=tuple(
            Subject(
                scan_id=name, scan_key=entries[name].key, person=name, world_from_scan=matrix4(pose),
                scan_from_file=entries[name].facts.scan_from_file,
            )
            for name, pose in placed
        ),
        background=Background(background_id=sky.background_id, sha256=sky.sha256, yaw_deg=70.0, width_px=sky.width_px),
        film=Film(**film),
    )  # fmt: skip


def at(x, y, z) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = (x, y, z)
    return pose


@pytest.fixture(scope="module")
def two_balls(scans, skies, blender):
    """Two balls, one half before the other, as a reader of the store gets them."""
    recipe = recipe_of(scans, skies, [("ball", at(0, 0, 0)), ("ball", at(0.5, 0.22, 0.06))])
    return stored(blender.render(recipe))[1]


def agrees(sample) -> bool:
    """The bar: depth within 0.1 mm plus tessellation, normals within 0.1 degrees, masks equal off the silhouette."""
    poses = [world_from_unit_ball(sample, k) for k in range(len(sample.recipe.subjects))]
    found = measure_agreement(sample, poses)
    radius = np.linalg.norm(poses[0][:3, 0])
    tessellation = radius * (1 - np.cos(np.pi / 96 / 2)) * 2  # a quad's middle, in both directions
    return found.depth_median_m < 1e-4 + tessellation and found.normal_median_deg < 0.1 and found.stray_pixels == 0


def passes(sample) -> bool:
    try:
        check(sample, CheckLimits(max_border=1.0))
    except BadSample:
        return False
    return agrees(sample)


def test_two_occluding_balls_agree_with_closed_form(two_balls):
    assert set(np.unique(two_balls.instance)) == {0, 1, 2}
    assert 2.0 < np.median(two_balls.depth_m[two_balls.mask]) < 3.5
    assert passes(two_balls)


def shifted_half_a_pixel(sample):
    from renderers.analytic import cast_ellipsoids

    poses = [world_from_unit_ball(sample, k) for k in range(len(sample.recipe.subjects))]
    depth, instance, normal = cast_ellipsoids(sample.recipe.camera, poses, (0.5, 0.5))
    return {"depth_m": depth.astype(np.float32), "instance": instance, "normal": normal.astype(np.float32)}


def filtered_normals(sample):
    normal = sum(np.roll(sample.normal, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
    return {"normal": np.where(sample.mask[..., None], normal, 0).astype(np.float32)}


def mirrored(axis):
    return lambda s: {
        name: np.ascontiguousarray(np.flip(getattr(s, name), axis)) for name in ("depth_m", "instance", "normal")
    }


def times(*signs):
    return lambda s: {"normal": s.normal * np.float32(signs)}


MUTATIONS = {
    "normal x flip": times(-1, 1, 1),
    "normal y flip": times(1, -1, 1),
    "normal z flip": times(1, 1, -1),
    "GL for CV": times(1, -1, -1),
    "labels x flip": mirrored(1),
    "labels y flip": mirrored(0),
    "distance for depth": lambda s: {
        "depth_m": distance_from_z(s.recipe.camera, s.depth_m.astype(np.float64)).astype(np.float32)
    },
    "half-pixel shift": shifted_half_a_pixel,
    "filtered normals": filtered_normals,
    "instances swapped": lambda s: {"instance": np.array([0, 2, 1], np.uint8)[s.instance]},
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_known_way_to_be_wrong_fails(two_balls, name):
    assert not passes(dataclasses.replace(two_balls, **MUTATIONS[name](two_balls)))


def test_a_slanted_slab_agrees_with_its_planes(scans, skies, blender):
    turn = np.radians(25)
    pose = at(0.1, -0.2, -0.5)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    recipe = recipe_of(scans, skies, [("slab", pose)], make_camera(240, 320, 300.0, eye=(0.3, -2.9, 0.5)))
    sample = stored(blender.render(recipe))[1]
    depth, normal = slab_labels(recipe.camera, pose @ np.array(recipe.subjects[0].scan_from_file))
    inside = np.isfinite(depth)
    assert (sample.mask != inside).sum() <= 2 and inside.sum() > 3000
    both = sample.mask & inside
    error = np.abs(sample.depth_m[both] - depth[both])
    assert np.median(error) < 1e-4 and error.max() < 1e-3
    assert (
        angles_deg(sample.normal[both], normal[both]) < 0.1
    ).mean() > 0.998  # a pixel on an edge may take either side
    assert len({tuple(np.round(n, 2)) for n in sample.normal[both]}) >= 2, "only one side was seen"


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_other_noise(scans, skies, blender):
    recipe = recipe_of(scans, skies, [("ball", at(0, 0, 0))], denoise=False)
    other = recipe.model_copy(update={"film": recipe.film.model_copy(update={"cycles_seed": 4})})
    first, noise, again = (stored(blender.render(r))[0] for r in (recipe, other, recipe))
    assert first == again and first["rgb.png"] != noise["rgb.png"] and first["depth.exr"] == noise["depth.exr"]


def test_the_order_of_scenes_leaves_no_trace(scans, skies, blender):
    """What a worker rendered before must not show: scans, panoramas and their turns change in every order."""
    camera = make_camera(64, 96, 150.0, eye=(2.5, 0.5, 0.6), target=(0, 0, 0.3))
    recipes = [
        recipe_of(scans, skies, [(name, at(0, 0, 0))], camera).model_copy(update={"background": Background(
            background_id=sky.background_id, sha256=sky.sha256, yaw_deg=yaw, width_px=sky.width_px)})
        for name in ("ball", "slab") for sky in skies.entries for yaw in (0.0, 100.0)
    ]  # fmt: skip
    first = [stored(blender.render(r))[0]["rgb.png"] for r in recipes]
    assert len(set(first)) == len(first)
    order = np.random.default_rng(0).permutation(len(recipes))
    for k in [*order, *reversed(order)]:
        assert stored(blender.render(recipes[k]))[0]["rgb.png"] == first[k], k


def test_a_crop_is_the_full_frame_seen_through_a_window(scans, skies, blender, monkeypatch):
    import renderers.blender as module

    recipe = recipe_of(scans, skies, [("ball", at(0, 0, 0))], denoise=False)
    cropped = blender.render(recipe)
    monkeypatch.setattr(module, "subject_window", lambda camera, placed: (slice(0, 320), slice(0, 240)))
    full = blender.render(recipe)
    np.testing.assert_array_equal(cropped.rgb, full.rgb)
    np.testing.assert_array_equal(cropped.alpha, full.alpha)


def test_our_background_is_the_one_cycles_would_show(scans, skies, blender, monkeypatch):
    recipe = recipe_of(scans, skies, [("ball", at(0, 0, 0))], denoise=False, spp=64)
    blender.render(recipe)
    window = (slice(0, 320), slice(0, 240))
    monkeypatch.setattr(blender._scene.render, "film_transparent", False)
    passes = blender._render_passes(recipe, window)
    ours = render_panorama(
        load_panorama(skies.store, recipe.background.sha256), recipe.camera, recipe.background.yaw_deg
    )
    empty = passes.depth > 1e9
    assert empty.mean() > 0.3
    # Pixels beside the ball are mixed with it: keep those whose neighbours are empty too.
    for axis in (0, 1):
        empty = empty & np.roll(empty, 2, axis) & np.roll(empty, -2, axis)
    assert np.abs(passes.colour[..., :3] / ours - 1)[empty].max() < 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        lambda camera: camera.model_copy(update={"focal_px": camera.focal_px * 1.01}),
        lambda camera: camera.model_copy(update={"center_px": (camera.center_px[0] + 2, camera.center_px[1])}),
        lambda camera: camera.model_copy(
            update={"world_from_camera": matrix4(np.array(camera.world_from_camera) @ at(0.005, 0, 0.005))}
        ),
    ],
)
def test_labels_of_another_camera_are_refused_by_cycles_depth(scans, skies, blender, monkeypatch, wrong):
    import renderers.blender as module

    honest = module.cast_labels
    monkeypatch.setattr(module, "cast_labels", lambda camera, *rest: honest(wrong(camera), *rest))
    with pytest.raises(BadSample, match="depth_mismatch"):
        blender.render(recipe_of(scans, skies, [("ball", at(0, 0, 0))]))


def test_the_inside_of_an_open_scan_is_refused(scans, skies, blender, monkeypatch):
    import renderers.blender as module

    honest = module.cast_labels

    def hollow(*arguments):
        labels = honest(*arguments)
        return dataclasses.replace(labels, back=labels.instance > 0)

    monkeypatch.setattr(module, "cast_labels", hollow)
    with pytest.raises(BadSample, match="back_faces"):
        blender.render(recipe_of(scans, skies, [("ball", at(0, 0, 0))]))


def test_nobody_in_view_is_refused(scans, skies, blender):
    with pytest.raises(BadSample, match="no_subject"):
        blender.render(recipe_of(scans, skies, [("ball", at(0, 30, 0))]))


def test_a_ball_is_lit_from_the_side_of_the_sun_and_normally_exposed(scans, skies, blender):
    config = load_config(None, {"width": 96, "height": 128, "film.spp": 8, "light.exposure_jitter_ev": [0, 0]})
    library = Library(tuple(e for e in scans.entries if e.scan_id == "ball"), skies.entries)
    brightness = []
    for index in range(6):
        sample = blender.render(draw_recipe(config, library, 1, index))
        brightness.append(sample.rgb[sample.mask].mean() / 255)
    assert 0.25 < np.mean(brightness) < 0.75 and min(brightness) > 0.12


def test_the_scene_opens_in_blender(scans, skies, blender, tmp_path):
    blender.render(recipe_of(scans, skies, [("ball", at(0, 0, 0))]))
    blender.save_blend(tmp_path / "scene.blend")
    import subprocess
    import sys

    code = (
        f"import bpy; bpy.ops.wm.open_mainfile(filepath={str(tmp_path / 'scene.blend')!r})\n"
        "assert bpy.context.scene.camera and 'scan' in bpy.data.objects\n"
        "assert bpy.data.images['panorama'].size[0] == 128, tuple(bpy.data.images['panorama'].size)\n"
        "assert bpy.data.images['panorama'].packed_file\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_albedo_is_blenders_diffuse_colour(scans, skies, tmp_path, blender):
    """A ball in stripes and noise, texels a third of a pixel wide and less: our filter against many paths of Cycles."""
    pictured = textured_ball(tmp_path, scans.store.parent)
    recipe = recipe_of(pictured, skies, [("ball", at(0, 0, 0))], spp=128, denoise=False)
    recipe = recipe.model_copy(update={"outputs": ("albedo", "trust")})
    sample, expected = render_with_diffuse_colour(blender, recipe)
    inner = erode(sample.alpha == 255) & sample.mask
    off = np.abs(sample.albedo[inner].astype(int) - to_8bit(srgb_from_linear(expected[inner])))
    assert inner.sum() > 10_000
    assert np.median(off) <= 1 and np.percentile(off, 95) <= 12
    signed = sample.albedo[inner].astype(int).mean() - to_8bit(srgb_from_linear(expected[inner])).mean()
    assert abs(signed) < 0.5
    assert (sample.trust[sample.mask] == 255).all() and not sample.trust[~sample.mask].any()
    check(stored(sample)[1], CheckLimits())


def textured_ball(folder, cache):
    """A library of one ball whose picture is 2048 wide."""
    from PIL import Image

    from renderers.importers import probe

    rng = np.random.default_rng(5)
    rows, columns = np.indices((1024, 2048))
    stripes = np.stack([columns // 32 % 2, rows // 48 % 2, (columns + rows) // 80 % 2], axis=-1)
    picture = (60 + 120 * stripes + rng.integers(0, 60, stripes.shape)).astype(np.uint8)
    (folder / "scans").mkdir()
    Image.fromarray(picture).save(folder / "scans" / "ball.png")
    (folder / "scans" / "ball.mtl").write_text("newmtl skin\nmap_Kd ball.png\n")
    (folder / "scans" / "ball.obj").write_text(with_uvs(ball_obj(48)))
    return load_library([folder / "scans"], cache, probe)


def with_uvs(obj: str) -> str:
    """The ball of `ball_obj` with a latitude and longitude for each corner."""
    lines, corners, places = [], [], []
    for line in obj.splitlines():
        if line.startswith("v "):
            places.append(np.array([float(x) for x in line.split()[1:]]))
    centre = (np.max(places, axis=0) + np.min(places, axis=0)) / 2
    for line in obj.splitlines():
        if not line.startswith("f "):
            lines.append(line)
            continue
        face = []
        spots = [line_corner.split("/") for line_corner in line.split()[1:]]
        around = [np.arctan2(*(places[int(s[0]) - 1] - centre)[[0, 2]]) / (2 * np.pi) for s in spots]
        for spot, u in zip(spots, around, strict=True):
            d = places[int(spot[0]) - 1] - centre
            u += 1.0 if max(around) - u > 0.5 else 0.0  # across the seam
            corners.append(f"vt {u} {np.arcsin(np.clip(d[1] / np.linalg.norm(d), -1, 1)) / np.pi + 0.5}")
            face.append(f"{spot[0]}/{len(corners)}/{spot[2]}")
        lines.append("f " + " ".join(face))
    return "\n".join(["mtllib ball.mtl", *corners, "usemtl skin", *lines]) + "\n"


def render_with_diffuse_colour(renderer, recipe):
    """A sample, and Cycles' diffuse colour pass (H, W, 3), linear, of the same render."""
    import OpenEXR

    from renderers.frame import subject_window

    layer = renderer._scene.view_layers[0]
    layer.use_pass_diffuse_color = True
    sample = renderer.render(recipe)
    layer.use_pass_diffuse_color = False
    channels = OpenEXR.File(renderer._scene.render.filepath, separate_channels=True).channels()
    window = subject_window(recipe.camera, [(loaded, np.eye(4)) for loaded in renderer._loaded])
    expected = np.zeros((*recipe.camera.shape, 3), np.float32)
    expected[window] = np.stack([channels[f"{layer.name}.DiffCol.{c}"].pixels for c in "RGB"], axis=-1)
    return sample, expected


def erode(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    h, w = mask.shape
    return np.all([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)
