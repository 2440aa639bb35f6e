"""--backgrounds as a user gives it: what is said, what is lent to a folder of photos, and what goes into the spec."""

import argparse
from types import SimpleNamespace

import pytest
from test_backgrounds import exr, photo, sky
from test_randomize import library

from synth.assets import AssetError, bpy_hdris
from synth.backgrounds import BadBackgrounds
from synth.cli_library import load_backgrounds_of, report_backgrounds
from synth.cli_render import spec_of
from synth.config import load_config
from synth.randomize import Library, draw_recipe
from synth.store_spec import spec_difference


def load(folder, cache):
    return load_backgrounds_of(argparse.Namespace(backgrounds=str(folder), cache=cache))


def folder_of(path, **files: bytes):
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("__", ".")).write_bytes(data)
    return path


def spec(loaded) -> dict:
    whole = Library(library().scans, loaded.entries, loaded.plates)
    return spec_of(SimpleNamespace(config=load_config(None, {}), library=whole, seed=0))


def test_photos_alone_are_lit_by_blenders_panoramas_and_always_seen(tmp_path, capsys):
    try:
        bpy_hdris()
    except AssetError as error:
        pytest.skip(str(error))
    loaded = load(folder_of(tmp_path / "a", wall__png=photo()), tmp_path / "cache")
    assert len(loaded.entries) == 8 and all(entry.only_lights for entry in loaded.entries)
    report_backgrounds(loaded)
    said = capsys.readouterr().out
    assert "backgrounds: 1 accepted (0 panoramas, 1 plates)" in said and "light: 8 panoramas" in said
    drawn = Library(library().scans, loaded.entries, loaded.plates)
    never = load_config(None, {"background.plates": 0})
    assert all(draw_recipe(never, drawn, 0, i).background.seen_id == "wall" for i in range(20))
    assert all(item["kind"] in ("light", "plate") for item in spec(loaded)["backgrounds"])


def test_photos_alone_without_blender_say_what_to_add(tmp_path, monkeypatch):
    import synth.assets

    def none():
        raise AssetError("bpy is not installed")

    monkeypatch.setattr(synth.assets, "bpy_hdris", none)
    with pytest.raises(BadBackgrounds, match=r"only flat photos.*add a panorama"):
        load(folder_of(tmp_path / "a", wall__png=photo()), tmp_path / "cache")


def test_the_spec_names_plates_and_the_difference_is_told_by_name(tmp_path, capsys):
    both = load(folder_of(tmp_path / "a", sky__exr=exr(sky()), wall__png=photo(), bad__hdr=b"x"), tmp_path / "cache")
    alone = load(folder_of(tmp_path / "b", sky__exr=exr(sky())), tmp_path / "cache")
    assert spec(alone)["backgrounds"][0]["kind"] == "hdri"
    assert spec_difference(spec(alone), spec(both)) == "backgrounds: came 'wall'"
    other = load(folder_of(tmp_path / "c", sky__exr=exr(sky()), wall__png=photo(500)), tmp_path / "cache")
    assert spec_difference(spec(other), spec(both)) == "backgrounds: changed 'wall'"
    report_backgrounds(both)
    said = capsys.readouterr().out
    assert "2 accepted (1 panoramas, 1 plates)" in said and "refused bad.hdr: is no Radiance" in said
