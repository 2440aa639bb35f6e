"""`synth doctor`: is this machine able to render?"""

import argparse
import subprocess
import sys

from synth.cli_library import say
from synth.doctor import diagnose

#: Renders a clay ball and holds its labels against closed form; in a process of its own, for Blender may abort.
_TRIAL = "from renderers.trial import render_trial; print(render_trial())"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None but --debug."""


def run(args: argparse.Namespace) -> int:
    """Prints every finding with its remedy; exit 1 when one is bad."""
    findings = diagnose(_render_one)
    for finding in findings:
        say(f"{'ok  ' if finding.ok else 'BAD '} {finding.name:<22} {finding.detail}")
        if not finding.ok:
            say(f"     {finding.remedy}")
    bad = sum(not finding.ok for finding in findings)
    say("this machine can render" if not bad else f"{bad} of {len(findings)} need attention")
    return 1 if bad else 0


def _render_one() -> str:
    """What the trial render said; raises RuntimeError with its last line when it failed."""
    done = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=300)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode != 0:
        raise RuntimeError(lines[-1] if lines else f"the trial render ended with {done.returncode}")
    return lines[-1]
