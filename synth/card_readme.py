"""The README of a version, section by section; what limits its use stands before all else."""

from collections import Counter
from collections.abc import Mapping, Sequence

import yaml

from synth.card_front import HUB_SPLIT
from synth.card_markdown import bars, fenced, plain, spread_block, table
from synth.card_measure import SPREADS, Figures
from synth.card_rights import TERMS, Right
from synth.card_subject import Subject
from synth.card_words import bibtex, counted, limits, published, summary
from synth.scans_files import printable

#: Names in one line, and values of a distribution; the rest is counted.
_NAMED = 8
_MOST_BARS = 24

#: Titles, in their order: whoever reads one card finds his way in all.
SECTIONS = (
    "At a glance", "Reading it", "Licences and attributions", "Splits", "What a sample holds", "Conventions",
    "Distributions", "Flags and refusals", "Known limits", "How it was made", "Citation",
)  # fmt: skip


def readme_text(subject: Subject, warnings: Sequence[str], instead: Mapping[str, str] | None = None) -> str:
    """Markdown without the front matter. instead: sections that are written otherwise, by title."""
    writers = (
        _glance, _reading, _licences, _splits, _members, _conventions, _distributions, _flags, _limits, _making,
        _citation,
    )  # fmt: skip
    title = f"# {plain(subject.name)}{f' {subject.number}' if subject.number else ''}\n"
    parts = [title, *_warning_block(warnings), summary(subject) + "\n"]
    for section, write in zip(SECTIONS, writers, strict=True):
        parts += [f"## {section}\n", (instead or {}).get(section) or write(subject)]
    return "\n".join(parts).rstrip() + "\n"


def licences_text(subject: Subject, warnings: Sequence[str]) -> str:
    """A page of what may be done with the images, alone."""
    parts = [f"# Licences of {plain(subject.name)}\n", *_warning_block(warnings), _licences(subject)]
    return "\n".join(parts).rstrip() + "\n"


def warnings_of(rights: Sequence[Right]) -> list[str]:
    """What licences forbid or leave open, gravest first, one line for each, with the assets it holds for."""
    lines = []
    for term, means in TERMS.items():
        held = [right for right in rights if term in right.terms]
        for word in ("scan", "background"):
            named = [right for right in held if (right.kind == "scan") == (word == "scan")]
            if named:
                names = [f"{_short(right.name)} ({counted(right.images, 'image')})" for right in named[:_NAMED]]
                more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
                lines.append(f"The licence of {counted(len(named), word)} {means}: {', '.join(names)}{more}.")
    return lines


def _warning_block(warnings: Sequence[str]) -> list[str]:
    if not warnings:
        return []
    lines = [f"> - {plain(warning, 2000)}" for warning in warnings]
    return ["\n".join(["> **What may be done with these images is limited.**", ">", *lines, ""])]


def _glance(subject: Subject) -> str:
    figures, made = subject.figures, subject.origin.made
    tag = subject.origin.tag
    size = sum(shard["bytes"] for shard in subject.manifest["shards"])
    day = published(tag)
    version = f"{tag.number}{f', {day}' if day else ''}" if tag else "not tagged"
    rows = [
        ("version", version),
        *([("what it is", plain(tag.message))] if tag and tag.message else []),
        ("samples", f"{figures.samples:,}"),
        ("people", f"{len(figures.counts['people']):,}"),
        ("scans", f"{len(figures.counts['scans']):,} of {len(made.assets.scans):,} in the library"),
        ("backgrounds seen", f"{len(figures.counts['background']):,} of {len(made.assets.backgrounds):,}"),
        ("size", f"{size / 1e6:,.1f} MB, shards: {len(subject.manifest['shards']):,}"),
        ("root", f"`{made.root}`"),
        ("spec", f"`{made.spec_sha256}`"),
    ]
    return table(("", ""), rows)


def _reading(subject: Subject) -> str:
    version = f"@{subject.number}" if subject.number else ""
    return (
        "Shards are plain tar files in WebDataset naming; `indexes/` holds one Parquet row for every sample.\n\n"
        + fenced(
            "from synth.store import open_version\n"
            f'dataset = open_version("{subject.name}{version}")\n'
            "sample = dataset[0]\n"
            "sample.rgb, sample.depth_m, sample.normal, sample.mask",
            "python",
        )
        + "\nThe Hub's viewer and `datasets` read the same shards. A shard holds samples of all splits: take `split` "
        "from the sample's `json`.\n\n"
        + fenced(
            "from datasets import load_dataset\n"
            f'samples = load_dataset("{subject.name}", split="{HUB_SPLIT}", streaming=True)\n'
            'train = samples.filter(lambda sample: sample["json"]["split"] == "train")',
            "python",
        )
    )


def _licences(subject: Subject) -> str:
    scans = [right for right in subject.rights if right.kind == "scan"]
    backgrounds = [right for right in subject.rights if right.kind != "scan"]
    head = ("licence", "attribution", "images", "who says so")
    parts = [
        "Of every scan that is seen, and of every background that is seen or may have lit a scene. The images are made "
        "from all of them; what each licence asks holds for its images.\n",
        table(("scan", *head), [_right_row(right) for right in scans]),
    ]
    if backgrounds:
        rows = [(right.kind, *_right_row(right)) for right in backgrounds]
        parts.append(table(("kind", "background", *head), rows))
    return "\n".join(parts)


def _right_row(right: Right) -> tuple:
    licence = plain(right.licence) if right.licence else "**unknown**"
    return plain(right.name), licence, plain(right.attribution or "-"), right.images, right.source


def _splits(subject: Subject) -> str:
    rows = [(plain(s.name), s.samples, s.people, s.scans, s.backgrounds) for s in subject.figures.splits]
    return (
        "By person, and backgrounds likewise: nobody and no place of one split is seen in another.\n\n"
        if _disjoint(subject)
        else "People stand in more than one split: scores on them are not those of strangers.\n\n"
    ) + table(("split", "samples", "people", "scans", "backgrounds"), rows)


def _disjoint(subject: Subject) -> bool:
    """Whether no person and no background is counted in two splits."""
    splits, counts = subject.figures.splits, subject.figures.counts
    people, places = sum(s.people for s in splits), sum(s.backgrounds for s in splits)
    return people == len(counts["people"]) and places == len(counts["background"])


def _members(subject: Subject) -> str:
    figures = subject.figures
    rows = []
    for extension, (samples, size) in figures.member_bytes.items():
        facts = subject.origin.made.members.get(extension, {})
        rest = [f"{key} {value}" for key, value in sorted(facts.items()) if key != "quantity"]
        means = "; ".join([str(facts.get("quantity", "?")), *rest])
        rows.append((f"`ID.{extension}`", plain(means), samples, f"{size / samples / 1e3:.1f} kB"))
    return table(("member", "what it is", "samples", "mean size"), rows)


def _conventions(subject: Subject) -> str:
    return table(("", ""), [(plain(key), plain(text)) for key, text in sorted(subject.origin.made.conventions.items())])


def _distributions(subject: Subject) -> str:
    figures = subject.figures
    parts = [_counts_block("framing", figures.counts["framing"])]
    parts += [spread_block(*SPREADS[name], spread) for name, spread in figures.spreads.items()]
    parts += [_counts_block("backgrounds", figures.counts["background"])]
    parts += [_counts_block("people", figures.counts["people"])]
    return "Samples in each bin.\n\n" + "\n".join(fenced(part) for part in parts)


def _counts_block(title: str, counts: Counter) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked[:_MOST_BARS]
    lines = bars([_short(name) for name, _ in shown], [count for _, count in shown])
    if len(ranked) > _MOST_BARS:
        rest = [count for _, count in ranked[_MOST_BARS:]]
        lines += f"\nand {len(rest):,} more, {rest[-1]:,} to {rest[0]:,} samples each"
    return f"{title}, samples\n{lines}"


def _short(name: str) -> str:
    line = printable(" ".join(name.split()))
    return line if len(line) <= 40 else f"{line[:39]}…"


def _flags(subject: Subject) -> str:
    figures = subject.figures
    total = figures.samples
    flags = [
        (plain(name), count, f"{count / total:.1%}")
        for name, count in sorted(figures.counts["flags"].items(), key=lambda item: (-item[1], item[0]))
    ]
    refused = sorted(figures.counts["refused"].items(), key=lambda item: (-item[1], item[0]))
    attempts = sum(figures.counts["refused"].values())
    parts = [table(("flag", "samples", "share"), flags) if flags else "No sample has a flag.\n"]
    parts.append(
        f"Refused and drawn again: {attempts:,} of {attempts + total:,} attempts"
        + (f" ({', '.join(f'{plain(name)} {count:,}' for name, count in refused)})" if refused else "")
        + ". Every sample that is here passed its checks.\n"
    )
    return "\n".join(parts)


def _limits(subject: Subject) -> str:
    return "\n".join(f"- {plain(limit)}" for limit in limits(subject)) + "\n"


def _making(subject: Subject) -> str:
    figures, made = subject.figures, subject.origin.made
    total = sum(seconds for _, seconds in figures.core_seconds.values())
    rows = [_environment_row(subject, entry) for entry in made.environments]
    config = yaml.safe_dump(subject.origin.spec.get("config", {}), sort_keys=True, allow_unicode=True, width=110)
    return "\n".join(
        [
            f"Cost: {total / 3600:.3g} core-hours of rendering, refused attempts included{_each(figures)}.\n",
            table(("environment", "samples", "core-hours", "what it is"), rows),
            "Image *i* is a function of the ranges below, the library, the seed "
            f"({plain(str(subject.origin.spec.get('seed')))}) and *i*: `synth dataset rerender` makes it again.\n",
            "<details><summary>The ranges that were drawn from</summary>\n",
            fenced(config, "yaml"),
            "</details>\n",
        ]
    )


def _each(figures: Figures) -> str:
    if figures.seconds is None:
        return ""
    low, middle, high = (f"{seconds:.3g}" for seconds in figures.seconds.percentiles)
    return f" ({middle} core-seconds a sample; 5 % take less than {low}, 5 % more than {high})"


def _environment_row(subject: Subject, entry) -> tuple:
    facts = ", ".join(f"{plain(name)} {plain(value)}" for name, value in sorted((entry.facts or {}).items()))
    _, seconds = subject.figures.core_seconds.get(entry.env_id, (0, 0.0))
    return plain(entry.env_id), entry.samples, f"{seconds / 3600:.3g}", facts or "unknown"


def _citation(subject: Subject) -> str:
    return fenced(bibtex(subject), "bibtex") + "\nName also those whom the licences above ask to name.\n"
