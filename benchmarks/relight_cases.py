"""The pictures that benchmarks/relight.py measures on: a scan, a framing and a light each, drawn as any other recipe.

Twelve from the demo scans and from denser ones made of them (`relight_dense`); scans of further folders, and panoramas
of a further folder, make more.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import render_cases
from relight_dense import make_dense
from render_cases import Case, Stage, draw_case, say

from renderers.importers import probe
from synth.assets import bpy_hdris
from synth.backgrounds import background_files, load_backgrounds
from synth.errors import UserError
from synth.randomize import Library
from synth.scans import default_cache, load_library, load_prepared

#: Scan, framing, background. Sun: sunrise, sunset, city; overcast: forest, courtyard; lamps: studio, interior, night.
CASES = (
    *render_cases.CASES[:6],
    ("woman_heavy", "full", "sunset"),
    ("man_middle", "full", "interior"),
    ("man_middle_clay", "full", "night"),
    ("man_young_dense", "full", "sunrise"),
    ("woman_heavy_dense", "upper", "studio"),
    ("child_dense", "face", "sunset"),
)
_CLAY, _DENSE = ("james", "man_middle"), ("man_young", "woman_heavy", "child")
#: Framings of further scans, in turn.
_FRAMINGS = ("full", "upper", "face")


def load_relight_cases(
    demo: Path, further: Sequence[Path], wanted: Sequence[str], skies: Path | None, size: tuple[int, int]
) -> tuple[Stage, list[Case], Library]:
    """All cases, and the library of the demo scans as they are.

    further: folders of scans; of them those named in `wanted`, or all, become a case each. skies: a folder of panoramas
    that light them in turn. Raises UserError when the first folder lacks a scan of the table.
    """
    kept = default_cache() / "benchmark" / "meshes"
    plain = load_library([demo], default_cache(), probe)
    made = _make_scans(demo, {entry.scan_id: entry.key for entry in plain.entries}, plain.store, kept)
    scans = load_library([demo, *made], default_cache(), probe)
    light = load_backgrounds(list(bpy_hdris().values()), default_cache())
    stage = Stage(scans.store, light.store, *size)
    entries = {entry.scan_id: entry for entry in scans.entries}
    panoramas = {entry.background_id: entry for entry in light.entries}
    rows = [(f"{scan} {framing} {sky}", entries[scan], framing, panoramas[sky]) for scan, framing, sky in CASES]
    if further:
        lights = light.entries
        if skies is not None:
            lights = load_backgrounds(background_files(skies), default_cache()).entries
        found = {entry.scan_id: entry for entry in load_library(list(further), default_cache(), probe).entries}
        absent = sorted(set(wanted) - set(found))
        if absent:
            raise UserError(f"--pick {absent[0]}: not among the further scans, which are {', '.join(sorted(found))}")
        for number, name in enumerate(wanted or sorted(found)):
            sky, possible = lights[number % len(lights)], found[name].facts.regions
            framing = next(f for f in (_FRAMINGS[number % 3], *_FRAMINGS) if f in possible)
            rows.append((f"{name} {framing} {sky.background_id}", found[name], framing, sky))
    cases = [
        Case(number, name, draw_case(stage, number, Library((entry,), (sky,)), framing))
        for number, (name, entry, framing, sky) in enumerate(rows)
    ]
    say(f"{len(cases)} cases; triangles: {', '.join(str(entry.facts.faces) for _, entry, _, _ in rows)}")
    return stage, cases, Library(plain.entries, light.entries)


def _make_scans(demo: Path, keys: dict[str, str], store: Path, kept: Path) -> list[Path]:
    """Folders of scans made of the demo's: without their picture, and denser."""
    missing = sorted({*_CLAY, *_DENSE} - set(keys))
    if missing:
        raise UserError(f"{demo}: no scan {missing[0]}; `synth assets fetch demo --dest` makes the demo scans")
    made = []
    for name in _CLAY:
        place = kept / "clay" / f"{name}_clay"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo / name / f"{name}.obj", place / f"{name}_clay.obj")  # without its material
        made.append(place)
    for name in _DENSE:
        picture = demo / name / f"{name}.png"
        made.append(make_dense(load_prepared(store, keys[name]), picture, kept, f"{name}_dense"))
    return made
