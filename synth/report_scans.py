"""The page of `synth scans --html`: every scan from all sides, with what was done to it, in one file.

Names come from strangers: they are escaped, and the page's policy runs the one script it names by hash.
"""

import base64
import html
from collections.abc import Callable
from pathlib import Path

from synth.report_file import replacing
from synth.report_page import fill_template, page_policy, read_template
from synth.report_turntable import render_turntable
from synth.scans import ScanLibrary, Verdict, load_prepared


def write_scans_page(
    library: ScanLibrary, name: str, path: Path, progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Writes the page. name: what the folders are called on it."""
    entries = {entry.scan_id: entry for entry in library.entries}
    accepted = [verdict for verdict in library.verdicts if verdict.verdict == "accepted"]
    cards = []
    for number, verdict in enumerate(accepted):
        if progress is not None:
            progress(number, len(accepted), verdict.path)
        entry = entries[verdict.scan_id]
        cards.append(_card(verdict, entry.facts, render_turntable(load_prepared(library.store, entry.key))))
    script, style = read_template("report_scans.js"), read_template("report_scans.css")
    page = fill_template(
        read_template("report_scans.html"),
        {
            "policy": page_policy(script, style),
            "style": style,
            "script": script,
            "name": html.escape(name),
            "summary": _summary(library),
            "cards": "\n".join(cards),
            "refused": _rows(library, "refused") or "<tr><td>none</td></tr>",
            "ignored": _rows(library, "ignored"),
        },
    )
    with replacing(path) as file:
        file.write(page)


def _summary(library: ScanLibrary) -> str:
    counts = {word: sum(v.verdict == word for v in library.verdicts) for word in ("accepted", "refused", "ignored")}
    people = len({entry.person for entry in library.entries})
    said = ", ".join(f'<a href="#{word}">{count} {word}</a>' for word, count in counts.items())
    return f"{said}; {people} {'person' if people == 1 else 'people'}"


def _card(verdict: Verdict, facts, turntable: bytes) -> str:
    picture = base64.b64encode(turntable).decode()
    colour = f"{verdict.colour} {facts.texture_px} px" if facts.texture_px else f"colour: {verdict.colour}"
    what = [f"{verdict.kind}, {verdict.height_m:.2f} m, {verdict.faces:,} faces, {colour}",
            f"person {verdict.person}", verdict.licence or "no licence found", facts.attribution or ""]  # fmt: skip
    lines = "".join(f"<p>{html.escape(text)}</p>" for text in what if text)
    changes = "".join(f"<li>{html.escape(text)}</li>" for text in facts.changes)
    warnings = "".join(f'<li class="warn">{html.escape(text)}</li>' for text in facts.warnings)
    data = {"path": verdict.path, "warnings": len(facts.warnings), "height": verdict.height_m, "faces": verdict.faces,
            "person": verdict.person}  # fmt: skip
    attributes = " ".join(f'data-{key}="{html.escape(str(value))}"' for key, value in data.items())
    title = f"<h3>{html.escape(verdict.scan_id)}</h3><p>{html.escape(verdict.path)}</p>"
    source = f"data:image/webp;base64,{picture}"
    return (
        f'<article {attributes}><img alt="from eight sides, and normals" src="{source}">'
        f'<div class="facts"><div>{title}{lines}</div>'
        f"<ul>{warnings}{changes}</ul></div></article>"
    )


def _rows(library: ScanLibrary, word: str) -> str:
    return "".join(
        f"<tr><td>{html.escape(v.path)}</td><td>{html.escape(v.reason)}</td></tr>"
        for v in library.verdicts
        if v.verdict == word
    )
