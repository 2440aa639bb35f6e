"""The dice: pure in (seed, index), even over scans, and the camera does what the framing asks."""

import numpy as np
import pytest
from worlds import SHA256

from synth.backgrounds import BackgroundEntry
from synth.camera import IDENTITY4, project
from synth.config import load_config
from synth.randomize import Library, draw_recipe, scan_of_index, stream
from synth.recipe import SceneRecipe, canonical_json
from synth.scans import ScanEntry, ScanFacts, ScanMaterial

CLAY = ScanMaterial(texture=None, alpha=False, base_color=(0.5, 0.5, 0.5, 1.0), metallic=0.0, roughness=1.0)
BODY = ((-0.4, -0.2, 0.0), (0.4, 0.2, 1.75))
REGIONS = {
    "full": BODY,
    "upper": ((-0.4, -0.2, 0.9), (0.4, 0.2, 1.75)),
    "face": ((-0.1, -0.12, 1.5), (0.1, 0.12, 1.75)),
}


def entry(name: str, regions=REGIONS) -> ScanEntry:
    facts = ScanFacts(
        importer_version=1, kind="full", height_m=1.75, vertices=8, faces=12, colour="none", texture_px=None,
        normals="smooth", scan_from_file=IDENTITY4, bounds=BODY, regions=regions, materials=(CLAY,), changes=(),
        warnings=(), licence=None, attribution=None,
    )  # fmt: skip
    return ScanEntry(scan_id=name, person=name, key=name.ljust(32, "0"), facts=facts)


def library(scans: int = 5) -> Library:
    sky = BackgroundEntry(
        background_id="sky", sha256=SHA256, width_px=1024, height_px=512, irradiance_sh=(3.5, 0, 1, 0, 0, 0, 0, 0, 0)
    )
    return Library(tuple(entry(f"a{k}") for k in range(scans)), (sky, sky.model_copy(update={"background_id": "b"})))


CONFIG = load_config(None, {})


def test_the_same_index_is_the_same_recipe_and_survives_json():
    recipe = draw_recipe(CONFIG, library(), 3, 17)
    assert recipe == draw_recipe(CONFIG, library(), 3, 17)
    assert SceneRecipe.model_validate_json(canonical_json(recipe)) == recipe


def test_seed_plus_index_does_not_collide():
    a, b = draw_recipe(CONFIG, library(1), 0, 1), draw_recipe(CONFIG, library(1), 1, 0)
    assert a.camera != b.camera
    numbers = {stream(s, i, t, c).integers(2**63) for s in range(4) for i in range(4) for t in range(3) for c in "xy"}
    assert len(numbers) == 4 * 4 * 3 * 2


@pytest.mark.parametrize("scans", [1, 3, 7])
@pytest.mark.parametrize("seed", [0, 5])
def test_every_round_shows_every_scan_once(scans, seed):
    for start in range(0, 6 * scans, scans):
        assert {scan_of_index(scans, seed, i) for i in range(start, start + scans)} == set(range(scans))
    if scans == 7:
        orders = {tuple(scan_of_index(scans, seed, start + i) for i in range(scans)) for start in range(0, 70, 7)}
        assert len(orders) > 5, "the same order every round"


def test_a_further_attempt_redraws_all_but_the_scan():
    first, second = draw_recipe(CONFIG, library(), 0, 4), draw_recipe(CONFIG, library(), 0, 4, attempt=1)
    assert first.subjects == second.subjects and second.attempt == 1
    assert first.camera != second.camera and first.film.cycles_seed != second.film.cycles_seed


def test_one_concern_does_not_move_another():
    changed = load_config(None, {"light.exposure_jitter_ev": [0, 0], "light.yaw_deg": [0, 0]})
    for index in range(10):
        a, b = draw_recipe(CONFIG, library(), 0, index), draw_recipe(changed, library(), 0, index)
        assert a.camera == b.camera and a.film.cycles_seed == b.film.cycles_seed and a.background != b.background


def corners(region) -> np.ndarray:
    low, high = np.array(region)
    return np.array(
        [[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )


@pytest.mark.parametrize("framing", ["full", "upper", "face"])
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_the_framed_part_fits_the_frame_as_fill_says(framing, shift):
    weights = {f"framing.{name}": float(name == framing) for name in ("full", "upper", "face")}
    config = load_config(None, {**weights, "camera.truncation": 0, "camera.fill": [0.8, 0.8],
                                "camera.center_shift": [shift, shift]})  # fmt: skip
    for index in range(60):
        recipe = draw_recipe(config, library(), 0, index)
        assert recipe.framing == framing
        camera = recipe.camera
        uv, z = project(camera, corners(REGIONS[framing]))
        assert z.min() >= config.camera.min_distance_m - 1e-6
        spans = np.ptp(uv, axis=0) / (camera.width, camera.height)
        assert spans.max() == pytest.approx(0.8, abs=0.01)
        assert uv.min() > -3 and (uv - (camera.width, camera.height)).max() < 3


def test_ranges_are_kept_and_used():
    config = load_config(None, {"camera.pitch_deg": [0, 0], "camera.roll_deg": [0, 0], "camera.focal_35mm": [50, 50],
                                "camera.min_distance_m": 0.01})  # fmt: skip
    for index in range(20):
        camera = draw_recipe(config, library(), 0, index).camera
        pose = np.array(camera.world_from_camera)
        np.testing.assert_allclose(pose[2, :3], (0, -1, 0), atol=1e-9)
        assert camera.focal_px == pytest.approx(50 / 43.27 * 1280)
    yaws = [
        np.degrees(np.arctan2(*np.array(draw_recipe(CONFIG, library(), 0, i).camera.world_from_camera)[1::-1, 3])) % 360
        for i in range(400)
    ]
    assert np.histogram(yaws, bins=4, range=(0, 360))[0].min() > 60


def test_a_head_gets_only_what_it_can():
    head = Library((entry("a0", {"face": REGIONS["face"]}),), library().backgrounds)
    assert {draw_recipe(CONFIG, head, 0, i).framing for i in range(20)} == {"face"}
    only_full = load_config(None, {"framing.upper": 0, "framing.face": 0})
    assert draw_recipe(only_full, head, 0, 0).framing == "face"


def test_exposure_undoes_the_light():
    config = load_config(None, {"light.exposure_jitter_ev": [0, 0]})
    dim = library()
    bright = Library(
        dim.scans,
        tuple(b.model_copy(update={"irradiance_sh": tuple(8 * c for c in b.irradiance_sh)}) for b in dim.backgrounds),
    )
    for index in range(5):
        a, b = draw_recipe(config, dim, 0, index), draw_recipe(config, bright, 0, index)
        assert a.film.exposure_ev - b.film.exposure_ev == pytest.approx(3)
    for index in range(30):
        jittered = (
            draw_recipe(CONFIG, dim, 0, index).film.exposure_ev - draw_recipe(config, dim, 0, index).film.exposure_ev
        )
        assert -0.7 <= jittered <= 0.7
