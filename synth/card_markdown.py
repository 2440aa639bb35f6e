"""Strangers' texts and our figures as Markdown: nothing in a name becomes a tag, a table or a link that
hides where it leads.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from synth.card_measure import Spread
from synth.scans_files import printable

#: Of a text, unless whoever writes it says more.
_LONGEST = 300
_SPECIAL = re.compile(r"([\\`*_{}\[\]|#~!])")
_BAR = 32
_EIGHTHS = " ▏▎▍▌▋▊▉"


def plain(text: str, longest: int = _LONGEST) -> str:
    """A text that shows as it is, on one line, cut to `longest` characters."""
    line = printable(" ".join(str(text).split()))
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; columns of numbers stand right. Texts must be `plain` already."""
    right = [bool(rows) and all(isinstance(row[k], int | float) for row in rows) for k in range(len(head))]
    lines = [head, ["---:" if is_right else "---" for is_right in right]]
    lines += [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def fenced(text: str, language: str = "") -> str:
    """A block of code that no text can leave."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def bars(labels: Sequence[str], counts: Sequence[int]) -> str:
    """A line for every count: label, bar, count; whatever is not 0 can be seen."""
    most, widest = max([1, *counts]), max((len(label) for label in labels), default=0)
    digits = max((len(f"{count:,}") for count in counts), default=1)
    lines = []
    for label, count in zip(labels, counts, strict=True):
        eighths = max(round(count * _BAR * 8 / most), 1 if count else 0)
        bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
        lines.append(f"{label:>{widest}}  {count:>{digits},}  {bar}".rstrip())
    return "\n".join(lines)


def spread_block(title: str, unit: str, spread: Spread) -> str:
    """A histogram in text, under its name, unit and percentiles."""
    low, middle, high = (f"{value:.3g}" for value in spread.percentiles)
    head = f"{title}, {unit}\n5 % {low}, median {middle}, 95 % {high}"
    if spread.missing:
        head += f"; {spread.missing:,} without"
    if not len(spread.counts):
        return f"{title}, {unit}\nalways {spread.edges[0]:.4g}"
    return f"{head}\n{bars(_bin_labels(spread.edges), spread.counts.tolist())}"


def _bin_labels(edges: np.ndarray) -> list[str]:
    places = max(0, -int(np.floor(np.log10(np.diff(edges).max()) + 1e-9)))
    texts = [f"{edge:.{places}f}" for edge in edges]
    texts = [text[1:] if text.startswith("-") and not float(text) else text for text in texts]
    widest = max(map(len, texts))
    return [f"{a:>{widest}} .. {b:>{widest}}" for a, b in pairwise(texts)]
