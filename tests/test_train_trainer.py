"""The trainer: it learns, resumes exactly, and several processes are as one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from training import write_training_set  # noqa: E402

from synth.cli import main  # noqa: E402
from synth.errors import UserError  # noqa: E402
from synth.pipeline_stop import Stopped  # noqa: E402
from train.checkpoint import CheckpointError, open_model, read_weights  # noqa: E402
from train.config import TrainConfig, read_config  # noqa: E402
from train.process import Process  # noqa: E402
from train.run_folder import find_weights, read_log  # noqa: E402
from train.state import Average  # noqa: E402
from train.trainer import make_plan, train  # noqa: E402

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_training_set(tmp_path_factory.mktemp("training") / "set")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(data: Path, **changes) -> TrainConfig:
    values = {
        "task": "normal", "data": str(data), "arch": "tiny", "steps": 6, "batch": 2, "size": (64, 48),
        "schedule": "scratch", "warmup": 0, "save_every": 2, "validate_every": 100, "log_every": 1,
        "precision": "fp32", "threads": 1, **changes,
    }  # fmt: skip
    return TrainConfig(**values)


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_log(out)]


def test_it_learns_one_sample(data, tmp_path):
    train(config(data, samples=1, batch=1, steps=60, augment="none", lr=2e-3), tmp_path / "run", ALONE)
    found = losses(tmp_path / "run")
    assert len(found) == 60 and found[-1] < 0.4 * found[0]


@pytest.mark.parametrize("task,arch", [("depth", "tiny"), ("normal", "tiny2"), ("pointmap", "tiny2")])
def test_every_task_trains_validates_and_writes_weights(data, tmp_path, task, arch):
    size = None if task == "pointmap" else (64, 48)
    best = train(config(data, task=task, arch=arch, size=size, steps=2, ema=0.5), tmp_path / "run", ALONE)
    model, meta = open_model(best)
    assert (meta["task"], meta["arch"], meta["step"]) == (task, arch, 2) and model is not None
    line = read_log(tmp_path / "run", "validation.jsonl")[-1]
    assert line["images"] == 3 and line["best"] and (tmp_path / "run" / "pictures" / "0000002.png").is_file()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["dataset_root"] == meta["dataset_root"] and facts["environment"]["torch"] == torch.__version__


def words(data: Path, out: Path) -> list[str]:
    """Of a command of 12 steps."""
    words = f"train depth --data {data} --arch tiny --steps 12 --batch 2 --size 64x48 --schedule scratch --ema 0.9"
    words += f" --save-every 4 --validate-every 5 --log-every 1 --threads 1 --precision fp32 --out {out}"
    return words.split()


def test_a_killed_run_goes_on_with_the_same_losses(data, tmp_path, capsys):
    assert main(words(data, tmp_path / "whole")) == 0
    killed = tmp_path / "killed"
    command = [sys.executable, "-P", "-c", "import sys; from synth.cli import main; sys.exit(main())"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, *words(data, killed)], env=environment, stdout=-1, stderr=-1) as process:
        while len(read_log(killed)) < 7 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert 7 <= len(read_log(killed)) < 12
    capsys.readouterr()
    assert main(words(data, killed)) == 0 and "goes on after step" in capsys.readouterr().out
    assert losses(killed) == losses(tmp_path / "whole") and len(losses(killed)) == 12
    weights = [read_weights(find_weights(run)).tensors for run in (killed, tmp_path / "whole")]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    validations = [
        [v["depth_aligned.rmse_m"] for v in read_log(run, "validation.jsonl")] for run in (killed, tmp_path / "whole")
    ]
    assert validations[0] == validations[1] and len(validations[0]) == 3


def test_a_stop_saves_first(data, tmp_path):
    def stop(step, steps, note):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        train(config(data), tmp_path / "run", ALONE, on_step=stop)
    said = []
    train(config(data), tmp_path / "run", ALONE, said.append)
    train(config(data), tmp_path / "whole", ALONE)
    assert any("goes on after step 3 of 6" in line for line in said)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_batches_add_up_to_a_step(data, tmp_path):
    train(config(data, arch="tiny2", batch=4, steps=2), tmp_path / "one", ALONE)
    train(config(data, arch="tiny2", batch=2, accumulate=2, steps=2), tmp_path / "two", ALONE)
    norms = [[line["norm"] for line in read_log(tmp_path / name)] for name in ("one", "two")]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_checkpointing_changes_no_gradient(data, tmp_path):
    for name, on in (("plain", False), ("again", True)):
        train(config(data, arch="tiny2", steps=2, checkpointing=on), tmp_path / name, ALONE)
    assert losses(tmp_path / "again") == pytest.approx(losses(tmp_path / "plain"), rel=1e-6)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"arch": "huge"}, "--arch huge: there are tiny"),
        ({"task": "depth", "arch": "tiny2"}, "tiny2 has no depth head"),
        ({"losses": "none"}, "losses 'none': for normal there are ours, official_v1, official_v2"),
        ({"augment": "x"}, "augment 'x'"),
        ({"schedule": "x"}, "schedule 'x'"),
        ({"task": "pointmap", "arch": "tiny2"}, "pointmap head works at 256x192 only"),
    ],
)
def test_wrong_options_are_one_line(data, changes, message):
    with pytest.raises(UserError, match=message):
        make_plan(config(data, **changes), 10)


def test_another_run_in_the_folder_is_refused(data, tmp_path):
    train(config(data, steps=1), tmp_path / "run", ALONE)
    with pytest.raises(UserError, match=r"holds another run \(lr: None -> 0.1\)"):
        train(config(data, steps=1, lr=0.1), tmp_path / "run", ALONE)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="no training run"):
        train(config(data, steps=1), tmp_path / "other", ALONE)


def test_a_broken_gradient_leaves_the_last_sound_state(data, tmp_path, monkeypatch):
    from train import trainer

    forward, calls = trainer.forward, []

    def broken(*arguments):
        calls.append(1)
        found = forward(*arguments)
        return found | {"loss": found["loss"] * (torch.nan if len(calls) == 4 else 1)}

    monkeypatch.setattr(trainer, "forward", broken)
    with pytest.raises(UserError, match="step 4: the gradient's norm is nan"):
        train(config(data, save_every=2, log_every=100), tmp_path / "run", ALONE)
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["step"] == 2 and all(torch.isfinite(t).all() for t in state["model"].values())


def test_weights_to_begin_with(data, tmp_path):
    first = train(config(data, steps=1), tmp_path / "normal", ALONE)
    said = []
    train(config(data, steps=1, init=str(first)), tmp_path / "again", ALONE, said.append)
    assert f"{first}: backbone and head" in said
    with pytest.raises(CheckpointError, match="--init-backbone takes its backbone only"):
        train(config(data, task="depth", steps=1, init=str(first)), tmp_path / "depth", ALONE)
    train(
        config(data, task="depth", steps=1, init=str(first), init_backbone=True),
        tmp_path / "depth2",
        ALONE,
        said.append,
    )
    assert any(line.startswith(f"{first}: backbone; the head begins afresh; ") for line in said)
    assert any(line.endswith("tensors of its head left out") for line in said)


def test_config_from_file_and_flags(tmp_path):
    (tmp_path / "a.yaml").write_text("arch: tiny\nepochs: 3\nbatch: 7\n")
    read = read_config(tmp_path / "a.yaml", {"task": "depth", "data": "x", "steps": 5, "lr": None})
    assert (read.arch, read.steps, read.epochs, read.batch, read.lr) == ("tiny", 5, None, 7, None)
    for flags, message in (
        ({}, "say how long"),
        ({"steps": 1, "size": (100, 64)}, "multiples of 16"),
        ({"steps": 0}, "steps"),
    ):
        with pytest.raises(UserError, match=message):
            read_config(None, {"task": "depth", "data": "x", "arch": "tiny", **flags})
    (tmp_path / "b.yaml").write_text("colour: red\n")
    with pytest.raises(UserError, match="colour"):
        read_config(tmp_path / "b.yaml", {"task": "depth", "data": "x", "arch": "tiny", "steps": 1})


def test_the_average_of_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    average = Average(model, 0.75)
    for value in (2.0, 3.0):
        torch.nn.init.constant_(model.weight, value)
        average.update()
    with average.applied():
        assert float(model.weight.detach()) == pytest.approx(0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 3)
    assert float(model.weight.detach()) == 3.0


def test_averaged_weights_are_what_is_written(data, tmp_path):
    """After one step with a decay of 0.999999 they are still those it began with."""
    from train.model import build_model, initialise, spec_of

    train(config(data, steps=1, ema=0.999999), tmp_path / "run", ALONE)
    fresh = build_model(spec_of("tiny", "normal"), "normal")
    initialise(fresh, 0)
    written = read_weights(find_weights(tmp_path / "run")).tensors
    trained = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    name = "decode_head.conv_seg.weight"
    assert torch.allclose(written[name], fresh.state_dict()[name], atol=1e-7)
    assert not torch.allclose(trained[name], fresh.state_dict()[name], atol=1e-5)


def test_steps_follow_from_epochs(data):
    assert make_plan(config(data, steps=None, epochs=2.5), 10 / 2).steps == 13
