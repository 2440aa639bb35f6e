"""The dice: pure in (seed, index), even over scans, and the camera does what the framing asks."""

import numpy as np
import pytest
from worlds import SHA256

from synth.backgrounds import BackgroundEntry, PlateEntry
from synth.camera import IDENTITY4, project
from synth.config import load_config
from synth.randomize import Library, draw_recipe, scan_of_index, stream
from synth.recipe import SceneRecipe, canonical_json
from synth.sample import background_magnification, is_soft
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


def with_plates(*sizes, only_lights=False) -> Library:
    plates = tuple(
        PlateEntry(background_id=f"p{k}", sha256=f"{k:064x}", width_px=w, height_px=h)
        for k, (w, h) in enumerate(sizes or [(4000, 3000), (3000, 4000)])
    )
    plain = library()
    skies = tuple(sky.model_copy(update={"only_lights": only_lights}) for sky in plain.backgrounds)
    return Library(plain.scans, skies, plates)


def test_plates_move_nothing_else_and_are_left_out_where_there_are_none():
    shown = 0
    for index in range(60):
        a, b = draw_recipe(CONFIG, library(), 3, index), draw_recipe(CONFIG, with_plates(), 3, index)
        assert "plate" not in canonical_json(a)
        bare = b.model_copy(update={"background": b.background.model_copy(update={"plate": None})})
        assert canonical_json(bare) == canonical_json(a)
        assert SceneRecipe.model_validate_json(canonical_json(b)) == b
        shown += b.background.plate is not None
        assert b.background.seen_id == (
            b.background.plate.plate_id if b.background.plate else b.background.background_id
        )
    assert 15 < shown < 45


@pytest.mark.parametrize(
    ("share", "only_lights", "expected"), [(0.0, False, 0), (1.0, False, 40), (0.0, True, 40), (0.25, False, None)]
)
def test_how_often_a_plate_is_seen(share, only_lights, expected):
    config = load_config(None, {"background.plates": share})
    shown = [draw_recipe(config, with_plates(only_lights=only_lights), 0, i).background.plate for i in range(40)]
    count = sum(plate is not None for plate in shown)
    assert count == expected if expected is not None else 3 <= count <= 20
    if count == 40:
        assert {plate.plate_id for plate in shown} == {"p0", "p1"} and {plate.mirrored for plate in shown} == {
            True,
            False,
        }


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (1200, 900), (8000, 600), (600, 8000), (300, 260)])
def test_a_crop_has_the_frames_aspect_and_is_no_smaller_than_it_must_be(size):
    config = load_config(None, {"background.plates": 1})
    limit = config.checks.max_plate_magnification
    largest = min(size[0], size[1] * config.width / config.height)
    widths, places = [], []
    for index in range(80):
        recipe = draw_recipe(config, with_plates(size), 0, index)
        left, top, right, bottom = recipe.background.plate.crop_px
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        assert (right - left) / (bottom - top) == pytest.approx(config.width / config.height, rel=1e-9)
        too_small = config.width / largest > limit
        assert is_soft(recipe, config.checks) == too_small
        assert background_magnification(recipe) <= max(limit, config.width / largest) * (1 + 1e-9)
        widths.append(right - left)
        places.append((left / max(size[0] - (right - left), 1), top / max(size[1] - (bottom - top), 1)))
    if not too_small:
        least = config.width / limit
        assert min(widths) < least * (largest / least) ** 0.1 and max(widths) > least * (largest / least) ** 0.9
    spread = np.ptp(np.array(places), axis=0)
    assert spread.max() > 0.9 and np.array(places).max() <= 1 + 1e-6


def test_a_plate_follows_the_exposure_only_where_asked():
    plain = load_config(None, {"background.plates": 1})
    matched = load_config(None, {"background.plates": 1, "background.match_exposure": True})
    still = load_config(None, {"background.plates": 1, "light.exposure_jitter_ev": [0, 0]})
    for index in range(10):
        a, b, c = (draw_recipe(config, with_plates(), 0, index) for config in (plain, matched, still))
        assert a.background.plate.shown_ev == 0 and a.film == b.film
        assert b.background.plate.shown_ev == pytest.approx(b.film.exposure_ev - c.film.exposure_ev)
