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

from synth import report_chunks
from synth.errors import UserError
from synth.report import write_contact_sheet, write_gallery
from synth.report_facts import camera_angles_deg, columns_of, measure_dataset, measure_sample
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
                "seconds": 1.5 + index,
            }
        )  # fmt: skip
    return FakeDataset(samples, rows, folder)


def blocks(page: str, attribute: str) -> list:
    return [json.loads(t) for t in re.findall(rf'<script type="application/json" {attribute}>(.*?)</script>', page)]


@pytest.fixture
def page(tmp_path):
    def write(dataset: FakeDataset, **options) -> str:
        write_gallery(dataset, tmp_path / "index.html", name=dataset.path.name, **options)
        return (tmp_path / "index.html").read_text(encoding="utf-8")

    return write


def rows_of(data: dict) -> list[dict]:
    """The facts of a page's samples, out of its columns."""

    def named(words: list[str] | None, at: object) -> object:
        if words is None:
            return at
        return [words[k] for k in at] if isinstance(at, list) else words[at]

    columns = data["columns"].items()
    return [{n: named(c.get("words"), c["at"][i]) for n, c in columns} for i in range(data["samples"])]


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
    row = {"flags": ["truncated"], "seconds": 2.5, "refused": [[0, "burnt", "too bright"]]}
    facts = measure_sample(sample, row)
    to_centre = np.linalg.norm(np.array([2.5, 0.6, 1.2]) - (0, 0, 0.5))
    assert to_centre - 0.3 < facts["distance"] < to_centre - 0.15
    assert facts["focal"] == pytest.approx(150 / np.hypot(96, 128) * 43.27)
    assert facts["share"] == sample.mask.mean() and facts["exposure"] == -0.5
    assert facts["seconds"] == 2.5 and facts["center"] == [96 / 2 + 3.25, 128 / 2 - 2.5]
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
    assert [s["index"] for s in rows_of(data)] == [0, 1, 2] and len(pictures) == 3
    for sample, shown, facts in zip(dataset.samples, pictures, rows_of(data), strict=True):
        assert list(shown) == facts["pictures"] == ["rgb", "depth", "normal", "mask", "alpha", "outline", "cloud"]
        depth = Image.open(io.BytesIO(base64.b64decode(shown["depth"].split(",")[1])))
        assert np.array_equal(np.array(depth), depth_levels(sample, 128))
    assert data["depth_colors"] == depth_colors().tolist()


def test_the_page_needs_nothing_but_itself(page):
    text = page(make_dataset(2)).replace('"http://www.w3.org/2000/svg"', "", 1)  # the name of SVG, no address
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
    assert rows_of(data)[0]["scan"] == [HOSTILE] and rows_of(data)[0]["background"] == HOSTILE


def test_the_page_says_how_many_of_how_many_and_why_others_were_refused(page):
    text = page(make_dataset(5), positions=[1, 4])
    assert "2 of 5 samples" in text and len(blocks(text, 'class="pictures"')) == 2
    assert "3 of 8 attempts" in text and "burnt&nbsp;<b>2</b>, too_small&nbsp;<b>1</b>" in text
    assert "5 samples" in page(make_dataset(5)) and "1 sample<" in page(make_dataset(1))


def test_the_same_dataset_gives_the_same_bytes_and_progress_is_told(page):
    told = []
    assert page(make_dataset(3), progress=lambda *at: told.append(at)) == page(make_dataset(3))
    assert told == [(3, 3)]


def test_optional_pictures_are_shown_where_a_sample_has_them(page):
    dataset = make_dataset(2)
    trust = np.full(dataset.samples[1].mask.shape, 200, np.uint8)
    dataset.samples[1] = type(dataset.samples[1])(**{**vars(dataset.samples[1]), "trust": trust})
    (data,) = blocks(page(dataset), 'id="data"')
    assert ["trust" in s["pictures"] for s in rows_of(data)] == [False, True]


def test_a_failure_leaves_the_old_page_and_no_litter(page, tmp_path):
    old = page(make_dataset(2))
    broken = make_dataset(3)
    broken.samples[2] = None
    with pytest.raises(AttributeError):
        page(broken)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"] and (tmp_path / "index.html").read_text() == old


def test_an_empty_dataset_has_no_gallery_and_no_sheet(tmp_path):
    with pytest.raises(UserError, match="without samples"):
        write_gallery(FakeDataset([], []), tmp_path / "x.html", name="none")
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
    write_gallery(Counting([], rows), tmp_path / "index.html", name="balls")
    dataset = Counting([], rows)
    write_contact_sheet((dataset[i] for i in range(4)), tmp_path / "sheet.png")


def test_a_page_of_what_is_not_all_there_says_so(page):
    dataset = make_dataset(2)
    assert "being rendered" not in page(dataset)
    dataset.complete = False
    assert "2 samples; more exist or are being rendered" in page(dataset)


def test_columns_say_what_the_facts_say():
    facts = [measure_sample(s, r) | {"pictures": ["rgb"]} for s, r in zip(*vars_of(make_dataset(7)), strict=True)]
    rows = rows_of({"columns": columns_of(facts), "samples": 7})
    for row, said in zip(rows, facts, strict=True):
        assert row.keys() == said.keys()
        for name, value in said.items():
            exact = isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], str))
            assert row[name] == (value if exact or not value else pytest.approx(value, abs=1e-4)), name
    assert columns_of(facts)["scan"]["words"] == sorted(SCANS)


def vars_of(dataset: FakeDataset) -> tuple[list[Sample], list[dict]]:
    return dataset.samples, dataset.rows


def test_a_sample_without_depth_has_columns_too():
    dataset = make_dataset(2)
    bare = dataset.samples[0]
    nothing = {"depth_m": np.full_like(bare.depth_m, np.inf), "instance": np.zeros_like(bare.instance)}
    dataset.samples[0] = Sample(**{**vars(bare), **nothing})
    columns = columns_of([measure_sample(s, r) for s, r in zip(*vars_of(dataset), strict=True)])
    assert columns["depth"]["at"][0] is columns["distance"]["at"][0] is None and columns["reach"]["at"][1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A page with its pictures beside it: 70 samples."""
    path = tmp_path_factory.mktemp("folder") / "index.html"
    write_gallery(make_dataset(70), path, name="balls")
    return path


def pictures_beside(page: Path) -> Path:
    (data,) = page.parent.glob("data-*")
    return data


def test_many_samples_lie_in_a_folder_that_the_page_names(folder):
    (data,) = blocks(folder.read_text(), 'id="data"')
    beside = pictures_beside(folder)
    assert data["folder"] == beside.name and data["tile"] == [108, 144] and data["chunk"] == 16
    assert {p.name for p in beside.iterdir()} == {f"{n:06d}.{ending}" for n in range(5) for ending in ("js", "jpg")}
    sample = make_dataset(70).samples[37]
    call = (beside / "000002.js").read_text()
    assert call.startswith("receive(2,") and call.endswith(")\n")
    shown = json.loads(call[len("receive(2,") : -2])[37 - 32]
    depth = Image.open(io.BytesIO(base64.b64decode(shown["depth"].split(",")[1])))
    assert np.array_equal(np.array(depth), depth_levels(sample, 128))
    with Image.open(beside / "000002.jpg") as sheet:
        assert sheet.size == (3 * 108, 16 * 144)
        row = np.asarray(sheet).astype(int)[(37 - 32) * 144 :][:144]
    # thumbnails are taller than these pictures: compare them at the pictures' own size
    thumbnail = Image.fromarray(row[:, :108].astype(np.uint8))
    seen = np.asarray(thumbnail.resize((96, 128), Image.Resampling.BOX)).astype(int)
    assert np.abs(seen - sample.rgb).mean() < 6
    with Image.open(beside / "000004.jpg") as sheet:
        assert sheet.size == (3 * 108, 6 * 144)


def test_several_processes_make_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report_chunks, "_PIECES", 1)  # two chunks a piece
    write_gallery(make_dataset(70), tmp_path / "index.html", name="balls", workers=2)
    assert (tmp_path / "index.html").read_bytes() == folder.read_bytes()
    theirs, ours = pictures_beside(folder), pictures_beside(tmp_path / "index.html")
    assert theirs.name == ours.name
    for file in theirs.iterdir():
        assert (ours / file.name).read_bytes() == file.read_bytes(), file.name


def test_names_from_strangers_stay_text_in_the_files_of_a_folder(tmp_path):
    write_gallery(make_dataset(65, scan=HOSTILE, flag=HOSTILE), tmp_path / "index.html", name=HOSTILE)
    text = (tmp_path / "index.html").read_text()
    assert text.count("<script") == 2 and "<!--" not in text
    for file in pictures_beside(tmp_path / "index.html").glob("*.js"):
        assert re.fullmatch(r"receive\(\d+,\[[\w\s{}\[\]:;,+/=\"-]*\]\)\n", file.read_text())


def test_a_page_takes_the_folder_of_the_one_before_away_and_nothing_else(tmp_path):
    mine, theirs = tmp_path / "data-0123456789ab", tmp_path / "data-backup"
    left = tmp_path / ".data-0123456789ab.77.tmp"
    foreign = tmp_path / "data-ffffffffffff"
    for folder, name in ((mine, "000000.js"), (theirs, "000000.js"), (left, "000001.jpg"), (foreign, "thesis.tex")):
        folder.mkdir()
        (folder / name).write_text("")
    write_gallery(make_dataset(70), tmp_path / "index.html", name="balls", positions=range(66))
    kept = {p.name for p in tmp_path.iterdir()} - {"index.html", "data-backup", "data-ffffffffffff"}
    (made,) = kept
    write_gallery(make_dataset(70), tmp_path / "index.html", name="balls", positions=range(67))
    assert made not in {p.name for p in tmp_path.iterdir()} and len(list(tmp_path.iterdir())) == 4
    write_gallery(make_dataset(3), tmp_path / "index.html", name="balls")
    assert {p.name for p in tmp_path.iterdir()} == {"index.html", "data-backup", "data-ffffffffffff"}


def test_a_failure_on_the_way_leaves_the_old_page_and_its_folder(folder, tmp_path):
    write_gallery(make_dataset(70), tmp_path / "index.html", name="balls")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    broken = make_dataset(70)
    broken.root = "00" * 32
    broken.samples[69] = None
    with pytest.raises(AttributeError):
        write_gallery(broken, tmp_path / "index.html", name="balls")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_more_samples_than_a_page_holds_is_one_line_with_a_way_out(tmp_path):
    class Huge(FakeDataset):
        def __len__(self):
            return 500_000

    with pytest.raises(UserError, match=r"500,000 samples are more than the 100,000 of one page; --fraction 0\.2 fits"):
        write_gallery(Huge([], []), tmp_path / "index.html", name="huge")
    assert not list(tmp_path.iterdir())


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
    assert np.array_equal(tiles[1], depth_colors()[depth_levels(sample, 128)[row]])
    inside = sample.mask[row]
    assert np.abs((tiles[2] - 127.5) / 127.5 * (1, -1, -1) - sample.normal[row])[inside].max() < 0.005


@pytest.mark.parametrize("name", ["a\nb\x07", "x" * 5000, "名前", ""])
def test_any_name_can_stand_on_a_contact_sheet(tmp_path, name):
    write_contact_sheet(make_dataset(1, scan=name).samples, tmp_path / "sheet.png", tile_height=64)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.height == 2 * 28 + 30 + 64
