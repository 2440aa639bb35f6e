"""The last guard: labels of another pose, lens or mesh than Cycles has rendered are refused; the right ones are not.

`tests/test_blender.py` moves the labels' camera coarsely; here are small errors, and everything else that can differ.
"""

import numpy as np
import pytest
from test_blender import at, recipe_of
from worlds import make_camera

from renderers.trial import ball_obj, write_holed_ball
from synth.sample import BadSample
from synth.scans import load_library, load_prepared

pytestmark = pytest.mark.blender

CAMERA = make_camera(96, 128, 500.0, eye=(2.8, 0.7, 0.8), target=(0, 0, 0.15), roll_deg=11, center_px=(51.5, 60))


def bump_obj(azimuth_deg: float) -> str:
    """The ball with a limb: vertices within 20 degrees of a horizontal direction drawn out by up to 0.05 m."""
    angle = np.radians(azimuth_deg)
    limb = np.array([np.cos(angle), 0.0, np.sin(angle)])
    lines = []
    for line in ball_obj(32).splitlines():
        if line.startswith("vn "):
            continue
        if line.startswith("v "):
            place = np.array(line.split()[1:], float)
            off_deg = np.degrees(np.arccos(np.clip(place @ limb / np.linalg.norm(place), -1, 1)))
            place = place + limb * 0.05 * max(0.0, 1 - (off_deg / 20) ** 2)
            line = "v {:.9f} {:.9f} {:.9f}".format(*place)
        if line.startswith("f "):
            line = "f " + " ".join(corner.split("/")[0] for corner in line.split()[1:])
        lines.append(line)
    return "\n".join(lines) + "\n"


MESHES = {
    "right": ball_obj(32),
    "larger": ball_obj(32, radius=0.147),
    "limb": bump_obj(20.0),
    "limb_moved": bump_obj(35.0),
    "coarse": ball_obj(6),
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    from renderers.importers import probe

    folder = tmp_path_factory.mktemp("shapes")
    for name, text in MESHES.items():
        (folder / f"{name}.obj").write_text(text)
    write_holed_ball(folder / "holed")
    return load_library([folder], tmp_path_factory.mktemp("cache"), probe)


@pytest.fixture
def render_with(scans, skies, blender, monkeypatch):
    """Renders one scan by Cycles with labels cast on another scan, pose or lens; returns the sample.

    The other scan stands where its file's coordinates meet those of the one shown: what they share stays in place.
    """
    import renderers.blender as module
    from renderers.raycast import ScanCaster

    entries = {entry.scan_id: entry for entry in scans.entries}
    honest = module.cast_labels

    def render(shown: str, labelled: str, pose: np.ndarray, focal: float = 1.0):
        caster = ScanCaster(load_prepared(scans.store, entries[labelled].key))
        shown_from_file, labelled_from_file = (np.array(entries[n].facts.scan_from_file) for n in (shown, labelled))
        world_from_labelled = pose @ shown_from_file @ np.linalg.inv(labelled_from_file)

        def wrong(camera, placed, *rest):
            camera = camera.model_copy(update={"focal_px": camera.focal_px * focal})
            return honest(camera, [(caster, world_from_labelled)], *rest)

        monkeypatch.setattr(module, "cast_labels", wrong)
        return blender.render(recipe_of(scans, skies, [(shown, at(0, 0, 0))], CAMERA, spp=1, denoise=False))

    return render


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    pose = np.eye(4)
    pose[:2, :2] = [[c, -s], [s, c]]
    return pose


@pytest.mark.parametrize("shown", ["right", "limb", "coarse"])
def test_the_right_labels_are_accepted(render_with, shown):
    assert render_with(shown, shown, np.eye(4)).mask.sum() > 1000


@pytest.mark.parametrize(
    ("labelled", "pose", "focal"),
    [
        ("limb", at(0, 0.001, 0), 1.0),
        ("limb", at(0, 0, 0.002), 1.0),
        ("limb", turned(2.0), 1.0),
        ("limb", np.eye(4), 1.003),
        ("limb", np.eye(4), 0.997),
        ("limb_moved", np.eye(4), 1.0),
        ("right", np.eye(4), 1.0),
        ("larger", np.eye(4), 1.0),
        ("coarse", np.eye(4), 1.0),
    ],
    ids=["moved 1 mm", "raised 2 mm", "turned 2 degrees", "longer lens", "shorter lens", "limb moved", "no limb",
         "another size", "coarse"],
)  # fmt: skip
def test_labels_of_another_world_are_refused(render_with, labelled, pose, focal):
    with pytest.raises(BadSample, match="depth_mismatch"):
        render_with("limb", labelled, pose, focal)


def test_holes_cut_by_alpha_are_no_mismatch(scans, skies, blender):
    """Cycles takes or leaves a half-clear surface by chance: such pixels are counted, not compared."""
    name = next(entry.scan_id for entry in scans.entries if entry.scan_id not in MESHES)
    sample = blender.render(recipe_of(scans, skies, [(name, at(0, 0, 0))], CAMERA, spp=4, denoise=False))
    assert 0.05 < sample.counts.unproven_depth / sample.mask.sum() < 0.9
