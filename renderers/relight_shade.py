"""Samples of a view shaded: irradiance from nodes, strong lights by shadow rays, colour from textures.

A sample is a point of a triangle of a scan, seen from the camera. Frame scan throughout.
"""

from dataclasses import dataclass

import numba
import numpy as np

from renderers.raycast import ScanCaster
from renderers.relight_light import LIGHT_RAYS
from renderers.relight_nodes import cell_of
from renderers.relight_relit import DARK, LIT, Relit, used
from renderers.relight_transport import Transport
from synth.scans import PreparedScan

#: Cycles lifts the origin of a shadow ray towards the smooth surface where the cosine to the triangle is below this:
#: the default of its `shadow_terminator_geometry_offset`.
_TERMINATOR = 0.1
#: Cosine to the middle of a strong light below which none of it is above the horizon.
_BEHIND = -0.15
#: Shadow rays start so far off the surface, of the scan's height.
_LIFT = 3e-5


@dataclass(frozen=True, eq=False)
class Points:
    """S samples of one scan."""

    triangle: np.ndarray
    """(S,) int32."""
    weights: np.ndarray
    """(S, 3) float32, barycentrics."""


def irradiance(
    points: Points, eye: np.ndarray, scan: PreparedScan, caster: ScanCaster, transport: Transport, relit: Relit
) -> np.ndarray:
    """Irradiance (S, 3) float32 of samples seen from eye (3,)."""
    positions, triangles = np.asarray(scan.positions), np.asarray(scan.triangles)
    normals = np.asarray(scan.normals)
    sides, shares, normal, face, position = _locate(
        points.triangle, points.weights, eye.astype(np.float32), positions, triangles, normals,
        transport.level, transport.start, transport.grid, len(transport.blend_row),
    )  # fmt: skip
    wanted, compact = used(sides, 2 * len(transport.blend_row))
    vectors, state = relit.nodes(wanted)
    light = relit.light
    out, sample, number, dark = _shade(
        sides, shares, normal, compact, vectors, state, light.strong, light.towards, relit.middles
    )
    geometry = (
        position, normal, face, points.triangle, points.weights, positions, triangles, normals,
        np.float32(_LIFT * scan.facts.height_m),
    )  # fmt: skip
    sample, number, free = _ask_lights(sample, number, dark, light.towards, caster, geometry)
    _add_strong(out, sample, number, free, light.towards, normal, light.strong)
    return out


def _ask_lights(
    sample: np.ndarray, number: np.ndarray, dark: np.ndarray, towards: np.ndarray, caster: ScanCaster, geometry: tuple
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which parts of strong lights samples see: samples (K,), numbers of lights (K,), and (K, LIGHT_RAYS) bool.

    Asked are pairs of a sample and a light. Where all nodes around are dark there may be a lit gap between them: one
    ray tells, and pairs without it are left out. All else is asked by the two most distant parts of the light, and by
    every part where these disagree.
    """

    def ask(some: np.ndarray, parts: np.ndarray) -> np.ndarray:
        ray, origins, directions = _shadow_rays(sample[some], number[some], towards[:, parts], *geometry)
        free = np.zeros((len(some), len(parts)), bool)
        threshold = (parts[ray % len(parts)] + 0.5) / LIGHT_RAYS
        free.ravel()[ray] = ~caster.blocked(origins, directions, threshold)
        return free

    unsure = np.ones(len(sample), bool)
    all_dark = np.flatnonzero(dark)
    unsure[all_dark] = ask(all_dark, np.array([0]))[:, 0]
    unsure = np.flatnonzero(unsure)
    ends = ask(unsure, np.array([0, LIGHT_RAYS - 1]))
    free = np.repeat(ends[:, :1], LIGHT_RAYS, axis=1)
    free[:, -1] = ends[:, 1]
    mixed = np.flatnonzero(ends[:, 0] != ends[:, 1])
    free[mixed, 1:-1] = ask(unsure[mixed], np.arange(1, LIGHT_RAYS - 1))
    return sample[unsure], number[unsure], free


@numba.njit(cache=True)
def _locate(
    triangle, weights, eye, positions, triangles, normals, level, start, grid, nodes
):  # pragma: no cover - compiled
    """Three nodes of each sample, numbered on from `nodes` where their backs are seen, their
    shares, and its shading normal, face normal, both towards the eye, position."""
    count = len(triangle)
    sides = np.empty((count, 3), np.int32)
    shares = np.empty((count, 3), np.float32)
    normal = np.empty((count, 3), np.float32)
    face = np.empty((count, 3), np.float32)
    position = np.empty((count, 3), np.float32)
    for s in range(count):
        t = triangle[s]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        w0, w1, w2 = weights[s, 0], weights[s, 1], weights[s, 2]
        for x in range(3):
            position[s, x] = w0 * positions[a, x] + w1 * positions[b, x] + w2 * positions[c, x]
            normal[s, x] = w0 * normals[t, 0, x] + w1 * normals[t, 1, x] + w2 * normals[t, 2, x]
        towards = 0.0
        for x in range(3):
            y, z = (x + 1) % 3, (x + 2) % 3
            face[s, x] = (positions[b, y] - positions[a, y]) * (positions[c, z] - positions[a, z]) - (
                positions[b, z] - positions[a, z]
            ) * (positions[c, y] - positions[a, y])
            towards += face[s, x] * (eye[x] - position[s, x])
        sign = np.float32(1.0 if towards >= 0 else -1.0)
        long_n = long_f = np.float32(0.0)
        for x in range(3):
            long_n += normal[s, x] ** 2
            long_f += face[s, x] ** 2
        for x in range(3):
            normal[s, x] *= sign / max(np.sqrt(long_n), np.float32(1e-12))
            face[s, x] *= sign / max(np.sqrt(long_f), np.float32(1e-20))
        ga, gb, gc, sa, sb, sc = cell_of(level[t], w1, w2)
        shares[s, 0], shares[s, 1], shares[s, 2] = sa, sb, sc
        sides[s, 0], sides[s, 1], sides[s, 2] = grid[start[t] + ga], grid[start[t] + gb], grid[start[t] + gc]
        if sign < 0:
            for k in range(3):
                sides[s, k] += nodes
    return sides, shares, normal, face, position


@numba.njit(cache=True)
def _shade(sides, shares, normal, compact, vectors, state, strong, towards, middles):  # pragma: no cover - compiled
    """Irradiance without the strong lights that must still be asked for, which those are by sample and number, and
    whether all nodes around took it for dark."""
    count, lights, parts = len(sides), len(strong), towards.shape[1]
    out = np.zeros((count, 3), np.float32)
    open_sample = np.empty(count * lights, np.int64)
    open_light = np.empty(count * lights, np.int64)
    all_dark = np.empty(count * lights, np.bool_)
    n = 0
    for s in range(count):
        k0, k1, k2 = compact[sides[s, 0]], compact[sides[s, 1]], compact[sides[s, 2]]
        s0, s1, s2 = shares[s, 0], shares[s, 1], shares[s, 2]
        for c in range(3):
            value = np.float32(0)
            for x in range(3):
                at = 3 * c + x
                value += normal[s, x] * (s0 * vectors[k0, at] + s1 * vectors[k1, at] + s2 * vectors[k2, at])
            out[s, c] = max(value, np.float32(0))
        for light in range(lights):
            first, second, third = state[k0, light], state[k1, light], state[k2, light]
            if first == LIT and second == LIT and third == LIT:
                for ray in range(parts):
                    cosine = np.float32(0)
                    for x in range(3):
                        cosine += normal[s, x] * towards[light, ray, x]
                    cosine = max(cosine, np.float32(0)) / np.float32(parts)
                    for c in range(3):
                        out[s, c] += cosine * strong[light, c]
            else:
                facing = np.float32(0)
                for x in range(3):
                    facing += normal[s, x] * middles[light, x]
                if facing > _BEHIND:
                    dark = first == DARK and second == DARK and third == DARK
                    open_sample[n], open_light[n], all_dark[n] = s, light, dark
                    n += 1
    return out, open_sample[:n], open_light[:n], all_dark[:n]


@numba.njit(cache=True)
def _shadow_rays(
    sample, light, towards, position, normal, face, triangle, weights, positions, triangles, normals, lift
):  # pragma: no cover - compiled
    """Rays from samples towards the parts of strong lights, those above the shading normal's horizon: number (K,) among
    all, origin and direction (K, 3). Near the terminator they start off the smooth surface, as Cycles has it."""
    each = towards.shape[1]
    number = np.empty(len(sample) * each, np.int64)
    origin = np.empty((len(number), 3), np.float32)
    direction = np.empty((len(number), 3), np.float32)
    n = 0
    for k in range(len(sample)):
        s = sample[k]
        height = np.float32(-1)
        for ray in range(each):
            cos_n = cos_f = np.float32(0)
            for x in range(3):
                d = towards[light[k], ray, x]
                direction[n, x] = d
                cos_n += normal[s, x] * d
                cos_f += face[s, x] * d
            if cos_n <= 0:
                continue
            amount = 2 - (cos_f + cos_n) / _TERMINATOR if cos_n < _TERMINATOR else 1 - cos_f / _TERMINATOR
            amount = min(max(amount, 0.0), 1.0)
            if amount > 0 and height < 0:
                height = _bulge(weights[s], positions, triangles[triangle[s]], normals[triangle[s]], face[s])
            for x in range(3):
                up = lift * face[s, x]
                if amount > 0:
                    up += np.float32(amount) * height * normal[s, x]
                origin[n, x] = position[s, x] + up
            number[n] = k * each + ray
            n += 1
    return number[:n], origin[:n], direction[:n]


@numba.njit(cache=True)
def _bulge(weights, positions, corners, normals, face):  # pragma: no cover - compiled
    """How far the smooth surface that corner normals tell of stands off the flat triangle at barycentrics, as Cycles
    takes it for shadow rays (kernel/light/sample.h): the lowest of three planes, one through each corner at right
    angles to its normal, raised until it clears the triangle; at least half of a parabola through the corners.

    Negative, and times the normal as the scan has it, where that normal points away from `face`.
    """
    point = np.zeros(3, np.float32)
    side = np.float32(0)
    for x in range(3):
        for k in range(3):
            point[x] += weights[k] * positions[corners[k], x]
            side += face[x] * weights[k] * normals[k, x]
    sign = np.float32(1 if side > 0 else -1)
    lowest, parabola = np.float32(np.inf), np.float32(0)
    for k in range(3):
        over, clear = np.float32(0), np.float32(0)
        for other in range(3):
            rise, bend = np.float32(0), np.float32(0)
            for x in range(3):
                step = positions[corners[other], x] - positions[corners[k], x]
                rise += sign * step * normals[k, x]
                bend += step * (normals[other, x] - normals[k, x])
            clear = max(clear, rise)
            if other > k:
                parabola += sign * bend * weights[k] * weights[other]
        for x in range(3):
            over += sign * (positions[corners[k], x] - point[x]) * normals[k, x]
        lowest = min(lowest, max(over + clear, np.float32(0)))
    return max(lowest, parabola / 2)


@numba.njit(cache=True)
def _add_strong(out, sample, light, free, towards, normal, strong):  # pragma: no cover - compiled
    each = free.shape[1]
    for k in range(len(sample)):
        s = sample[k]
        for ray in range(each):
            if free[k, ray]:
                cosine = np.float32(0)
                for x in range(3):
                    cosine += normal[s, x] * towards[light[k], ray, x]
                cosine = max(cosine, np.float32(0)) / np.float32(each)
                for c in range(3):
                    out[s, c] += cosine * strong[light[k], c]
