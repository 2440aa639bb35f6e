"""A dataset that several tests of exports share: ellipsoids in closed form, two shards, all splits and framings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from worlds import ball_sample, make_camera, make_recipe

from synth.camera import points_from_depth
from synth.codec import stored, with_flags
from synth.sample import Sample
from synth.store_index import commit
from synth.store_row import make_row
from synth.store_write import open_run

#: A scan's name that is no file name.
NASTY = "../bob|<i>"
SCANS = ("ada", NASTY, "eve")
#: By index % 11: people are of one split each.
SPLITS = ("train",) * 7 + ("val",) * 2 + ("test",) * 2
COUNT, FIRST_SHARD = 44, 20
SPEC = {
    "seed": 0,
    "config": {"film": {"spp": 8}},
    "scans": [
        {"scan_id": name, "key": f"key of {name}", "licence": licence}
        for name, licence in zip(SCANS, ("CC-BY-4.0", "RenderPeople terms", None), strict=True)
    ],
    "backgrounds": [{"background_id": "sky", "sha256": "cd" * 32, "kind": "hdri"}],
}


def export_recipe(index: int, camera=None, outputs=()):
    """Of a sample with an off-centre, rolled lens; every index another one."""
    rng = np.random.default_rng(index)
    camera = camera or make_camera(
        width=48, height=64, focal_px=float(rng.uniform(55, 110)), roll_deg=float(rng.uniform(-20, 20))
    )
    recipe = make_recipe(camera, index=index)
    split = SPLITS[index % 11]
    person = recipe.subjects[0].model_copy(
        update={"scan_id": SCANS[index % 3], "person": f"{SCANS[index % 3]} of {split}"}
    )
    changes = {"split": split, "framing": ("full", "upper", "face")[index % 3], "subjects": (person,)}
    return recipe.model_copy(update={**changes, "outputs": outputs})


def export_sample(index: int, outputs=()) -> Sample:
    """A well-made sample, soft at its rim, as no renderer would leave its alpha binary."""
    sample = ball_sample(export_recipe(index, outputs=outputs), (0, 0, 0.5), (0.3, 0.35, 0.5))
    rgb = (sample.rgb * np.array([1.0, 0.8, 0.6])).astype(np.uint8)  # so that swapped channels are noticed
    alpha = np.where(sample.mask, np.uint8(255 - index % 40), np.uint8(0))
    arrays = {**vars(sample), "rgb": rgb, "alpha": alpha}
    if outputs:
        arrays["albedo"] = np.where(sample.mask[..., None], rgb[..., ::-1], np.uint8(0))
    return Sample(**arrays)


def write_set(out: Path, samples=None, first: int = FIRST_SHARD) -> Path:
    """A committed dataset of these samples in two shards; the first has ids below `first`. Flags come late."""
    samples = [export_sample(index) for index in range(COUNT)] if samples is None else samples
    run = open_run(out, SPEC)
    for count in sorted({min(first, len(samples)), len(samples)}):
        units = run.plan_units(count)
        for unit in units:
            for index in unit.ids:
                members, sample = stored(samples[index])
                flags = ("truncated",) if index >= 6 and index % 6 == 0 else ()
                members = with_flags(members, sample, flags)
                row = make_row(sample, members, flags=flags, env_id="0123456789ab", seconds=1.0, refused=[])
                run.stage(members, row)
            assert run.seal_if_complete(unit)
    commit(run, lineage={})
    return out


def run_synth(*args, **options) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    command = [sys.executable, "-c", "import sys; from synth.cli import main; sys.exit(main())", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and link of a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = b"-> " + str(path.readlink()).encode()
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def camera_points(sample: Sample) -> np.ndarray:
    """(K, 3) float64, points of the mask's pixels in the camera frame, by our own camera."""
    return points_from_depth(sample.recipe.camera, sample.depth_m)[sample.mask]
