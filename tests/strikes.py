"""What tests of dying farms share: a small world, a log of every render that began, and how to strike who is at work.

The log is written by a `sitecustomize` on PYTHONPATH, which wraps `BlenderRenderer.render` in every process of a run.
It lies outside of the dataset, a line per begun or ended render in append mode: who is killed cannot take it back.
SYNTH_TEST_PAUSE_S makes every render longer without work for the machine: a strike then surely hits one.
"""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from test_backgrounds import exr, sky

from renderers.trial import ball_obj

COMMAND = [sys.executable, "-c", "import sys; from synth.cli import main; sys.exit(main())"]
#: Longest wait for anything that is sure to come: the machines of CI are slow and shared.
PATIENCE_S = 180.0

_SPY = """
import importlib.abc
import importlib.util
import os
import socket
import sys
import time


def note(word, recipe):
    line = f"{word} {recipe.index} {recipe.attempt} {os.getpid()}\\n".encode()
    log = os.open(os.environ["SYNTH_TEST_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(log, line)
    os.close(log)


class Spy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "renderers.blender":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            render = module.BlenderRenderer.render

            def told(self, recipe):
                note("begin", recipe)
                time.sleep(float(os.environ.get("SYNTH_TEST_PAUSE_S", "0")))
                sample = render(self, recipe)
                note("end", recipe)
                return sample

            module.BlenderRenderer.render = told

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Spy())
"""


@dataclass(frozen=True)
class Render:
    """A render that began."""

    index: int
    attempt: int
    pid: int


class World:
    """Scans, a sky, a cache, and the log of all renders of the commands it runs."""

    def __init__(self, root: Path):
        self.root, self.log = root, root / "renders.log"
        (root / "scans").mkdir()
        for rings in (12, 16, 20):
            (root / "scans" / f"ball{rings}.obj").write_text(ball_obj(rings))
        (root / "backgrounds").mkdir()
        (root / "backgrounds" / "sky.exr").write_bytes(exr(sky()))
        (root / "spy").mkdir()
        (root / "spy" / "sitecustomize.py").write_text(_SPY)
        self.forget()

    @property
    def environment(self) -> dict[str, str]:
        """Ours, with the spy."""
        paths = [str(self.root / "spy"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "SYNTH_TEST_LOG": str(self.log)}

    def arguments(self, n: int, out: Path, *more: object) -> list[str]:
        """Of `synth render`: n tiny images."""
        said = ["render", "--scans", self.root / "scans", "--backgrounds", self.root / "backgrounds"]
        said += ["--cache", self.root / "cache", "--width", 96, "--height", 128, "--spp", 2, "--n", n, "--out", out]
        return [str(word) for word in (*said, *more)]

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        """A command from start to end."""
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True, text=True, env={**self.environment, **environment}, timeout=600,
        )  # fmt: skip

    @contextlib.contextmanager
    def start(self, *arguments: object, **environment: str) -> Iterator[subprocess.Popen]:
        """A command at work. Whatever it leaves behind is killed in the end."""
        with (self.root / "said.txt").open("w+b") as said:
            process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={**self.environment, **environment},
            )  # fmt: skip
            try:
                yield process
            finally:
                kill([*descendants(process.pid), process.pid])
                process.wait()

    def said(self) -> str:
        """What the last started command has said so far."""
        return (self.root / "said.txt").read_text(errors="replace")

    def forget(self) -> None:
        """Starts the log anew."""
        self.log.write_text("")

    def begun(self) -> list[Render]:
        """Renders in the order they began."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [Render(*map(int, words[1:])) for words in lines if words[0] == "begin"]

    def in_hand(self) -> list[int]:
        """Living processes that are rendering right now, the one that began last first."""
        open_: dict[int, bool] = {}
        for line in self.log.read_text().splitlines():
            word, _, _, pid = line.split()
            open_.pop(int(pid), None)
            open_[int(pid)] = word == "begin"
        return [pid for pid, rendering in reversed(open_.items()) if rendering and alive(pid)]


def wasted(begun: list[Render]) -> Counter:
    """Samples by process that began them in vain, for another process made them again."""
    assert len(set(begun)) == len(begun), "a process rendered the same attempt twice"
    makers: dict[int, list[int]] = {}
    for render in begun:
        if render.pid not in makers.setdefault(render.index, []):
            makers[render.index].append(render.pid)
    return Counter(pid for pids in makers.values() for pid in pids[:-1])


def wait_for(condition: Callable[[], object], what: str, process: subprocess.Popen | None = None) -> object:
    """The first true answer of `condition`; fails when `process` ends before, or after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert process is None or process.poll() is None, f"the run ended before {what}"
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs, or is stopped; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Children, their children, …; what outlived its parent is not among them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def named(pids: list[int], name: str) -> list[int]:
    """Those of a program."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def kill(pids: list[int]) -> None:
    """kill -9; who is gone already is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


@dataclass(frozen=True)
class Disk:
    """A folder with little room."""

    folder: Path
    why_not: str | None
    """Why it is an ordinary folder that cannot be filled."""

    def fill(self) -> None:
        """Leaves no byte of room, not even what others free meanwhile, until `free`."""
        with open(self.folder / "ballast", "ab", buffering=0) as file:
            size = 2**20
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    size //= 2

    def free(self) -> None:
        """Gives the room back."""
        (self.folder / "ballast").unlink(missing_ok=True)


@contextlib.contextmanager
def mount_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A disk in memory at `folder`."""
    if os.geteuid():
        yield Disk(folder, "only root may mount a small disk")
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "synth-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        yield Disk(folder, f"no disk can be mounted here: {done.stderr.strip()}")
        return
    try:
        yield Disk(folder, None)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Cluster:
    """Ray nodes on this machine, each with an address of its own and one core; they know each other by a token."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self._folder = folder
        self._port, self._client_port = free_ports(2)
        self.address = f"127.0.0.1:{self._port}"
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.urandom(32).hex()}
        self._environment = {**environment, **self.token}
        self.nodes: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        head = ["--head", "--port", self._port, "--include-dashboard", "false", "--temp-dir", self._folder]
        self._start(*head, "--ray-client-server-port", self._client_port)
        return self

    def __exit__(self, *_) -> None:
        for node in self.nodes:
            self.kill(node)

    def join(self) -> subprocess.Popen:
        """A further node, once it has joined."""
        return self._start("--address", self.address, "--node-ip-address", f"127.0.0.{len(self.nodes) + 1}")

    def kill(self, node: subprocess.Popen) -> list[int]:
        """kill -9 to all of a node, its workers included, as when its power fails; who that was."""
        hit = [node.pid, *descendants(node.pid)]
        kill(hit)
        node.wait()
        return hit

    def _start(self, *arguments: object) -> subprocess.Popen:
        said = self._folder / f"node{len(self.nodes)}.txt"
        start = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
        with said.open("wb") as file:
            node = subprocess.Popen(
                [sys.executable, "-c", start, "start", "--block", "--num-cpus", "1", *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=self._environment,
            )  # fmt: skip
        self.nodes.append(node)
        wait_for(lambda: "Ray runtime started" in said.read_text(), "a node to start", node)
        return node


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
