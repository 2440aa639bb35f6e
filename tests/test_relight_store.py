"""Stored transport: made once, mapped by all, believed only after its hashes and its ranges were checked."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from renderers.raycast import ScanCaster
from renderers.relight import RelightRenderer
from renderers.relight_store import BadTransport, _folder, open_transport, read_transport, write_transport
from renderers.surface import ScanPaint
from synth.config import load_config
from synth.errors import UserError
from synth.randomize import Library, draw_recipe
from synth.sample import check
from synth.scans import load_prepared

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def recipes(balls, skies):
    config = load_config(None, {"width": 96, "height": 128, "camera.truncation": 0.0})
    library = Library(balls.entries, skies.entries)
    return [draw_recipe(config, library, seed=5, index=k) for k in range(4)]


@pytest.fixture(scope="module")
def opened(balls):
    """Opens the transport of the first ball, and says where it lies."""
    key = balls.entries[0].key
    scan = load_prepared(balls.store, key)
    return lambda: open_transport(balls.store, key, scan, ScanCaster(scan), ScanPaint(scan)), _folder(balls.store, key)


def digest(arrays) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def values(transport) -> list[np.ndarray]:
    return [getattr(transport, field.name) for field in dataclasses.fields(transport)]


def test_what_is_stored_is_what_was_built_and_is_not_built_again(opened, monkeypatch):
    import renderers.relight_store as module

    open_it, folder = opened
    first = open_it()
    assert isinstance(first.bits, np.memmap) and folder.is_dir()
    monkeypatch.setattr(module, "build_transport", lambda *_: pytest.fail("built again"))
    assert digest(values(open_it())) == digest(values(first))


@pytest.mark.parametrize(
    ("name", "harm"), [("bits", "flip"), ("grid", "cut"), ("facts", "cut"), ("seen_patch", "remove"), ("back", "link")]
)
def test_a_damaged_file_is_made_anew(opened, name, harm, tmp_path):
    open_it, folder = opened
    before = digest(values(open_it()))
    path = folder / ("facts.json" if name == "facts" else f"{name}.npy")
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-3] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
        if harm == "link":
            (tmp_path / "elsewhere").write_bytes(data[:-1] + b"x")
            path.symlink_to(tmp_path / "elsewhere")
    assert digest(values(open_it())) == before
    assert digest(values(open_it())) == before and not path.is_symlink()


@pytest.mark.parametrize(
    "harm",
    [
        {"grid": lambda a: a + 10_000_000},
        {"grid": lambda a: a - 1_000},
        {"back": lambda a: a + 10_000_000},
        {"blend_row": lambda a: a * 0 - 1},
        {"start": lambda a: a + 1},
        {"level": lambda a: a * 2},
        {"bits": lambda a: a[:, :-1]},
        {"bits": lambda a: a.astype(np.float32)},
        {"seen_start": lambda a: a[::-1]},
        {"seen_direction": lambda a: a * 0 + 65_535},
        {"seen_patch": lambda a: a * 0 + 65_535},
        {"link_patch": lambda a: a - 1},
        {"patch_albedo": lambda a: a * np.float32(np.nan)},
    ],
)
def test_a_strangers_arrays_with_right_hashes_are_refused(opened, harm, balls, tmp_path):
    """Whoever writes the arrays writes their hashes: indices must not leave their arrays for all that."""
    scan = load_prepared(balls.store, balls.entries[0].key)
    transport = opened[0]()
    (name, change), *_ = harm.items()
    write_transport(tmp_path / "theirs", dataclasses.replace(transport, **{name: change(getattr(transport, name))}))
    with pytest.raises(BadTransport):
        read_transport(tmp_path / "theirs", scan)
    write_transport(tmp_path / "ours", transport)
    read_transport(tmp_path / "ours", scan)


def test_a_pickle_in_its_place_is_not_run(opened, tmp_path):
    open_it, folder = opened
    open_it()
    path = folder / "normal.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    facts = json.loads((folder / "facts.json").read_text())
    facts["sha256"]["normal"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "facts.json").write_text(json.dumps(facts))
    assert open_it().normal.dtype == np.float32


def test_a_store_that_cannot_be_written_still_serves(balls, monkeypatch):
    import renderers.relight_store as module

    key = balls.entries[1].key
    scan = load_prepared(balls.store, key)

    def full(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr(module, "write_transport", full)
    transport = open_transport(balls.store, key, scan, ScanCaster(scan), ScanPaint(scan))
    assert not isinstance(transport.bits, np.memmap) and not _folder(balls.store, key).exists()


# Before the next: it leaves compiled code, which two processes at once would both compile.
def test_a_sample_passes_every_check_and_holds_what_it_is_asked_for(balls, skies, recipes):
    renderer = RelightRenderer(balls.store, skies.store)
    recipe = recipes[0].model_copy(update={"outputs": ("albedo", "trust")})
    sample = renderer.render(recipe)
    check(sample, load_config(None, {}).checks)
    assert sample.albedo[sample.mask].min() > 0 and (sample.trust[sample.mask] > 0).all()
    inside = sample.alpha == 255
    assert inside.sum() > 100 and (sample.alpha[~sample.mask] < 255).all()
    assert set(renderer.environment()) >= {"renderer", "cpu", "embreex", "numba", "numpy"}
    linear = renderer.render_linear(recipe)
    assert linear.shape == (128, 96, 4) and (linear[linear[..., 3] == 0] == 0).all()
    renderer.close()


_RENDER = """
import hashlib, sys
from pathlib import Path
from renderers.relight import RelightRenderer
from synth.codec import encode_sample
from synth.recipe import SceneRecipe
renderer = RelightRenderer(Path(sys.argv[1]), Path(sys.argv[2]))
for line in sys.stdin:
    members = encode_sample(renderer.render(SceneRecipe.model_validate_json(line)))
    print(hashlib.sha256(b"".join(members.values())).hexdigest())
"""


def test_samples_are_the_same_bytes_in_any_order_and_process(balls, skies, recipes, tmp_path):
    """Two processes at once, which race for the transport of an empty store, and in opposite order."""
    import shutil

    shutil.copytree(balls.store, tmp_path / "scans", ignore=shutil.ignore_patterns("*.relight-*"))
    orders = [range(4), reversed(range(4))]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _RENDER, str(tmp_path / "scans"), str(skies.store)],
            stdin=-1, stdout=-1, text=True, cwd=ROOT,
        )
        for _ in orders
    ]  # fmt: skip
    hashes = []
    for process, order in zip(running, [list(order) for order in orders], strict=True):
        process.stdin.write("".join(recipes[k].model_dump_json() + "\n" for k in order))
        process.stdin.close()
        hashes.append((process, order))
    found = []
    for process, order in hashes:
        lines = process.stdout.read().split()
        assert process.wait() == 0
        process.stdout.close()
        found.append(dict(zip(order, lines, strict=True)))
    assert found[0] == found[1] and len(set(found[0].values())) == 4


@pytest.mark.parametrize("change", ["authored", "two subjects"])
def test_what_it_cannot_do_is_refused(balls, skies, recipes, change):
    recipe = recipes[0]
    if change == "authored":
        recipe = recipe.model_copy(update={"film": recipe.film.model_copy(update={"material": "authored"})})
    else:
        recipe = recipe.model_copy(update={"subjects": recipe.subjects * 2})
    with pytest.raises(UserError, match="engine cycles"):
        RelightRenderer(balls.store, skies.store).render(recipe)
