"""Progress for people: a bar with rate and time left on a terminal, a plain line now and then otherwise."""

import sys
import time

from tqdm import tqdm

#: Seconds between plain lines.
_PLAIN_EVERY = 15.0
#: What is done sooner than this needs no line of its own.
_PLAIN_FROM = 2.0


class Progress:
    """Counts towards `total`, e.g. `with Progress("scans", 9, "scan") as p: p.to(3, "nathan")`."""

    def __init__(self, what: str, total: int, unit: str):
        self._what, self._total, self._unit = what, total, unit
        self._started = self._said = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True, leave=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def total(self, total: int) -> None:
        """Corrects the total once it is known."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total

    def to(self, done: int, note: str = "") -> None:
        """`done` of `total` are done; `note` says what is in hand or what went wrong so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        last = done == self._total and now - self._started >= _PLAIN_FROM
        if now - self._said >= _PLAIN_EVERY or last:
            self._said = now
            rate = done / max(now - self._started, 1e-9)
            left = f", {(self._total - done) / rate:.0f} s left" if 0 < done < self._total else ""
            note = f" ({note})" if note else ""
            print(f"{self._what}: {done} of {self._total}, {rate:.2f} {self._unit}/s{left}{note}", file=sys.stderr)
