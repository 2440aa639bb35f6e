"""A farm that can be killed at any moment: real Blender and real Ray through the real command, struck while they work.

Whatever dies, the same command run again ends with the bytes of a run that nobody disturbed, and a struck process costs
at most the one sample it held: every render that begins is counted outside of the dataset (`strikes`). More strikes, at
random: `scripts/chaos`.
"""

import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from strikes import Cluster, Disk, World, alive, descendants, kill, mount_disk, named, wait_for, wasted

from synth.store import Dataset

pytestmark = [pytest.mark.blender, pytest.mark.ray]

N = 44
ENVIRONMENT = {
    "SYNTH_TEST_PAUSE_S": "0.5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # how long a driver waits for a dead head; Ray's own minute is long
}
#: Exit codes of a driver that was asked to stop.
_DRAINED = {"TERM": 75, "INT": 130}
#: Rounds of (what is struck, how many renders begin before it). A round ends when its driver does.
SCRIPT = (
    (("worker KILL", 3), ("worker TERM", 4), ("driver KILL", 3)),
    (("disk full", 3),),
    (("driver TERM", 3),),
    (("worker STOP", 3), ("head KILL", 3)),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def disk(tmp_path):
    """A small disk that can be filled; just a folder where none may be mounted."""
    (tmp_path / "disk").mkdir()
    with mount_disk(tmp_path / "disk", megabytes=64) as disk:
        yield disk


def test_a_struck_run_ends_as_if_nothing_had_happened(world, disk):
    alone = content(undisturbed(world, N))
    campaign = Campaign(world, disk, N)
    for strikes in SCRIPT:
        if disk.why_not is None or strikes[0][0] != "disk full":
            campaign.round(strikes)
    assert campaign.round(()) == 0, world.said()
    campaign.judge(alone)
    if disk.why_not:
        pytest.skip(f"all proven but the full disk: {disk.why_not}")


def test_a_node_that_dies_for_good_costs_one_sample(world, tmp_path):
    alone = content(undisturbed(world, N))
    world.forget()
    quick = {
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "4",
        "SYNTH_TEST_PAUSE_S": "0.2",
    }
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short,  # a socket's path has at most 107 bytes
        Cluster(Path(short), {**world.environment, **quick}) as cluster,
    ):
        node = cluster.join()
        command = world.arguments(N, tmp_path / "set", "--workers", 2, "--address", cluster.address)
        with world.start(*command, **cluster.token) as driver:
            victims = lambda: set(world.in_hand()) & set(descendants(node.pid))  # noqa: E731
            wait_for(lambda: len(world.begun()) > 8 and victims(), "the node to render", driver)
            hit = cluster.kill(node)
            driver.wait(timeout=300)
            assert driver.returncode == 0, world.said()
    assert content(tmp_path / "set") == alone
    vain = wasted(world.begun())
    assert set(vain) <= set(hit) and set(vain.values()) <= {1}, (vain, hit)


@pytest.mark.skipif("SYNTH_CHAOS_ROUNDS" not in os.environ, reason="hours long: scripts/chaos starts it")
def test_random_strikes_for_as_long_as_you_like(world, disk):
    rounds, seed = int(os.environ["SYNTH_CHAOS_ROUNDS"]), int(os.environ.get("SYNTH_CHAOS_SEED", "0"))
    n = N * max(1, rounds // 3)
    rng = np.random.default_rng(seed)
    alone = content(undisturbed(world, n))
    campaign = Campaign(world, disk, n)
    for _ in range(rounds):
        minor = rng.choice(["worker KILL", "worker TERM", "worker STOP"], size=rng.integers(0, 4))
        last = rng.choice(
            ["driver KILL", "driver TERM", "driver INT", "head KILL"] + ["disk full"] * (not disk.why_not)
        )
        campaign.round([(str(what), int(rng.integers(1, 9))) for what in (*minor, last)])
    assert campaign.round(()) == 0, world.said()
    campaign.judge(alone)


def undisturbed(world: World, n: int) -> Path:
    """The dataset of a run in one process that nothing happens to."""
    out = world.root / f"undisturbed{n}"
    if out.exists():
        return out
    done = world.run(*world.arguments(n, out, "--workers", 0))
    assert done.returncode == 0, done.stderr
    return out


def content(out: Path) -> dict[str, str]:
    """The root, and the hash of every shard."""
    shards = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((out / "shards").iterdir())}
    return {"root": Dataset(out).root, **shards}


class Campaign:
    """One dataset, rendered by a command that is struck and run again; who was hit."""

    def __init__(self, world: World, disk: Disk, n: int):
        self.world, self.disk, self.out = world, disk, disk.folder / "set"
        # A render takes about a second on the slowest machines, so only the stopped take twenty.
        self._command = world.arguments(n, self.out, "--workers", 2, "--sample-timeout", 20)
        self.struck: set[int] = set()
        #: Processes that had ended before all of a round were struck; None while they were not.
        self._ended_before: set[int] | None = None
        world.forget()

    def round(self, strikes: Sequence[tuple[str, int]]) -> int:
        """Runs the command and strikes it, until the driver ends; its exit code."""
        before, self._ended_before = len(self.world.begun()), None
        with self.world.start(*self._command, **ENVIRONMENT) as driver:
            for what, gap in strikes:
                due = len(self.world.begun()) + gap
                wait_for(lambda due=due: driver.poll() is not None or len(self.world.begun()) >= due, what)
                if driver.poll() is None:
                    self._strike(what, driver)
            driver.wait(timeout=600)
            self.disk.free()
            # What outlives its driver ends by itself; what is stopped cannot.
            mine = {render.pid for render in self.world.begun()[before:]}
            if self._ended_before is not None:
                self.struck |= mine - self._ended_before
            wait_for(lambda: not any(map(alive, mine)), f"the workers to end: {mine}")
        return driver.returncode

    def judge(self, alone: dict[str, str]) -> None:
        """Same bytes, sound labels, and no render was in vain but one for each process that was struck."""
        assert content(self.out) == alone
        checked = self.world.run("check", self.out)
        assert checked.returncode == 0 and "no fault" in checked.stdout, checked.stdout
        vain = wasted(self.world.begun())
        assert set(vain) <= self.struck and set(vain.values()) <= {1}, (vain, self.struck, self._said())

    def _said(self) -> list[str]:
        """What drivers have to say of workers that they lost."""
        logs = sorted(self.out.glob("runs/*/events/*.jsonl"))
        return [line for log in logs for line in log.read_text().splitlines() if "worker_" in line]

    def _strike(self, what: str, driver: subprocess.Popen) -> None:
        target, how = what.split()
        at_work = wait_for(self.world.in_hand, "a render", driver)
        if target == "worker":
            if how != "TERM":  # who is asked to leave finishes first
                self.struck.add(at_work[0])
            os.kill(at_work[0], getattr(signal, f"SIG{how}"))
            if how == "STOP":
                self._outlive(at_work[0], driver)
            return
        if target == "driver" and how in _DRAINED:
            driver.send_signal(getattr(signal, f"SIG{how}"))
            assert driver.wait(timeout=120) == _DRAINED[how] and "the same command goes on" in self.world.said()
            return
        self._ended_before = {render.pid for render in self.world.begun() if not alive(render.pid)}
        if target == "driver":
            driver.kill()
        elif target == "head":
            kill([*named(descendants(driver.pid), "gcs_server"), *named(descendants(driver.pid), "raylet")])
        else:
            self.disk.fill()
            assert driver.wait(timeout=120) == 1, self.world.said()
            said = [line for line in self.world.said().splitlines() if line.startswith("synth:")]
            assert len(said) == 1 and "no room left" in said[0], self.world.said()

    def _outlive(self, stopped: int, driver: subprocess.Popen) -> None:
        """Waits until another process makes what the stopped one held."""
        held = [render.index for render in self.world.begun() if render.pid == stopped][-1]
        wait_for(lambda: any(r.index == held and r.pid != stopped for r in self.world.begun()), "the watchdog", driver)
        wait_for(lambda: not alive(stopped), f"the end of the stopped worker {stopped}")
