"""Kind, unit, up axis, regions, winding and normals of meshes whose truth is known because they are built here."""

import itertools

import numpy as np
import pytest

from synth.camera import transform_points
from synth.scans_geometry import choose_scale, measure_regions, place_mesh
from synth.scans_overrides import Override
from synth.scans_raw import BadScan, RawMaterial, RawMesh
from synth.scans_surface import clean_surface, smooth_normals, weld
from synth.scans_winding import faces_to_turn

UNITS = {"m": 1.0, "dm": 10.0, "cm": 100.0, "inch": 1 / 0.0254, "mm": 1000.0}
MATERIAL = RawMaterial("m", None, False, (0.8, 0.8, 0.8, 1.0), 0.0, 0.5)


def cube_sphere(steps: int = 8, margin: float = 0.04) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit sphere of six square charts: positions (V, 3), triangles (T, 3) outwards, uvs (V, 2) in a 3 x 2 atlas."""
    a = np.linspace(-1, 1, steps + 1)
    s, t = (g.ravel() for g in np.meshgrid(a, a, indexing="ij"))
    positions, triangles, uvs = [], [], []
    i, j = (g.ravel() for g in np.meshgrid(np.arange(steps), np.arange(steps), indexing="ij"))
    corner = i * (steps + 1) + j
    quad = np.stack([corner, corner + steps + 1, corner + steps + 2, corner + 1], axis=1)
    for face, (axis, sign) in enumerate(itertools.product(range(3), (1, -1))):
        point = np.empty((len(s), 3))
        point[:, axis] = sign
        point[:, (axis + 1) % 3], point[:, (axis + 2) % 3] = s * sign, t
        positions.append(point / np.linalg.norm(point, axis=1, keepdims=True))
        at = quad + face * len(s)
        triangles += [at[:, [0, 1, 2]], at[:, [0, 2, 3]]]
        box = np.array([face % 3, face // 3]) + 0.5
        half = 0.5 - margin
        uvs.append((box + half * np.stack([s, t], axis=1)) / (3, 2))
    return np.concatenate(positions), np.concatenate(triangles).astype(np.int32), np.concatenate(uvs)


def blobs(parts: list[tuple[tuple, tuple]]) -> tuple[np.ndarray, np.ndarray]:
    """Ellipsoids (centre, radii) as one mesh."""
    positions, triangles, _ = cube_sphere(6)
    count = len(positions)
    return (
        np.concatenate([positions * radii + centre for centre, radii in parts]),
        np.concatenate([triangles + k * count for k in range(len(parts))]),
    )


# Metres, z up, facing -y.
HEAD = ((0, 0, 0), (0.078, 0.098, 0.12))
FULL = [((0, 0, 1.62), HEAD[1]), ((0, 0, 1.46), (0.06, 0.06, 0.08)), ((0, 0, 1.15), (0.19, 0.13, 0.34)),
        ((0.1, 0, 0.45), (0.09, 0.1, 0.46)), ((-0.1, 0, 0.45), (0.09, 0.1, 0.46)),
        ((0.1, -0.06, 0.03), (0.05, 0.13, 0.03)), ((-0.1, -0.06, 0.03), (0.05, 0.13, 0.03)),
        ((0.4, 0, 1.2), (0.25, 0.05, 0.2)), ((-0.4, 0, 1.2), (0.25, 0.05, 0.2))]  # fmt: skip
RAISED = [*FULL[:7], ((0.25, 0, 1.65), (0.05, 0.05, 0.35)), ((-0.25, 0, 1.65), (0.05, 0.05, 0.35))]
BUST = [((0, 0, 0.30), HEAD[1]), ((0, 0.01, 0.16), (0.055, 0.06, 0.09)), ((0, 0.01, 0.06), (0.2, 0.11, 0.06))]
BODIES = {
    "full": ("full", FULL),
    "child": ("full", [(np.array(c) * 0.65, np.array(r) * 0.65) for c, r in FULL]),
    "raised arms": ("full", RAISED),
    "bust": ("bust", BUST),
    "head": ("head", [HEAD]),
}


def raw(positions, triangles, **arrays) -> RawMesh:
    fields = {"normals": None, "uvs": None, "colors": None, **arrays}
    material = np.zeros(len(triangles), np.uint16)
    return RawMesh(positions.astype(np.float64), triangles.astype(np.int32), material=material, materials=(MATERIAL,),
                   **fields)  # fmt: skip


@pytest.mark.parametrize("up", ["y", "z", "format says z"])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("body", BODIES)
def test_kind_unit_and_up_axis(body, unit, up):
    kind, parts = BODIES[body]
    metres, triangles = blobs(parts)
    native = metres * UNITS[unit] + (3.0, -70.0, 11.0)
    if up == "y":
        native = np.stack([native[:, 0], native[:, 2], -native[:, 1]], axis=1)
    placed = place_mesh(native, triangles, weld(native), up == "format says z", Override())
    assert placed.kind == kind
    points = transform_points(placed.scan_from_file, native)
    truth = metres - (metres.min(axis=0) + metres.max(axis=0)) / 2
    truth[:, 2] = metres[:, 2] - metres[:, 2].min()
    assert np.abs(points - truth).max() < 1e-9
    assert not placed.warnings


@pytest.mark.parametrize(("body", "height"), [("full", 0.016), ("bust", 2.7e5), ("head", 0.03)])
def test_a_height_that_no_unit_explains_is_scaled_and_named(body, height):
    metres, triangles = blobs(BODIES[body][1])
    native = metres * height / np.ptp(metres[:, 2])
    placed = place_mesh(native, triangles, weld(native), True, Override())
    assert any(f"native height {height:.4g}" in change for change in placed.changes)
    measured = np.ptp(transform_points(placed.scan_from_file, native)[:, 2])
    assert {"full": 1.6, "bust": 0.35, "head": 0.2}[body] < measured < {"full": 1.8, "bust": 0.5, "head": 0.3}[body]


@pytest.mark.parametrize(
    ("size", "unit"),
    [(1.7, "metres"), (17.5, "decimetres"), (186, "centimetres"), (66.0, "inches"), (1750, "millimetres"),
     (0.016, None), (7.9, None), (4e5, None)],
)  # fmt: skip
def test_choose_scale(size, unit):
    scale, name = choose_scale(size, (0.9, 1.7, 2.3))
    assert name == unit
    assert 0.9 <= size * scale <= 2.3


def test_regions_hold_what_they_name():
    metres, _ = blobs(FULL)
    metres = metres - (0, 0, metres[:, 2].min())
    top = metres[:, 2].max()
    regions = measure_regions(metres, "full", 0.24)
    assert list(regions) == ["full", "upper", "face"]
    assert np.allclose(regions["full"], (metres.min(axis=0), metres.max(axis=0)))
    assert regions["upper"][0][2] == pytest.approx(top / 2)
    low, high = regions["face"]
    assert np.allclose(high - low, (2 * HEAD[1][0], 2 * HEAD[1][1], 0.30), atol=0.02)
    assert high[2] == pytest.approx(top)


def test_face_region_is_not_widened_by_raised_arms_or_shoulders():
    metres, _ = blobs([*BUST, ((0.35, 0, 0.28), (0.04, 0.04, 0.05))])
    metres = metres - (0, 0, metres[:, 2].min())
    low, high = measure_regions(metres, "bust", 0.24)["face"]
    assert high[0] - low[0] < 0.25
    assert list(measure_regions(metres, "head", 0.24)) == ["face"]


def test_smooth_normals_of_a_sphere_are_its_directions_across_chart_seams():
    positions, triangles, _ = cube_sphere(24)
    normals = smooth_normals(positions, triangles, weld(positions))
    assert np.degrees(np.arccos(np.clip((normals * positions[triangles]).sum(axis=2), -1, 1))).max() < 1.0
    assert np.allclose(np.linalg.norm(normals, axis=2), 1, atol=1e-6)


def test_weld_joins_equal_places_only():
    positions = np.array([[0, 0, 0], [1, 0, 0], [-0.0, 0, 0], [1, 0, 1e-3]], dtype=float)
    places = weld(positions)
    assert places[0] == places[2]
    assert len(set(places.tolist())) == 3


@pytest.mark.parametrize("hole", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_winding_ends_outwards(inverted, hole):
    positions, triangles, _ = cube_sphere(8)
    if hole:  # an open half shell: no volume to tell
        triangles = triangles[positions[triangles][..., 2].min(axis=1) > 0]
    turned = triangles[:, ::-1] if inverted else triangles
    surface = clean_surface(raw(positions, turned))
    corners = surface.mesh.positions[surface.mesh.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((face * corners.mean(axis=1)).sum(axis=1) > 0).all()
    assert ((surface.mesh.normals * corners).sum(axis=2) > 0).all()
    assert any("inwards" in change for change in surface.changes) == inverted


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("hole", [False, True])
def test_mixed_winding_is_made_one(share, hole):
    positions, triangles, _ = cube_sphere(8)
    if hole:
        triangles = triangles[positions[triangles][..., 2].min(axis=1) > 0]
    mixed = np.random.default_rng(0).random(len(triangles)) < share
    triangles = np.where(mixed[:, None], triangles[:, ::-1], triangles)
    surface = clean_surface(raw(positions, triangles))
    corners = surface.mesh.positions[surface.mesh.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((face * corners.mean(axis=1)).sum(axis=1) > 0).all()
    assert ((surface.mesh.normals * corners).sum(axis=2) > 0).all()
    assert "wound against their neighbours" in surface.changes[0]


def test_pieces_keep_their_own_winding_and_one_sided_strips_are_left_alone():
    ball, triangles, _ = cube_sphere(6)
    inner = triangles[:, ::-1]  # a hollow ball: its inner side faces the middle, and rightly so
    places = np.concatenate([triangles, inner + len(ball)])
    assert not faces_to_turn(np.concatenate([ball, 0.9 * ball]), places, places).any()
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    centre, half = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1), turn[:, None] / 2
    across = 0.3 * (np.cos(half) * centre + np.sin(half) * np.array([0, 0, 1.0]))
    strip = np.concatenate([centre - across, centre + across])
    k = np.arange(12)
    low, high = (k + 1) % 12, (k + 1) % 12 + 12
    low[-1], high[-1] = 12, 0  # after one turn the edges have changed sides
    moebius = np.concatenate([np.stack([k, low, high], axis=1), np.stack([k, high, k + 12], axis=1)])
    assert not faces_to_turn(strip, moebius, moebius).any()


def test_a_modellers_normals_outlive_a_wrong_winding():
    positions, triangles, _ = cube_sphere(12)
    tilted = positions + np.array([0.05, 0, 0])
    own = (tilted / np.linalg.norm(tilted, axis=1, keepdims=True)).astype(np.float32)
    mixed = np.random.default_rng(1).random(len(triangles)) < 0.4
    turned = np.where(mixed[:, None], triangles[:, ::-1], triangles)
    good = clean_surface(raw(positions, turned, normals=own[turned]))
    assert good.normals_from == "authored"
    np.testing.assert_allclose(good.mesh.normals, own[good.mesh.triangles], atol=1e-6)
    corners = positions[turned]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    bad = clean_surface(raw(positions, turned, normals=np.repeat(face[:, None], 3, axis=1).astype(np.float32)))
    assert bad.normals_from == "smooth"


def test_turning_keeps_uvs_and_colours_with_their_corners():
    positions, triangles, uvs = cube_sphere(4)
    turned = triangles[:, ::-1]
    colors = np.round((positions[turned] + 1) * 127).astype(np.uint8)
    surface = clean_surface(raw(positions, turned, uvs=uvs[turned].astype(np.float32), colors=colors)).mesh
    expected = np.round((surface.positions[surface.triangles] + 1) * 127).astype(np.uint8)
    assert np.array_equal(surface.colors, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_broken_vertices_go_with_their_faces(value):
    positions, triangles, _ = cube_sphere(8)
    positions[100, 1] = value
    surface = clean_surface(raw(positions, triangles))
    assert len(surface.mesh.triangles) == (triangles != 100).all(axis=1).sum()
    assert np.abs(surface.mesh.positions).max() <= 1
    assert "broken coordinates" in surface.warnings[0]


def test_vertices_zeroed_by_an_importer_go_and_honest_zeros_stay():
    positions, triangles, _ = cube_sphere(16)
    assert (positions == 0).any()
    assert len(clean_surface(raw(positions, triangles)).mesh.triangles) == len(triangles)
    far = positions + np.array([0, 40, 0])
    far[900] = 0
    surface = clean_surface(raw(far, triangles))
    assert surface.mesh.positions[:, 1].min() > 38.9
    assert "1 vertices with broken" in surface.warnings[0]


def test_degenerate_faces_go():
    positions, triangles, _ = cube_sphere(4)
    bad = np.concatenate([triangles, triangles[:3, [0, 0, 1]]])
    surface = clean_surface(raw(positions, bad))
    assert len(surface.mesh.triangles) == len(triangles)
    assert surface.changes == ("3 degenerate faces dropped",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p * 0, "degenerate"),
        (lambda p: p * (1, 1, 0), "flat"),
        (lambda p: p * np.nan, "no vertex"),
        (lambda p: np.float64(np.float32(p + 5.4e6)), "so far from the origin"),
    ],
)
def test_what_is_no_surface_is_refused_by_name(change, says):
    positions, triangles, _ = cube_sphere(4)
    with pytest.raises(BadScan, match=says):
        clean_surface(raw(change(positions), triangles))


def test_authored_normals_are_kept_filled_or_replaced():
    positions, triangles, _ = cube_sphere(8)
    tilted = positions[triangles] + (0.1, 0.2, 0.0)
    kept = clean_surface(raw(positions, triangles, normals=(5 * tilted).astype(np.float32)))
    assert kept.normals_from == "authored"
    truth = tilted / np.linalg.norm(tilted, axis=2, keepdims=True)
    assert np.allclose(kept.mesh.normals, truth, atol=1e-6)
    few = (5 * tilted).astype(np.float32)
    few[3, 1], few[7, 2] = np.nan, 0
    filled = clean_surface(raw(positions, triangles, normals=few))
    assert filled.normals_from == "authored"
    assert np.allclose(np.linalg.norm(filled.mesh.normals, axis=2), 1, atol=1e-6)
    for bad in (np.where(np.arange(len(triangles))[:, None, None] % 4 == 0, np.nan, tilted), -tilted):
        made = clean_surface(raw(positions, triangles, normals=bad.astype(np.float32)))
        assert made.normals_from == "smooth"
        assert "made anew" in made.warnings[0]
