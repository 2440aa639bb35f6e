"""What a run has made so far, and when it has been refused too often to go on."""

from collections import Counter, deque
from dataclasses import dataclass, field

from synth.errors import UserError
from synth.pipeline_worker import Fate

#: The share of refusals is taken over this many latest indices.
_WINDOW = 500
#: No share is believed before so many indices.
_FEWEST = 50


class TooManyRefused(UserError):
    """The run stopped because samples were refused too often; the message holds the histogram."""


@dataclass
class Tally:
    """What a run has made so far."""

    made: int = 0
    core_seconds: float = 0.0
    size: int = 0
    """Bytes."""
    refused: Counter = field(default_factory=Counter)
    flags: Counter = field(default_factory=Counter)
    by_scan: dict[str, tuple[int, float]] = field(default_factory=dict)
    """(images, core-seconds) of images of one subject, by scan_id."""
    scans: int = 1
    """How many scans the run draws from."""
    _recent: deque[tuple[tuple[str, ...], bool]] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def add(self, fate: Fate) -> None:
        """Counts a fate."""
        self.refused.update(reason for _, reason, _ in fate.refused)
        self.flags.update(fate.flags)
        self.core_seconds += fate.seconds
        self.size += fate.size
        self.made += fate.staged
        self._recent.append((fate.scans, bool(fate.refused)))
        if len(fate.scans) == 1:
            count, seconds = self.by_scan.get(fate.scans[0], (0, 0.0))
            self.by_scan[fate.scans[0]] = (count + 1, seconds + fate.seconds)

    def stop_if_refused(self, fate: Fate, max_refused: float) -> None:
        """Raises TooManyRefused when the latest index ran out of attempts or refusals are too frequent.

        Work goes scan by scan, so that a head without a back may be most of the latest images: of several scans the one
        refused most often is left out.
        """
        if not fate.staged:
            _, reason, detail = fate.refused[-1]
            raise TooManyRefused(
                f"image {fate.index}: all {len(fate.refused)} attempts refused, the last as {reason} ({detail}); "
                f"refused so far: {self.histogram()}"
            )
        if not fate.refused:
            return
        had = Counter(scans for scans, refused in self._recent if refused)
        worst = had.most_common(1)[0][0] if self.scans > 1 else None
        judged = [refused for scans, refused in self._recent if scans != worst]
        share = sum(judged) / max(len(judged), _FEWEST)
        if share > max_refused:
            raise TooManyRefused(
                f"{share:.0%} of the last {len(judged)} images had refusals (--max-refused {max_refused}): "
                f"{self.histogram()}"
            )

    def slowest_scans(self, count: int = 5) -> list[tuple[str, float]]:
        """(scan_id, mean core-seconds an image), slowest first."""
        means = ((scan, round(seconds / images, 3)) for scan, (images, seconds) in self.by_scan.items())
        return sorted(means, key=lambda item: (-item[1], item[0]))[:count]

    def histogram(self) -> str:
        """Refusals by reason, most first, on one line."""
        return ", ".join(f"{reason} {count}" for reason, count in self.refused.most_common()) or "none"
