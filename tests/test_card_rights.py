"""What licences and papers say, and where it stands in a card."""

import json

import pytest
from conftest import read_ball
from test_card import LICENCES, NASTY, build, top_of

from renderers.trial import ball_obj
from synth.card import make_card
from synth.card_front import hub_licence
from synth.card_manifest import Recorded, ScanUsed
from synth.card_rights import TERMS, Right, rights_of_scans, scan_rights
from synth.recipe import canonical_json
from synth.scans import load_library
from synth.store import Dataset


@pytest.mark.parametrize(
    ("licence", "term"),
    [
        ("RenderPeople terms", "no_sharing"),
        ("CC-BY-ND-4.0", "no_derivatives"),
        ("CC-BY-NC-4.0", "non_commercial"),
        ("CC-BY-NC-SA-4.0", "share_alike"),
        ("for research; no machine learning", "no_ai"),
        ("you may not redistribute it", "no_sharing"),
        ("(c) somebody", "own_words"),
        (None, "unknown"),
        ("CC-BY-4.0", None),
        ("BSD-3-Clause", None),
        ("CC0-1.0", None),
    ],
)
def test_what_a_licence_forbids_stands_at_the_top(tmp_path, licence, term):
    free = {"bob": "CC0-1.0", NASTY: "MIT", "ada_coat": "CC0-1.0", "dan": "CC0-1.0"}
    card = make_card(Dataset(build(tmp_path / "set", 6, {"ada": licence, **free})))
    about_ada = [line for line in card.warnings if "ada (1 image)" in line]
    expected = [meaning for name, meaning in TERMS.items() if name == term]
    assert all(any(meaning in line for line in about_ada) for meaning in expected)
    assert bool(about_ada) == bool(term)
    top = top_of(card.files["README.md"].decode())
    assert all(meaning in top for meaning in expected)


def test_what_papers_said_stands_at_the_top(tmp_path):
    licences = dict.fromkeys(LICENCES, "CC0-1.0")
    silent = make_card(Dataset(build(tmp_path / "a" / "set", 6, licences)))
    warned = make_card(Dataset(build(tmp_path / "b" / "set", 6, licences, {"dan": {"no_ai": True}})))
    assert not any("machine learning" in line for line in silent.warnings)
    assert [line for line in warned.warnings if "machine learning" in line and "dan (1 image)" in line]
    assert Dataset(tmp_path / "a" / "set").manifest == Dataset(tmp_path / "b" / "set").manifest  # part of no hash


@pytest.mark.parametrize(
    ("mesh", "paper", "expected"),
    [
        ("", "License: CC-BY-4.0\nAuthor: Ada\nNo AI.\n", ("CC-BY-4.0", "by Ada", {"no_ai"})),
        ("", "License: mine\nyou may not redistribute it", ("mine", None, {"own_words", "no_sharing"})),
        ("", "License: mine\nFor noncommercial use", ("non-commercial", None, {"non_commercial"})),
        ("# CC0-1.0\n", "License: mine", ("CC0-1.0", None, set())),
        ("", "Hello", (None, None, {"unknown"})),
    ],
)
def test_what_is_written_beside_a_scan_comes_into_the_card(tmp_path, mesh, paper, expected):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "ball.obj").write_text(mesh + ball_obj(8))
    (tmp_path / "scans" / "license.txt").write_text(paper)
    (entry,) = load_library([tmp_path / "scans"], tmp_path / "cache", read_ball).entries
    (remembered,) = scan_rights([entry])["scan_rights"]
    recorded = {entry.key: Recorded.model_validate(json.loads(canonical_json(remembered)))}
    used = ScanUsed(scan_id=entry.scan_id, key=entry.key, licence=entry.facts.licence)
    (right,) = rights_of_scans([used], recorded, {entry.scan_id: 3})
    assert (right.licence, right.attribution, right.terms) == expected


def test_scans_and_backgrounds_are_warned_of_apart(tmp_path):
    unknown = [line for line in make_card(Dataset(build(tmp_path / "set"))).warnings if "is not known" in line]
    assert [line.split(" is not known")[0] for line in unknown] == [
        "The licence of 1 scan", "The licence of 3 backgrounds",
    ]  # fmt: skip
    assert "wall (2 images)" in unknown[1] and "wall" not in unknown[0]


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["CC-BY-4.0", "CC0-1.0"], "cc-by-4.0"),
        (["CC0-1.0"], "cc0-1.0"),
        (["CC-BY-4.0", "MIT"], "other"),
        (["CC-BY-4.0", None], "other"),
        (["CC-BY"], "other"),
        ([None], "unknown"),
    ],
)
def test_the_hubs_licence_is_one_only_if_all_have_it(licences, expected):
    rights = [Right("scan", f"{k}", licence, None, frozenset(), "-", 1) for k, licence in enumerate(licences)]
    assert hub_licence(rights)["license"] == expected
