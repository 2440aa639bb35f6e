"""What is the person and what is not: fragments, turntables, repeated faces; hair, clothes and second people stay."""

import numpy as np
import pytest
from test_scans_geometry import BUST, FULL, blobs, cube_sphere, raw

from synth.scans_parts import faces_of_person, repeated_faces
from synth.scans_surface import clean_surface, weld


def joined(*meshes) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Meshes as one: positions, triangles, and the face numbers of each."""
    positions = np.concatenate([points for points, _ in meshes])
    starts = np.cumsum([0, *(len(points) for points, _ in meshes)])
    triangles = np.concatenate([faces + start for (_, faces), start in zip(meshes, starts[:-1], strict=True)])
    ends = np.cumsum([len(faces) for _, faces in meshes])
    return positions, triangles, np.split(np.arange(len(triangles)), ends[:-1])


def ball(centre, radius: float = 0.01, steps: int = 2):
    points, faces, _ = cube_sphere(steps)
    return points * radius + centre, faces


def disc(radius: float, height: float, axis: int = 2, thickness: float = 0.01):
    turn = np.linspace(0, 2 * np.pi, 33)[:-1]
    rim = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.full(32, height)], axis=1)
    points = np.concatenate([rim, np.add(rim, (0, 0, thickness)), [[0, 0, height], [0, 0, height + thickness]]])
    i = np.arange(32)
    j = (i + 1) % 32
    low, high = np.full(32, 64), np.full(32, 65)
    faces = [(i, j, i + 32), (j, j + 32, i + 32), (j, i, low), (i + 32, j + 32, high)]
    return np.roll(points, axis - 2, axis=1), np.concatenate([np.stack(face, axis=1) for face in faces])


def person(positions, triangles):
    places = weld(positions)
    by_place = np.empty((places.max() + 1, 3))
    by_place[places] = positions
    return faces_of_person(by_place, places[triangles])


def test_far_fragments_go_and_near_ones_stay():
    body = blobs(FULL)
    far, near = ball((0.9, 0, 1.0)), ball((0.2, 0, 1.15))
    positions, triangles, of = joined(body, far, near)
    kept, said = person(positions, triangles)
    assert not kept[of[1]].any() and kept[of[0]].all() and kept[of[2]].all()
    assert said == "1 fragment"


def test_hair_that_hangs_on_hair_stays():
    body = blobs(BUST)
    chain = [ball((0.09 + 0.012 * k, 0, 0.3), 0.006) for k in range(12)]
    positions, triangles, of = joined(body, *chain, ball((0.6, 0, 0.3), 0.006))
    kept, said = person(positions, triangles)
    assert all(kept[faces].all() for faces in of[:-1]) and not kept[of[-1]].any()
    assert said == "1 fragment"


@pytest.mark.parametrize("axis", [1, 2])
def test_a_turntable_goes_and_two_people_stay(axis):
    points, faces = blobs(FULL)
    one = points if axis == 2 else points[:, [0, 2, 1]] * (1, 1, -1)
    other = np.add(one, (1.2, 0, 0))
    positions, triangles, of = joined((one, faces), (other, faces), disc(2.0, -0.02, axis))
    kept, said = person(positions, triangles)
    assert kept[of[0]].all() and kept[of[1]].all() and not kept[of[2]].any()
    assert said == "a platform"


def test_a_hat_a_cape_and_a_flat_person_stay():
    body = blobs(FULL)
    points, faces = disc(0.25, 1.74)  # a brim: at the end, flat, but narrower than the arms
    cape = (
        np.array([[-0.7, 0.2, 0.2], [0.7, 0.2, 0.2], [0.7, 0.2, 1.8], [-0.7, 0.2, 1.8]]),
        np.array([[0, 1, 2], [0, 2, 3]]),
    )
    positions, triangles, _ = joined(body, (points, faces), cape)
    kept, said = person(positions, triangles)
    assert kept.all() and said is None
    kept, said = person(*disc(0.3, 0.0))
    assert kept.all() and said is None


def test_faces_that_repeat_others_go_whichever_way_they_are_wound():
    places = np.array([[0, 1, 2], [2, 1, 0], [0, 2, 3], [1, 2, 0], [3, 1, 2]])
    assert repeated_faces(places).tolist() == [False, True, False, True, False]


def test_clean_surface_says_what_went_and_keeps_all_when_told():
    body = blobs(BUST)
    positions, triangles, _ = joined(body, ball((0.9, 0, 1.0)), ball((-0.9, 0, 1.0)), disc(0.5, -0.02))
    triangles = np.concatenate([triangles, triangles[:7]])
    surface = clean_surface(raw(positions, triangles))
    assert len(surface.mesh.triangles) == len(body[1])
    assert "7 faces that repeat others dropped" in surface.changes
    assert any(change.startswith("2 fragments and a platform dropped") for change in surface.changes)
    assert surface.welded.shape == (len(surface.mesh.positions),)
    assert (weld(surface.mesh.positions) == surface.welded).all()
    assert len(clean_surface(raw(positions, triangles), keep_all=True).mesh.triangles) == len(triangles) - 7
