"""Holes that are seen are said, in one line; necks, sleeves, nostrils and closed meshes are not."""

import numpy as np
import pytest
from test_scans_geometry import FULL, blobs, cube_sphere

from synth.scans_holes import describe_holes
from synth.scans_surface import weld


def head(*cuts) -> tuple[np.ndarray, np.ndarray]:
    """A ball of 0.12 m that stands at 0, without the faces within an angle (degrees) of some directions."""
    charts, triangles, _ = cube_sphere(40)
    places = weld(charts)
    positions = np.empty((places.max() + 1, 3))
    positions[places], triangles = charts, places[triangles]
    kept = np.ones(len(triangles), bool)
    for direction, degrees in cuts:
        kept &= ~(positions[triangles] @ np.array(direction, float) > np.cos(np.radians(degrees))).any(axis=1)
    return positions * 0.12 + (0, 0, 0.12), triangles[kept]


def described(positions: np.ndarray, triangles: np.ndarray) -> str | None:
    said = describe_holes(positions, triangles, weld(positions))
    assert len(said) <= 1
    return said[0] if said else None


def test_a_hole_is_said_with_its_length_around():
    said = described(*head(((0, 1, 0), 30)))
    assert said is not None and said.startswith("a hole of ")
    around_cm = float(said.split()[3])
    # The rim of a ball's cap of 30 degrees, 37.7 cm, which runs in steps along the mesh's edges.
    assert 37 < around_cm < 55
    assert described(*head(((0, 1, 0), 30), ((1, 0, 0), 25))).startswith("2 holes, the largest of ")


@pytest.mark.parametrize("cuts", [[], [((0, 0, -1), 25)], [((0, 1, 0), 5)]])
def test_closed_heads_open_necks_and_nostrils_are_no_news(cuts):
    assert described(*head(*cuts)) is None


def test_an_open_crown_and_a_rim_from_neck_to_crown_are():
    assert described(*head(((0, 0, 1), 30))) is not None
    assert described(*head(((0, 0.7, -0.7), 80))) is not None


def test_a_sleeve_on_an_arm_and_a_card_of_hair_are_no_holes():
    arm, triangles, _ = cube_sphere(20)
    sleeve = triangles[np.abs(arm[triangles][:, :, 0]).max(axis=1) < 0.7]
    arms = np.add(np.concatenate([arm * (0.4, 0.05, 0.05), arm * (0.4, 0.06, 0.06)]), (0, 0, 1))
    triangles = np.concatenate([triangles, sleeve + len(arm)])
    body, faces = blobs(FULL)
    positions = np.concatenate([body, arms])
    joined = np.concatenate([faces, triangles + len(body)])
    assert described(positions, joined) is None
    card = np.array([[0.3, 0, 1.6], [0.4, 0, 1.6], [0.4, 0, 1.8], [0.3, 0, 1.8]])
    joined = np.concatenate([faces, np.array([[0, 1, 2], [0, 2, 3]]) + len(body)])
    assert described(np.concatenate([body, card]), joined) is None
