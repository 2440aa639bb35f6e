"""A plate behind a subject, as Blender shows it: the photo's own bytes, the panorama's light, the same labels."""

import io

import numpy as np
import pytest
from PIL import Image
from test_blender import at, recipe_of
from worlds import make_camera

from renderers.trial import ball_obj
from synth.backgrounds_photo import read_photo
from synth.backgrounds_read import prepare_picture
from synth.recipe import Plate
from synth.scans import load_library

pytestmark = pytest.mark.blender

CAMERA = make_camera(96, 128, 500.0, eye=(2.8, 0.7, 0.8), target=(0, 0, 0.15), roll_deg=11, center_px=(51.5, 60))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    from renderers.importers import probe

    folder = tmp_path_factory.mktemp("shapes")
    (folder / "ball.obj").write_text(ball_obj(32))
    return load_library([folder], tmp_path_factory.mktemp("cache"), probe)


def test_a_plate_is_seen_and_neither_light_nor_labels_know_it(scans, skies, blender, tmp_path):
    plain = recipe_of(scans, skies, [("ball", at(0, 0, 0))], CAMERA)
    height, width = plain.camera.shape
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (3 * height, 3 * width, 3)).astype(np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    sha256 = prepare_picture(stream.getvalue(), skies.store)
    plate = Plate(plate_id="noise", sha256=sha256, width_px=3 * width, height_px=3 * height,
                  crop_px=(width, height, 2 * width, 2 * height), mirrored=False, shown_ev=0.0)  # fmt: skip
    recipe = plain.model_copy(update={"background": plain.background.model_copy(update={"plate": plate})})
    before, after = blender.render(plain), blender.render(recipe)
    for name in ("alpha", "instance", "depth_m", "normal"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    outside, inside = after.alpha == 0, after.alpha == 255
    assert outside.any() and inside.any()
    photo = read_photo(stream.getvalue())[0][height : 2 * height, width : 2 * width]
    np.testing.assert_array_equal(after.rgb[outside], photo[outside])
    np.testing.assert_array_equal(after.rgb[inside], before.rgb[inside])
    blender.save_blend(tmp_path / "plate.blend")
    assert (tmp_path / "plate.blend").stat().st_size > 4 * height * width
    np.testing.assert_array_equal(blender.render(plain).rgb, before.rgb)
    np.testing.assert_array_equal(blender.render(recipe).rgb, after.rgb)
