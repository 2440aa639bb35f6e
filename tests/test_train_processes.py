"""Several processes as one: DDP and FSDP over gloo on a CPU, killed and resumed, and through Ray Train."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as processes  # noqa: E402
from training import write_training_set  # noqa: E402

from train.config import TrainConfig  # noqa: E402
from train.process import Process  # noqa: E402
from train.run_folder import find_weights, read_log  # noqa: E402
from train.trainer import train  # noqa: E402

WAYS = ("ddp", "fsdp")


def config(data: Path, **changes) -> TrainConfig:
    """tiny2 has no dropout, whose draws would differ."""
    values = {
        "task": "normal", "data": str(data), "arch": "tiny2", "steps": 4, "batch": 2, "size": (64, 48), "ema": 0.9,
        "schedule": "scratch", "warmup": 0, "save_every": 2, "validate_every": 2, "log_every": 1, "precision": "fp32",
        "threads": 1, "clip": 1e9, **changes,
    }  # fmt: skip
    return TrainConfig(**values)


def one_of_two(rank: int, port: int, runs: list[tuple[str, dict]]) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        for out, values in runs:
            train(TrainConfig(**values), Path(out), Process(rank, 2, torch.device("cpu")))
    finally:
        dist.destroy_process_group()


def start(*runs: tuple[Path, TrainConfig], join: bool = True):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    plain = [(str(out), config.model_dump()) for out, config in runs]
    multiprocessing.set_forkserver_preload(["train.trainer", "torch._dynamo"])  # imported once for all of them
    return processes.start_processes(one_of_two, (port, plain), nprocs=2, join=join, start_method="forkserver")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_training_set(tmp_path_factory.mktemp("training") / "set")


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> Path:
    """One process with a batch of 4; two with 2 each, whole and (FSDP) killed after step 3, then continued."""
    place = tmp_path_factory.mktemp("runs")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for steps in (1, 4):
        train(config(data, batch=4, steps=steps), place / f"alone{steps}", Process(0, 1, torch.device("cpu")))
    torch.set_num_threads(before)
    cases = (("ddp", 1), ("fsdp", 1), ("fsdp", 4))
    start(*((place / f"{way}{n}", config(data, parallel=way, steps=n)) for way, n in cases))
    killed, how = place / "killed", config(data, parallel="fsdp")
    context = start((killed, how), join=False)
    while len(read_log(killed)) < 3 and any(process.is_alive() for process in context.processes):
        time.sleep(0.01)
    for process in context.processes:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    (place / "log_of_killed.jsonl").write_bytes((killed / "log.jsonl").read_bytes())
    start((killed, how))
    return place


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_log(out)]


def state(out: Path) -> dict:
    return torch.load(out / "last.pt", weights_only=True)


def apart(a: dict, b: dict) -> float:
    """Relative distance of two sets of tensors."""
    assert a.keys() == b.keys()
    distance = sum(float((a[name] - b[name]).double().pow(2).sum()) for name in a)
    return (distance / sum(float(a[name].double().pow(2).sum()) for name in a)) ** 0.5


def first_gradient(out: Path) -> dict:
    """What AdamW keeps of the gradient after one step: a tenth of it."""
    return {name: moments["exp_avg"] for name, moments in state(out)["optimizer"]["state"].items()}


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_give_the_gradients_of_one(runs, way):
    """Of every tensor whose gradient is more than rounding: biases before an instance norm have none."""
    one, two = first_gradient(runs / "alone1"), first_gradient(runs / f"{way}1")
    assert len(one) == len(state(runs / "alone1")["model"]) - 1  # all but the buffer of periods
    assert apart(one, two) < 1e-4
    most = max(float(value.norm()) for value in one.values())
    told = [name for name, value in one.items() if float(value.norm()) > 1e-5 * most]
    assert len(told) > 20 and max(apart({name: one[name]}, {name: two[name]}) for name in told) < 2e-2
    assert losses(runs / f"{way}1") == pytest.approx(losses(runs / "alone1"), rel=1e-5)


def test_two_processes_train_as_one(runs):
    assert losses(runs / "fsdp4") == pytest.approx(losses(runs / "alone4"), rel=1e-3)
    assert apart(state(runs / "alone4")["average"], state(runs / "fsdp4")["average"]) < 2e-3
    validations = [read_log(runs / name, "validation.jsonl") for name in ("alone4", "fsdp4")]
    assert [line["images"] for line in validations[1]] == [3, 3]
    means = [[line["normal.mean_deg"] for line in lines] for lines in validations]
    assert means[1] == pytest.approx(means[0], rel=1e-2)


def test_two_killed_processes_go_on_exactly(runs):
    """Weights, moments, average, order, best: all as if nothing had happened."""
    assert 3 <= len((runs / "log_of_killed.jsonl").read_text().splitlines()) < 4
    assert losses(runs / "killed") == losses(runs / "fsdp4") and len(losses(runs / "killed")) == 4
    a, b = state(runs / "killed"), state(runs / "fsdp4")
    assert (a["step"], a["best"]) == (b["step"], b["best"])
    for part in ("model", "average"):
        assert all(torch.equal(a[part][name], tensor) for name, tensor in b[part].items())
    for name, moments in b["optimizer"]["state"].items():
        assert all(torch.equal(a["optimizer"]["state"][name][key], value) for key, value in moments.items())
    assert find_weights(runs / "killed").read_bytes() == find_weights(runs / "fsdp4").read_bytes()


@pytest.mark.ray
def test_processes_through_ray(data, tmp_path):
    words = f"train depth --data {data} --arch tiny --steps 3 --batch 2 --size 64x48 --schedule scratch --log-every 1"
    words += f" --precision fp32 --threads 1 --workers 2 --parallel fsdp --out {tmp_path / 'run'}"
    call = [sys.executable, "-P", "-c", "import sys; from synth.cli import main; sys.exit(main())", *words.split()]
    (tmp_path / "train.py").write_text("raise SystemExit('a file of the user was imported for ours')")
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path / "run")) == 3 and "best.pth has the best weights" in done.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
