"""What a large scan costs when it is met first, and ever after: one body of a million triangles with an 8k texture.

First: the import in Blender's child process and the preparation, through `load_library`. After that, as a run does it:
the library from the cache (files hashed before, so only looked at), and in each worker the prepared arrays, the ray
caster and the paint. Stages run in processes of their own, so that each one's memory is its own. Imports of Python's
packages are not counted. Exit status 1 when the cached load is not ten times as fast as the first.

    .venv/bin/python benchmarks/scans.py
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from quiet import quiet

#: A grid of quads around a body: 1 000 000 triangles.
_AROUND, _UPWARDS = 500, 1000
_TEXTURE_PX = 8192
#: Half widths of a standing person with closed arms, crown first: (height, half width, half depth), metres.
_OUTLINE = np.array([
    (1.750, 0.001, 0.001), (1.745, 0.030, 0.040), (1.720, 0.060, 0.078), (1.650, 0.077, 0.098), (1.580, 0.072, 0.090),
    (1.530, 0.058, 0.066), (1.480, 0.060, 0.062), (1.440, 0.150, 0.085), (1.380, 0.215, 0.110), (1.200, 0.210, 0.125),
    (1.050, 0.180, 0.115), (0.900, 0.190, 0.125), (0.700, 0.170, 0.120), (0.450, 0.130, 0.095), (0.150, 0.100, 0.075),
    (0.060, 0.105, 0.130), (0.005, 0.105, 0.135), (0.000, 0.001, 0.001),
])  # fmt: skip
#: The cached load must be at least so much faster.
_AIM = 10.0


def main() -> int:
    """Makes the scan, runs the stages, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, nargs="?", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        with quiet():
            said = STAGES[args.stage](args.folder)
        print(json.dumps(said))
        return 0
    with tempfile.TemporaryDirectory(prefix="synth-bench-") as scratch:
        folder = Path(scratch)
        _run_stage("write", folder)
        size = sum(file.stat().st_size for file in (folder / "scans").iterdir()) / 2**20
        print(f"a body of {2 * _AROUND * _UPWARDS:,} triangles, a texture of {_TEXTURE_PX} px: {size:.0f} MiB of files")
        said = {name: _run_stage(name, folder) for name in MEASURED}
    return _report(said)


def write_body(parent: Path) -> dict[str, float]:
    """scans/body.obj with its MTL and JPEG: a closed, bumpy surface around `_OUTLINE`, y up, centimetres."""
    folder = parent / "scans"
    folder.mkdir()
    turn, rise = np.meshgrid(np.linspace(0, 1, _AROUND + 1), np.linspace(0, 1, _UPWARDS + 1))
    along = np.interp(rise.ravel(), np.linspace(0, 1, 4096), _even_heights())
    width, depth = (np.interp(along, _OUTLINE[::-1, 0], _OUTLINE[::-1, k]) for k in (1, 2))
    angle = 2 * np.pi * turn.ravel()
    bump = 1 + 0.012 * np.sin(9 * angle) * np.sin(40 * along) + 0.004 * np.sin(31 * angle + 90 * along)
    metres = np.stack([width * bump * np.cos(angle), along, depth * bump * np.sin(angle)], axis=1)
    uvs = np.stack([turn.ravel(), rise.ravel()], axis=1) * 0.98 + 0.01
    corner = (np.arange(_UPWARDS)[:, None] * (_AROUND + 1) + np.arange(_AROUND)).ravel() + 1
    quads = np.stack([corner, corner + _AROUND + 1, corner + _AROUND + 2, corner + 1], axis=1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    # A seam has two vertices at one place, as exporters write them.
    lines = ["mtllib body.mtl", "usemtl skin"]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in (100 * metres).tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uvs.tolist()]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in triangles.tolist()]
    (folder / "body.obj").write_text("\n".join(lines) + "\n")
    (folder / "body.mtl").write_text("newmtl skin\nmap_Kd body.jpg\n")
    Image.fromarray(_texture()).save(folder / "body.jpg", quality=90)
    past = time.time() - 60  # younger files are hashed anew each time, for they may still change
    for file in folder.iterdir():
        os.utime(file, (past, past))
    return {}


def _even_heights() -> np.ndarray:
    """Heights at equal steps of the outline's length: triangles of one size."""
    fine = np.linspace(0, 1.75, 4096)
    width = np.interp(fine, _OUTLINE[::-1, 0], _OUTLINE[::-1, 1])
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(fine), np.diff(width)))])
    return np.interp(np.linspace(0, length[-1], 4096), length, fine)


def _texture() -> np.ndarray:
    """Cloth-like noise in skin and fabric tones, 8k: as hard for JPEG as a photograph."""
    rng = np.random.default_rng(7)
    coarse = Image.fromarray(rng.integers(90, 200, (64, 64, 3), dtype=np.uint8))
    array = np.asarray(coarse.resize((_TEXTURE_PX, _TEXTURE_PX), Image.Resampling.BICUBIC)).copy()
    grain = rng.integers(-12, 13, (512, 512, 1), dtype=np.int16)
    for top in range(0, _TEXTURE_PX, 512):
        strip = array[top : top + 512].astype(np.int16) + np.tile(grain, (1, _TEXTURE_PX // 512, 1))
        array[top : top + 512] = np.clip(strip, 0, 255)
    return array


def load_first(folder: Path) -> dict[str, float]:
    """Import and preparation."""
    from renderers.importers import probe
    from synth.scans import load_library

    done = _clock()
    library = load_library([folder / "scans"], folder / "cache", probe)
    entry = library.entries[0]
    return done() | {"kind": entry.facts.kind, "faces": entry.facts.faces, "texture_px": entry.facts.texture_px}


def load_again(folder: Path) -> dict[str, float]:
    """The library from the cache."""
    from synth.scans import load_library

    done = _clock()
    load_library([folder / "scans"], folder / "cache", _no_probe)
    return done()


def load_in_worker(folder: Path) -> dict[str, float]:
    """Prepared arrays, ray caster, paint; then labels and albedo of one view, which read pages and texture."""
    from renderers.raycast import ScanCaster, cast_labels
    from renderers.surface import ScanPaint, lookup_albedo
    from synth.scans import load_prepared

    recipe = _recipe(folder)
    done = _clock()
    scan = load_prepared(folder / "cache" / "scans", recipe.subjects[0].scan_key)
    prepared = time.perf_counter()
    caster, paint = ScanCaster(scan), ScanPaint(scan)
    said = done()
    began = time.perf_counter()
    labels = cast_labels(recipe.camera, [(caster, np.eye(4))])
    cast = time.perf_counter()
    lookup_albedo(recipe.camera, labels, [(paint, np.eye(4))])
    said |= {"arrays_s": said["wall_s"] - (began - prepared), "labels_s": cast - began}
    return said | {"albedo_s": time.perf_counter() - cast, "albedo_mb": _peak_mb(resource.RUSAGE_SELF)}


def render_in_worker(folder: Path) -> dict[str, float]:
    """Two views in Blender: the first loads the scan."""
    from renderers.base import make_renderer

    recipe = _recipe(folder)
    renderer = make_renderer("cycles", folder / "cache" / "scans", folder / "cache" / "backgrounds")
    bare = _peak_mb(resource.RUSAGE_SELF)
    done = _clock()
    renderer.render(recipe)
    first = done()
    began = time.perf_counter()
    renderer.render(recipe)
    again = time.perf_counter() - began
    renderer.close()
    return first | {"again_s": again, "bare_mb": bare, "self_mb": _peak_mb(resource.RUSAGE_SELF)}


MEASURED = {"first": load_first, "library": load_again, "worker": load_in_worker, "blender": render_in_worker}
STAGES = {"write": write_body, **MEASURED}


def _no_probe(path: Path, root: Path) -> None:
    raise AssertionError(f"{path} was imported again")


def _recipe(folder: Path):
    """A face at the default size, of the library in the cache."""
    from synth.assets import bpy_hdris
    from synth.backgrounds import load_backgrounds
    from synth.config import load_config
    from synth.randomize import Library, draw_recipe
    from synth.scans import load_library

    scans = load_library([folder / "scans"], folder / "cache", _no_probe)
    backgrounds = load_backgrounds([sorted(bpy_hdris().values())[0]], folder / "cache")
    config = load_config(None, {"framing.full": 0, "framing.upper": 0, "camera.truncation": 0})
    return draw_recipe(config, Library(scans.entries, backgrounds.entries), seed=1, index=0)


def _clock():
    """Call the result for wall and core seconds since, and peak memory, of this process and its children."""
    wall, cores = time.perf_counter(), os.times()

    def done() -> dict[str, float]:
        now = os.times()
        return {
            "wall_s": time.perf_counter() - wall,
            "own_core_s": now.user + now.system - cores.user - cores.system,
            "child_core_s": (now.children_user + now.children_system - cores.children_user - cores.children_system),
            "self_mb": _peak_mb(resource.RUSAGE_SELF),
            "child_mb": _peak_mb(resource.RUSAGE_CHILDREN),
        }

    return done


def _peak_mb(who: int) -> float:
    """Peak memory, MiB. A child starts from its parent's peak, so the parent of the stages stays small."""
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _run_stage(name: str, folder: Path) -> dict[str, float]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(Path(__file__).resolve()), "--stage", name, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _report(said: dict[str, dict[str, float]]) -> int:
    first, library, worker, blender = (said[name] for name in MEASURED)
    print(f"prepared as {first['kind']}: {first['faces']:,} faces, texture {first['texture_px']} px\n")
    print(f"{'':<44}{'seconds':>9}{'core-s':>9}{'peak MB':>9}")
    child = f"{first['child_mb']:.0f} MB in Blender's child, {first['child_core_s']:.1f} core-s"
    _line("first: import and preparation", first["wall_s"], first["own_core_s"] + first["child_core_s"],
          first["self_mb"], child)  # fmt: skip
    _line("again: library from the cache", library["wall_s"], library["own_core_s"], library["self_mb"])
    _line("again: arrays, caster and paint in a worker", worker["wall_s"], worker["own_core_s"], worker["self_mb"],
          f"arrays {worker['arrays_s']:.2f} s")  # fmt: skip
    _line("  labels of one view, 768 x 1024", worker["labels_s"])
    _line("  first albedo (texture and pyramid)", worker["albedo_s"], memory=worker["albedo_mb"])
    _line("Blender: first view of it", blender["wall_s"], blender["own_core_s"], blender["self_mb"],
          f"{blender['bare_mb']:.0f} MB without it")  # fmt: skip
    _line("  a further view", blender["again_s"])
    again = library["wall_s"] + worker["wall_s"]
    ratio = first["wall_s"] / again
    print(f"\n{'PASS' if ratio >= _AIM else 'FAIL'}  cached {again:.2f} s: {ratio:.0f} times as fast (aim {_AIM:.0f})")
    return 0 if ratio >= _AIM else 1


def _line(what: str, wall: float, cores: float | None = None, memory: float | None = None, note: str = "") -> None:
    core = "" if cores is None else f"{cores:.2f}"
    peak = "" if memory is None else f"{memory:.0f}"
    print(f"{what:<44}{wall:>9.2f}{core:>9}{peak:>9}{'  ' + note if note else ''}")


if __name__ == "__main__":
    sys.exit(main())
