"""The gallery and the page of scans in headless Chromium, from file://: what is seen; no name becomes a script."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from conftest import read_ball
from test_report import make_dataset

from renderers.trial import ball_obj
from synth.report import write_gallery
from synth.report_scans import write_scans_page
from synth.scans import load_library

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.body.dataset.evil=1</script><img src=x onerror='document.body.dataset.evil=2'>"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in ("chromium", "google-chrome", "chromium-browser", "chrome"):
        if found := shutil.which(name):
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
            capture_output=True, text=True, timeout=60,
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
        self._send("POST", "/timeouts", {"script": 10_000})
        until = "const done = arguments[0]; (function ask() { (() => { %s })() ? done() : setTimeout(ask, 20) })()"
        self._send("POST", "/execute/async", {"script": until % script, "args": []})

    def ids(self) -> list[int]:
        return self.run("return [...document.querySelectorAll('#cards > .card')].map((c) => Number(c.id.slice(7)))")

    def quit(self) -> None:
        self._send("DELETE", "")

    def _send(self, method: str, path: str, body: dict | None = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)["value"]


@pytest.fixture(scope="module")
def driver(chromium):
    binary = shutil.which("chromedriver")
    if not binary:
        pytest.skip("no chromedriver on the PATH (apt-get install chromium-driver): keys and clicks are not tried")
    with subprocess.Popen([binary, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            port = next(m[1] for line in process.stdout if (m := re.search(r"successfully on port (\d+)", line)))
            browser = Driver(f"http://127.0.0.1:{port}", chromium)
            yield browser
            browser.quit()
        finally:
            process.kill()
