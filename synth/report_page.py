"""The gallery page as bytes: shell, dataset facts, samples as data that the page's script turns into cards.

Names of scans and backgrounds come from strangers. In the shell they are escaped; the script gets them as JSON and
only ever sets them as text; the page's policy runs the one script it names by hash and loads nothing.
"""

import base64
import hashlib
import html
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from synth.report_facts import columns_of
from synth.report_pictures import depth_colors

_SCRIPTS = (
    "report_gallery.js",
    "report_gallery_filter.js",
    "report_gallery_plots.js",
    "report_gallery_cloud.js",
    "report_gallery_large.js",
    "report_gallery_keys.js",
)
_STYLE, _SHELL = "report_gallery.css", "report_gallery.html"
_SLOT = re.compile(r"<!--\{(\w+)\}-->")
#: Samples whose pictures are one file of a folder: about 2 MB that are read for the one that is looked at.
CHUNK = 16
#: Longest list of names shown in the header before the rest is only counted.
_LISTED = 500


@dataclass(frozen=True)
class Head:
    """What stands above the samples."""

    name: str
    """What the dataset is called."""
    shown: int
    """Samples on the page."""
    facts: dict
    """As `synth.report_facts.measure_dataset` gives them."""


def page_start(head: Head, folder: str | None) -> bytes:
    """Everything before the first sample. folder: where the pictures lie beside the page; None: they follow in it."""
    script, style = _script(), read_template(_STYLE)
    start, _ = _halves()
    parts = {
        "policy": page_policy(script, style, own_files=folder is not None),
        "style": style,
        "name": html.escape(head.name),
        "shown": _shown(head),
        "facts": _facts_html(head.facts),
    }
    return fill_template(start, parts)


def sample_block(pictures: dict[str, str]) -> bytes:
    """The pictures of one sample, as text that the browser does not look into until the script asks."""
    return b'<script type="application/json" class="pictures">' + json_bytes(pictures) + b"</script>\n"


def page_end(samples: list[dict], folder: str | None, tile: tuple[int, int] = (0, 0)) -> bytes:
    """Everything after the last sample: facts of all samples, in the order of their pictures, and the script.

    tile: width and height of a thumbnail in the folder's sheets.
    """
    _, end = _halves()
    levels = [[int(x) for x in color] for color in depth_colors()]
    data = {"samples": len(samples), "columns": columns_of(samples), "depth_colors": levels, "folder": folder}
    data |= {"chunk": CHUNK, "tile": tile}
    return fill_template(end, {"data": json_bytes(data).decode(), "script": _script()})


def _halves() -> tuple[str, str]:
    start, _, end = read_template(_SHELL).partition("<!--{samples}-->\n")
    return start, end


def _script() -> str:
    return "\n".join(map(read_template, _SCRIPTS))


def read_template(name: str) -> str:
    """A part of a page that lies beside this file."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def fill_template(template: str, parts: dict[str, str]) -> bytes:
    """Slots replaced in one pass, so that nothing inside a part is taken for a slot."""
    return _SLOT.sub(lambda slot: parts[slot[1]], template).encode("utf-8", "replace")


def json_bytes(value: object) -> bytes:
    """JSON that cannot end the script element it stands in, and is a literal of the same value in a script."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c").encode()


def page_policy(script: str, style: str, own_files: bool = False) -> str:
    """What a page may do: run this one script, wear this style, show pictures inside of it, and nothing else.

    own_files: it may also ask for scripts and pictures from where it came itself.
    """
    own = "'self' " if own_files else ""
    return (
        f"default-src 'none'; img-src {own}data:; script-src {own}'{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shown(head: Head) -> str:
    samples = head.facts["samples"]
    told = f"{_number(samples)} {'sample' if samples == 1 else 'samples'}"
    if head.shown < samples:
        told = f"{_number(head.shown)} of {told}"
    return told if head.facts["complete"] else f"{told}; more exist or are being rendered"


def _facts_html(facts: dict) -> str:
    """The header's facts: short counts in a line, long lists of names folded away."""
    refused = facts["refused"]
    attempts = facts["samples"] + refused.total()
    told = f"{_number(refused.total())} of {_number(attempts)} attempts" if refused else "none"
    items = [
        ("Refused", told + (f" ({_counts(refused)})" if refused else "")),
        ("Scans", _folded(facts["scan"])),
        ("Flags", _counts(facts["flag"])),
        ("People", _folded(facts["person"])),
        ("Splits", _counts(facts["split"])),
        ("Backgrounds", _folded(facts["background"])),
        ("Framings", _counts(facts["framing"])),
        ("Root", f"<code>{html.escape(str(facts['root']))}</code>"),
    ]
    return "".join(f"<div><dt>{title}</dt><dd>{content}</dd></div>" for title, content in items)


def _counts(counts: Counter) -> str:
    if not counts:
        return "none"
    return ", ".join(f"{html.escape(name)}&nbsp;<b>{_number(n)}</b>" for name, n in _ranked(counts))


def _folded(counts: Counter) -> str:
    rows = "".join(f"<li><span>{html.escape(name)}</span> <b>{_number(n)}</b></li>" for name, n in _ranked(counts))
    more = len(counts) - _LISTED
    rows += f"<li>and {_number(more)} more</li>" if more > 0 else ""
    return f"<details><summary>{_number(len(counts))}</summary><ul>{rows}</ul></details>"


def _ranked(counts: Counter) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_LISTED]


def _number(n: int) -> str:
    return f"{n:,}".replace(",", "\u202f")
