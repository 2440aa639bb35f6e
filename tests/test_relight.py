"""Relight against closed form: skies whose light on a plane, a ball and a bowl is known; veils, walls, edges."""

import dataclasses
import functools

import numpy as np
import pytest
from test_raycast import CARD_UVS, card, prepared
from worlds import make_camera

from renderers.raycast import ScanCaster, cast_labels
from renderers.relight_directions import Directions
from renderers.relight_light import LIGHT_RAYS, solid_angles, take_apart, texel_directions, turn_light
from renderers.relight_nodes import Nodes, choose_rows, find_parts
from renderers.relight_relit import Relit
from renderers.relight_shade import Points, irradiance
from renderers.relight_transport import DIRECTIONS, build_transport
from renderers.relight_view import filter_offsets, see_surfaces
from renderers.surface import ScanPaint
from synth.camera import project
from synth.scans import PreparedScan

CELLS = Directions(DIRECTIONS)
SHAPE = (256, 512)
#: Towards a sun, no corner of any grid.
SUN = np.array([0.48, -0.36, 0.8])


def ball(rings: int = 24, inward: bool = False, lowest: float = -1.0) -> PreparedScan:
    """A unit ball or, seen from inside, the part of one below z = -lowest, with exact smooth normals."""
    polar = np.linspace(np.arccos(-lowest) if lowest > -1 else 0, np.pi, rings + 1)
    azimuth = np.arange(2 * rings) * np.pi / rings
    p, a = np.meshgrid(polar, azimuth, indexing="ij")
    positions = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], axis=-1).reshape(-1, 3)
    at = np.arange((rings + 1) * 2 * rings).reshape(rings + 1, 2 * rings)
    a, b = at[:-1], np.roll(at[:-1], -1, axis=1)
    c, d = np.roll(at[1:], -1, axis=1), at[1:]
    triangles = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    corners = positions[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    triangles = triangles[area > 1e-9]
    normals = positions[triangles].astype(np.float32)
    if inward:
        triangles, normals = triangles[:, ::-1], -normals[:, ::-1]
    return prepared(positions, triangles, normals=np.ascontiguousarray(normals))


def with_albedo(scan: PreparedScan, albedo: float) -> PreparedScan:
    material = scan.facts.materials[0].model_copy(update={"base_color": (albedo, albedo, albedo, 1.0)})
    return dataclasses.replace(scan, facts=scan.facts.model_copy(update={"materials": (material,)}))


def sky(radiance) -> np.ndarray:
    """A panorama (h, w, 3) of radiance(direction (h, w, 3)) -> (h, w)."""
    return np.repeat(radiance(texel_directions(*SHAPE))[..., None], 3, axis=-1).astype(np.float32)


def constant(value: float = 2.0) -> np.ndarray:
    return np.full((*SHAPE, 3), value, np.float32)


def sunny(power: float = 3.0, background: float = 0.1) -> tuple[np.ndarray, float]:
    """A disc of 1.5 degrees around SUN on a dim sky; and what it sends onto a surface that faces it."""
    disc = texel_directions(*SHAPE) @ SUN > np.cos(np.radians(1.5))
    area = (disc * solid_angles(*SHAPE)[:, None]).sum()
    panorama = constant(background)
    panorama[disc] = power / area
    return panorama, power


class Lit:
    """A scan under a panorama, without a view."""

    def __init__(self, scan: PreparedScan, panorama: np.ndarray, yaw_deg: float = 0.0, pose: np.ndarray | None = None):
        self.scan, self.caster = scan, ScanCaster(scan)
        self.transport = build_transport(scan, self.caster, ScanPaint(scan))
        self.pose = np.eye(4) if pose is None else pose
        self.light(panorama, yaw_deg)

    def light(self, panorama: np.ndarray, yaw_deg: float = 0.0) -> "Lit":
        self.relit = Relit(self.transport, turn_light(take_apart(panorama), yaw_deg, self.pose, CELLS), CELLS)
        return self

    def at(self, triangle: np.ndarray, weights: np.ndarray, eye=(0, 0, 10.0)) -> np.ndarray:
        points = Points(np.asarray(triangle, np.int32), np.asarray(weights, np.float32))
        return irradiance(points, np.array(eye, float), self.scan, self.caster, self.transport, self.relit)

    def scattered(self, count: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Triangles, barycentrics and shading normals of points all over the scan."""
        rng = np.random.default_rng(0)
        triangle = rng.integers(0, len(self.scan.triangles), count)
        weights = rng.dirichlet((1, 1, 1), count)
        normal = np.einsum("kc,kcx->kx", weights, self.scan.normals[triangle])
        return triangle, weights, normal / np.linalg.norm(normal, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def lit_ball():
    return Lit(ball(), constant())


@pytest.fixture(scope="module")
def floor():
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], float)
    return Lit(prepared(corners, [(0, 1, 2), (0, 2, 3)]), constant())


def test_cells_are_equal_and_hold_their_own_rays():
    assert CELLS.count == DIRECTIONS and CELLS.cells.sum() == DIRECTIONS
    np.testing.assert_array_equal(CELLS.find(CELLS.unit), np.arange(DIRECTIONS))
    rng = np.random.default_rng(0)
    anywhere = rng.normal(size=(400_000, 3))
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    cell = CELLS.find(anywhere)
    counts = np.bincount(cell, minlength=DIRECTIONS)
    expected = len(anywhere) / DIRECTIONS
    assert ((counts - expected) ** 2 / expected).sum() / DIRECTIONS < 1.2  # chi squared of equal shares: 1
    assert np.degrees(np.arccos((anywhere * CELLS.unit[cell]).sum(axis=1))).max() < 6.0


def test_no_light_is_lost_when_a_panorama_is_taken_apart_and_turned():
    rng = np.random.default_rng(1)
    panorama = sunny()[0] * rng.uniform(0.5, 1.5, (*SHAPE, 3)).astype(np.float32)
    area = solid_angles(*SHAPE)[:, None, None]
    light = turn_light(take_apart(panorama), 77.0, np.eye(4), CELLS)
    assert len(light.strong) == 1
    np.testing.assert_allclose(light.irradiance.sum(axis=0), (panorama * area).sum(axis=(0, 1)), rtol=2e-3)
    vector = light.moments.reshape(-1, 3, 3).sum(axis=0)
    vector = vector + np.einsum("lc,lkx->cx", light.strong, light.towards) / LIGHT_RAYS
    turn = np.radians(77.0)
    turned = texel_directions(*SHAPE) @ np.array(
        [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    expected = np.einsum("hwc,hwx,h->cx", panorama, turned, area[:, 0, 0])
    np.testing.assert_allclose(vector, expected, atol=2e-3 * np.linalg.norm(expected))


def test_a_sun_across_the_seam_is_one_light_in_eight_equal_parts():
    panorama = constant(0.1)
    panorama[100:104, :3] = panorama[100:104, -3:] = 5000.0
    found = take_apart(panorama)
    assert found.strong.shape == (1, 3) and found.towards.shape == (1, LIGHT_RAYS, 3)
    assert np.degrees(np.arccos(found.towards[0] @ found.towards[0].mean(axis=0))).max() < 3.0
    mean = (panorama[..., 0] * solid_angles(*SHAPE)[:, None]).sum() / (4 * np.pi)
    assert found.smooth.max() <= 30.1 * mean < 0.01 * panorama.max()


def test_a_convex_thing_under_an_even_sky_is_evenly_lit(lit_ball):
    triangle, weights, _ = lit_ball.scattered()
    falling = lit_ball.light(constant(2.0)).at(triangle, weights, eye=(0, 0, 0))  # any side: the ball is turned over
    front = lit_ball.at(triangle, weights, eye=(0, 0, 1e6))
    seen = np.einsum("kx,kx->k", lit_ball.scattered()[2], np.tile((0, 0, 1.0), (500, 1))) > 0.3
    np.testing.assert_allclose(front[seen], 2 * np.pi, rtol=0.012)
    assert np.abs(falling).max() < 1e-6  # from within, where no light comes


def test_a_ball_under_a_sun_is_lamberts(lit_ball):
    panorama, power = sunny(background=0.0)
    triangle, weights, normal = lit_ball.scattered(2000)
    seen = normal[:, 2] > 0.2
    got = lit_ball.light(panorama).at(triangle[seen], weights[seen], eye=(0, 0, 1e6))[:, 0]
    expected = power * np.maximum(normal[seen] @ SUN, 0)
    assert np.abs(got - expected).max() < 0.03 * power
    dark = normal[seen] @ SUN < -0.05
    assert dark.sum() > 50 and got[dark].max() < 0.01 * power  # what its cells keep of the sun


@pytest.mark.parametrize("power", [0, 1, 3])
def test_a_floor_under_a_sky_that_brightens_upwards(floor, power):
    panorama = sky(lambda d: np.maximum(d[..., 2], 0) ** power)
    got = floor.light(panorama).at([0, 1], [(0.2, 0.3, 0.5), (0.6, 0.2, 0.2)])
    np.testing.assert_allclose(got, 2 * np.pi / (power + 2), rtol=0.005)


def test_what_lies_below_the_floor_does_not_light_it(floor):
    panorama = sky(lambda d: (d[..., 2] < -0.02).astype(float))
    assert np.abs(floor.light(panorama).at([0], [(0.2, 0.3, 0.5)])).max() < 0.01
    below = floor.at([0], [(0.2, 0.3, 0.5)], eye=(0, 0, -10))
    np.testing.assert_allclose(below, np.pi, rtol=0.02)  # its back is a surface too


@pytest.mark.parametrize("albedo", [0.0, 0.5, 0.9])
def test_light_in_a_bowl_bounces_three_times(albedo):
    """In a sphere every point sees all others alike: half a sphere, open above, sends half of its light to itself."""
    bowl = Lit(with_albedo(ball(rings=40, inward=True, lowest=0.0), albedo), constant(2.0))
    triangle, weights, normal = bowl.scattered(400)
    inside = normal[:, 2] > 0.15  # away from the rim, whose nodes stand in the mouth
    got = bowl.at(triangle[inside], weights[inside], eye=(0, 0, 1e6))
    share = albedo / 2
    expected = np.pi * (1 + share + share**2 + share**3)
    assert abs(got.mean() / expected - 1) < 0.012
    np.testing.assert_allclose(got, expected, rtol=0.06)


def test_turning_the_sky_is_turning_the_scan_the_other_way():
    panorama = sunny()[0] * np.linspace(0.2, 1.8, SHAPE[1], dtype=np.float32)[None, :, None]
    turn = np.radians(50.0)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    by_sky = turn_light(take_apart(panorama), 20.0, np.eye(4), CELLS)
    by_pose = turn_light(take_apart(panorama), 70.0, pose, CELLS)
    np.testing.assert_allclose(by_sky.towards, by_pose.towards, atol=1e-6)
    np.testing.assert_allclose(by_sky.moments.sum(axis=0), by_pose.moments.sum(axis=0), rtol=1e-4)
    # Texels at the edge of a cell may fall into the next by rounding.
    assert np.abs(by_sky.moments - by_pose.moments).sum() < 1e-2 * np.abs(by_sky.moments).sum()


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_a_veil_lets_through_what_its_alpha_leaves(opacity, tmp_path):
    """A black veil right above a floor and much larger: light comes through it or not at all."""
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], float)
    above = corners * (40, 40, 1) + (0, 0, 0.1)
    uvs = np.concatenate([CARD_UVS, CARD_UVS])
    triangles = [(4, 5, 6), (4, 6, 7), (0, 1, 2), (0, 2, 3)]
    alpha = np.full((16, 16), round(255 * opacity), np.uint8)
    scan = prepared(np.concatenate([corners, above]), triangles, uvs=uvs, alpha=alpha, folder=tmp_path)
    opaque = scan.facts.materials[0].model_copy(update={"alpha": False, "base_color": (0.0, 0.0, 0.0, 1.0)})
    veil = opaque.model_copy(update={"alpha": True})
    scan = dataclasses.replace(
        scan,
        facts=scan.facts.model_copy(update={"materials": (veil, opaque)}),
        material=np.array([0, 0, 1, 1], np.uint16),
    )
    got = Lit(scan, constant(1.0)).at([2], [(0.3, 0.3, 0.4)])
    np.testing.assert_allclose(got, np.pi * (1 - opacity), atol=0.05)


def test_a_wall_shadows_the_sun_where_geometry_says():
    """A wall on a floor under a sun at 53 degrees: its shadow ends where the ray over its edge meets the floor."""
    corners = [(-3, -3, 0), (3, -3, 0), (3, 3, 0), (-3, 3, 0), (0, -3, 0), (0, 3, 0), (0, 3, 1), (0, -3, 1)]
    scan = prepared(np.array(corners, float), [(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)])
    sun = np.array([0.6, 0.0, 0.8])
    panorama = constant(0.0)
    panorama[texel_directions(*SHAPE) @ sun > np.cos(np.radians(1.0))] = 1000.0
    lit = Lit(with_albedo(scan, 0.0), panorama)
    x = np.linspace(-2.0, -0.1, 60)  # on the floor, on the wall's far side from the sun
    # Barycentrics of (x, 1) in the triangle of the corners (-3, -3), (3, 3), (-3, 3).
    y = 1.0
    w2 = (x + 3) / 6
    w0 = (3 - y) / 6
    weights = np.stack([np.full_like(x, w0), w2, 1 - w0 - w2], axis=1)
    got = lit.at(np.full(60, 1), weights)[:, 0]
    full = got[0]
    edge = -0.75  # one metre of wall casts 0.6 / 0.8 metres of shadow
    assert full > 0
    np.testing.assert_allclose(got[x < edge - 0.05], full, rtol=0.02)
    assert np.abs(got[x > edge + 0.05]).max() < 0.02 * full


@pytest.mark.parametrize("side", [0, 1])
def test_a_lid_takes_no_light_from_the_dark_right_behind_it(side):
    y, z = (axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(0, 1, 40)], indexing="ij"))
    lid, behind = (np.stack([np.full(len(y), x), y, z], axis=1) for x in (0.0, -0.001))
    position = np.concatenate([lid, behind]).astype(np.float32)
    normal = np.broadcast_to(np.array([1, 0, 0], np.float32), position.shape)
    open_sky = np.zeros((len(position), 2), np.float32)
    open_sky[: len(lid), side] = 1
    nodes = Nodes(position, normal, *4 * [np.zeros(0, np.int64)])
    chosen, row, share = choose_rows(nodes, open_sky, size_m=1.0, most=400)
    assert 100 < len(chosen) <= 400
    np.testing.assert_allclose(share.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(taken(open_sky, chosen, row, share), open_sky, atol=1e-6)
    blind = choose_rows(nodes, np.full_like(open_sky, 0.5), size_m=1.0, most=400)
    assert np.abs(taken(open_sky, *blind) - open_sky).max() > 0.3


@pytest.mark.parametrize("side", [0, 1])
def test_what_comes_out_of_another_surface_has_light_of_its_own(side):
    """A seam one node wide that sees the sky, in a surface that sees little of it: too few for rows of their own."""
    y, z = (axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(0, 1, 40)], indexing="ij"))
    position = np.stack([np.zeros(len(y)), y, z], axis=1).astype(np.float32)
    normal = np.broadcast_to(np.array([1, 0, 0], np.float32), position.shape)
    seam = y == y[40 * 17]
    open_sky = np.zeros((len(position), 2), np.float32)
    open_sky[:, side] = np.where(seam, 0.6, 0.05)
    nodes = Nodes(position, normal, *4 * [np.zeros(0, np.int64)])
    chosen, row, share = choose_rows(nodes, open_sky, size_m=1.0, most=100)
    assert len(chosen) <= 100 + seam.sum()
    np.testing.assert_allclose(share.sum(axis=1), 1, rtol=1e-5)
    assert np.abs(taken(open_sky, chosen, row, share) - open_sky).max() < 0.1


def taken(open_sky, chosen, row, share) -> np.ndarray:
    """(N, 2) what nodes take of a uniform sky, by what their rows see of it."""
    return np.einsum("kb,kbs->ks", share, open_sky[chosen[row]])


def test_edges_cover_pixels_as_cycles_filter_does():
    offsets = filter_offsets(4096)
    assert np.abs(offsets.mean(axis=0)).max() < 1e-3
    # Blackman-Harris over 3 px, its standard deviation by numeric integration.
    at = np.linspace(-1.5, 1.5, 30001)
    v = 2 * np.pi * (at / 3 + 0.5)
    density = 0.35875 - 0.48829 * np.cos(v) + 0.14128 * np.cos(2 * v) - 0.01168 * np.cos(3 * v)
    deviation = np.sqrt((density * at**2).sum() / density.sum())
    np.testing.assert_allclose(offsets.std(axis=0), deviation, rtol=0.01)


def test_shares_of_a_card_add_up_to_its_coverage():
    camera = make_camera()
    caster = ScanCaster(card())
    labels = cast_labels(camera, [(caster, np.eye(4))])
    window = (slice(0, camera.height), slice(0, camera.width))
    whole, *edges = see_surfaces(
        camera, labels, caster, find_parts(caster.scan), np.array(camera.world_from_camera), window
    )
    cover = np.zeros(camera.height * camera.width)
    np.add.at(cover, whole.pixel, whole.share)
    for seen in edges:
        np.add.at(cover, seen.pixel, seen.share)
    rim = edges[1].pixel
    assert len(rim) > 100 and len(set(rim) - set(np.flatnonzero(labels.instance))) > 0
    # The pixel filter has mean zero: coverage adds up to the card's area, as far as a pixel's centres tell.
    corners = np.array([(0, -0.3, 0.2), (0, 0.3, 0.2), (0, 0.3, 0.8), (0, -0.3, 0.8)])
    (x, y) = project(camera, corners)[0].T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    assert abs(cover.sum() / area - 1) < 0.003


def test_a_rim_before_bright_light_gets_more_rays():
    camera = make_camera()
    caster = ScanCaster(card())
    labels = cast_labels(camera, [(caster, np.eye(4))])
    window = (slice(0, camera.height), slice(0, camera.width))
    left = np.arange(camera.width) < camera.width // 2
    see = functools.partial(
        see_surfaces, camera, labels, caster, find_parts(caster.scan), np.array(camera.world_from_camera), window
    )
    rim = see()[2]
    _, _, dim, bright = see(lambda pixels: left[pixels % camera.width])
    assert set(rim.pixel) <= set(dim.pixel) | set(bright.pixel)
    assert left[bright.pixel % camera.width].all() and not left[dim.pixel % camera.width].any()
    assert len(set(dim.pixel)) > 30 and len(set(bright.pixel)) > 30
    # Coverage in steps of a ray's share.
    for seen, rays in ((dim, 16), (bright, 128)):
        cover = np.bincount(seen.pixel, seen.share) * rays
        np.testing.assert_allclose(cover, np.round(cover), atol=1e-3)
    assert (np.round(np.bincount(bright.pixel, bright.share) * 128) % 8).any()


def test_where_triangles_are_smaller_than_pixels_a_pixel_takes_from_around_its_centre():
    camera = make_camera()
    n = 120
    y, z = np.meshgrid(np.linspace(-0.3, 0.3, n + 1), np.linspace(0.2, 0.8, n + 1), indexing="ij")
    positions = np.stack([0 * y, y, z], axis=-1).reshape(-1, 3)
    at = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = (x.ravel() for x in (at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]))
    scan = prepared(positions, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))
    caster = ScanCaster(scan)
    labels = cast_labels(camera, [(caster, np.eye(4))])
    window = (slice(0, camera.height), slice(0, camera.width))
    whole, *_ = see_surfaces(
        camera, labels, caster, find_parts(caster.scan), np.array(camera.world_from_camera), window
    )
    pixels = np.flatnonzero(np.bincount(whole.pixel) == 9)  # none of its neighbours is at an edge
    assert whole.taps == 1 and len(pixels) > 300
    points = np.einsum("kc,kcx->kx", whole.weights, scan.positions[scan.triangles[whole.triangle]])
    uv = project(camera, points)[0][whole.sample]
    size = camera.height * camera.width
    total = np.bincount(whole.pixel, whole.share, size)
    np.testing.assert_allclose(total[pixels], 1, atol=1e-6)
    for axis, centre in ((0, pixels % camera.width + 0.5), (1, pixels // camera.width + 0.5)):
        mean = np.bincount(whole.pixel, whole.share * uv[:, axis], size)[pixels]
        np.testing.assert_allclose(mean, centre, atol=2e-3)
        off = uv[:, axis] - np.where(axis == 0, whole.pixel % camera.width, whole.pixel // camera.width) - 0.5
        variance = np.bincount(whole.pixel, whole.share * off**2, size)[pixels]
        # The filter's own is 0.16: what samples half a pixel apart can follow of it.
        assert 0.12 < variance.mean() < 0.18


def test_what_lies_flat_on_another_thing_has_an_edge():
    """A card a hair's breadth before a larger one, as an eyebrow lies on skin: nothing but its part tells it apart."""
    camera = make_camera()
    corners = [(0, -0.3, 0.2), (0, 0.3, 0.2), (0, 0.3, 0.8), (0, -0.3, 0.8)]
    small = [(1e-4, y / 2, 0.5 + (z - 0.5) / 2) for _, y, z in corners]
    scan = prepared(np.array(corners + small), [(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)])
    a, b, c, d = find_parts(scan)
    assert a == b != c == d
    caster = ScanCaster(scan)
    labels = cast_labels(camera, [(caster, np.eye(4))])
    window = (slice(0, camera.height), slice(0, camera.width))
    _, within, *_ = see_surfaces(camera, labels, caster, find_parts(scan), np.array(camera.world_from_camera), window)
    around = project(camera, np.array(small))[0]
    length = np.linalg.norm(around - np.roll(around, 1, axis=0), axis=1).sum()
    assert length < len(set(within.pixel)) < 3.5 * length
    shown = np.bincount(within.pixel, within.share * (within.triangle >= 2), camera.height * camera.width)
    assert ((shown > 0.2) & (shown < 0.8)).sum() > length / 3
