"""Sentences that a card says more than once: what it is, what it cannot do, how to cite it."""

from datetime import datetime

from synth.card_subject import Subject
from synth.splits import SPLITS
from synth.store_tag import Tag

#: A judgement, not a measurement.
_FEW_PEOPLE = 20


def summary(subject: Subject) -> str:
    """One sentence with counts."""
    figures = subject.figures
    sizes = ", ".join(f"{width} wide, {height} high" for width, height in sorted(figures.sizes)[:4])
    return (
        f"{figures.samples:,} synthetic images of people ({sizes}, in pixels) with exact depth and surface normals, "
        f"rendered from {counted(len(figures.counts['scans']), 'scan')} of "
        f"{counted(len(figures.counts['people']), 'person', 'people')} before "
        f"{counted(len(figures.counts['background']), 'background')}."
    )


def limits(subject: Subject) -> list[str]:
    """What the images cannot teach, and what is not known of them; one sentence or two each, plain text."""
    figures, film = subject.figures, _settings(subject, "film")
    fewest, most = figures.subjects
    said = [
        f"Every image shows {'one person' if most == 1 else f'{fewest} to {most} people'}, in the pose in which they "
        "were scanned: nobody moves, and there is no motion blur and no depth of field.",
        "People are composited before their background and lit by a panorama: they cast no shadow on it, touch nothing "
        "in it, and hide behind nothing.",
        "Labels are those of the scans' surfaces. Where a scan is wrong (fused fingers, hair as a solid, closed gaps), "
        "depth and normals are exactly as wrong.",
    ]
    if film.get("material") == "diffuse":
        said.append("Surfaces are matte: highlights are those that the scans' textures hold, and stay where they were.")
    if film.get("engine") == "analytic":
        said.append("Rendered by the analytic engine, a stand-in for tests: people are ellipsoids.")
    said += _gaps(subject)
    return said


def _gaps(subject: Subject) -> list[str]:
    figures = subject.figures
    said = []
    few = [f"{split.people} in {split.name}" for split in figures.splits if split.people < _FEW_PEOPLE]
    if few:
        said.append(
            f"Few people: {', '.join(few)}. With fewer than {_FEW_PEOPLE} a score says more about them than about the "
            "model."
        )
    missing = [name for name in SPLITS if name not in {split.name for split in figures.splits}]
    if missing:
        said.append(f"There is no split {' and no split '.join(missing)}.")
    soft = figures.counts["flags"]["soft_background"]
    if soft:
        share = soft / figures.samples
        said.append(
            f"{share:.0%} of the images (flag soft_background) magnify their background so far that it is visibly "
            "softer than the person."
        )
    said.append(
        "Age, sex, skin tone, build and clothing of the people are not recorded: nothing here says whom they stand for."
    )
    unknown = sum(environment.facts is None for environment in subject.origin.made.environments)
    if unknown:
        said.append(f"Of {counted(unknown, 'environment')} only the id is known, not the software.")
    return said


def published(tag: Tag | None) -> str | None:
    """The day of a tag, ISO 8601, as far as it names one."""
    try:
        return datetime.fromisoformat(tag.created).date().isoformat() if tag else None
    except ValueError:
        return None


def bibtex(subject: Subject) -> str:
    """An entry for whoever uses the version; the year is that of its tag."""
    tag, root = subject.origin.tag, subject.origin.made.root
    version = f"version {tag.number}" if tag else "an untagged version"
    day = published(tag)
    year = f"  year = {{{day[:4]}}},\n" if day else ""
    makers = sorted({(e.facts or {}).get("synth", "") for e in subject.origin.made.environments} - {""})
    made = f", made with synth {' and '.join(makers)}" if makers and all(map(_is_version, makers)) else ""
    return (
        f"@misc{{{subject.name},\n  title = {{{subject.name}, {version}}},\n{year}"
        f"  note = {{root sha256:{root}{made}}}\n}}"
    )


def _is_version(text: str) -> bool:
    return len(text) < 40 and all(c.isalnum() or c in ".+-" for c in text)


def _settings(subject: Subject, group: str) -> dict:
    config = subject.origin.spec.get("config")
    found = config.get(group) if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 scan`, `2 scans`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
