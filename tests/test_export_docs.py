"""docs/exports.md: its commands and its code run as they stand."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from exports import write_set

from synth.cli import main
from synth.export import LAYOUTS
from synth.export_rules import LEAST_CANONICAL_Z, LEAST_PIXELS, MOST_COVERED

PAGE = (Path(__file__).parents[1] / "docs" / "exports.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which the page's own commands were run."""
    root = tmp_path_factory.mktemp("page")
    write_set(root / "people")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for line in "".join(blocks("sh")).splitlines():
            command, *args = shlex.split(line)
            assert command == "synth" and main([*args, "--workers", "1"]) == 0, line
    return root


@pytest.mark.parametrize("code", blocks("python"))
def test_the_code_runs_in_at_most_five_lines(place, code, tmp_path):
    assert len(code.splitlines()) <= 5
    for name in ("cv2", "webdataset", "datasets"):
        if name in code:
            pytest.importorskip(name, reason=f"no {name}: pip install 'synth[test]'")
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "print" not in code


def test_the_page_names_every_layout_and_limit_and_its_checks_hold(place, monkeypatch, capsys):
    assert re.findall(r"^## (\w+)$", PAGE, re.MULTILINE) == list(LAYOUTS)
    assert all(f"--to {layout}" in PAGE for layout in LAYOUTS)
    assert f"below {LEAST_PIXELS} pixels or above {MOST_COVERED:.0%}".replace("%", " %") in PAGE
    assert f"below {LEAST_CANONICAL_Z} is dropped" in PAGE
    monkeypatch.chdir(place)
    for command in re.findall(r"`synth (check [^`]*)`", PAGE):
        assert main(command.split()) == 0
    where = re.search(r"e\.g\. `([^`]*)`", PAGE)[1]
    assert main(["export", "people", "--to", "hf", "--dest", "w", "--where", where, "--workers", "1"]) == 0
    capsys.readouterr()
