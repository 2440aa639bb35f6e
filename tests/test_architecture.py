"""Who may import what (layers), what stays out of which process, and what no file may do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: A module imports only from lines above its own, or from its own family (same name up to the first underscore).
LAYERS = [
    {"synth.camera", "synth.errors", "synth.exr", "synth.png", "synth.sandbox", "synth.scratch", "synth.splits",
     "renderers.resample"},
    {"synth.picture", "synth.pool", "synth.recipe", "renderers.raster"},
    {"synth.config"},
    {"synth.sample", "synth.scans", "synth.assets", "synth.backgrounds"},
    {"synth.codec", "synth.randomize", "renderers.base", "renderers.importers", "renderers.raycast",
     "renderers.film", "renderers.panorama", "renderers.plate", "renderers.denoise",
     "renderers.core", "renderers.kernel", "renderers.tryout"},
    {"renderers.proof", "renderers.surface"},
    {"renderers.frame"},
    {"synth.store", "renderers.blender", "renderers.analytic", "renderers.relight"},
    {"synth.report"},
    {"synth.card", "synth.pipeline", "renderers.trial"},
    {"synth.version", "synth.doctor", "synth.export"},
    {"synth.cli"},
    {"train.config", "train.metrics", "train.sapiens", "train.losses", "train.frame", "train.resample",
     "train.composite"},
    {"train.video", "train.augment", "train.sapiens2", "train.examples", "train.objective", "train.optim"},
    {"train.batch", "train.model"},
    {"train.data", "train.checkpoint", "train.predict", "train.process"},
    {"train.evaluate", "train.panel", "train.run", "train.state", "train.tiles"},
    {"train.gallery", "train.trainer", "train.output"},
    {"train.launch"},
    {"train.cli"},
]  # fmt: skip

#: Imports by name inside a function that may point upwards, with the reason.
UPWARD = {
    ("renderers.base", "renderers.analytic"),  # make_renderer: the engine is chosen where it runs
    ("renderers.base", "renderers.blender"),
    ("renderers.base", "renderers.relight"),
}

#: Reads strangers' pickles by an allow-list, in a child process; nothing else may import `pickle`.
UNPICKLER = "synth.scans_unpickle"

#: Heavy package: the modules that may import it.
ONLY_IN = {
    "bpy": ("renderers.blender", "renderers.importers"),
    "mathutils": ("renderers.blender", "renderers.importers"),
    "ray": ("synth.pipeline", "train.launch"),
    "torch": ("train",),
    "safetensors": ("train.checkpoint",),
    "av": ("train.video",),
    "embreex": ("renderers.raycast",),
    "zlib_ng": ("synth.exr", "synth.png"),
    "pyarrow": ("synth.store", "synth.version", "synth.export"),
    "obstore": ("synth.store_bucket",),
    "rerun": ("synth.report_rerun",),
}


def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
        for package in ("synth", "renderers", "train")
        for path in sorted((ROOT / package).glob("*.py"))
        if path.name != "__init__.py"
    }


def imports(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [n if n in MODULES else node.module for n in inner]
    return names


def family(module: str) -> str:
    package, _, name = module.partition(".")
    return f"{package}.{name.split('_')[0]}"


def layer(module: str) -> int:
    for number, names in enumerate(LAYERS):
        if module in names or family(module) in names:
            return number
    raise AssertionError(f"{module} stands in no layer: add it to LAYERS")


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_to_lower_layers(module):
    for name in imports(MODULES[module]):
        if name.split(".")[0] not in ("synth", "renderers", "train") or name in ("synth", "renderers"):
            continue
        if (module, name) in UPWARD or family(name) == family(module):
            continue
        assert layer(name) < layer(module), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_stay_in_their_rooms(module):
    for name in imports(MODULES[module]):
        rooms = ONLY_IN.get(name.split(".")[0])
        if rooms:
            assert module.startswith(rooms), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_no_hidden_chance_clock_or_pickle(module):
    for name in imports(MODULES[module]):
        unpickler = module == UNPICKLER and name == "pickle"
        assert unpickler or name.split(".")[0] not in ("random", "pickle", "shelve", "marshal"), f"{module}: {name}"
        assert name != UNPICKLER or module == "synth.scans_arrays", f"{module} unpickles outside of the child process"
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            assert not text.startswith("pickle.") or text == "pickle.Unpickler", f"{module}: {text}"
            assert text != "time.time", f"{module}: the wall clock must decide nothing"
            if text.startswith("np.random."):
                allowed = ("np.random.Generator", "np.random.default_rng", "np.random.SeedSequence")
                assert text.startswith(allowed), f"{module}: {text} is a hidden generator"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert keywords.get("allow_pickle") == "False", f"{module}: np.load without allow_pickle=False"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            speaking = ("synth.cli", "renderers.importers", "renderers.blender_tryout", "train.launch")
            assert module.startswith(speaking), f"{module} prints"


def test_packages_hold_a_docstring_and_nothing_else():
    for package in ("synth", "renderers", "train"):
        tree = ast.parse((ROOT / package / "__init__.py").read_text())
        assert len(tree.body) == 1 and ast.get_docstring(tree)


@pytest.mark.parametrize("module", MODULES)
def test_every_file_and_public_function_says_what_it_does(module):
    tree = MODULES[module]
    assert ast.get_docstring(tree), f"{module} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name} has no docstring"


def test_help_imports_no_heavy_package():
    code = (
        "import sys; from synth.cli import main; main(['--help'])\n"
        "heavy = {'bpy', 'ray', 'torch', 'numpy', 'pydantic', 'pyarrow', 'trimesh'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_render_node_needs_no_torch_and_synth_needs_no_bpy():
    code = (
        "import sys\n"
        "for name in ('bpy', 'torch', 'ray'): sys.modules[name] = None\n"
        "import synth.pipeline, synth.cli_render, synth.cli_scans, synth.cli_check, synth.cli_view\n"
        "import synth.cli_plan, synth.cli_status\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_training_node_needs_no_blender_and_its_help_no_torch():
    code = (
        "import sys\n"
        "for name in ('bpy', 'embreex', 'scipy', 'trimesh', 'ray'): sys.modules[name] = None\n"
        "import train.cli_train, train.cli_eval, train.cli_predict\n"
        "assert 'torch' not in sys.modules\n"
        "import train.trainer, train.tiles, train.output\n"
    )
    pytest.importorskip("torch", reason="no torch: scripts/setup --train")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["train", "eval", "predict"])
def test_without_torch_one_line_says_what_to_install(command):
    arguments = {
        "train": ["depth", "--data", "x", "--arch", "tiny", "--steps", "1", "--out", "run"],
        "eval": ["--data", "x", "--checkpoint", "y.pth"],
        "predict": ["z.png", "--checkpoint", "y.pth", "--out", "maps"],
    }[command]
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from synth.cli import main\n"
        f"sys.exit(main([{command!r}, *{arguments!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.strip() == "synth: this needs torch, which is not installed: pip install 'synth[train]'"
