"""Trust by construction: each fault is built into a clean ball or slab, and trust is low there and nowhere else."""

import numpy as np
import pytest

from synth.scans_surface import weld
from synth.scans_trust import measure_trust

RADIUS = 0.15


def ball(rings=60, radius=RADIUS):
    """Positions, triangles, and corner uvs of a closed ball; its texture's seam and poles are as in real files."""
    sectors = 2 * rings
    theta, phi = np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, sectors + 1)
    t, p = (a.ravel() for a in np.meshgrid(theta, phi, indexing="ij"))
    positions = radius * np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=1)
    # The seam and the poles are one place each, exactly.
    positions.reshape(rings + 1, sectors + 1, 3)[:, -1] = positions.reshape(rings + 1, sectors + 1, 3)[:, 0]
    positions.reshape(rings + 1, sectors + 1, 3)[[0, -1], :, :2] = 0
    uv = np.stack([p / (2 * np.pi), 1 - t / np.pi], axis=1)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(rings), np.arange(sectors), indexing="ij"))
    a, b = i * (sectors + 1) + j, (i + 1) * (sectors + 1) + j
    upper, lower = np.stack([a, b, b + 1], axis=1)[i < rings - 1], np.stack([a, b + 1, a + 1], axis=1)[i > 0]
    last = np.stack([a, b, a + 1], axis=1)[i == rings - 1]
    triangles = np.concatenate([upper, lower[: len(lower) - sectors], last])
    return positions.astype(np.float32), triangles.astype(np.int32), uv[triangles].astype(np.float32)


def measure(positions, triangles, uvs=None, **more):
    positions = np.asarray(positions, np.float32)
    return measure_trust(positions, triangles, uvs, weld(positions), **more)


def angle_to(positions, direction):
    """Metres along the ball from `direction`."""
    unit = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    return RADIUS * np.arccos(np.clip(unit @ np.array(direction), -1, 1))


@pytest.mark.parametrize("rings", [12, 60])
@pytest.mark.parametrize("textured", [False, True])
def test_a_clean_closed_ball_is_believed_everywhere(rings, textured):
    positions, triangles, uvs = ball(rings)
    trust = measure(positions, triangles, uvs if textured else None)
    assert trust.dtype == np.uint8 and trust.shape == (len(positions),)
    assert (trust == 255).all()


def test_a_hole_is_doubted_near_its_rim_only():
    positions, triangles, _ = ball(120)
    distance = angle_to(positions, (1, 0, 0))
    kept = (distance[triangles] > 0.04).all(axis=1)
    positions, distance = positions[used := np.unique(triangles[kept])], distance[used]
    triangles = np.searchsorted(used, triangles[kept])
    trust = measure(positions, triangles)
    assert trust[distance < 0.043].max() < 100
    assert (trust[distance > 0.06] == 255).all()
    # Falling off, ring by ring.
    rings = [trust[(distance > low) & (distance < low + 0.004)].mean() for low in (0.04, 0.044, 0.048, 0.052)]
    assert rings == sorted(set(rings)) and rings[0] < 50 and rings[3] > 180


def test_a_seam_of_rounded_numbers_is_no_hole():
    positions, triangles, _ = ball()
    north = (positions[triangles][..., 2] > 0.001).any(axis=1) & (positions[triangles].mean(axis=1)[:, 2] > 0)
    shifted = positions + np.float32((0, 0, 1e-6))
    both = np.concatenate([positions, shifted])
    trust = measure(both, np.concatenate([triangles[~north], triangles[north] + len(positions)]))
    assert (trust == 255).all()


def test_a_region_of_noise_is_doubted_there_only():
    positions, triangles, _ = ball(120)
    distance = angle_to(positions, (1, 0, 0))
    rng = np.random.default_rng(0)
    noisy = positions + np.where(distance < 0.05, rng.normal(0, 0.003, len(positions)), 0)[:, None] * (
        positions / RADIUS
    )
    # One displacement a place: a seam that opens would be another fault.
    noisy = noisy[np.unique(weld(positions), return_index=True)[1]][weld(positions)]
    trust = measure(noisy, triangles)
    assert np.median(trust[distance < 0.04]) < 60
    assert (trust[distance > 0.08] == 255).all()


def test_a_steady_fold_is_no_noise():
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-0.1, 0.1, 101), np.linspace(-0.1, 0.1, 101), indexing="ij"))
    z = 0.01 * np.cos(2 * np.pi * x / 0.05)  # a cloth's folds: 5 cm apart, 2 cm deep
    i, j = (a.ravel() for a in np.meshgrid(np.arange(100), np.arange(100), indexing="ij"))
    a = i * 101 + j
    triangles = np.concatenate([np.stack([a, a + 101, a + 102], 1), np.stack([a, a + 102, a + 1], 1)])
    trust = measure(np.stack([x, y, z], axis=1), triangles)
    inner = (np.abs(x) < 0.08) & (np.abs(y) < 0.08)
    assert (trust[inner] == 255).all() and trust[~inner].min() == 0


@pytest.mark.parametrize(
    ("thickness_m", "low", "high"), [(0.0005, 0, 0), (0.001, 0, 5), (0.002, 90, 170), (0.005, 255, 255)]
)
def test_a_slab_is_doubted_where_it_is_thin(thickness_m, low, high):
    trust, inner = slab(thickness_m)
    assert low <= trust[inner].min() and trust[inner].max() <= high


def slab(thickness_m, size=0.2, n=41):
    """A closed slab, and which of its vertices are 2 cm and more from its edge."""
    x, y = (a.ravel() for a in np.meshgrid(*[np.linspace(-size / 2, size / 2, n)] * 2, indexing="ij"))
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n - 1), np.arange(n - 1), indexing="ij"))
    a = i * n + j
    top = np.concatenate([np.stack([a, a + n, a + n + 1], 1), np.stack([a, a + n + 1, a + 1], 1)])
    line = np.arange(n - 1)
    # The border, walked once around: its vertices in order give the wall between top and bottom.
    rim = np.concatenate([line * n, (n - 1) * n + line, (n - 1 - line) * n + n - 1, n - 1 - line])
    following = np.roll(rim, -1)
    wall = np.concatenate(
        [np.stack([rim, rim + n * n, following], 1), np.stack([following, rim + n * n, following + n * n], 1)]
    )
    positions = np.concatenate([np.stack([x, y, np.full(n * n, z)], 1) for z in (thickness_m / 2, -thickness_m / 2)])
    triangles = np.concatenate([top, top[:, ::-1] + n * n, wall])
    inner = np.abs(positions[:, :2]).max(axis=1) < size / 2 - 0.02
    return measure(positions, triangles), inner


def test_a_smeared_texture_is_doubted_where_it_is_smeared():
    positions, triangles, uvs = ball()
    distance = angle_to(positions, (1, 0, 0))
    smeared = (distance[triangles] < 0.05).all(axis=1)
    uvs[smeared, :, 0] = 0.5 + 0.02 * (uvs[smeared, :, 0] - 0.5)  # one direction only: anisotropy, not size
    trust = measure(positions, triangles, uvs)
    assert trust[distance < 0.035].max() == 0
    assert (trust[distance > 0.055] == 255).all()
    # Another material with a scale of its own is no fault.
    assert (measure(positions, triangles, uvs, material=smeared.astype(np.uint16)) == 255).all()


def test_a_texture_of_one_point_tells_nothing():
    positions, triangles, uvs = ball()
    assert (measure(positions, triangles, np.zeros_like(uvs)) == 255).all()
