"""A small dataset for what trains, predicts and evaluates: ellipsoids of different people, in closed form."""

from pathlib import Path

import numpy as np
from worlds import ball_sample, make_camera, make_recipe

from synth.codec import stored
from synth.store_index import commit
from synth.store_row import make_row
from synth.store_write import open_run

SPEC = {"seed": 0, "config": {"film": {"spp": 8}}, "scans": [{"scan_id": "ball", "key": "ab"}]}
SPLITS = ["train"] * 10 + ["val"] * 3 + ["test"] * 3


def training_sample(index: int, width: int = 48, height: int = 64):
    """An ellipsoid that differs by index, lit from the camera's upper left, so that normals can be seen."""
    rng = np.random.default_rng(index)
    camera = make_camera(width=width, height=height, focal_px=1.6 * height, roll_deg=float(rng.uniform(-20, 20)))
    recipe = make_recipe(camera, index=index)
    subject = recipe.subjects[0].model_copy(update={"person": f"person{index}"})
    framing = ("full", "upper", "face")[index % 3]
    recipe = recipe.model_copy(update={"split": SPLITS[index], "framing": framing, "subjects": (subject,)})
    sample = ball_sample(recipe, (0, 0, 0.5), tuple(rng.uniform(0.25, 0.6, 3)))
    light = np.clip(sample.normal @ np.array([-0.4, -0.5, -0.77]), 0, 1)[..., None]
    rgb = np.where(sample.mask[..., None], 30 + 200 * light, 15 + 3 * index).astype(np.uint8)
    return type(sample)(**{**vars(sample), "rgb": np.ascontiguousarray(np.broadcast_to(rgb, (height, width, 3)))})


def write_training_set(out: Path) -> Path:
    """16 samples: 10 to learn from, 3 to validate, 3 to test; committed."""
    run = open_run(out, SPEC)
    for index in range(len(SPLITS)):
        members, sample = stored(training_sample(index))
        run.stage(members, make_row(sample, members, flags=(), env_id="0123456789ab", seconds=1.0, refused=[]))
    for unit in run.plan_units(len(SPLITS)):
        run.seal_if_complete(unit)
    commit(run, lineage={})
    return out
