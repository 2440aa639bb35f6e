"""The page of `synth scans`: every scan from all sides, names from strangers harmless, one file."""

import io
import re

import numpy as np
import pytest
from conftest import read_ball
from PIL import Image

from renderers.trial import ball_obj
from synth.report_scans import write_scans_page
from synth.report_turntable import render_turntable
from synth.scans import load_library, load_prepared

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def library(tmp_path):
    root = tmp_path / "scans"
    root.mkdir()
    (root / "ball.obj").write_text(ball_obj(12))
    (root / f"{EVIL.replace('/', '')}.obj").write_text(ball_obj(10))
    (root / "<b>broken.obj").write_text("")
    (root / "<i>.mtl").write_text("")
    (root / "scans.yaml").write_text('- {match: ball.obj, licence: "<u>mine</u>"}\n')
    return load_library([root], tmp_path / "cache", read_ball)


def test_a_turntable_shows_a_ball_from_all_sides(library):
    scan = load_prepared(library.store, library.entries[0].key)
    picture = np.asarray(Image.open(io.BytesIO(render_turntable(scan, views=4, width=60, height=80))))
    assert picture.shape == (80, 300, 4)
    for tile in np.split(picture, 5, axis=1):
        seen = tile[..., 3] > 128
        assert 0.15 < seen.mean() < 0.75
        rows, columns = np.nonzero(seen)
        assert abs(rows.mean() - 39.5) < 1.5 and abs(columns.mean() - 29.5) < 1.5
    clay, normals = picture[:, :60][20:60, 15:45], picture[:, 240:]
    assert np.ptp(clay[..., :3].astype(int), axis=-1).max() < 60  # grey, not magenta
    assert clay[20, 15, :3].mean() > 140
    left, right = normals[40, 18, 0].astype(int), normals[40, 42, 0].astype(int)
    assert right - left > 80  # red is to the right


def test_the_page_is_one_harmless_file(library, tmp_path):
    seen = []
    write_scans_page(library, "<my> scans", tmp_path / "page.html", lambda *args: seen.append(args))
    page = (tmp_path / "page.html").read_text()
    assert page.count("<article ") == 2
    assert page.count("data:image/webp;base64,") == 2
    assert EVIL not in page and "<b>broken" not in page and "<u>mine" not in page and "&lt;my&gt; scans" in page
    assert "&lt;u&gt;mine&lt;/u&gt;" in page and "empty file (0 bytes)" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page
    assert "<!--{" not in page
    assert len(seen) == 2
