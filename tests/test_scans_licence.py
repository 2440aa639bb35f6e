"""What the papers beside a scan say about its use."""

from pathlib import Path

import pytest
from conftest import read_ball

from renderers.trial import ball_obj
from synth import scans_licence
from synth.scans import load_facts, load_library
from synth.scans_licence import find_licence, header_licence, known_licence, licence_papers, read_licence

SKETCHFAB = """Model Information:
* title:\tMan In Suit
* source:\thttps://sketchfab.com/3d-models/x
* author:\tsomeone (https://sketchfab.com/someone)

Model License:
* license type:\tCC-BY-4.0 (http://creativecommons.org/licenses/by/4.0/)
* requirements:\tAuthor must be credited.
"""


def read(tmp_path: Path, text: str | bytes, name: str = "license.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_licence(path)


def test_sketchfabs_own_form(tmp_path):
    found = read(tmp_path, SKETCHFAB)
    assert found.name == "CC-BY-4.0"
    assert (
        found.attribution
        == '"Man In Suit" by someone (https://sketchfab.com/someone) https://sketchfab.com/3d-models/x'
    )
    assert not found.no_ai


@pytest.mark.parametrize(
    ("text", "name"),
    [("licensed under a Creative Commons Attribution 3.0 Unported License", "CC-BY-3.0"),
     ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
     ("CC BY-NC 4.0", "CC-BY-NC-4.0"), ("This work is CC0.", "CC0-1.0"), ("The MIT License", "MIT"),
     ("Redistribution and use in source and binary forms, with or without", "BSD"),
     ("is not copyrighted", "public domain"), ("for non-commercial research only", "non-commercial"),
     ("License: Our own terms, ask us", "Our own terms, ask us"),
     ("Apache License\nVersion 2.0", "Apache-2.0"), ("How to build this project", None), ("", None)],
)  # fmt: skip
def test_known_licences(tmp_path, text, name):
    found = read(tmp_path, text)
    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("text", "no_ai"),
    [("CC-BY-4.0\nTags: NoAI", True), ("CC-BY. May not be used for machine learning.", True), ("CC-BY said Ai", False),
     ("CC-BY. Not medical. We thank the machine learning group.", False),
     ("CC-BY, prohibited: use in datasets for, or in the development of, AI training", True)],
)  # fmt: skip
def test_words_against_machine_learning(tmp_path, text, no_ai):
    assert read(tmp_path, text).no_ai == no_ai


@pytest.mark.parametrize(
    ("text", "non_commercial", "no_sharing"),
    [("CC-BY-NC-4.0", True, False), ("CC BY 4.0", False, False),
     ("The MIT License: without limitation the rights to use, copy, distribute, sublicense", False, False),
     ("Renderpeople GmbH, general terms", False, True),
     ("The THuman dataset is for non-commercial research; you may not redistribute it", True, True),
     ("License: our own. You agree not to further copy, publish or distribute any portion of the data.", False, True),
     ("License: our own. Ask before you share; commercial use is fine.", False, False)],
)  # fmt: skip
def test_what_a_paper_forbids(tmp_path, text, non_commercial, no_sharing):
    found = read(tmp_path, text)
    assert (found.non_commercial, found.no_sharing) == (non_commercial, no_sharing)
    assert len(found.limits) == non_commercial + no_sharing + found.no_ai


def test_limits_are_warnings_unless_the_user_has_said_what_holds(tmp_path):
    (tmp_path / "scans" / "mine").mkdir(parents=True)
    for name, rings in (("a", 8), ("mine/b", 10)):
        (tmp_path / "scans" / f"{name}.obj").write_text(ball_obj(rings))
    (tmp_path / "scans" / "license.txt").write_text(SKETCHFAB + "NoAI: this model may not be used in datasets")
    (tmp_path / "scans" / "scans.yaml").write_text("- {match: mine/*, licence: bought}\n")
    library = load_library([tmp_path / "scans"], tmp_path / "cache", read_ball)
    said = {v.path: (v.licence, [w for w in v.warnings if "machine learning" in w]) for v in library.verdicts}
    assert said["a.obj"] == ("CC-BY-4.0", ["'license.txt' speaks against use for machine learning: read it"])
    assert said["mine/b.obj"] == ("bought", [])
    for entry in library.entries:
        assert load_facts(library.store, entry.key).licence is None  # the cache is a function of the key alone


def test_a_strangers_text_is_one_short_printable_line(tmp_path):
    found = read(tmp_path, b"License: \x1b[31mred\x07 " + b"x" * 1000 + b"\n" + bytes(200_000))
    assert found.name.isprintable() and len(found.name) <= 300


def test_the_nearest_paper_counts_and_one_named_like_the_mesh_before_others(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "LICENSE.md").write_text("MIT License")
    (deep / "readme.txt").write_text("nothing of interest")
    papers = licence_papers(tmp_path.rglob("*"))
    assert find_licence(deep / "eva.obj", tmp_path, papers).name == "MIT"
    assert find_licence(deep / "eva.obj", tmp_path / "a", papers) is None
    (deep / "anna_license.txt").write_text("CC0")
    (deep / "eva_license.txt").write_text("CC-BY 4.0")
    papers = licence_papers(tmp_path.rglob("*"))
    assert find_licence(deep / "eva.obj", tmp_path, papers).name == "CC-BY-4.0"
    assert find_licence(deep / "anna.obj", tmp_path, papers).name == "CC0-1.0"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "a.obj",
            "# CC0-1.0\n# Body, (c) 2020 Somebody\nmtllib a.mtl\nv 0 0 0\n",
            ("CC0-1.0", "Body, (c) 2020 Somebody"),
        ),
        ("a.obj", "# exported by a tool\nv 0 0 0\n# CC0-1.0\n", None),
        ("a.obj", "o CC0-1.0\nv 0 0 0\n", None),
        ("a.ply", "ply\ncomment License: CC-BY-4.0\ncomment Author: Ada\nend_header\n", ("CC-BY-4.0", "by Ada")),
        ("a.stl", "# CC0-1.0\n", None),
    ],
)
def test_comments_at_the_beginning_of_a_mesh_are_its_own_words(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    found = header_licence(tmp_path / name)
    assert (found and (found.name, found.attribution)) == expected


def test_who_holds_the_copyright_is_whom_to_name(tmp_path):
    text = "Copyright (c) 2014, A College. Please see\nRedistribution and use in source and binary forms, with\n"
    assert read(tmp_path, text).attribution == "Copyright (c) 2014, A College. Please see"
    assert read(tmp_path, "MIT license\nthe copyright notice shall be included").attribution is None


@pytest.mark.parametrize("name", [*(name for _, name in scans_licence._KNOWN), "CC-BY-NC-4.0", "CC-BY-3.0"])
def test_a_known_name_reads_as_itself(name):
    assert known_licence(name) == name
