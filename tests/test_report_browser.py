"""The gallery and the page of scans in headless Chromium, from file://: what is seen; no name becomes a script."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import read_ball
from test_report import make_dataset

from renderers.trial import ball_obj
from synth.report import write_gallery
from synth.report_pictures import depth_colors, depth_levels
from synth.report_scans import write_scans_page
from synth.scans import load_library

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.body.dataset.evil=1</script><img src=x onerror='document.body.dataset.evil=2'>"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def find_browser() -> str | None:
    """The first of the usual names that is on the PATH."""
    return next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    if found := find_browser():
        return found
    pytest.skip("no browser: neither chromium nor google-chrome is on the PATH (apt-get install chromium)")


@pytest.fixture(scope="session")
def gallery(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "index.html"
    write_gallery(make_dataset(5), path, name="balls")
    return path


@pytest.fixture
def seen(chromium, tmp_path):
    """Opens a page; returns the attributes of its <body>, its text after the scripts ran, and console messages."""

    def open_page(path: Path, state: str = "") -> tuple[dict[str, str], str, list[str]]:
        done = subprocess.run(
            [chromium, *OPTIONS, f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=5000",
             "--enable-logging=stderr", "--dump-dom", f"{path.as_uri()}{state}"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        body = re.search(r"<body([^>]*)>", done.stdout)[1]
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return dict(re.findall(r'data-(\w+)="([^"]*)"', body)), done.stdout, console

    return open_page


def shown_ids(dom: str) -> list[str]:
    return re.findall(r'id="sample-(\d+)"', dom)


def test_every_picture_is_decoded_and_nothing_is_complained_of(seen, gallery):
    body, dom, console = seen(gallery, "#all=1")
    assert console == []
    assert body == {"pictures": "30", "loaded": "30", "broken": "0", "matching": "5"}
    assert shown_ids(dom) == [f"{i:08d}" for i in range(5)]


def test_a_picture_that_cannot_be_decoded_is_counted(seen, gallery, tmp_path):
    text = gallery.read_text()
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace("data:image/png;base64,iVBORw0KGgo", "data:image/png;base64,AAAAAAAAAAA", 1))
    body, dom, _ = seen(broken, "#all=1")
    assert (body["loaded"], body["broken"]) == ("29", "1") and 'class="broken"' in dom


def test_names_from_strangers_are_shown_and_never_run(seen, tmp_path):
    path = tmp_path / "hostile.html"
    write_gallery(make_dataset(2, scan=HOSTILE, background=HOSTILE, flag=HOSTILE), path, name=HOSTILE)
    body, dom, console = seen(path, "#all=1&open=00000000&filter=script")
    assert "evil" not in body and console == [] and body["broken"] == "0" and body["matching"] == "2"
    assert "&lt;/script&gt;&lt;script&gt;document.body.dataset.evil=1" in dom


def test_even_a_script_that_got_into_the_page_would_not_run(seen, gallery, tmp_path):
    path = tmp_path / "injected.html"
    evil = "<script>document.body.dataset.evil=1</script><img src='https://example.invalid/x.png' onerror='evil()'>"
    path.write_text(gallery.read_text().replace("<main", evil + "<main", 1))
    body, _, console = seen(path)
    assert "evil" not in body and sum("Content Security Policy" in line for line in console) >= 2


@pytest.mark.parametrize(
    "terms, ids",
    [
        ("scan:ann", [0, 3]),
        ("scan:NN", [0, 3]),
        ("scan=nn", []),
        ("-scan:ann", [1, 2, 4]),
        ('background="park" framing:face', [2]),
        ("flag:trunc", [0, 3]),
        ("studio", [1, 3]),
        ("index>0 index<3", [1, 2]),
        ("person=p-cid", [2]),
        ("nobody", []),
        ("distance<oops", [0, 1, 2, 3, 4]),
    ],
)
def test_the_filter_in_the_address_is_honoured(driver, gallery, terms, ids):
    driver.open(gallery, "#" + urllib.parse.urlencode({"filter": terms}))
    assert driver.ids() == ids
    assert driver.run("return document.getElementById('nothing').hidden") == bool(ids)
    assert driver.run("return document.getElementById('filter').classList.contains('wrong')") == ("oops" in terms)


def test_the_filter_in_the_address_works_without_a_driver(seen, gallery):
    body, dom, _ = seen(gallery, "#filter=scan:bob")
    assert shown_ids(dom) == ["00000001", "00000004"] and body["matching"] == "2"


def test_lists_and_sorting_write_the_address(driver, gallery):
    driver.open(gallery)
    driver.run(CHOOSE, "by-scan", "ann")
    driver.run(CHOOSE, "by-framing", "full")
    assert driver.ids() == [0, 3] and "scan%3Dann" in driver.run("return location.hash")
    driver.run(CHOOSE, "by-scan", "")
    driver.run(CHOOSE, "by-framing", "")
    driver.run(CHOOSE, "sort", "background")
    assert driver.ids() == [0, 2, 4, 1, 3]


def test_the_keyboard_moves_enlarges_and_closes(driver, gallery):
    driver.open(gallery)
    large = "const d = document.getElementById('large'); return d.open && d.querySelector('.id').textContent"
    driver.keys("jj" + DOWN + "k")
    assert driver.run("return document.activeElement.id") == "sample-00000001"
    driver.keys(ENTER)
    assert driver.run(large) == "00000001"
    driver.keys(RIGHT + "j" + LEFT)
    assert driver.run(large) == "00000002"
    driver.keys("3")
    stage = "return [...document.querySelectorAll('.stage img')].map((i) => i.dataset.name)"
    assert driver.run(stage) == ["normal"]
    driver.keys("0")
    assert driver.run(stage) == ["rgb", "outline", "depth", "normal"]
    driver.keys(ESCAPE)
    driver.wait("return document.activeElement.id === 'sample-00000002'")
    assert driver.run(large) is False and "open" not in driver.run("return location.hash")
    driver.keys("/")
    driver.keys("scan:cid" + ESCAPE)
    assert driver.ids() == [2]


def test_values_read_off_the_pictures_are_those_of_the_labels(driver, gallery):
    """A pixel under the pointer is turned back into metres and a stored, OpenCV normal."""
    driver.open(gallery, "#open=00000000")
    driver.wait("return ['rgb', 'depth', 'normal'].every((name) => pixels[name])")
    sample = make_dataset(1).samples[0]
    row, column = 70, 50
    text = driver.run("return readOut((arguments[0] + 0.5) / 96, (arguments[1] + 0.5) / 128, SAMPLES[0])", column, row)
    figures = [float(x.replace("\u2212", "-")) for x in re.findall("[+\u2212]?\\d+[.]\\d+", text)]
    assert text.startswith(f"column {column}  row {row}")
    assert abs(figures[0] - sample.depth_m[row, column]) < 2e-3
    assert abs(figures[1:] - sample.normal[row, column]).max() < 0.015
    assert "no subject" in driver.run("return readOut(0.001, 0.001, SAMPLES[0])")


# A page with its pictures in a folder.

LARGE = "const d = document.getElementById('large'); return d.open && d.querySelector('.id').textContent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """130 samples: three pages of cards, nine pairs of files."""
    path = tmp_path_factory.mktemp("folder") / "index.html"
    write_gallery(make_dataset(130), path, name="balls")
    return path


def test_thumbnails_come_from_the_folder_and_nothing_is_complained_of(seen, folder):
    body, dom, console = seen(folder, "#all=1&page=2")
    assert console == [] and body["broken"] == "0"
    assert shown_ids(dom) == [f"{i:08d}" for i in range(120, 130)]
    assert body["pictures"] == body["loaded"] == "30" and body["matching"] == "130"


def test_a_thumbnail_shows_its_own_sample_and_picture(driver, folder):
    """The window onto the sheet is where the sample's tile is; of sample 125 the second picture, in the last file."""
    driver.open(folder, "#page=2")
    place = """
      const figure = document.querySelectorAll('#sample-00000125 figure')[1];
      const frame = figure.querySelector('.frame').getBoundingClientRect();
      const sheet = figure.querySelector('img').getBoundingClientRect();
      return [(frame.left - sheet.left) / frame.width, (frame.top - sheet.top) / frame.height,
              sheet.width / frame.width, sheet.height / frame.height, figure.querySelector('img').src];
    """
    driver.wait("return document.querySelector('#sample-00000125 img').src")
    *found, address = driver.run(place)
    assert found[:2] == pytest.approx([1.02 + 0.01, 1.02 * (125 - 112) + 0.01], abs=0.01)
    assert found[2:] == pytest.approx([3 * 1.02, 16 * 1.02], abs=0.02)
    assert address.endswith("/000007.jpg")


def test_pages_are_turned_by_keys_and_by_moving_on(driver, folder):
    driver.open(folder)
    assert driver.ids() == list(range(60))
    driver.keys("n")
    assert driver.ids() == list(range(60, 120))
    driver.keys("nn")
    assert driver.ids() == list(range(120, 130))
    driver.keys("k")
    assert driver.run("return document.activeElement.tagName") == "ARTICLE"
    driver.keys("p")
    assert driver.ids() == list(range(60, 120)) and "page=1" in driver.run("return location.hash")
    driver.run("document.getElementById('sample-00000119').focus()")
    driver.keys("j")
    assert driver.run("return document.activeElement.id") == "sample-00000120"
    driver.keys(ENTER + LEFT)
    assert driver.run(LARGE) == "00000119"
    driver.keys(ESCAPE)
    driver.wait("return document.activeElement.id === 'sample-00000119'")
    assert driver.ids() == list(range(60, 120))


def test_the_order_is_reversed_by_a_key_and_numbers_are_filtered_by_range(driver, folder):
    driver.open(folder, "#" + urllib.parse.urlencode({"filter": "index=3..7"}))
    assert driver.ids() == [3, 4, 5, 6]
    driver.keys("r")
    assert driver.ids() == [6, 5, 4, 3]
    driver.keys("r")
    driver.run(CHOOSE, "sort", "seconds")
    assert driver.ids() == [3, 4, 5, 6]


def test_a_sample_of_a_folder_is_read_off_like_one_of_a_page(driver, folder):
    driver.open(folder, "#open=00000077")
    driver.wait("return ['rgb', 'depth', 'normal'].every((name) => pixels[name])")
    sample, other = make_dataset(79).samples[77:]
    red, theirs = (depth_colors()[depth_levels(each, 128)][..., 0] for each in (sample, other))
    shown = driver.run("return [...pixels.depth.data].filter((_, k) => k % 4 === 0)")
    assert shown == red.ravel().tolist() and (red != theirs).any()
    text = driver.run("return readOut((50 + 0.5) / 96, (70 + 0.5) / 128, SAMPLES[77])")
    z = float(re.search(r"z [^\d]*([\d.]+) m", text)[1])
    assert abs(z - sample.depth_m[70, 50]) < 2e-3


def test_points_stand_where_the_labels_say_and_level(driver, folder):
    """Against the sample's own point map, turned into the world: heights are world z, distances are kept."""
    driver.open(folder, "#open=00000002")
    driver.keys("c")
    driver.wait("return cloud && cloud.points.length")
    points = np.array(driver.run("return [...cloud.points]")).reshape(-1, 3)
    sample = make_dataset(3).samples[2]
    world_from_camera = np.array(sample.recipe.camera.world_from_camera)
    world = sample.pointmap()[sample.mask] @ world_from_camera[:3, :3].T
    assert len(points) == len(world)
    np.testing.assert_allclose(np.diff(points[:, 1]), np.diff(world[:, 2]), atol=2e-4)
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(step, np.linalg.norm(np.diff(world, axis=0), axis=1), atol=3e-4)
    # not mirrored: in a row of pixels to the right is to the right
    rows, columns = np.nonzero(sample.mask)
    row = rows == np.bincount(rows).argmax()
    assert (np.diff(points[row, 0])[np.diff(columns[row]) == 1] > 0).all()
    colors = np.array(driver.run("return [...cloud.colors]")).reshape(-1, 3)
    assert np.abs(colors - sample.rgb[sample.mask]).mean() < 12  # JPEG


def test_points_are_turned_and_zoomed_by_keys_and_pointer(driver, folder):
    driver.open(folder, "#open=00000002")
    driver.keys("c")
    driver.wait("return cloud && cloud.points.length")
    ink = """
      const {width, height} = cloud.canvas;
      const data = cloud.canvas.getContext('2d').getImageData(0, 0, width, height).data;
      let count = 0; for (let k = 3; k < data.length; k += 4) count += data[k] > 0;
      return count / (width * height);
    """
    before = driver.run(ink)
    assert before > 0.05, "points are seen"
    driver.keys("++")
    assert driver.run(ink) > 1.2 * before
    shifted = "return [cloud.turn.yaw, cloud.turn.pitch]"
    yaw, pitch = driver.run(shifted)
    key = "new KeyboardEvent('keydown', {key: 'ArrowRight', shiftKey: true, bubbles: true})"
    driver.run(f"document.body.dispatchEvent({key})")
    assert driver.run(shifted) == pytest.approx([yaw - 0.15, pitch])
    driver.run("cloud.canvas.dispatchEvent(new MouseEvent('dblclick'))")
    assert driver.run(ink) == pytest.approx(before)
    driver.keys("0")
    assert driver.run("return cloud") is None and driver.run(LARGE) == "00000002"


def test_statistics_count_and_a_bar_is_a_filter(driver, folder):
    driver.open(folder)
    driver.keys("s")
    driver.wait("return document.querySelectorAll('#plots figure').length === 9")
    titles = "return [...document.querySelectorAll('#plots title')].map((t) => t.textContent)"
    told = driver.run(titles)
    assert {"full: 44 of 44", "upper: 43 of 43", "face: 43 of 43", "train: 130 of 130", "truncated: 44 of 44"} <= set(
        told
    )
    click = "document.querySelectorAll('#plots .column')[arguments[0]].dispatchEvent(new MouseEvent('click'))"
    driver.run(click, told.index("upper: 43 of 43"))
    assert driver.ids() == list(range(1, 130, 3))
    assert {"full: 0 of 44", "upper: 43 of 43", "truncated: 0 of 44"} <= set(driver.run(titles))
    driver.run(click, driver.run(titles).index("upper: 43 of 43"))
    assert driver.run("return location.hash.includes('filter')") is False
    sums = "return PLOTS.map((p) => tally(p, [...SAMPLES.keys()]).reduce((a, b) => a + b, 0))"
    assert driver.run(sums) == [130, 130, 44, 130, 130, 130, 130, 130, 130], "every sample is in one bin"
    seconds = driver.run("const p = PLOTS.at(-1); return [p.edges, p.all]")
    values = np.arange(130) + 1.5
    assert seconds[1] == np.histogram(values, seconds[0])[0].tolist()


def test_the_keys_are_told(driver, gallery):
    driver.open(gallery)
    driver.keys("?")
    assert driver.run("return document.getElementById('help').open")
    driver.keys("j" + ESCAPE)
    assert driver.run("return [document.getElementById('help').open, document.activeElement.tagName]")[0] is False
    assert driver.run("return document.activeElement.tagName") != "ARTICLE", "keys behind the help do nothing"


def test_a_page_that_lost_its_folder_says_so(driver, folder, tmp_path):
    alone = tmp_path / "index.html"
    alone.write_text(folder.read_text())
    driver.open(alone, "#open=00000001")
    driver.wait("return document.querySelector('.readout').textContent.includes('are missing')")
    assert driver.run("return document.querySelector('.readout').textContent").endswith("beside the page.")
    driver.wait("return Number(document.body.dataset.broken) > 0")


CONTRAST = """
  const lightness = (color) => {
    const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((x) => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
  };
  const kinds = 'h1, h2, dt, dd, b, code, summary, button, select, input, p, .flags span, figcaption, #count';
  const texts = [...document.querySelectorAll(kinds)];
  return texts.filter((e) => e.checkVisibility() && !e.disabled && !e.closest('.side')).map((e) => {
    const [a, b] = [lightness(getComputedStyle(e).color), lightness(behind(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.tagName + ' ' + e.className + ' ' + e.textContent.slice(0, 30)];
  }).sort((x, y) => x[0] - y[0]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_in_both_schemes(driver, folder, scheme):
    driver.scheme(scheme)
    driver.open(folder)
    driver.keys("s")
    found = driver.run(CONTRAST)
    assert len(found) > 100 and found[0][0] >= 4.5, found[:5]
    page = driver.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", page)[:3])) > 600) == (scheme == "light")


@pytest.fixture(scope="module")
def scans_page(tmp_path_factory) -> Path:
    """Two scans, one with a name that would be a script."""
    root = tmp_path_factory.mktemp("scans")
    for name, rings in (("<script>evil()<script>", 8), ("ball", 12)):
        (root / f"{name}.obj").write_text(ball_obj(rings))
    (root / "scans.yaml").write_text("- {match: ball.obj, licence: Mine}\n")
    path = tmp_path_factory.mktemp("page") / "scans.html"
    write_scans_page(load_library([root], tmp_path_factory.mktemp("cache"), read_ball), "scans", path)
    return path


def test_the_page_of_scans_runs_without_complaint(seen, scans_page):
    _, dom, console = seen(scans_page)
    assert console == [] and '<output id="shown">2 of 2</output>' in dom


def test_scans_are_filtered_and_ordered(driver, scans_page):
    driver.open(scans_page)
    driver.wait("return [...document.images].every((i) => i.complete && i.naturalWidth === 1350)")
    paths = "return [...document.querySelectorAll('article')].filter((a) => !a.hidden).map((a) => a.dataset.path)"
    assert driver.run(paths) == ["<script>evil()<script>.obj", "ball.obj"]
    driver.run(CHOOSE, "sort", "faces")
    assert driver.run(paths) == ["ball.obj", "<script>evil()<script>.obj"]
    driver.run(TYPE, "mine BALL")
    assert driver.run(paths) == ["ball.obj"]
    assert driver.run("return document.getElementById('shown').textContent") == "1 of 2"


# The WebDriver protocol is JSON over HTTP: a dozen lines instead of a dependency.

DOWN, LEFT, RIGHT, ENTER, ESCAPE = "\ue015", "\ue012", "\ue014", "\ue007", "\ue00c"
CHOOSE = "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
TYPE = "const f = document.getElementById('find'); f.value = arguments[0]; f.dispatchEvent(new Event('input'))"


class Driver:
    """A browser under chromedriver: opens pages, presses keys, runs scripts."""

    def __init__(self, base: str, browser: str):
        self._base = base
        options = {"binary": browser, "args": [*OPTIONS, "--window-size=1400,1000"]}
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self._base += f"/session/{made['sessionId']}"

    def open(self, path: Path, state: str = "") -> None:
        self._send("POST", "/url", {"url": "about:blank"})  # another #state alone would not load the page anew
        self._send("POST", "/url", {"url": path.as_uri() + state})

    def run(self, script: str, *arguments: object) -> object:
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def keys(self, text: str) -> None:
        presses = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._send("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": presses}]})

    def wait(self, script: str) -> None:
        self._send("POST", "/timeouts", {"script": 120_000})
        until = "const done = arguments[0]; (function ask() { (() => { %s })() ? done() : setTimeout(ask, 20) })()"
        self._send("POST", "/execute/async", {"script": until % script, "args": []})

    def scheme(self, name: str) -> None:
        """Sets the reader's preference, `light` or `dark`, for pages opened from now on."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        self._send("POST", "/goog/cdp/execute", command)

    def ids(self) -> list[int]:
        return self.run("return [...document.querySelectorAll('#cards > .card')].map((c) => Number(c.id.slice(7)))")

    def quit(self) -> None:
        self._send("DELETE", "")

    def _send(self, method: str, path: str, body: dict | None = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
            return json.load(answer)["value"]


@contextmanager
def driving() -> Iterator[Driver]:
    """A browser under chromedriver, gone at the end. Raises FileNotFoundError without one."""
    binary, browser = shutil.which("chromedriver"), find_browser()
    if not binary or not browser:
        raise FileNotFoundError("no chromedriver or no browser on the PATH (apt-get install chromium-driver)")
    with subprocess.Popen([binary, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            port = next(m[1] for line in process.stdout if (m := re.search(r"successfully on port (\d+)", line)))
            made = Driver(f"http://127.0.0.1:{port}", browser)
            yield made
            made.quit()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def driver():
    try:
        with driving() as browser:
            yield browser
    except FileNotFoundError as error:
        pytest.skip(f"{error}: keys and clicks are not tried")
