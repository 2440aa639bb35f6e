"""What is up: axes, people on their heads; of built meshes and of every real scan at hand."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_scans_geometry import BODIES, BUST, FULL, RAISED, blobs, cube_sphere

from synth.camera import transform_points
from synth.scans_geometry import place_mesh
from synth.scans_overrides import Override
from synth.scans_surface import weld
from synth.scans_upright import longest_axis, turn_to_z, why_upside_down

ASSETS = Path(__file__).parents[2] / "shared" / "assets"
OVER = np.diag([1.0, -1.0, -1.0])


def place(points, triangles, **override):
    return place_mesh(points, triangles, weld(points), False, Override(**override))


def height_of_top(placed, native: np.ndarray, metres: np.ndarray) -> float:
    """Where the highest point of a mesh has come to lie, as a share of its height."""
    points = transform_points(placed.scan_from_file, native)
    return points[np.argmax(metres[:, 2]), 2] / np.ptp(points[:, 2])


@pytest.mark.parametrize("axis", ["x", "-x", "y", "-y", "z", "-z"])
def test_turns_are_rotations_that_bring_the_axis_up(axis):
    turn = turn_to_z(axis)
    assert np.linalg.det(turn) == pytest.approx(1)
    up = np.eye(3)["xyz".index(axis[-1])] * (-1 if axis[0] == "-" else 1)
    assert np.allclose(turn @ up, (0, 0, 1))


def test_the_longest_axis_is_up_but_arms_held_out_are_not():
    metres, triangles = blobs([*FULL[:7], ((0, 0, 1.4), (0.85, 0.05, 0.05))])
    places = weld(metres)[triangles]
    assert longest_axis(metres, triangles, places) == "z"
    assert longest_axis(metres @ turn_to_z("y"), triangles, places) == "y"
    lying, triangles, _ = cube_sphere()
    assert longest_axis(lying * (1.7, 0.5, 0.3), triangles, weld(lying)[triangles]) == "x"


@pytest.mark.parametrize("parts", [FULL, BUST, BODIES["child"][1]])
@pytest.mark.parametrize("axis", ["y", "-y", "z", "-z"])
def test_people_are_set_on_their_feet(parts, axis):
    metres, triangles = blobs(parts)
    native = metres @ turn_to_z(axis) * 100
    placed = place(native, triangles)
    assert height_of_top(placed, native, metres) == pytest.approx(1)
    assert any("upside down" in change for change in placed.changes) == (axis[0] == "-")
    assert np.linalg.det(placed.scan_from_file[:3, :3]) > 0


def test_raised_arms_are_no_legs():
    metres, triangles = blobs(RAISED)
    assert height_of_top(place(metres, triangles), metres, metres) == pytest.approx(1)


def test_glb_is_believed_with_a_warning_and_scans_yaml_over_all():
    metres, triangles = blobs(FULL)
    native = metres @ OVER
    placed = place_mesh(native, triangles, weld(native), True, Override())
    assert height_of_top(placed, native, metres) == pytest.approx(0)
    assert "upside down" in placed.warnings[0] and "scans.yaml" in placed.warnings[0]
    for z_is_up in (True, False):
        placed = place_mesh(native, triangles, weld(native), z_is_up, Override(up="-z"))
        assert height_of_top(placed, native, metres) == pytest.approx(1)
        assert not placed.warnings
    assert height_of_top(place(native, triangles, up="z"), native, metres) == pytest.approx(0)


def test_scans_yaml_gives_size_and_kind():
    metres, triangles = blobs(FULL)
    assert np.ptp(
        transform_points(place(metres, triangles, height_m=1.5).scan_from_file, metres)[:, 2]
    ) == pytest.approx(1.5)
    assert place(metres, triangles, unit="cm").scan_from_file[0, 0] == pytest.approx(0.01)
    assert place(metres, triangles, kind="bust").kind == "bust"


@pytest.mark.parametrize(
    ("parts", "turned_over"),
    [
        # A skirt and an umbrella, which is wide, but a dome.
        ([*RAISED[:3], ((0, 0, 0.5), (0.3, 0.25, 0.5)), *RAISED[7:], ((0, 0, 2.02), (0.8, 0.8, 0.4))], False),
        ([*FULL, ((0, 0, 1.70), (0.3, 0.3, 0.01))], False),  # a hat's brim
        ([*FULL, ((0.35, 0, 1.9), (0.01, 0.03, 0.5))], False),  # a sword
        ([*BUST, ((0.05, 0, -0.1), (0.004, 0.004, 0.12))], False),  # a cable hangs down
        ([(np.array(c) * (1, 1, -1), r) for c, r in FULL], True),
    ],
)
def test_what_is_held_worn_or_hangs_down_turns_nobody_over(parts, turned_over):
    metres, triangles = blobs(parts)
    assert (why_upside_down(metres, triangles, weld(metres)[triangles]) is not None) == turned_over


def test_a_tray_above_the_head_does_not_turn_who_stands_on_two_legs():
    legs = [((x, 0, 0.45), (0.06, 0.08, 0.46)) for x in (0.12, -0.12)]
    metres, triangles = blobs([*RAISED[:3], *legs, *RAISED[5:], ((0, 0, 2.02), (0.35, 0.25, 0.01))])
    assert why_upside_down(metres, triangles, weld(metres)[triangles]) is None


def test_two_people_side_by_side_do_not_lie():
    metres, triangles = blobs([*BUST, *((np.add(c, (0.8, 0, 0)), r) for c, r in BUST)])
    places = weld(metres)
    assert np.ptp(metres[:, 0]) > 1.8 * np.ptp(metres[:, 2])
    assert longest_axis(metres, triangles, places[triangles]) == "z"


def test_a_cut_at_the_top_is_the_bottom():
    metres, triangles, _ = cube_sphere(30)
    metres = metres * (0.1, 0.1, 0.2)
    cut = triangles[(metres[triangles][:, :, 2] > -0.17).all(axis=1)]
    places = weld(metres)
    assert why_upside_down(metres, cut, places[cut]) is None
    assert why_upside_down(metres @ OVER, cut, places[cut]) is not None
    tiny = triangles[(metres[triangles][:, :, 2] > -0.195).all(axis=1)]  # as good as round: only the edges tell
    assert why_upside_down(metres, tiny, places[tiny]) is None
    assert why_upside_down(metres @ OVER, tiny, places[tiny]) == "its cut at the top"


@pytest.mark.blender
def test_every_real_scan_is_upright_and_is_found_upside_down(shared, real_cache):
    for scan in prepared([shared / "scans"], real_cache):
        positions, triangles = np.asarray(scan.positions, np.float64), np.asarray(scan.triangles)
        places = weld(positions)[triangles]
        assert not any(
            "turned over" in text or "seems upside" in text for text in (*scan.facts.changes, *scan.facts.warnings)
        ), scan.folder
        assert why_upside_down(positions, triangles, places) is None, scan.facts
        assert why_upside_down(positions @ OVER, triangles, places) is not None, scan.facts


@pytest.mark.blender
def test_nasty_axes_end_alike(tmp_path):
    if not (ASSETS / "nasty.tar.xz").is_file():
        pytest.skip("needs ../shared/assets/nasty.tar.xz")
    names = ["axis_zup.ply", "axis_yup.ply", "axis_yup_upside_down.ply"]
    with tarfile.open(ASSETS / "nasty.tar.xz") as tar:
        for name in (*names, "two_subjects.ply"):
            (tmp_path / name).write_bytes(tar.extractfile(f"nasty/{name}").read())
    scans = {scan.facts.changes[0]: scan for scan in prepared([tmp_path], tmp_path / "cache")}
    found = {tuple(np.round(np.ptp(scan.positions, axis=0), 3)) for scan in scans.values()}
    assert len(found) == 2 and max(found)[2] == pytest.approx(0.3, abs=0.01)  # one bust three ways, and two busts
    heads = [scan.positions[np.argmax(scan.positions[:, 2])] for scan in scans.values()]
    assert len({round(float(head[2]), 3) for head in heads}) == 1


def prepared(folders: list[Path], cache: Path):
    from renderers.importers import probe
    from synth.scans import load_library, load_prepared

    library = load_library(folders, cache, probe, jobs=2)
    return [load_prepared(library.store, entry.key) for entry in library.entries]
