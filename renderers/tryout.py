"""try_scans(): prepared scans rendered once, small, in a child process that can do no harm.

What passed the importer may still abort, hang or bloat Blender when it is rendered. It does so here, before anything is
drawn from it, and costs itself alone: a child takes many scans, and the one it died on is tried again by itself.
The child is `renderers.blender_tryout`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from synth.sandbox import ChildFailed, last_line, module_command, module_environment, run_child
from synth.scans import ImporterBroken

#: A 1 M-triangle scan with an 8k texture takes about 5 s on one slow core.
TIMEOUT_S = 120.0
MEMORY_MB = 3500
#: Scans of one child: its start costs as much as several scans.
BATCH = 16


def try_scans(
    store: Path, keys: Sequence[str], timeout_s: float = TIMEOUT_S, memory_mb: int = MEMORY_MB
) -> dict[str, str | None]:
    """By key, why a prepared scan cannot be rendered; None where it can. timeout_s: for one scan.

    Raises ImporterBroken when Blender does not start here.
    """
    found: dict[str, str | None] = {}
    environment = module_environment(TMPDIR=tempfile.gettempdir())
    waiting, size = list(keys), BATCH
    while waiting:
        batch, failure = waiting[:size], None
        try:
            said = run_child(_command(store, batch), timeout_s * len(batch), memory_mb, environment).stdout
        except ChildFailed as error:
            said, failure = error.stdout, error
        verdicts = _read(said)
        if failure is not None and "ready" not in verdicts:
            raise ImporterBroken(f"Blender does not run here: {failure}; try `synth doctor`") from failure
        found |= {key: verdicts[key] for key in batch if key in verdicts}
        left = [key for key in batch if key not in verdicts]
        if failure is not None and left and len(batch) == 1:
            found[left.pop()] = f"Blender's renderer {failure}"
        waiting = left + waiting[size:]
        # What a child died on comes first, and by itself.
        size = 1 if failure is not None and left else BATCH
    return found


def _command(store: Path, keys: Sequence[str]) -> list[str]:
    return module_command("renderers.blender_tryout", str(store), *keys)


def _read(said: str) -> dict[str, str | None]:
    """What the child said of each key: `ok KEY` or `bad KEY reason`, a line each, after `ready`."""
    verdicts: dict[str, str | None] = {}
    for line in said.splitlines():
        word, _, rest = line.partition(" ")
        key, _, reason = rest.partition(" ")
        if line == "ready":
            verdicts["ready"] = None
        elif word == "ok":
            verdicts[key] = None
        elif word == "bad":
            verdicts[key] = last_line(reason) or "Blender cannot render it"
    return verdicts
