"""What may be done with a scan, as the papers beside it say: licence files are read, never judged.

A file's own words come first (`asset` of a glTF, see `synth.scans_gltf`; comments of an OBJ or PLY); then those of the
files beside it or above. Strangers' texts become one printable line.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.scans_files import printable

_PAPERS = re.compile(r"licen[cs]e|copying|readme|acknowledg|credit|attribution|copyright", re.IGNORECASE)
_TEXTS = {".txt", ".md", "", ".html", ".htm", ".rst"}
_MOST_BYTES = 64 * 2**10
#: What a comment begins with, of formats that have them.
_COMMENTS = {".obj": "#", ".ply": "comment"}
_LONGEST = 300
#: Licences by the words they are known by; the first that fits counts, and fuller names stand before shorter ones.
_KNOWN = (
    (r"\bCC0\b|creativecommons\.org/publicdomain/zero|creative commons zero", "CC0-1.0"),
    (r"\bCC[- ]BY[- ]NC[- ]ND\b|attribution.{0,3}noncommercial.{0,3}noderiv", "CC-BY-NC-ND"),
    (r"\bCC[- ]BY[- ]NC[- ]SA\b|attribution.{0,3}noncommercial.{0,3}sharealike", "CC-BY-NC-SA"),
    (r"\bCC[- ]BY[- ]NC\b|attribution.{0,3}non-?commercial", "CC-BY-NC"),
    (r"\bCC[- ]BY[- ]SA\b|attribution.{0,3}share-?alike", "CC-BY-SA"),
    (r"\bCC[- ]BY[- ]ND\b|attribution.{0,3}no-?deriv", "CC-BY-ND"),
    (r"\bCC[- ]BY\b|creative commons attribution|creativecommons\.org/licenses/by/", "CC-BY"),
    (r"\bMIT license\b|^MIT$|permission is hereby granted, free of charge", "MIT"),
    (r"apache license|^apache-2\.0$", "Apache-2.0"),
    (r"\bBSD[- ]3[- ]clause\b", "BSD-3-Clause"),
    (r"^BSD$|redistribution and use in source and binary forms", "BSD"),
    (r"public domain|not copyrighted|no known copyright", "public domain"),
    (r"renderpeople", "RenderPeople terms"),
    (r"\bTHuman", "THuman terms"),
    (r"non-?commercial", "non-commercial"),
)
_VERSION = re.compile(r"(?:by|nc|sa|nd|attribution\D{0,40}|licenses/[a-z-]+/)[-/ ]*(\d\.\d)", re.IGNORECASE)
_NO_AI = re.compile(
    r"\bno[- ]?ai\b|\b(?:not|no|without|prohibit\w*|forbid\w*|forbidden)\b[^.;]{0,120}?"
    r"\b(?:artificial intelligence|machine learning|neural networks?|generative ai|ai (?:training|models?|systems?))",
    re.IGNORECASE,
)
_OPEN = re.compile(r"CC|MIT|BSD|Apache|public domain")
_NOT_HANDED_ON = ("RenderPeople terms", "THuman terms")
_NON_COMMERCIAL = re.compile(r"non-?commercial", re.IGNORECASE)
_NO_SHARING = re.compile(
    r"\b(?:not|no|without|prohibit\w*|forbid\w*|forbidden)\b[^.;]{0,80}?"
    r"\b(?:redistribut\w+|distribut\w+|resell|sublicen[cs]\w+|pass(?:ed)? on|shared?)\b",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"^[\s*#-]*(license type|licen[cs]e|author|title|source)\s*:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE
)
_COPYRIGHT = re.compile(r"^[\s*#-]*((?:copyright\b|[^\n]*\(c\))[^\n]*\b\d{4}\b[^\n]*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Licence:
    """What a paper says."""

    name: str
    """Known name, `CC-BY-4.0`, or the paper's own first line."""
    attribution: str | None
    """Whom to name, where the paper says so."""
    no_ai: bool
    """The paper speaks against use for machine learning."""
    path: Path
    non_commercial: bool = False
    no_sharing: bool = False
    """The paper forbids to hand the scan on, or the licence is known for it."""

    @property
    def limits(self) -> tuple[str, ...]:
        """What the user should mind, one line each; nothing here decides for him."""
        said = {
            "speaks against use for machine learning": self.no_ai,
            "allows non-commercial use only": self.non_commercial,
            "forbids to hand the scan on": self.no_sharing,
        }
        return tuple(f"{printable(self.path.name)!r} {what}: read it" for what, holds in said.items() if holds)


def is_paper(name: str) -> bool:
    """Whether a file's name says that it speaks of licences or whom to thank."""
    return _PAPERS.search(name) is not None


def licence_papers(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """The files that by their names say something about licences, by folder."""
    papers: dict[Path, list[Path]] = {}
    for file in files:
        if file.suffix.lower() in _TEXTS and is_paper(file.name):
            papers.setdefault(file.parent, []).append(file)
    return papers


def find_licence(mesh: Path, root: Path, papers: Mapping[Path, Sequence[Path]]) -> Licence | None:
    """The nearest paper that says something about a mesh: in its folder, or above it up to `root`; None if none does.

    Several papers of one folder are read in order, one named like the mesh first.
    """
    folder = mesh.parent
    while folder.is_relative_to(root):
        named = sorted(papers.get(folder, ()), key=lambda p: (mesh.stem.casefold() not in p.stem.casefold(), p.name))
        for paper in named:
            if (found := read_licence(paper)) is not None:
                return found
        folder = folder.parent
    return None


def header_licence(mesh: Path) -> Licence | None:
    """What the comments at the beginning of an OBJ or PLY say about its licence; None where they say nothing."""
    mark = _COMMENTS.get(mesh.suffix.lower())
    if mark is None:
        return None
    lines = []
    for line in _beginning(mesh).splitlines():
        if line.startswith(mark):
            lines.append(line.removeprefix(mark))
        elif line.startswith(("v ", "end_header")):
            break
    return licence_in("\n".join(lines), mesh)


def read_licence(path: Path) -> Licence | None:
    """What a paper says; None where it says nothing about a licence."""
    return licence_in(_beginning(path), path)


def licence_in(text: str, path: Path) -> Licence | None:
    """What a paper's text says; None where it says nothing about a licence. path: the paper, to be named."""
    fields = {key.lower().replace("licence", "license"): value.strip() for key, value in reversed(_FIELD.findall(text))}
    said = fields.get("license type") or fields.get("license") or ""
    name = known_licence(said) or known_licence(text) or _line(said)
    if name is None:
        return None
    parts = [f'"{fields["title"]}"' if "title" in fields else None, fields.get("author") and f"by {fields['author']}",
             fields.get("source")]  # fmt: skip
    own = not _OPEN.match(name)  # open licences say "not" of much that they allow
    return Licence(
        name=name,
        attribution=_line(" ".join(part for part in parts if part)) or _holder(text),
        no_ai=_NO_AI.search(text) is not None,
        path=path,
        non_commercial="-NC" in name or (own and _NON_COMMERCIAL.search(text) is not None),
        no_sharing=own and (name in _NOT_HANDED_ON or _NO_SHARING.search(text) is not None),
    )


def _beginning(path: Path) -> str:
    """The first 64 KiB as text; empty where the file cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def known_licence(text: str) -> str | None:
    """The name of the licence that a text speaks of, `CC-BY-4.0`; None if it is none of those known by name.

    Every such name reads as itself.
    """
    for words, name in _KNOWN:
        if re.search(words, text, re.IGNORECASE | re.DOTALL):
            version = _VERSION.search(text) if name.startswith("CC-BY") else None
            return f"{name}-{version[1]}" if version else name
    return None


def _holder(text: str) -> str | None:
    """The first line that says who holds the copyright since when: open licences ask to repeat it."""
    held = _COPYRIGHT.search(text)
    return _line(held[1]) if held else None


def _line(text: str) -> str | None:
    return "".join(c if c.isprintable() else " " for c in text).strip()[:_LONGEST] or None
