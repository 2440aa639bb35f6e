"""scans.yaml: what a user says, per glob."""

import time

import pytest

from synth.scans_overrides import BadOverrides, Override, find_override, load_overrides


def overrides(folder, text: str):
    (folder / "scans.yaml").write_text(text)
    return load_overrides(folder)


def test_later_entries_win_field_by_field(tmp_path):
    said = overrides(
        tmp_path,
        """
- match: "*.ply"
  height_m: 1.8
  licence: own
- match: lying/*
  up: x
  unit: cm
- match: lying/eva.ply
  person: eva
  exclude: false
""",
    )
    assert find_override(said, "a.obj") == Override()
    assert find_override(said, "deep/er/a.PLY") == Override(height_m=1.8, licence="own")
    eva = find_override(said, "lying/eva.ply")
    assert eva == Override(licence="own", up="x", unit="cm", person="eva", exclude=False)
    assert eva.height_m is None
    assert find_override(said, "lying/deep/a.obj") == Override()


@pytest.mark.parametrize(
    ("glob", "fits", "fails"),
    [("**/a*.obj", ["a.obj", "x/y/ab.obj"], ["xa.obj"]), ("x/**", ["x/a", "x/y/b"], ["y/x/a"]),
     ("x/?.obj", ["x/a.OBJ"], ["x/ab.obj", "x/y/a.obj"]), ("a[1].obj", ["a[1].obj"], ["a1.obj"])],
)  # fmt: skip
def test_globs(tmp_path, glob, fits, fails):
    said = overrides(tmp_path, f'- match: "{glob}"\n  kind: head\n')
    assert all(find_override(said, name).kind == "head" for name in fits)
    assert not any(find_override(said, name).kind for name in fails)


@pytest.mark.parametrize(
    ("text", "word"),
    [("- match: a\n  hight: 2", "hight"), ("- up: y", "match"), ("match: a", "list"), ("- match: a\n  up: w", "up"),
     ("- match: a\n  unit: cm\n  height_m: 1.7", "both"), ("- match: a\n  height_m: -1", "height_m"),
     ("- match: a\n  person: '../x'", "person"), ("- [", "YAML"), ("- match: a\n  height_m: .nan", "height_m"),
     ("- !!python/object/apply:os.system ['true']", "YAML")],
)  # fmt: skip
def test_mistakes_are_named_in_one_line(tmp_path, text, word):
    with pytest.raises(BadOverrides) as caught:
        overrides(tmp_path, text)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "scans.yaml" in str(caught.value)


def test_no_file_says_nothing(tmp_path):
    assert load_overrides(tmp_path) == ()
    (tmp_path / "scans.yaml").write_text("")
    assert load_overrides(tmp_path) == ()


def test_small_files_that_unfold_cost_nothing(tmp_path):
    began = time.monotonic()
    layers = ["&a0 [x,x,x,x,x,x,x,x,x]", *(f"&a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
    with pytest.raises(BadOverrides, match="entry 1"):  # written out: 9**12 letters
        overrides(tmp_path, f"- [{','.join(layers)}]\n")
    said = overrides(tmp_path, f"- {{match: '{'**/' * 24}x', unit: m}}\n")
    assert find_override(said, "a/" * 14 + "x").unit == "m"
    assert find_override(said, "a/" * 14 + "y").unit is None
    assert time.monotonic() - began < 5
