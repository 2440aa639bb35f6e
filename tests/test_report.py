"""The gallery page and the contact sheet as files: what they hold, what they escape, how they are written."""

import base64
import io
import json
import re
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from worlds import ball_sample, make_recipe

from synth.errors import UserError
from synth.report import write_contact_sheet, write_gallery
from synth.report_facts import camera_angles_deg, evenly_spaced, measure_dataset, measure_sample
from synth.report_pictures import depth_colors, depth_levels
from synth.sample import Sample

HOSTILE = '</script><script>document.body.dataset.evil=1</script><img src=x onerror="evil()">&"\'<!--{script}-->'

SCANS = ("ann", "bob", "cid")


class FakeDataset:
    """What a report reads of a dataset, from two lists."""

    root = "5f" * 32
    complete = True

    def __init__(self, samples: list[Sample], rows: list[dict], path: Path = Path("balls")):
        self.samples, self.rows, self.path = samples, rows, path

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> Sample:
        return self.samples[position]

    def row(self, position: int) -> dict:
        return self.rows[position]

    def column(self, name: str) -> list:
        """As the index has it: of refused attempts only the reasons."""
        if name == "refused":
            return [[reason for _, reason, _ in row["refused"]] for row in self.rows]
        return [row[name] for row in self.rows]


def make_dataset(count: int, scan=None, background=None, flag="truncated", folder=Path("balls")) -> FakeDataset:
    """Balls of scans ann, bob, cid in turn, before park and studio in turn; every third flagged, every second refused
    once before."""
    samples, rows = [], []
    for index in range(count):
        recipe = make_recipe(index=index)
        name, place = scan if scan is not None else SCANS[index % 3], background or ("park", "studio")[index % 2]
        recipe = recipe.model_copy(
            update={
                "subjects": (recipe.subjects[0].model_copy(update={"scan_id": name, "person": f"p-{name}"}),),
                "background": recipe.background.model_copy(update={"background_id": place}),
                "framing": ("full", "upper", "face")[index % 3],
            }
        )
        samples.append(ball_sample(recipe, radii=(0.3, 0.3, 0.4 + 0.01 * index)))
        rows.append(
            {
                "id": recipe.sample_id, "index": index, "split": "train", "scans": [name], "people": [f"p-{name}"],
                "background": place, "flags": [flag] if index % 3 == 0 else [], "framing": recipe.framing,
                "refused": [[0, ("burnt", "too_small")[index // 2 % 2], "by hand"]] if index % 2 == 0 else [],
            }
        )  # fmt: skip
    return FakeDataset(samples, rows, folder)


def blocks(page: str, attribute: str) -> list:
    return [json.loads(t) for t in re.findall(rf'<script type="application/json" {attribute}>(.*?)</script>', page)]


@pytest.fixture
def page(tmp_path):
    def write(dataset: FakeDataset, **options) -> str:
        write_gallery(dataset, tmp_path / "index.html", **options)
        return (tmp_path / "index.html").read_text(encoding="utf-8")

    return write


@pytest.mark.parametrize(
    "count, limit, positions",
    [
        (5, None, [0, 1, 2, 3, 4]),
        (5, 9, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 1, [0]),
        (9, 3, [0, 4, 8]),
        (10, 4, [0, 3, 6, 9]),
        (0, 7, []),
    ],
)
def test_samples_shown_are_evenly_spaced(count, limit, positions):
    assert evenly_spaced(count, limit) == positions


@pytest.mark.parametrize("count, limit", [(500_000, 200), (101, 100), (17, 2)])
def test_any_limit_gives_that_many_different_samples_from_first_to_last(count, limit):
    positions = np.array(evenly_spaced(count, limit))
    assert len(positions) == limit and positions[0] == 0 and positions[-1] == count - 1
    assert np.ptp(np.diff(positions)) <= 1 and np.diff(positions).min() >= 1


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(UserError, match="limit is 0"):
        evenly_spaced(5, 0)


@pytest.mark.parametrize("yaw", [0.0, 30.0, 200.0, 359.0])
@pytest.mark.parametrize("pitch", [-20.0, 0.0, 35.0])
@pytest.mark.parametrize("roll", [-170.0, -8.0, 0.0, 90.0])
def test_camera_angles_are_the_inverse_of_look_at(yaw, pitch, roll):
    from worlds import make_camera

    y, p = np.radians(yaw), np.radians(pitch)
    eye = np.array([0, 0, 1]) + 3 * np.array([np.cos(p) * np.cos(y), np.cos(p) * np.sin(y), np.sin(p)])
    angles = camera_angles_deg(make_camera(eye=eye, target=(0, 0, 1), roll_deg=roll))
    np.testing.assert_allclose(angles, (yaw, pitch, roll), atol=1e-6)


def test_facts_of_a_distant_ball_are_those_of_closed_form():
    sample = ball_sample(make_recipe(exposure_ev=-0.5), radii=0.3)
    row = {"flags": ["truncated"], "refused": [[0, "burnt", "too bright"]]}
    facts = measure_sample(sample, row)
    to_centre = np.linalg.norm(np.array([2.5, 0.6, 1.2]) - (0, 0, 0.5))
    assert to_centre - 0.3 < facts["distance"] < to_centre - 0.15
    assert facts["focal"] == pytest.approx(150 / np.hypot(96, 128) * 43.27)
    assert facts["share"] == sample.mask.mean() and facts["exposure"] == -0.5
    assert facts["flag"] == ["truncated"] and facts["refused"] == ["burnt: too bright"]
    assert sample.depth_m.min() <= facts["depth"][0] < facts["depth"][1] <= sample.depth_m[sample.mask].max()
    json.dumps(facts, allow_nan=False)


def test_dataset_facts_count_every_sample():
    facts = measure_dataset(make_dataset(5))
    assert facts["samples"] == 5 and facts["root"] == make_dataset(5).root
    assert facts["scan"] == Counter(ann=2, bob=2, cid=1) and facts["background"] == Counter(park=3, studio=2)
    assert facts["refused"] == Counter(burnt=2, too_small=1) and facts["flag"] == Counter(truncated=2)
    assert facts["split"] == Counter(train=5) and facts["person"]["p-bob"] == 2
    assert facts["framing"] == Counter(full=2, upper=2, face=1)


def test_a_page_holds_every_picture_and_fact(page):
    dataset = make_dataset(3)
    text = page(dataset)
    (data,) = blocks(text, 'id="data"')
    pictures = blocks(text, 'class="pictures"')
    assert [s["id"] for s in data["samples"]] == ["00000000", "00000001", "00000002"] and len(pictures) == 3
    for sample, shown, facts in zip(dataset.samples, pictures, data["samples"], strict=True):
        assert list(shown) == facts["pictures"] == ["rgb", "depth", "normal", "mask", "alpha", "outline"]
        depth = Image.open(io.BytesIO(base64.b64decode(shown["depth"].split(",")[1])))
        assert np.array_equal(np.array(depth), depth_levels(sample))
    assert data["depth_colors"] == depth_colors().tolist()


def test_the_page_needs_nothing_but_itself(page):
    text = page(make_dataset(2))
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\(", text)
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,"]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-") and "unsafe" not in policy


def test_names_from_strangers_stay_text(page, tmp_path):
    dataset = make_dataset(2, scan=HOSTILE, background=HOSTILE, flag=HOSTILE, folder=tmp_path / "<b>&")
    dataset.rows[0]["refused"] = [[0, HOSTILE, HOSTILE]]
    text = page(dataset)
    assert text.count("<script") == 2 + 1 + 1 and text.count("</script>") == 4  # pictures, data, the one script
    assert "<img" not in text and "<title>&lt;b&gt;&amp;" in text and "<!--" not in text
    (data,) = blocks(text, 'id="data"')
    assert data["samples"][0]["scan"] == [HOSTILE] and data["samples"][0]["background"] == HOSTILE


def test_the_page_says_how_many_of_how_many_and_why_others_were_refused(page):
    text = page(make_dataset(5), limit=2)
    assert "2 of 5 samples, evenly spaced" in text and len(blocks(text, 'class="pictures"')) == 2
    assert "3 of 8 attempts" in text and "burnt&nbsp;<b>2</b>, too_small&nbsp;<b>1</b>" in text
    assert "5 samples" in page(make_dataset(5)) and "1 sample<" in page(make_dataset(1))


def test_the_same_dataset_gives_the_same_bytes_and_progress_is_told(page):
    told = []
    assert page(make_dataset(3), progress=lambda *at: told.append(at)) == page(make_dataset(3))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_optional_pictures_are_shown_where_a_sample_has_them(page):
    dataset = make_dataset(2)
    trust = np.full(dataset.samples[1].mask.shape, 200, np.uint8)
    dataset.samples[1] = type(dataset.samples[1])(**{**vars(dataset.samples[1]), "trust": trust})
    (data,) = blocks(page(dataset), 'id="data"')
    assert ["trust" in s["pictures"] for s in data["samples"]] == [False, True]


def test_a_failure_leaves_the_old_page_and_no_litter(page, tmp_path):
    old = page(make_dataset(2))
    broken = make_dataset(3)
    broken.samples[2] = None
    with pytest.raises(AttributeError):
        page(broken)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"] and (tmp_path / "index.html").read_text() == old


def test_an_empty_dataset_has_no_gallery_and_no_sheet(tmp_path):
    with pytest.raises(UserError, match="without samples"):
        write_gallery(FakeDataset([], []), tmp_path / "x.html")
    with pytest.raises(UserError, match="no sample"):
        write_contact_sheet([], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


class Counting(FakeDataset):
    """Makes its samples when asked, and remembers the most that were alive at once."""

    alive, most = weakref.WeakSet(), 0

    def __len__(self):
        return 4

    def __getitem__(self, position):
        assert not self.alive, "the last sample is still held"
        sample = ball_sample(make_recipe(index=position))
        self.alive.add(sample)
        return sample


def test_one_sample_is_held_at_a_time(tmp_path):
    rows = make_dataset(4).rows
    write_gallery(Counting([], rows), tmp_path / "index.html")
    dataset = Counting([], rows)
    write_contact_sheet((dataset[i] for i in range(4)), tmp_path / "sheet.png")


def test_the_contact_sheet_shows_colour_depth_and_normals_side_by_side(tmp_path):
    samples = make_dataset(12).samples
    write_contact_sheet(iter(samples), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert 2300 < image.width < 2500 and 1500 < image.height < 1750
    write_contact_sheet(samples[:1], tmp_path / "one.png", columns=3, tile_height=128)
    with Image.open(tmp_path / "one.png") as image:
        one = np.array(image).astype(int)
    middle = one[28 + 30 + 64]  # the tiles' middle row, at their own size: nothing is blended
    tiles = [middle[28 + k * (96 + 3) :][:96] for k in range(3)]
    sample, row = samples[0], 64
    assert np.array_equal(tiles[0], sample.rgb[row])
    assert np.array_equal(tiles[1], depth_colors()[depth_levels(sample)[row]])
    inside = sample.mask[row]
    assert np.abs((tiles[2] - 127.5) / 127.5 * (1, -1, -1) - sample.normal[row])[inside].max() < 0.005


@pytest.mark.parametrize("name", ["a\nb\x07", "x" * 5000, "名前", ""])
def test_any_name_can_stand_on_a_contact_sheet(tmp_path, name):
    write_contact_sheet(make_dataset(1, scan=name).samples, tmp_path / "sheet.png", tile_height=64)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.height == 2 * 28 + 30 + 64
