"""Relight against Cycles: one light, one film, and labels that are the same to the last bit."""

import numpy as np
import pytest
import trimesh
from test_blender import at, recipe_of
from worlds import make_camera

from renderers.relight import RelightRenderer
from renderers.trial import ball_obj, write_holed_ball
from synth.backgrounds import load_backgrounds
from synth.scans import load_library

pytestmark = pytest.mark.blender

CAMERA = make_camera(120, 160, 750.0, eye=(2.8, 0.7, 0.8), target=(0, 0, 0.15), roll_deg=11, center_px=(65.5, 74))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    from renderers.importers import probe

    folder = tmp_path_factory.mktemp("shapes")
    (folder / "sphere.obj").write_text(ball_obj(32))
    (folder / "stairs.obj").write_text(stairs_obj())
    write_holed_ball(folder / "holes")
    return load_library([folder], tmp_path_factory.mktemp("cache"), probe)


@pytest.fixture(scope="module")
def sunny(tmp_path_factory):
    """A small sun, sharp, in a blue sky over brown ground."""
    from test_backgrounds import exr

    from synth.backgrounds import directions

    d = directions(512, 256)
    sky = np.where(d[..., 2:] > 0, (0.4, 0.6, 0.9), (0.25, 0.2, 0.15))
    sky = sky + 900.0 * (d @ np.array([0.62, 0.42, 0.6628]) > np.cos(np.radians(1.0)))[..., None] * (1.0, 0.9, 0.7)
    folder = tmp_path_factory.mktemp("sunny")
    (folder / "sunny.exr").write_bytes(exr(sky.astype(np.float32)))
    return load_backgrounds([folder / "sunny.exr"], tmp_path_factory.mktemp("cache"))


def stairs_obj() -> str:
    """Four steps, y up: every corner is hollow or sharp, and shadows fall on what is level."""
    steps = [[(-0.2, 0.0, 0.1 * k - 0.2), (0.2, 0.09 * (k + 1), 0.1 * k - 0.1)] for k in range(4)]
    return trimesh.util.concatenate([trimesh.creation.box(bounds=bounds) for bounds in steps]).export(file_type="obj")


def psnr(picture, truth, mask) -> float:
    error = (picture.astype(float) - truth)[mask]
    return 10 * np.log10(255**2 / (error**2).mean())


@pytest.mark.parametrize(("name", "sun", "least"), [("sphere", True, 40), ("sphere", False, 42), ("stairs", True, 36),
                                                    ("ball", False, 36)])  # fmt: skip
def test_pictures_are_those_of_cycles_and_labels_the_same_bits(scans, skies, sunny, blender, name, sun, least):
    library = sunny if sun else skies
    recipe = recipe_of(scans, library, [(name, at(0, 0, 0))], camera=CAMERA, denoise=False, spp=256)
    if sun:
        blender._background_store = library.store
    expected = blender.render(recipe)
    blender._background_store = skies.store
    got = RelightRenderer(scans.store, library.store).render(recipe)
    for label in ("depth_m", "normal", "instance"):
        np.testing.assert_array_equal(getattr(got, label), getattr(expected, label))
    assert got.counts == expected.counts
    mask = expected.alpha > 0
    assert mask.sum() > 1000
    assert psnr(got.rgb, expected.rgb, mask) > least
    assert np.abs(got.alpha.astype(float) - expected.alpha).max() < 75  # 16 rays at an edge
    assert np.abs(got.alpha.astype(float) - expected.alpha)[mask].mean() < 4
