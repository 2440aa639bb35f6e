"""Hostile files by the thousand through what `synth scans` and `synth render --backgrounds` do with a user's files.

`scripts/fuzz [N]`: N (2000) mangled scans and backgrounds of every format, seeded, through `load_library` with the real
importers and through `load_backgrounds`. A fault is: an exception that is not a verdict, a file that stops the others,
a reader that hangs, a file outside of the folder that anyone touched (see `fuzz_watch`). Blender runs in forks of one
process (see `fuzz_fork`); every fiftieth case starts it as a user would. Scans are not rendered here. Exit 1 on any
fault; its folder is kept, and `synth scans FOLDER` shows it again.
"""

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from fuzz_fork import Forks
from fuzz_mangle import Bait, make_case, write_case
from fuzz_sources import BACKGROUNDS, FORMATS, export_fbx, make_sources
from fuzz_watch import Trap, secrets, watch_opens

import renderers.importers
import synth.backgrounds_prepare
from renderers.importers import probe
from synth.backgrounds import BadBackgrounds, load_backgrounds
from synth.scans import BadScans, load_library

#: A child may take this long, a case three times as long; sound files take 0.2 s.
_CHILD_S, _CHILD_MB = 20.0, 1500
_CASE_S = 3 * _CHILD_S
_REAL_EVERY = 50
_MODULES = ("renderers.importers_blender", "synth.scans_arrays", "synth.backgrounds_read")
_COLUMNS = ("accepted", "refused", "crashed", "hung", "leaked")


def read_case(kind: str, folder: Path, cache: Path, most_s: float) -> tuple[str, str]:
    """What becomes of a case: (accepted, refused or crashed; why)."""
    try:
        if kind in BACKGROUNDS:
            return _read_background(folder, cache)
        library = load_library([folder], cache, functools.partial(probe, timeout_s=most_s, memory_mb=_CHILD_MB))
        verdicts = library.verdicts
    except BadScans as error:
        if not error.verdicts:
            return "crashed", f"one file stops all scans: {error}"
        verdicts = error.verdicts
    except Exception:
        return "crashed", traceback.format_exc()
    faults = [verdict.reason for verdict in verdicts if "a fault of this program" in verdict.reason]
    if faults:
        return "crashed", faults[0]
    accepted = [verdict for verdict in verdicts if verdict.verdict == "accepted"]
    said = accepted or [verdict for verdict in verdicts if verdict.verdict == "refused"] or list(verdicts)
    return "accepted" if accepted else "refused", said[0].reason


def _read_background(folder: Path, cache: Path) -> tuple[str, str]:
    try:
        library = load_backgrounds(sorted(folder.iterdir()), cache)
    except BadBackgrounds as error:
        return "refused", str(error)
    return "accepted", library.verdicts[0].reason


class Worker:
    """Reads every `stride`-th case from `first` on, and writes a line before and after each."""

    def __init__(self, args: argparse.Namespace, kinds: list[str]):
        self.args, self.kinds, self.work = args, kinds, args.work / f"worker{args.worker}"
        shutil.rmtree(self.work, ignore_errors=True)
        for name in ("tmp", "cases"):
            (self.work / name).mkdir(parents=True)
        tempfile.tempdir = str(self.work / "tmp")
        os.environ["TMPDIR"] = tempfile.tempdir
        # As far from the cases as `Bait.references` thinks.
        self.trap = Trap(self.work / "cases" / "outside")
        self.bait = Bait(self.trap.folder, self.trap.port)
        self.secrets = set(secrets().values())
        modules = [m for m in _MODULES if args.blender or "blender" not in m]
        warnings = self.work / "warnings"
        self.forks = Forks(self.work / "tmp" / "fork", modules, warnings, _CHILD_S)
        warnings.touch()
        self.warnings = warnings.open()
        self.opened: list[str] = []

    def run(self) -> None:
        """All cases of this worker that are not in its log."""
        sources = load_sources(self.args)
        watch_opens([self.work / "tmp", self.work / "cases" / "case", self.args.failures], self.opened.append)
        parent = os.getppid()
        with self.args.log.open("a") as log:
            for number in range(self.args.first, self.args.n, self.args.stride):
                if os.getppid() != parent:
                    break  # nobody waits for it any more
                kind = self.kinds[number % len(self.kinds)]
                log.write(json.dumps([number, kind, "started", "", 0.0]) + "\n")
                log.flush()
                case = make_case(kind, number // len(self.kinds), self.args.seed, sources[kind], self.bait)
                log.write(json.dumps([number, kind, *self._read(kind, number, case)]) + "\n")
                log.flush()
        self.forks.close()

    def _read(self, kind: str, number: int, case) -> tuple[str, str, float]:
        place = self.work / "cases" / "case"
        write_case(case, place / "scans")
        self.opened.clear()
        run = renderers.importers.run_child
        if number % _REAL_EVERY or not self.args.blender:
            renderers.importers.run_child = synth.backgrounds_prepare.run_child = self.forks.run_child
        began = time.monotonic()
        verdict, why = read_case(kind, place / "scans", place / "cache", _CHILD_S)
        seconds = time.monotonic() - began
        renderers.importers.run_child = synth.backgrounds_prepare.run_child = run
        leaks = [*self.trap.touched(), *self.opened, *self.warnings.read().splitlines(), *self._came_through(place)]
        if leaks:
            verdict, why = "leaked", "; ".join(leaks[:5])
        elif seconds > _CASE_S:
            verdict, why = "hung", f"{seconds:.0f} s"
        ended, self.forks.ended = self.forks.ended, []
        if verdict in _COLUMNS[2:]:
            keep(case, self.args.failures / f"{kind}-{number}", f"{case.way}\n{verdict}: {why}\n")
        shutil.rmtree(place)
        return verdict, f"{why} [ended: {'; '.join(ended)}]" if ended else why, seconds

    def _came_through(self, place: Path) -> list[str]:
        """Prepared files with a secret's bytes; a picture stays as it is when it is prepared."""
        files = [file for file in (place / "cache").rglob("*") if file.is_file() and file.suffix != ".npy"]
        return [f"{file.name} is a secret" for file in files if file.read_bytes() in self.secrets]


def keep(case, folder: Path, why: str) -> None:
    """A case as it was read, and why it is kept beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    write_case(case, folder)
    folder.with_suffix(".txt").write_text(why)


def load_sources(args: argparse.Namespace) -> dict:
    """Sound folders by format, with the FBX that the first process has written."""
    return make_sources([file.read_bytes() for file in sorted((args.work / "sources").glob("*.fbx"))])


class Supervisor:
    """Worker processes, one a core, each started again behind the case that ended or stopped it."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.logs = [args.work / f"log{k}" for k in range(args.workers)]
        self.running = [self._start(k, k) for k in range(args.workers)]

    def run(self) -> list[list]:
        """(number, kind, verdict, why, seconds) of every case."""
        while any(process is not None for process in self.running):
            time.sleep(0.2)
            for k, process in enumerate(self.running):
                if process is not None:
                    self.running[k] = self._look(k, process)
        return [row for log in self.logs for row in _rows(log) if row[2] != "started"]

    def _look(self, k: int, process: subprocess.Popen) -> subprocess.Popen | None:
        quiet = self.logs[k].exists() and time.time() - self.logs[k].stat().st_mtime > 2 * _CASE_S
        if process.poll() is None and not quiet:
            return process
        if process.returncode == 0:
            return None
        process.kill()
        process.wait()
        rows = _rows(self.logs[k])
        if not rows or rows[-1][2] != "started":
            raise RuntimeError(f"worker {k} does not run: status {process.returncode}")
        number, kind = rows[-1][:2]
        verdict = "hung" if quiet else "crashed"
        place = self.args.work / f"worker{k}" / "cases" / "case" / "scans"
        target = self.args.failures / f"{kind}-{number}"
        shutil.copytree(place, target, symlinks=True, dirs_exist_ok=True)
        with self.logs[k].open("a") as log:
            log.write(json.dumps([number, kind, verdict, f"status {process.returncode}", 0.0]) + "\n")
        return self._start(k, number + self.args.workers)

    def _start(self, k: int, first: int) -> subprocess.Popen:
        given = [self.args.n, "--seed", self.args.seed, "--work", self.args.work, "--failures",
                 self.args.failures, "--worker", k, "--first", first, "--stride", self.args.workers, "--log",
                 self.logs[k], *([] if self.args.blender else ["--without-blender"]),
                 *(["--only", self.args.only] if self.args.only else [])]  # fmt: skip
        return subprocess.Popen([sys.executable, __file__, *map(str, given)])


def _rows(log: Path) -> list[list]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def report(rows: list[list]) -> int:
    """Prints the table and the faults; their number."""
    counts = {kind: Counter(row[2] for row in rows if row[1] == kind) for kind in FORMATS}
    print(f"{'format':<8}{'inputs':>8}" + "".join(f"{name:>10}" for name in _COLUMNS) + f"{'slowest':>10}")
    for kind, count in counts.items():
        slowest = max((row[4] for row in rows if row[1] == kind), default=0.0)
        if count:
            print(f"{kind:<8}{count.total():>8}" + "".join(f"{count[c]:>10}" for c in _COLUMNS) + f"{slowest:>8.1f} s")
    total = sum(counts.values(), Counter())
    print(f"{'all':<8}{total.total():>8}" + "".join(f"{total[name]:>10}" for name in _COLUMNS))
    ended = [row for row in rows if "[ended: " in row[3]]
    print(f"children that crashed or met a limit, at the cost of one verdict: {len(ended)}")
    for row in ended[:10]:
        print(f"  {row[1]}-{row[0]}: {row[3][row[3].index('[ended: ') :][:200]}")
    faults = [row for row in rows if row[2] in _COLUMNS[2:]]
    for number, kind, verdict, why, _ in faults[:20]:
        print(f"{verdict}: {kind}-{number}: {why.strip()[-400:]}")
    return len(faults)


def main() -> int:
    """Exit status 1 on any fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=2000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--without-blender", action="store_false", dest="blender", help="what would reach Blender is refused"
    )
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="where faults are kept")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=FORMATS, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    for name in ("work", "log"):
        parser.add_argument(f"--{name}", type=Path, help=argparse.SUPPRESS)
    for name in ("worker", "first", "stride"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.failures = args.failures.absolute()
    if args.worker is not None:
        Worker(args, formats(args.blender, args.only)).run()
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="synth-fuzz-") as folder:
        args.work = Path(folder).resolve()
        (args.work / "sources").mkdir()
        if args.blender:
            for number, data in enumerate(export_fbx(args.work / "export")):
                (args.work / "sources" / f"{number}.fbx").write_bytes(data)
        rows = Supervisor(args).run()
    faults = report(rows)
    print(f"seed {args.seed}, {time.monotonic() - began:.0f} s" + (f", faults in {args.failures}" if faults else ""))
    return 1 if faults else 0


def formats(blender: bool, only: str | None) -> list[str]:
    """Formats whose files are read here; only Blender can write FBX."""
    return [kind for kind in FORMATS if (blender or kind != "fbx") and only in (None, kind)]


if __name__ == "__main__":
    sys.exit(main())
