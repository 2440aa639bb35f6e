"""The recipes of docs/farm.md: Ray accepts the cluster file, the Slurm script drains and queues itself again, every
flag exists, and nobody without the token is let in."""

import argparse
import importlib
import os
import re
import shlex
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from synth.cli import COMMANDS
from synth.pipeline_actor import Actor
from synth.pipeline_worker import LIMITS

DOCS = Path(__file__).parents[1] / "docs"
RECIPES = sorted((DOCS / "farm").iterdir())


def test_ray_accepts_the_cluster_file():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((DOCS / "farm" / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="max_wrkers"):
        validate_config(prepare_config({**config, "max_wrkers": 3}))


def test_the_job_for_kubernetes_gives_a_worker_time_for_its_sample():
    job = yaml.safe_load((DOCS / "farm" / "rayjob.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == version("ray") and cluster["authOptions"] == {"mode": "token"}
    (group,) = cluster["workerGroupSpecs"]
    pod = group["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > LIMITS.sample_s
    (worker,) = pod["containers"]
    (pattern,) = re.findall(r"pgrep -f '(.*?)'", worker["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert re.search(pattern, f"ray::{Actor.__name__}.work")
    for template in (group["template"], cluster["headGroupSpec"]["template"]):
        names = {volume["name"] for volume in template["spec"]["volumes"]}
        (container,) = template["spec"]["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == names


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_asks_for_the_token(path):
    text = path.read_text()
    assert "RAY_AUTH_MODE=token" in text or "authOptions" in text
    assert not re.search(r"RAY_AUTH_TOKEN=|auth_token: *\S", text), "a token of our own would be everybody's"


@pytest.mark.parametrize("path", [DOCS / "farm.md", *RECIPES], ids=lambda path: path.name)
def test_every_flag_exists(path):
    found = 0
    for command, rest in re.findall(r"\bsynth (\w+)((?: +[^`\n]*)?)", re.sub(r"\\\n[ #]*", "", path.read_text())):
        if command not in COMMANDS or "--" not in rest:
            continue
        parser = argparse.ArgumentParser()
        importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
        flags = re.findall(r"(?<!\S)--[a-z-]+", rest)
        assert set(flags) <= set(parser._option_string_actions), (command, flags)
        found += len(flags)
    assert found


STUBS = {
    "scontrol": 'echo "scontrol $*" >>"$LOG"; [ "$1" = show ] && printf "node1\\nnode2\\n"; exit 0',
    "srun": 'echo "srun $*" >>"$LOG"; while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "hostname": "echo 10.0.0.1 10.0.0.2",
    "ray": 'echo "ray $*" >>"$LOG"; [ "$1" = start ] && exec sleep 60; exit 0',
    "synth": 'echo "synth $*" >>"$LOG"; trap "sleep 0.3; exit 75" TERM; echo begun >>"$LOG"; sleep 60 & wait',
}


def test_the_slurm_job_drains_and_queues_itself_again(tmp_path):
    """Run by bash with stand-ins for Slurm, Ray and synth; the driver ends with 75 some time after SIGTERM."""
    log, home = tmp_path / "log", tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, text in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "LOG": str(log),
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "32",
    }  # fmt: skip
    job = subprocess.Popen(["bash", DOCS / "farm" / "farm.sbatch"], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not log.exists() or "begun" not in log.read_text():
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=300) == 75
    finally:
        os.killpg(job.pid, signal.SIGKILL)
    said = log.read_text().splitlines()
    assert "scontrol requeue 7" in said and "ray get-auth-token --generate" in said
    starts = [shlex.split(line) for line in said if line.startswith("ray start")]
    assert {"--head" in start for start in starts} == {True, False} and len(starts) == 2
    (render,) = (line for line in said if line.startswith("synth render"))
    assert "--address 10.0.0.1:20007" in render
    assert any("--address=10.0.0.1:20007" in start for start in starts)
