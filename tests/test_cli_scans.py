"""The table of `synth scans`: fits a terminal, accepted first, and stays short however many files are ignored."""

import argparse
import json
import re

import pytest
from conftest import read_ball

from renderers.trial import ball_obj
from synth import cli_library, cli_scans
from synth.scans import load_library


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """Runs `synth scans` on a folder without Blender; returns its lines and the JSON."""
    root = tmp_path / "scans"
    (root / "a_folder_with_a_very_long_name_indeed/and_another_one").mkdir(parents=True)
    (root / "a_folder_with_a_very_long_name_indeed/and_another_one/ball.obj").write_text(ball_obj(12))
    (root / "zebra.obj").write_text(ball_obj(16))
    (root / "aardvark.obj").write_text("")
    (root / "LICENSE.txt").write_text("CC-BY-NC-4.0 (for research), NoAI")
    for number in range(300):
        (root / f"note{number}.dat").write_text("x")
    monkeypatch.setenv("COLUMNS", "120")
    library = load_library([root], tmp_path / "cache", read_ball)
    monkeypatch.setattr(cli_library, "load_scans", lambda folders, args: library)

    def run(*flags: str) -> tuple[list[str], list[dict]]:
        parser = argparse.ArgumentParser()
        cli_scans.add_arguments(parser)
        args = parser.parse_args([str(root), "--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "v"), *flags])
        assert cli_scans.run(args) == 0
        return capsys.readouterr().out.splitlines(), json.loads((tmp_path / "v").read_text())

    return run


def test_the_table_fits_and_has_the_accepted_first(table):
    lines, verdicts = table()
    assert max(map(len, lines)) <= 120 and len(lines) < 40
    text = "\n".join(lines)
    order = [text.index(word) for word in ("one/ball.obj", "zebra.obj", "aardvark.obj: ", "ignored: 301")]
    assert order == sorted(order)
    row = next(line for line in lines if line.startswith("zebra.obj"))
    assert re.search(r"head .*\d \w+.* none .* zebra .* CC-BY-NC-4.0", row)
    assert "2 scans of 2 people accepted, 1 files refused, 301 ignored" in text
    assert re.search(r"300  not a mesh", text) and "note7.dat" not in text
    assert "machine learning" in text and "non-commercial use only" in text
    by_path = {v["path"]: v for v in verdicts}
    assert by_path["zebra.obj"]["person"] == "zebra" and by_path["zebra.obj"]["licence"] == "CC-BY-NC-4.0"
    assert any("machine learning" in warning for warning in by_path["zebra.obj"]["warnings"])
    assert len(verdicts) == 304


def test_all_lists_every_ignored_file(table):
    lines, _ = table("--all")
    assert sum("note" in line and "not a mesh" in line for line in lines) == 300


def test_the_page_has_the_folders_name_and_not_its_path(table, tmp_path):
    table("--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "<title>Scans: scans</title>" in page and str(tmp_path) not in page
