"""The card of a version: counts by hand, its bytes, and what it refuses."""

import hashlib
import json
import re
import shutil
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_version import said
from worlds import ball_sample, make_camera, make_recipe

from synth.assets_manifest import load_manifest
from synth.card import make_card
from synth.card_manifest import BackgroundUsed
from synth.card_readme import SECTIONS, readme_text, warnings_of
from synth.card_rights import Right, rights_of_backgrounds
from synth.card_subject import name_of, read_subject
from synth.codec import stored, with_flags
from synth.recipe import canonical_json
from synth.store import Dataset, open_version
from synth.store_folder import open_folder
from synth.store_index import commit
from synth.store_write import make_row, open_run
from synth.version import make_tag

NOW = "2026-01-02T03:04:05+00:00"
#: A name that would be a tag, a column and a link, were it taken at its word.
NASTY = "<script>x</script>|[y](http://z)`"
#: scan, person, split, background of sample i are those of i % 6; 10 samples, so the first four come twice.
CAST = [
    ("ada", "ada", "train", "city"),
    ("bob", "bob", "train", "wall"),
    (NASTY, "eve", "val", "sky"),
    ("ada_coat", "ada", "train", "city"),
    ("bob", "bob", "train", "city"),
    ("dan", "dan", "test", "far_4k"),
]
LICENCES = {"ada": "CC-BY-4.0", "ada_coat": "CC-BY-4.0", "bob": "RenderPeople terms", NASTY: None, "dan": "MIT"}
ENVIRONMENT = {"synth": "0.1.0", "renderer": "analytic", "device": "cpu"}


def spec_of(licences: dict) -> dict:
    known = next(asset.files["city.exr"].sha256 for asset in load_manifest().assets if "city.exr" in asset.files)
    return {
        "seed": 5,
        "config": {"film": {"engine": "cycles", "material": "diffuse", "spp": 8}},
        "scans": [{"scan_id": name, "key": f"key of {name}", "licence": licence} for name, licence in licences.items()],
        "backgrounds": [
            {"background_id": "city", "sha256": known, "kind": "hdri"},
            {"background_id": "wall", "sha256": "11" * 32, "kind": "plate"},
            {"background_id": "sky", "sha256": "22" * 32, "kind": "hdri"},
            {"background_id": "far_4k", "sha256": "33" * 32, "kind": "hdri"},
        ],
    }


def recipe_of(index: int):
    scan, person, split, background = CAST[index % 6]
    recipe = make_recipe(make_camera(width=24, height=32, focal_px=37.5 + index), index=index)
    subject = recipe.subjects[0].model_copy(update={"scan_id": scan, "person": person})
    behind = recipe.background.model_copy(update={"background_id": background})
    return recipe.model_copy(update={"subjects": (subject,), "split": split, "background": behind})


def build(out: Path, n: int = 10, licences: dict = LICENCES, papers: dict | None = None) -> Path:
    """A committed dataset of n samples; papers: what those beside a scan say, by scan."""
    run = open_run(out, spec_of(licences))
    env_id = run.add_environment(ENVIRONMENT)
    units = [unit for unit in run.plan_units(n)]
    for index in (index for unit in units for index in unit.ids):
        members, sample = stored(ball_sample(recipe_of(index)))
        flags = ("truncated",) if index % 5 == 0 else ()
        members = with_flags(members, sample, flags)
        refused = [(0, "black", "mean brightness 0.01")] if index == 3 else []
        row = make_row(sample, members, flags=flags, env_id=env_id, seconds=36.0 * index, refused=refused)
        run.stage(members, row)
    assert all(run.seal_if_complete(unit) for unit in units)
    silent = {"attribution": None, "no_ai": False, "non_commercial": False, "no_sharing": False}
    rights = [{"key": f"key of {name}", **silent, **said} for name, said in (papers or {}).items()]
    commit(run, lineage={"scan_rights": rights} if papers else {})
    return out


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Ten samples of five scans, tagged 1.0.0; not to be changed."""
    out = build(tmp_path_factory.mktemp("card") / "people", papers={"ada": {"attribution": "Ada | Lovelace"}})
    make_tag(open_folder(out), "the *first*", NOW)
    return out


@pytest.fixture(scope="module")
def readme(people) -> str:
    return make_card(Dataset(people)).files["README.md"].decode()


def top_of(readme: str) -> str:
    """What stands before the first section."""
    return readme.split("\n---\n", 1)[1].split("\n## ")[0]


def section(readme: str, title: str) -> str:
    return readme.split(f"\n## {title}\n", 1)[1].split("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """Rows of all tables, heads and rules aside."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [k for k, row in enumerate(rows) if row[0].startswith("---")]
    return [row for k, row in enumerate(rows) if k not in rules and k + 1 not in rules]


def test_every_section_stands_in_its_order(readme):
    assert re.findall(r"^## (.+)$", readme, re.MULTILINE) == list(SECTIONS)


def test_counts_are_those_by_hand(readme):
    assert cells(section(readme, "Splits")) == [
        ["train", "7", "2", "3", "2"], ["val", "2", "1", "1", "1"], ["test", "1", "1", "1", "1"],
    ]  # fmt: skip
    images = {row[0]: row[3] for row in cells(section(readme, "Licences and attributions")) if len(row) == 5}
    assert images.pop("\\|".join(["&lt;script&gt;x&lt;/script&gt;", "\\[y\\](http://z)\\`"])) == "2"
    assert images == {"ada": "2", "ada\\_coat": "2", "bob": "3", "dan": "1"}
    flags = section(readme, "Flags and refusals")
    assert cells(flags) == [["truncated", "2", "20.0%"]] and "1 of 11 attempts (black 1)" in flags
    assert "Cost: 0.45 core-hours" in section(readme, "How it was made")  # 36 s * (0 + .. + 9)
    citation = section(readme, "Citation")
    assert "year = {2026}" in citation and "made with synth 0.1.0" in citation and "version 1.0.0" in citation
    assert "nobody and no place of one split is seen in another" in section(readme, "Splits")


def test_histograms_count_what_the_rows_say(people, readme):
    dataset = Dataset(people)
    blocks = re.findall(r"```\n(.*?)```", section(readme, "Distributions"), re.DOTALL)
    focal = next(block for block in blocks if block.startswith("focal length"))
    bins = re.findall(r"^ *([\d.]+) \.\. +([\d.]+) +(\d+)", focal, re.MULTILINE)
    values = np.array([dataset.row(i)["focal_px"] for i in range(10)]) * 43.2666153 / 40
    edges = [float(low) for low, _, _ in bins] + [float(bins[-1][1])]
    assert [int(count) for _, _, count in bins] == np.histogram(values, edges)[0].tolist() and len(bins) >= 3
    same = {"pitch": "camera_pitch_deg", "distance": "camera_distance_m", "exposure": "exposure_ev"}
    for title, column in same.items():  # the camera stands still
        (block,) = [block for block in blocks if block.startswith(f"{title},")]
        assert block.splitlines()[1] == f"always {dataset.row(0)[column]:.4g}"
    backgrounds = next(block for block in blocks if block.startswith("backgrounds"))
    assert re.findall(r"^ *(\w+) +(\d+)", backgrounds, re.MULTILINE)[:2] == [("city", "5"), ("sky", "2")]


def test_strangers_names_stay_text(readme):
    body = readme.split("\n---\n", 1)[1]
    outside = re.sub(r"^(`{3,}).*?^\1", "", body, flags=re.MULTILINE | re.DOTALL)
    assert "<script>" not in outside and "&lt;script&gt;" in outside
    assert "Ada \\| Lovelace" in outside and "the \\*first\\*" in outside
    for title in SECTIONS:
        for block in re.split(r"\n\n", section(readme, title)):
            assert len({len(row) for row in cells(block)}) <= 1, block


def test_backgrounds_are_known_by_content_then_by_name(tmp_path, readme):
    rows = {row[1]: row for row in cells(section(readme, "Licences and attributions")) if len(row) == 6}
    assert rows["city"][2] == "CC0-1.0" and rows["city"][5].endswith("by its content") and rows["city"][4] == "5"
    assert rows["city"][3].startswith("Greg Zaal")
    assert rows["wall"][2] == "**unknown**" and rows["wall"][0] == "plate"
    slug = next(asset.id for asset in load_manifest().assets if asset.source.type == "polyhaven")
    used = BackgroundUsed(background_id=f"{slug}_4k", sha256="44" * 32)
    (right,) = rights_of_backgrounds([used], load_manifest(), {})
    assert right.licence == "CC0-1.0" and right.source.endswith("by its name") and right.images == 0
    known = spec_of(LICENCES)["backgrounds"][0]["sha256"]
    (right,) = rights_of_backgrounds([BackgroundUsed(background_id="renamed", sha256=known)], load_manifest(), {})
    assert right.licence == "CC0-1.0" and right.source.endswith("by its content")


def test_long_lists_are_cut_and_say_so(people):
    subject = read_subject(Dataset(people))
    counts = {**subject.figures.counts, "people": Counter({f"p{k:02d}": 100 - k for k in range(30)})}
    text = readme_text(replace(subject, figures=replace(subject.figures, counts=counts)), ())
    assert "and 6 more, 71 to 76 samples each" in text and "p23   77  █" in text and "p24 " not in text
    rights = [Right("scan", f"s{k}", None, None, frozenset({"unknown"}), "-", 2) for k in range(10)]
    assert "s7 (2 images) and 2 more." in warnings_of(rights)[0] and "s8" not in warnings_of(rights)[0]


def test_the_same_version_gives_the_same_bytes_anywhere(people, tmp_path):
    copy = shutil.copytree(people, tmp_path / "elsewhere" / "people")
    here, there = make_card(Dataset(people)).files, make_card(Dataset(copy)).files
    assert here == there
    for data in here.values():
        assert str(people.parent).encode() not in data and socket.gethostname().encode() not in data
    assert name_of("s3://bucket/sets/my set") == "my-set" and name_of(Path("/a/b c")) == "b-c"


def test_an_older_version_lists_its_own_shards(people, tmp_path):
    out = shutil.copytree(people, tmp_path / "people")
    build(out, 20, papers={"ada": {"attribution": None}})
    old = yaml.safe_load(make_card(open_version(f"{out}@1.0.0")).files["README.md"].decode().split("\n---\n")[0])
    paths = old["configs"][0]["data_files"][0]["path"]
    assert make_card(open_version(f"{out}@1.0.0")).files["README.md"].count(b"# people 1.0.0\n") == 1
    assert make_card(Dataset(out)).files["README.md"].count(b"# people\n") == 1  # what came since has no number
    assert paths == [shard["path"] for shard in Dataset(out, "1.0.0").manifest["shards"]] and len(paths) == 1
    assert "| samples | 20 |" in make_card(Dataset(out)).files["README.md"].decode()


def test_through_the_command_line(people, tmp_path, capsys):
    out = shutil.copytree(people, tmp_path / "people")
    before = Dataset(out).root
    code, text = said(capsys, "card", f"{out}@1.0.0")
    assert code == 0 and str(out / "README.md") in text and "warning: The licence of 1 scan forbids" in text
    assert {"README.md", "croissant.json"} <= {path.name for path in out.iterdir()}
    assert Dataset(out).root == before and said(capsys, "verify", out)[0] == 0
    assert said(capsys, "card", out)[0] == 0  # its own may be replaced
    (out / "README.md").write_text("mine")
    code, text = said(capsys, "card", out)
    assert code != 0 and "was not written by" in text and (out / "README.md").read_text() == "mine"
    code, _ = said(capsys, "card", out, "--out", tmp_path / "far" / "away")
    assert code == 0 and (tmp_path / "far" / "away" / "croissant.json").is_file()


def test_what_has_no_version_has_no_card(people, tmp_path, capsys):
    out = shutil.copytree(people, tmp_path / "people")
    shutil.rmtree(out / "refs")
    code, text = said(capsys, "card", out)
    assert code != 0 and "is being rendered" in text and "DATASET@1.0.0" in text
    assert "--out DIR" in said(capsys, "card", "s3://bucket/set")[1]


def test_a_changed_spec_is_found(people, tmp_path, capsys):
    out = shutil.copytree(people, tmp_path / "people")
    (file,) = (out / "runs").glob("*/run.json")
    run = json.loads(file.read_text())
    run["spec"]["seed"] = 6
    file.write_text(json.dumps(run))
    code, text = said(capsys, "card", out)
    assert code != 0 and "its spec's sha256 is not that of the manifest" in text


def test_a_manifest_that_says_what_none_can_is_refused_in_one_line(people, tmp_path, capsys):
    out = shutil.copytree(people, tmp_path / "people")
    manifest = {**Dataset(out).manifest, "environments": [{"env_id": "e", "samples": -1, "facts": None}]}
    data = canonical_json(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (out / "manifests" / f"{digest}.json").write_bytes(data)
    (out / "refs" / "latest.json").write_text(canonical_json({"manifest": f"sha256:{digest}"}))
    code, text = said(capsys, "card", out)
    assert code != 0 and "environments.0.samples: " in text and len(text.splitlines()) == 1


def test_a_dataset_in_an_object_store_has_the_card_of_a_local_one(tmp_path):
    pytest.importorskip("obstore", reason="no obstore: pip install 'synth[cloud]'")
    local, remote = build(tmp_path / "people"), build("memory://cards/people")
    assert make_card(Dataset(remote)) == make_card(Dataset(local))


def test_the_card_in_the_docs_is_one_of_ours(readme):
    documented = (Path(__file__).parents[1] / "docs" / "card_demo.md").read_text()
    assert re.findall(r"^## (.+)$", documented, re.MULTILINE) == list(SECTIONS)
    for title in SECTIONS:  # the same tables, whatever they hold
        heads = [re.findall(r"^\|.*\|\n(?=\| -)", section(text, title), re.MULTILINE) for text in (documented, readme)]
        assert heads[0] == heads[1], title
    assert yaml.safe_load(documented.split("\n---\n")[0]).keys() <= yaml.safe_load(readme.split("\n---\n")[0]).keys()
