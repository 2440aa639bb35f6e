"""Labels by ray casting against closed form; alpha, back faces and occlusion."""

import numpy as np
import pytest
from worlds import make_camera

from renderers.raycast import ScanCaster, cast_labels
from synth.camera import IDENTITY4, pixel_rays, project
from synth.scans import PreparedScan, ScanFacts, ScanMaterial


def prepared(positions, triangles, normals=None, uvs=None, alpha=None, folder=None) -> PreparedScan:
    """A prepared scan in memory; alpha (h, w) uint8 goes to `folder`."""
    positions, triangles = np.asarray(positions, np.float32), np.asarray(triangles, np.int32)
    corners = positions[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    face /= np.linalg.norm(face, axis=-1, keepdims=True)
    if alpha is not None:
        (folder / "alpha").mkdir()
        np.save(folder / "alpha" / "0.npy", alpha)
    low, high = (tuple(float(x) for x in f(positions, axis=0)) for f in (np.min, np.max))
    facts = ScanFacts(
        importer_version=1, kind="full", height_m=1.0, vertices=len(positions), faces=len(triangles), colour="none",
        texture_px=None, normals="smooth", scan_from_file=IDENTITY4, bounds=(low, high), regions={},
        materials=(ScanMaterial(texture=None, alpha=alpha is not None, base_color=(0.5, 0.5, 0.5, 1), metallic=0,
                                roughness=1),),
        changes=(), warnings=(), licence=None, attribution=None,
    )  # fmt: skip
    return PreparedScan(
        facts=facts, positions=positions, triangles=triangles,
        normals=np.repeat(face[:, None], 3, axis=1).astype(np.float32) if normals is None else normals,
        uvs=uvs, material=np.zeros(len(triangles), np.uint16), colors=None,
        trust=np.full(len(positions), 255, np.uint8), folder=folder,
    )  # fmt: skip


def card(x=0.0, size=0.6, **more) -> PreparedScan:
    """A square card in the plane of world x, facing +x (towards the camera of `make_camera`)."""
    s = size / 2
    positions = [(x, -s, 0.5 - s), (x, s, 0.5 - s), (x, s, 0.5 + s), (x, -s, 0.5 + s)]
    return prepared(positions, [(0, 1, 2), (0, 2, 3)], **more)


CARD_UVS = np.array([[(0, 0), (1, 0), (1, 1)], [(0, 0), (1, 1), (0, 1)]], np.float32)


def on_plane(camera, point, normal):
    """Depth (H, W) of a world plane in closed form."""
    pose = np.array(camera.world_from_camera)
    rays = pixel_rays(camera) @ pose[:3, :3].T
    return ((np.array(point) - pose[:3, 3]) @ normal) / (rays @ normal)


def test_a_card_has_the_depth_and_normal_of_its_plane():
    camera = make_camera()
    labels = cast_labels(camera, [(ScanCaster(card()), np.eye(4))])
    mask = labels.instance == 1
    expected = on_plane(camera, (0, 0, 0.5), np.array([1.0, 0, 0]))
    assert mask.sum() > 500 and np.abs(labels.depth_m[mask] - expected[mask]).max() < 1e-6
    normal_world = labels.normal[mask] @ np.array(camera.world_from_camera)[:3, :3].T
    np.testing.assert_allclose(normal_world, np.broadcast_to((1.0, 0, 0), normal_world.shape), atol=1e-6)
    assert np.isposinf(labels.depth_m[~mask]).all() and not labels.normal[~mask].any()


def test_a_card_seen_from_behind_has_its_normal_towards_the_camera():
    camera = make_camera(eye=(-2.5, 0.6, 1.2))
    labels = cast_labels(camera, [(ScanCaster(card()), np.eye(4))])
    np.testing.assert_array_equal(labels.back, labels.instance == 1)
    normal_world = labels.normal[labels.instance == 1] @ np.array(camera.world_from_camera)[:3, :3].T
    np.testing.assert_allclose(normal_world, np.broadcast_to((-1.0, 0, 0), normal_world.shape), atol=1e-6)


def test_the_nearer_subject_wins_whatever_the_order():
    camera = make_camera()
    far, near = ScanCaster(card(size=0.9)), ScanCaster(card(size=0.3))
    forward = np.eye(4)
    forward[0, 3] = 0.5
    one = cast_labels(camera, [(far, np.eye(4)), (near, forward)])
    other = cast_labels(camera, [(near, forward), (far, np.eye(4))])
    np.testing.assert_array_equal(one.depth_m, other.depth_m)
    swap = np.array([0, 2, 1], np.uint8)
    np.testing.assert_array_equal(one.instance, swap[other.instance])
    assert (one.instance == 2).sum() > 100 and (one.instance == 1).sum() > 100


def test_a_pose_moves_the_labels_as_it_moves_the_mesh():
    camera = make_camera()
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turn[:3, 3] = (0.2, 0.1, -0.3)
    scan = card()
    moved = prepared(scan.positions @ turn[:3, :3].T + turn[:3, 3], scan.triangles)
    a = cast_labels(camera, [(ScanCaster(scan), turn)])
    b = cast_labels(camera, [(ScanCaster(moved), np.eye(4))])
    np.testing.assert_array_equal(a.instance, b.instance)
    both = a.instance > 0
    np.testing.assert_allclose(a.depth_m[both], b.depth_m[both], rtol=1e-6)
    np.testing.assert_allclose(a.normal, b.normal, atol=1e-5)


def test_alpha_decides_by_lookup_at_one_half(tmp_path):
    """A picture whose top left quarter is clear: that quarter of the card shows the wall behind it."""
    picture = np.full((64, 64), 255, np.uint8)
    picture[:32, :32] = 100
    holed = card(uvs=CARD_UVS, alpha=picture, folder=tmp_path)
    wall = card(x=-1.0, size=4.0)
    camera = make_camera(roll_deg=0, eye=(2.5, 0, 0.5), center_px=(48, 64))
    labels = cast_labels(camera, [(ScanCaster(holed), np.eye(4)), (ScanCaster(wall), np.eye(4))])
    depth = on_plane(camera, (0, 0, 0.5), np.array([1.0, 0, 0]))
    rays = pixel_rays(camera) @ np.array(camera.world_from_camera)[:3, :3].T
    at = np.array(camera.world_from_camera)[:3, 3] + rays * depth[..., None]
    u, v = at[..., 1] / 0.6 + 0.5, (at[..., 2] - 0.5) / 0.6 + 0.5
    on_card = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    clear = on_card & (u < 0.5) & (v > 0.5)
    edge = (np.abs(u - 0.5) < 0.02) | (np.abs(v - 0.5) < 0.02) | (np.abs(u * 64 - 0) < 1) | (np.abs(v - 1) < 0.02)
    assert (labels.instance[clear & ~edge] == 2).all() and (clear & ~edge).sum() > 50
    assert (labels.instance[on_card & ~clear & ~edge] == 1).all()
    assert labels.veiled[clear & ~edge].all() and not labels.veiled[~clear & ~edge].any()


def test_interpolated_normals_never_face_away():
    """A flat card whose corner normals lean 85 degrees: seen at a slant they would point away from the camera."""
    leaning = np.broadcast_to(np.float32([0.087, 0.0, 0.996]), (2, 3, 3)).copy()
    camera = make_camera(eye=(1.5, 0, -1.6), target=(0, 0, 0.5))
    labels = cast_labels(camera, [(ScanCaster(card(normals=leaning)), np.eye(4))])
    mask = labels.instance > 0
    rays = pixel_rays(camera)[mask]
    assert mask.sum() > 100 and (np.sum(rays * labels.normal[mask], axis=-1) <= 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(labels.normal[mask], axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("distance", [0.6, 3.0, 12.0])
def test_depth_is_exact_at_any_distance(distance):
    camera = make_camera(eye=(distance, 0.1 * distance, 0.5 + 0.2 * distance), focal_px=60 * distance)
    labels = cast_labels(camera, [(ScanCaster(card()), np.eye(4))])
    mask = labels.instance == 1
    expected = on_plane(camera, (0, 0, 0.5), np.array([1.0, 0, 0]))[mask]
    assert mask.sum() > 300 and (np.abs(labels.depth_m[mask] / expected - 1) < 2.0**-22).all()


def test_labels_name_the_triangle_and_the_point_in_it():
    camera, scan = make_camera(), card()
    labels = cast_labels(camera, [(ScanCaster(scan), np.eye(4))])
    mask = labels.instance > 0
    corners = scan.positions[scan.triangles[labels.triangle[mask]]].astype(np.float64)
    points = np.einsum("kc,kcx->kx", labels.weights[mask], corners)
    uv, z = project(camera, points)
    rows, columns = np.nonzero(mask)
    np.testing.assert_allclose(uv, np.stack([columns, rows], axis=-1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(z, labels.depth_m[mask], rtol=1e-6)
    assert (labels.triangle[~mask] == -1).all() and not labels.weights[~mask].any()


def test_a_window_changes_nothing_inside_of_it():
    camera, caster = make_camera(), ScanCaster(card())
    frame = cast_labels(camera, [(caster, np.eye(4))])
    rows, columns = np.nonzero(frame.instance)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    inside = cast_labels(camera, [(caster, np.eye(4))], window=window)
    for name, array in vars(frame).items():
        np.testing.assert_array_equal(array, getattr(inside, name), err_msg=name)


def test_geometric_normals_are_the_triangles_and_leaning_ones_are_counted():
    tilted = np.tile(np.array([0.4, 0.9, 0.1], np.float32) / np.linalg.norm([0.4, 0.9, 0.1]), (2, 3, 1))
    caster, camera = ScanCaster(card(normals=tilted.astype(np.float32))), make_camera()
    smooth = cast_labels(camera, [(caster, np.eye(4))], "smooth")
    geometric = cast_labels(camera, [(caster, np.eye(4))], "geometric")
    mask = smooth.instance > 0
    world_from_camera = np.array(camera.world_from_camera)[:3, :3]
    for labels, expected in ((smooth, tilted[0, 0]), (geometric, (1.0, 0, 0))):
        normal_world = labels.normal[mask] @ world_from_camera.T
        np.testing.assert_allclose(normal_world, np.broadcast_to(expected, normal_world.shape), atol=1e-6)
    assert smooth.leaning[mask].all() and not geometric.leaning.any()
    np.testing.assert_array_equal(smooth.depth_m, geometric.depth_m)
