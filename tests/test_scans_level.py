"""Scans that lean are stood up on their floor, whichever way they lean; people who bend stay as they are."""

from pathlib import Path

import numpy as np
import pytest
from conftest import read_ball
from test_scans_geometry import BUST, FULL, blobs

from synth.camera import transform_points
from synth.scans_geometry import place_mesh
from synth.scans_level import measure_lean
from synth.scans_overrides import Override
from synth.scans_surface import weld

SCANS = Path(__file__).parents[2] / "shared" / "assets" / "scans"
UP, OVER = np.array([0.0, 0.0, 1.0]), np.diag([1.0, -1.0, -1.0])
MAP = np.array([448262.0, 5411932.0, 112.0])


def body(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Metres, z up: ellipsoids on flat soles, or one of two bodies of MakeHuman's."""
    if name == "blobs":
        metres, triangles = blobs([*FULL[:3], *FULL[5:7], *(((x, 0, 0.45), (0.07, 0.1, 0.46)) for x in (0.1, -0.1))])
        return np.maximum(metres, (-9, -9, 0.02)), triangles
    if not SCANS.is_dir():
        pytest.skip("needs ../shared/assets/scans")
    mesh = read_ball(SCANS / f"{name}.obj", SCANS)
    metres = mesh.positions[:, [0, 2, 1]] * (0.1, -0.1, 0.1)
    return metres - (0, 0, metres[:, 2].min()), mesh.triangles


def tilt(degrees: float, azimuth_deg: float) -> np.ndarray:
    """(3, 3) rotation by an angle about a horizontal axis."""
    x, y = np.cos(np.radians(azimuth_deg)), np.sin(np.radians(azimuth_deg))
    k = np.array([[0, 0, y], [0, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(np.radians(degrees)) * k + (1 - np.cos(np.radians(degrees))) * k @ k


def bent(metres: np.ndarray, degrees: float) -> np.ndarray:
    """A body bent forwards at the hips; the legs stay."""
    hips = 0.5 * np.ptp(metres[:, 2])
    above = np.maximum(metres[:, 2] - hips, 0)
    angle = np.radians(degrees) * np.clip(above / (0.2 * hips), 0, 1)
    moved = metres.copy()
    moved[:, 2] += above * (np.cos(angle) - 1)
    moved[:, 1] -= above * np.sin(angle)
    return moved


def angle_deg(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ other, -1, 1))))


BODIES = ["blobs", "makehuman_male_young", "makehuman_female_heavy"]


@pytest.mark.parametrize("azimuth_deg", [0, 100, 215, 310])
@pytest.mark.parametrize("degrees", [9, 20, 50])
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_leans_is_stood_on_its_floor(name, degrees, azimuth_deg):
    metres, triangles = body(name)
    turn = tilt(degrees, azimuth_deg)
    for over in (np.eye(3), OVER):
        lean, level = measure_lean(metres @ (over @ turn).T * 100 + MAP, triangles)
        assert lean == pytest.approx(degrees, abs=1)
        assert angle_deg(level @ over @ turn @ UP, over @ UP) < 1
        assert np.linalg.det(level) == pytest.approx(1)


@pytest.mark.parametrize("degrees", [0, 20, 40, 60, 80])
@pytest.mark.parametrize("name", BODIES)
def test_people_who_bend_are_left_as_they_are(name, degrees):
    metres, triangles = body(name)
    moved = bent(metres, degrees)
    for over in (np.eye(3), OVER):
        lean, level = measure_lean(moved @ over.T, triangles)
        assert lean == 0 and np.array_equal(level, np.eye(3))
    leaning = moved @ tilt(25, 70).T  # and where the scan leans as well, the floor alone says by how much
    lean, level = measure_lean(leaning, triangles)
    assert lean == 0 or angle_deg(level @ tilt(25, 70) @ UP, UP) < 1


@pytest.mark.parametrize("radius", [0.2, 0.3])
def test_a_tray_held_askew_is_no_floor(radius):
    metres, triangles = body("blobs")
    tray, faces = blobs([((0, 0, 0), (radius, radius, 0.002))])
    moved = bent(metres, 20)
    moved = np.concatenate([moved, tray @ tilt(20, 0).T + moved[np.argmax(moved[:, 2])] + (0, 0, 0.05)])
    assert measure_lean(moved, np.concatenate([triangles, faces + len(metres)]))[0] == 0


@pytest.mark.parametrize("degrees", [0, 10, 30])
def test_without_a_floor_only_what_leans_far_is_stood_up_by_its_long_axis(degrees):
    metres, triangles = blobs([*FULL[:3], *(((x, 0, 0.45), (0.06, 0.06, 0.46)) for x in (0.1, -0.1))])
    lean, level = measure_lean(metres @ tilt(degrees, 40).T, triangles)
    assert (lean > 0) == (degrees == 30)
    assert degrees < 30 or angle_deg(level @ tilt(30, 40) @ UP, UP) < 2


def test_busts_and_balls_have_no_axis_to_level_by():
    for parts in (BUST, [((0, 0, 0), (0.1, 0.1, 0.1))]):
        metres, triangles = blobs(parts)
        assert measure_lean(metres @ tilt(25, 0).T, triangles)[0] == 0


def test_a_body_tilted_by_any_angle_ends_on_its_feet_and_says_so():
    metres, triangles = body("blobs")
    for turn in (tilt(25, 130), OVER @ tilt(25, 130), tilt(55, 0)):
        native = metres @ turn.T
        placed = place_mesh(native, triangles, weld(native), False, Override())
        assert angle_deg(placed.scan_from_file[:3, :3] @ turn @ UP, UP) < 1
        assert any("levelled" in change for change in placed.changes)
        kept = place_mesh(native, triangles, weld(native), False, Override(up="z"))
        assert np.allclose(kept.scan_from_file[:3, :3], np.eye(3) * kept.scan_from_file[0, 0])
        low = transform_points(placed.scan_from_file, native)[:, 2].min()
        assert low == pytest.approx(0, abs=1e-9)
