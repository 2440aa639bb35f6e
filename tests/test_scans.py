"""Folders become libraries: a verdict for every file, scans prepared once, nothing half written."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_scans_colour import field, paint_atlas, png
from test_scans_files import EMPTY_FBX
from test_scans_geometry import BODIES, blobs, cube_sphere, raw

from synth.camera import transform_points
from synth.scans import (
    BadScan,
    BadScans,
    ImporterBroken,
    default_cache,
    load_library,
    load_prepared,
)
from synth.scans_raw import HostLimit, RawMaterial, RawPicture

PLY = b"""ply
format ascii 1.0
element vertex 3
property float x
element face 1
property list uchar int i
end_header
"""


def body(name: str = "full", unit: float = 100.0):
    positions, triangles = blobs(BODIES[name][1])
    return raw(positions[:, [0, 2, 1]] * (unit, unit, -unit), triangles)


class FakeProbe:
    """Reads a mesh file as the name of a body on its last line; counts. `boom` names what goes wrong."""

    def __init__(self):
        self.seen: list[str] = []

    def __call__(self, path: Path, root: Path):
        self.seen.append(path.name)
        word = path.read_bytes().split()[-1].decode()
        errors = {"crash": BadScan("killed by SIGABRT"), "slow": HostLimit("took longer"), "bug": IndexError("oops"),
                  "broken": ImporterBroken("no Blender here")}  # fmt: skip
        if word in errors:
            raise errors[word]
        return body(word)


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def verdicts(library) -> dict[str, tuple[str, str]]:
    return {v.path: (v.verdict, v.reason) for v in library.verdicts}


def test_every_file_has_a_verdict_with_a_reason(tmp_path):
    root = write(
        tmp_path / "scans",
        {
            "anna.obj": "mtllib anna.mtl\nfull",
            "anna.mtl": "newmtl m\nmap_Kd tex/anna_dif.png\n",
            "tex/anna_dif.png": png(paint_atlas(48)),
            "tex/anna_norm.png": png(paint_atlas(48)),
            "license.txt": "CC0",
            "child/scene.obj": "child",
            "copy/anna.obj": "mtllib anna.mtl\nfull",
            "copy/anna.mtl": "newmtl m\nmap_Kd tex/anna_dif.png\n",
            "copy/tex/anna_dif.png": png(paint_atlas(48)),
            "head.PLY": PLY + b"0\n0\n0\n3 0 1 2\nhead",
            "bad.obj": "crash",
            "empty.obj": "",
            "liar.ply": PLY.replace(b"3\n", b"2000000000\n", 1),
            ".hidden.obj": "full",
            "__MACOSX/._anna.obj": "full",
            "movie.mp4": b"x",
        },
    )
    library = load_library([root], tmp_path / "cache", FakeProbe())
    found = verdicts(library)
    assert list(found) == sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    assert {path: verdict for path, (verdict, _) in found.items() if verdict != "ignored"} == {
        "anna.obj": "accepted", "child/scene.obj": "accepted", "head.PLY": "accepted", "bad.obj": "refused",
        "empty.obj": "refused", "liar.ply": "refused",
    }  # fmt: skip
    says = {
        "anna.mtl": "material library of anna.obj", "tex/anna_dif.png": "picture of anna.obj",
        "tex/anna_norm.png": "other than colour", "license.txt": "licence or notes of",
        "copy/anna.obj": "same content as anna.obj", "copy/anna.mtl": "material library of copy/anna.obj",
        "bad.obj": "SIGABRT", "empty.obj": "0 bytes", "liar.ply": "promises", ".hidden.obj": "hidden",
        "__MACOSX/._anna.obj": "macOS", "movie.mp4": "not a mesh this version reads", "anna.obj": "unit taken as",
    }  # fmt: skip
    for path, text in says.items():
        assert text in found[path][1], path
    assert [e.key for e in library.entries] == sorted(e.key for e in library.entries)
    by_id = {e.scan_id: e for e in library.entries}
    assert set(by_id) == {"anna", "child", "head"}
    assert {name: e.facts.kind for name, e in by_id.items()} == {"anna": "full", "child": "full", "head": "head"}
    accepted = next(v for v in library.verdicts if v.path == "child/scene.obj")
    assert (accepted.scan_id, accepted.kind, accepted.colour) == ("child", "full", "none")
    assert accepted.height_m == by_id["child"].facts.height_m
    assert "no colour: shown as clay grey" in accepted.warnings


def test_a_second_load_runs_no_probe_and_gives_the_same(tmp_path):
    root = write(tmp_path / "scans", {"a.obj": "full", "b.obj": "crash", "c.obj": "slow"})
    first = FakeProbe()
    library = load_library([root], tmp_path / "cache", first, jobs=2)
    assert sorted(first.seen) == ["a.obj", "b.obj", "c.obj"]
    second = FakeProbe()
    assert load_library([root], tmp_path / "cache", second) == library
    assert second.seen == []
    assert "delete" in verdicts(library)["c.obj"][1]
    (root / "b.obj").write_text("head")
    third = FakeProbe()
    load_library([root], tmp_path / "cache", third)
    assert third.seen == ["b.obj"]


def test_a_companion_that_changes_changes_the_key(tmp_path):
    root = write(tmp_path / "scans", {"a.obj": "mtllib a.mtl\nfull", "a.mtl": "newmtl m\nmap_Kd a.png\n"})
    keys = set()
    for content in (None, b"one", b"two"):
        if content is not None:
            (root / "a.png").write_bytes(content)
        keys.add(load_library([root], tmp_path / "cache", FakeProbe()).entries[0].key)
    assert len(keys) == 3


def test_the_key_depends_on_content_not_on_names_or_places(tmp_path):
    one = load_library([write(tmp_path / "x", {"a.obj": "full"})], tmp_path / "c1", FakeProbe())
    two = load_library([write(tmp_path / "y", {"deep/b.OBJ": "full"})], tmp_path / "c2", FakeProbe())
    assert one.entries[0].key == two.entries[0].key
    assert tree(tmp_path / "c1/scans") == tree(tmp_path / "c2/scans")


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_racing_loads_leave_one_whole_scan_and_no_litter(tmp_path):
    root = write(tmp_path / "scans", {"a.obj": "full", "b.obj": "head"})
    barrier = threading.Barrier(4)

    def load(_):
        barrier.wait()
        return load_library([root], tmp_path / "cache", FakeProbe(), jobs=2)

    with ThreadPoolExecutor(4) as pool:
        libraries = list(pool.map(load, range(4)))
    assert all(library == libraries[0] for library in libraries)
    names = {p.name for p in (tmp_path / "cache/scans").iterdir()}
    assert names == {e.key for e in libraries[0].entries}


def test_a_damaged_prepared_scan_is_made_anew(tmp_path):
    root = write(tmp_path / "scans", {"a.obj": "full"})
    library = load_library([root], tmp_path / "cache", FakeProbe())
    facts = library.store / library.entries[0].key / "facts.json"
    facts.write_text('{"half":')
    assert load_library([root], tmp_path / "cache", FakeProbe()) == library
    load_prepared(library.store, library.entries[0].key)


def test_ids_of_clashing_and_generic_names(tmp_path):
    files = {"one/anna.obj": "full", "two/anna.obj": "head", "scene.obj": "bust", "bob smith/model.obj": "child",
             "set/0003/0003.obj": "raised arms"[:6], "x/Ünï (2).obj": "full \n full"}  # fmt: skip
    files["set/0003/0003.obj"] = "full\nbust"
    library = load_library([write(tmp_path / "s", files)], tmp_path / "c", FakeProbe())
    ids = {v.path: v.scan_id for v in library.verdicts}
    keys = {e.scan_id: e.key for e in library.entries}
    assert ids["scene.obj"] == "scene"
    assert ids["bob smith/model.obj"] == "bob_smith"
    assert ids["set/0003/0003.obj"] == "0003"
    assert ids["x/Ünï (2).obj"] == "n_2"
    for path in ("one/anna.obj", "two/anna.obj"):
        assert ids[path] == f"anna-{keys[ids[path]][:8]}"
    assert all(e.person == e.scan_id for e in library.entries)


def test_two_folders_add_up(tmp_path):
    folders = [write(tmp_path / "x", {"a.obj": "full"}), write(tmp_path / "y", {"b.obj": "head", "a2.obj": "full"})]
    library = load_library(folders, tmp_path / "c", FakeProbe())
    assert {e.scan_id for e in library.entries} == {"a", "b"}
    assert verdicts(library)["a2.obj"] == ("ignored", "same content as a.obj")


def test_colour_missing_refuse_and_one_cache_for_both_choices(tmp_path):
    root = write(tmp_path / "s", {"a.obj": "full", "b.obj": "head"})
    load_library([root], tmp_path / "c", FakeProbe())
    probe = FakeProbe()
    with pytest.raises(BadScans, match=r"no usable scan. a.obj: no colour.*b.obj: no colour"):
        load_library([root], tmp_path / "c", probe, colour_missing="refuse")
    assert probe.seen == []
    with pytest.raises(ValueError, match="magenta"):
        load_library([root], tmp_path / "c", probe, colour_missing="magenta")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, "does not exist"),
        ({}, "no mesh file"),
        ({"a.txt": "x"}, "no mesh file .* among 1 files"),
        ({"a.obj": "crash", "b.obj": ""}, "a.obj: killed by SIGABRT; b.obj: empty file"),
        ({"a.obj": "broken"}, "no Blender here"),
    ],
)
def test_nothing_usable_is_one_line(tmp_path, files, says):
    root = tmp_path / "s"
    if files is not None:
        root.mkdir()
        write(root, files)
    with pytest.raises(BadScans, match=says) as error:
        load_library([root], tmp_path / "c", FakeProbe())
    assert "\n" not in str(error.value)


def test_a_broken_importer_is_remembered_by_nobody(tmp_path):
    root = write(tmp_path / "s", {"a.obj": "broken"})
    with pytest.raises(BadScans):
        load_library([root], tmp_path / "c", FakeProbe())
    assert load_library([root], tmp_path / "c", lambda path, root: body()).entries


def test_a_hole_in_this_program_costs_one_scan_and_is_said(tmp_path):
    library = load_library([write(tmp_path / "s", {"a.obj": "bug", "b.obj": "full"})], tmp_path / "c", FakeProbe())
    assert verdicts(library)["a.obj"] == ("refused", "cannot be prepared, a fault of this program (IndexError: oops)")


def test_progress(tmp_path):
    seen = []
    root = write(tmp_path / "s", {"a.obj": "full", "b.obj": "crash"})
    load_library([root], tmp_path / "c", FakeProbe(), progress=lambda *args: seen.append(args))
    assert [args[:2] for args in seen] == [(1, 2), (2, 2)]
    assert sorted(args[2] for args in seen) == ["a.obj", "b.obj"]


def ball(flip_v: bool = False, picture: str | None = None, **arrays):
    """A head-sized ball of six charts, y up, in centimetres."""
    positions, triangles, uvs = cube_sphere(12)
    corner = uvs[triangles].astype(np.float32)
    if flip_v:
        corner = corner * np.float32([1, -1]) + np.float32([0, 1])
    mesh = raw(positions[:, [0, 2, 1]] * (11, 14, -12), triangles, uvs=corner, **arrays)
    material = RawMaterial("skin", RawPicture(picture) if picture else None, True, (0.2, 0.1, 0.1, 1.0), 1.0, 0.1)
    return replace(mesh, materials=(material,))


def colours_of(scan) -> np.ndarray:
    """(T, 3) linear-free sRGB 0..1 of each triangle's centre, from its texture."""
    import io

    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO((scan.folder / "textures" / "0.png").read_bytes())).convert("RGB"))
    uv = scan.uvs.mean(axis=1)
    return picture[((1 - uv[:, 1]) * picture.shape[0]).astype(int), (uv[:, 0] * picture.shape[1]).astype(int)] / 255


@pytest.mark.parametrize("flip_v", [False, True])
def test_a_picture_beside_the_mesh_is_bound_the_right_way_up(tmp_path, flip_v):
    root = write(tmp_path / "s", {"ball.fbx": EMPTY_FBX, "ball_COL.png": png(paint_atlas())})
    library = load_library([root], tmp_path / "c", lambda path, root: ball(flip_v))
    scan = load_prepared(library.store, library.entries[0].key)
    assert scan.facts.colour == "texture"
    assert any(("v was down" if flip_v else "v is up") in change for change in scan.facts.changes)
    # FBX is z up: y of `ball` is the field's z, its -z the field's y.
    centre = (scan.positions.min(axis=0) + scan.positions.max(axis=0)) / 2
    unit = (scan.positions - centre) / (np.ptp(scan.positions, axis=0) / 2)
    truth = field((unit[scan.triangles].mean(axis=1))[:, [0, 2, 1]] * (1, -1, 1))
    assert np.abs(colours_of(scan) - truth).mean() < 0.06


def test_a_picture_that_is_someone_elses_is_not_bound_unless_the_format_says_how(tmp_path):
    noise = png(np.random.default_rng(3).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    for name, head, colour in (("a.fbx", EMPTY_FBX, "none"), ("a.obj", b"v 0 0 0", "texture")):
        root = write(tmp_path / colour, {name: head, "photo.png": noise})
        facts = load_library([root], tmp_path / "c", lambda path, root: ball()).entries[0].facts
        assert facts.colour == colour
        assert any("do not show" in warning for warning in facts.warnings) == (colour == "none")


def test_missing_and_broken_pictures_are_named_and_shown_as_clay(tmp_path):
    for name, files, says in (
        ("gone", {}, "'skin.png' is missing"),
        ("cut", {"skin.png": png(paint_atlas())[:2000]}, "'skin.png' cannot be read"),
    ):
        files = {"a.obj": "mtllib a.mtl\n", "a.mtl": "newmtl skin\nmap_Kd skin.png\n", **files}
        root = write(tmp_path / name, files)
        library = load_library([root], tmp_path / "c", lambda path, root: ball(picture="skin.png"))
        facts = library.entries[0].facts
        assert facts.colour == "none"
        assert any(says in warning for warning in facts.warnings)
        assert facts.materials[0].texture is None
        assert facts.materials[0].base_color == (0.5, 0.46, 0.42, 1.0)
        assert facts.materials[0].metallic == 0


def test_prepared_arrays_are_what_they_say(tmp_path):
    atlas = np.dstack([paint_atlas(), np.full((256, 384), 255, np.uint8)])
    atlas[10:20, 30:40, 3] = 0
    files = {"a.obj": "mtllib a.mtl\n", "a.mtl": "newmtl skin\nmap_Kd skin.png\n", "skin.png": png(atlas)}
    root = write(tmp_path / "s", files)
    mesh = ball(picture="skin.png")
    library = load_library([root], tmp_path / "c", lambda path, root: mesh)
    scan = load_prepared(library.store, library.entries[0].key)
    facts = scan.facts
    assert isinstance(scan.positions, np.memmap)
    assert scan.colors is None
    assert (library.store / library.entries[0].key / "textures/0.png").read_bytes() == files["skin.png"]
    assert (facts.texture_px, facts.colour, facts.materials[0].texture) == (384, "texture", "0.png")
    alpha = scan.alpha(0)
    assert (alpha.shape, (alpha == 0).sum(), alpha[15, 35]) == ((256, 384), 100, 0)
    expected = transform_points(np.array(facts.scan_from_file), mesh.positions)
    assert np.abs(scan.positions - expected).max() < 1e-6
    assert abs(float(scan.positions[:, 2].min())) < 1e-7
    assert np.allclose(facts.bounds, (scan.positions.min(axis=0), scan.positions.max(axis=0)), atol=1e-6)
    assert np.allclose(scan.positions[:, :2].min(axis=0), -scan.positions[:, :2].max(axis=0), atol=1e-6)
    corners = np.asarray(scan.positions)[scan.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((scan.normals * face[:, None]).sum(axis=2) > 0).all()
    assert facts.height_m == pytest.approx(0.28, abs=1e-6)


def test_vertex_colours_and_plain_ones(tmp_path):
    _, triangles, _ = cube_sphere(12)
    colors = np.random.default_rng(1).integers(0, 256, (len(triangles), 3, 4), dtype=np.uint8)
    root = write(tmp_path / "s", {"a.obj": "x"})
    for name, values, colour in (("c1", colors, "vertex"), ("c2", np.full_like(colors, 255), "none")):
        library = load_library([root], tmp_path / name, lambda path, root, values=values: ball(colors=values))
        scan = load_prepared(library.store, library.entries[0].key)
        assert scan.facts.colour == colour
        assert (scan.colors is not None and np.array_equal(scan.colors, values)) == (colour == "vertex")


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: np.save(f / "triangles.npy", np.full_like(np.load(f / "triangles.npy"), 10**6)),
        lambda f: np.save(f / "triangles.npy", -np.load(f / "triangles.npy")),
        lambda f: np.save(f / "triangles.npy", np.load(f / "triangles.npy").astype(np.int64)),
        lambda f: np.save(f / "positions.npy", np.load(f / "positions.npy")[:-1]),
        lambda f: np.save(f / "material.npy", np.load(f / "material.npy") + np.uint16(1)),
        lambda f: np.save(f / "normals.npy", np.array([{}], dtype=object), allow_pickle=True),
        lambda f: (f / "normals.npy").write_bytes(b"short"),
        lambda f: (f / "normals.npy").unlink(),
        lambda f: (f / "facts.json").unlink(),
        lambda f: (f / "facts.json").write_text("{}"),
        lambda f: edit(f / "facts.json", "../../../etc/passwd"),
    ],
)
def test_a_damaged_prepared_scan_is_an_error_with_a_name(tmp_path, damage):
    library = load_library([write(tmp_path / "s", {"a.obj": "full"})], tmp_path / "c", FakeProbe())
    key = library.entries[0].key
    load_prepared(library.store, key)
    damage(library.store / key)
    with pytest.raises(BadScan):
        load_prepared(library.store, key)


def edit(file: Path, texture: str) -> None:
    facts = json.loads(file.read_text())
    facts["materials"][0]["texture"] = texture
    file.write_text(json.dumps(facts))


@pytest.mark.parametrize("key", ["", "..", "../../etc", "x" * 32])
def test_keys_are_no_paths(tmp_path, key):
    with pytest.raises(BadScan, match="is not the key"):
        load_prepared(tmp_path, key)


def test_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("SYNTH_CACHE")
    assert default_cache().name == "synth"


EXPECTED = {
    # path: (kind, height of the real thing or what it is scaled to, colour)
    "LeePerrySmith": ("bust", 0.44, "texture"),
    "lee_perry_smith": ("bust", 0.44, "texture"),
    "leeperrysmith": ("bust", 0.44, "texture"),
    "leeperrysmith_textured": ("bust", 0.44, "texture"),
    "leeperrysmith_vertexcolor": ("bust", 0.44, "vertex"),
    "demosthenes-low-res": ("bust", 0.45, "none"),
    "Plato": ("bust", 0.44, "none"),
    "Hermes": ("full", 1.70, "none"),
    "makehuman_female_heavy": ("full", 1.67, "none"),
    "makehuman_male_young": ("full", 1.75, "none"),
    "man_dressed_in_suit": ("full", 1.745, "texture"),
}


@pytest.mark.blender
def test_the_shared_scans_are_right(shared, real_cache):
    from renderers.importers import probe

    library = load_library([shared / "scans"], real_cache, probe)
    found = {e.scan_id: e.facts for e in library.entries}
    assert {name: (f.kind, f.colour) for name, f in found.items()} == {n: (k, c) for n, (k, _, c) in EXPECTED.items()}
    for name, (_, height, _) in EXPECTED.items():
        assert found[name].height_m == pytest.approx(height, abs=0.02), name
    assert not [v for v in library.verdicts if v.verdict == "refused"]
    assert len(library.verdicts) == sum(1 for p in (shared / "scans").rglob("*") if p.is_file())
    assert found["man_dressed_in_suit"].licence.startswith("CC-BY-4.0")
    assert len({m.texture for m in found["man_dressed_in_suit"].materials}) == 8
    _same_head(library, {e.scan_id: e.key for e in library.entries})


def _same_head(library, keys: dict[str, str]) -> None:
    """The published GLB (v upside down, nothing bound) shows the same colours at the same places as the fixed OBJ."""
    import io

    from PIL import Image

    seen = []
    for name in ("LeePerrySmith", "lee_perry_smith"):
        scan = load_prepared(library.store, keys[name])
        texture = scan.folder / "textures" / scan.facts.materials[0].texture
        picture = np.asarray(Image.open(io.BytesIO(texture.read_bytes())).convert("RGB")).astype(float)
        uv = scan.uvs.mean(axis=1) % 1
        row = ((1 - uv[:, 1]) * picture.shape[0]).astype(int).clip(0, picture.shape[0] - 1)
        column = (uv[:, 0] * picture.shape[1]).astype(int).clip(0, picture.shape[1] - 1)
        centres = np.asarray(scan.positions)[scan.triangles].mean(axis=1)
        seen.append((centres, picture[row, column]))  # the conversion kept the order of faces
    assert np.abs(seen[0][0] - seen[1][0]).max() < 1e-3
    assert np.abs(seen[0][1] - seen[1][1]).mean() < 2


def test_the_best_level_of_detail_is_taken_and_the_next_where_it_is_refused(tmp_path):
    root = write(tmp_path / "scans", {
        "anna.obj": "crash", "anna_30k.obj": "full", "anna_2k.obj": "2 full", "bert.obj": "3 full",
        "bert_low.ply": PLY + b"0\n0\n0\n3 0 1 2\nfull",
    })  # fmt: skip
    probe = FakeProbe()
    library = load_library([root], tmp_path / "cache", probe)
    said = verdicts(library)
    assert [e.scan_id for e in sorted(library.entries, key=lambda e: e.scan_id)] == ["anna_30k", "bert"]
    assert {e.person for e in library.entries} == {"anna", "bert"}
    assert said["anna.obj"] == ("refused", "killed by SIGABRT")
    assert said["anna_2k.obj"][0] == said["bert_low.ply"][0] == "ignored"
    assert "anna_30k.obj" in said["anna_2k.obj"][1]
    assert sorted(probe.seen) == ["anna.obj", "anna_30k.obj", "bert.obj"]


def test_scans_yaml_is_obeyed(tmp_path):
    root = write(tmp_path / "scans", {
        "anna.obj": "full", "bert.obj": "1 full", "bert_smplx.obj": "2 full", "out/eva.obj": "3 full",
        "scans.yaml": "- {match: anna.obj, person: her, licence: mine, attribution: me}\n"
                      "- {match: out/*, exclude: true}\n- {match: bert_smplx.obj, exclude: false}\n",
    })  # fmt: skip
    library = load_library([root], tmp_path / "cache", FakeProbe())
    by_id = {e.scan_id: e for e in library.entries}
    assert set(by_id) == {"anna", "bert", "bert_smplx"}
    assert by_id["anna"].person == "her"
    assert (by_id["anna"].facts.licence, by_id["anna"].facts.attribution) == ("mine", "me")
    assert verdicts(library)["out/eva.obj"] == ("ignored", "left out by scans.yaml")
    plain = tmp_path / "plain"
    write(plain, {"anna.obj": "full"})
    again = load_library([plain], tmp_path / "cache", FakeProbe())
    assert again.entries[0].key == by_id["anna"].key
    assert again.entries[0].facts.licence is None


def test_geometry_wishes_are_part_of_the_key(tmp_path):
    root = write(tmp_path / "scans", {"anna.obj": "full"})
    plain = load_library([root], tmp_path / "cache", FakeProbe()).entries[0]
    write(root, {"scans.yaml": "- {match: anna.obj, height_m: 1.5}\n"})
    assert load_library([root], tmp_path / "cache", FakeProbe()).entries[0].key != plain.key


def test_one_content_under_two_known_names_is_two_people(tmp_path):
    root = write(tmp_path / "scans", {
        "0001/0001.obj": "full", "00002/00002.obj": "full", "copy.obj": "full", "0001/other.obj": "full",
    })  # fmt: skip
    library = load_library([root], tmp_path / "cache", FakeProbe())
    assert sorted((e.scan_id, e.person) for e in library.entries) == [("00002", "00002"), ("0001", "0001")]
    assert verdicts(library)["copy.obj"][0] == verdicts(library)["0001/other.obj"][0] == "ignored"


def test_no_file_writes_to_the_terminal_or_stops_the_table(tmp_path):
    """Escape sequences and half characters in names and contents end as replacement characters."""
    gltf = {"asset": {"version": "2.0"}, "meshes": [{}], "extensionsRequired": ["\ud800\x1b[31mX"]}
    root = write(tmp_path / "s", {
        "a.gltf": json.dumps(gltf), "b\x1b[31m.obj": "", "c\u202egpj.obj": "",
        "d.ply": b"ply\nformat ascii 1.0\nelement v\x1b[31m 99999\nproperty float x\nend_header\n",
    })  # fmt: skip
    with pytest.raises(BadScans) as caught:
        load_library([root], tmp_path / "c", FakeProbe())
    said = str(caught.value) + "".join(v.path + v.reason for v in caught.value.verdicts)
    said.encode()
    assert len(caught.value.verdicts) == 4 and "\ufffd[31m" in said
    assert not set(said) & set("\x1b\u202e\n")
