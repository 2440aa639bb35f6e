"""Config: validated at the door, wrong keys and values named in one line."""

import pytest

from synth.cli_config import _show
from synth.config import PRESETS, BadConfig, RenderConfig, load_config, parse_override


def test_overrides_win_over_the_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("width: 100\nfilm: {spp: 3}\n")
    config = load_config(file, {"film.spp": 5})
    assert (config.width, config.film.spp) == (100, 5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"film.sppp": 3}, "unknown config key 'film.sppp'"),
        ({"width": 0}, "'width'"),
        ({"width.x": 3}, "'width'"),
        ({"camera.fill": [0.9, 0.1]}, "low, high"),
        ({"film.engine": "octane"}, "film.engine"),
        ({"framing": {"full": 0, "upper": 0, "face": 0}}, "nothing could be framed"),
        ({"camera.focal_35mm": [0, 10]}, "focal_35mm"),
        ({"light.exposure_jitter_ev": [float("nan"), 1]}, "finite"),
    ],
)
def test_bad_values_are_named_in_one_line(overrides, message):
    with pytest.raises(BadConfig) as error:
        load_config(None, overrides)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[1, 2", "- a\n- b"])
def test_bad_files_are_named(tmp_path, text):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(BadConfig, match=r"c\.yaml"):
        load_config(file, {})
    with pytest.raises(BadConfig, match="nowhere"):
        load_config(tmp_path / "nowhere.yaml", {})


def test_set_takes_yaml():
    assert parse_override("camera.fill=[0.8, 0.9]") == ("camera.fill", [0.8, 0.9])
    with pytest.raises(BadConfig, match="path=value"):
        parse_override("camera.fill")


def test_every_option_is_documented_and_shown(capsys):
    def walk(model):
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            if hasattr(type(value), "model_fields"):
                assert type(value).__doc__, name
                walk(value)
            else:
                assert field.description, f"{type(model).__name__}.{name} has no docstring"

    walk(RenderConfig())
    _show(RenderConfig(), "")
    shown = capsys.readouterr().out
    import yaml

    assert RenderConfig.model_validate(yaml.safe_load(shown)) == RenderConfig()


def test_a_preset_gives_way_to_the_file_and_the_file_to_the_flag(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("film: {spp: 5}")
    assert load_config(None, {}, "draft").film.spp == 4 and load_config(None, {}, "high").film.spp == 32
    assert load_config(None, {}, "default") == RenderConfig()
    assert load_config(file, {}, "high").film.spp == 5
    assert load_config(file, {"film.spp": 6}, "high").film.spp == 6


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_change_nothing_but_film(preset):
    config = load_config(None, {}, preset)
    assert config.model_copy(update={"film": RenderConfig().film}) == RenderConfig()
