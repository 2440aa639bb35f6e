"""Which pictures are prepared already, and the child process that prepares the others.

A file that kills the child costs itself alone: the rest go to a new one.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.backgrounds_store import read_facts
from synth.errors import UserError
from synth.sandbox import ChildFailed, module_command, module_environment, run_child

#: A 16k Radiance file takes about a minute on a slow core, all others a few seconds.
_SECONDS_A_FILE = 180.0
#: A 16k panorama is 1.6 GB of light, beside its bytes and the masks of what is broken in it.
_MEMORY_MB = 6144
#: More would save starts of 0.3 s, and let one file that hangs use up the time of all.
_FILES_A_CHILD = 4
_LARGEST_BYTES = 2**32


@dataclass(frozen=True)
class Outcome:
    """What became of one file: the hash it is stored under, or why it was refused."""

    path: Path
    sha256: str | None
    refused: str


def prepare_files(
    files: Sequence[Path],
    store: Path,
    progress: Callable[[int, int, str], None] | None = None,
    seconds_a_file: float = _SECONDS_A_FILE,
    memory_mb: int = _MEMORY_MB,
) -> list[Outcome]:
    """Prepares pictures into `store` and says of each what became of it, in order.

    Raises UserError when the reading process itself does not run, e.g. where the disk is full.
    """
    found = {path: _look_up(path, store) for path in files}
    waiting = [path for path in files if found[path] is None]
    while waiting:
        if progress:
            progress(len(files) - len(waiting), len(files), waiting[0].name.encode("ascii", "replace").decode())
        outcomes = _run(waiting[:_FILES_A_CHILD], store, seconds_a_file, memory_mb)
        found |= {outcome.path: outcome for outcome in outcomes}
        waiting = waiting[len(outcomes) :]
    return [found[path] for path in files]


def _look_up(path: Path, store: Path) -> Outcome | None:
    """The outcome of a file that needs no reading: prepared before, or hopeless."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return Outcome(path, None, f"is larger than {_LARGEST_BYTES >> 30} GiB")
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return Outcome(path, None, f"cannot be read ({error.strerror})")
    return Outcome(path, sha256, "") if read_facts(store, sha256) is not None else None


def _run(paths: Sequence[Path], store: Path, seconds_a_file: float, memory_mb: int) -> list[Outcome]:
    """Outcomes of the first files of a batch: all of them, or those up to and with the one that killed the child."""
    with tempfile.TemporaryDirectory(prefix="synth-backgrounds-") as job:
        Path(job, "paths.json").write_text(json.dumps([str(path.absolute()) for path in paths]))
        command = module_command("synth.backgrounds_read", job, str(store.absolute()))
        failure = None
        try:
            run_child(command, seconds_a_file * len(paths), memory_mb, module_environment())
        except ChildFailed as error:
            failure = error
        file = Path(job, "outcomes.jsonl")
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    said = [Outcome(p, line.get("sha256"), line.get("refused", "")) for p, line in zip(paths, lines, strict=False)]
    if failure is not None and failure.ending == "failed":
        raise UserError(f"backgrounds cannot be read here: the reading process {failure}")
    if failure is not None and len(said) < len(paths):
        said.append(Outcome(paths[len(said)], None, f"its reader was ended: {failure}"))
    return said
