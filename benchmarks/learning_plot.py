"""What `benchmarks/learning.py` found, for people: a table in Markdown and a curve as SVG."""

from collections.abc import Iterator

import numpy as np

_UNITS = {"normal": "mean error, degrees", "depth": "RMSE after scale and shift, m"}
_COLOURS = {"normal": "#3366cc", "depth": "#228855"}
_BASELINE, _AIM, _GRID, _WORDS = "#888888", "#cc3333", "#dddddd", "#333333"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 380, 60, 20, 20, 60


def table(found: dict, task: str) -> Iterator[str]:
    """Lines: baselines, then each size with the mean of its seeds, their range, and the share of the first baseline."""
    baselines = found["baselines"][task]
    first = next(iter(baselines.values()))
    yield f"| {task}, split test | {_UNITS[task]} | seeds: least to most | of the baseline |"
    yield "|---|---|---|---|"
    for name, error in baselines.items():
        yield f"| baseline: {name} | {error:.4g} | | {error / first:.3f} |"
    for samples, errors in errors_by_size(found, task).items():
        spread = f"{min(errors):.4g} to {max(errors):.4g} ({len(errors)})"
        yield f"| {samples} samples | {np.mean(errors):.4g} | {spread} | {np.mean(errors) / first:.3f} |"


def framing_table(found: dict, task: str) -> Iterator[str]:
    """Lines: for each framing the baselines, and the largest size by the mean of its seeds, over the first baseline."""
    known = found["framings"][task]
    first = next(iter(known.values()))
    largest = max(run["samples"] for run in found["runs"])
    runs = [run["framings"] for run in found["runs"] if run["task"] == task and run["samples"] == largest]
    rows = {**{f"baseline: {name}": of for name, of in known.items()},
            f"{largest} samples": {framing: np.mean([run[framing] for run in runs]) for framing in first}}  # fmt: skip
    yield f"| {task}, {_UNITS[task]} | {' | '.join(first)} |"
    yield "|---" * (len(first) + 1) + "|"
    for name, of in rows.items():
        cells = (f"{error:.4g} ({error / first[framing]:.3f})" for framing, error in of.items())
        yield f"| {name} | {' | '.join(cells)} |"


def errors_by_size(found: dict, task: str) -> dict[int, list[float]]:
    """Number of training samples -> error of each seed, ascending."""
    runs = [run for run in found["runs"] if run["task"] == task]
    return {n: [r["error"] for r in runs if r["samples"] == n] for n in sorted({r["samples"] for r in runs})}


def shares_by_size(found: dict, task: str) -> dict[int, list[float]]:
    """The same over the error of the first baseline."""
    first = next(iter(found["baselines"][task].values()))
    return {n: [error / first for error in errors] for n, errors in errors_by_size(found, task).items()}


def curve(found: dict, most: float) -> str:
    """An SVG: share of the baseline's error over the number of samples; lines through means, a dot for each seed."""
    shares = {task: shares_by_size(found, task) for task in found["baselines"]}
    every = [share for of in shares.values() for values in of.values() for share in values]
    sizes = sorted({n for of in shares.values() for n in of})
    x = _axis(np.log(sizes[0]) - 0.3, np.log(sizes[-1]) + 0.3, _LEFT, _WIDTH - _RIGHT)
    y = _axis(min(*every, most) - 0.05, max(*every, 1.0) + 0.05, _HEIGHT - _BOTTOM, _TOP)
    marks = []
    for value in np.arange(1, 20) / 10:
        if _TOP <= y(value) <= _HEIGHT - _BOTTOM:
            marks += _level(y(value), f"{value:.1f}", _GRID, "")
    marks += _level(y(1), "", _BASELINE, "baseline") + _level(y(most), "", _AIM, "aim")
    marks += [_text(x(np.log(n)), _HEIGHT - _BOTTOM + 20, str(n)) for n in sizes]
    for task, of in shares.items():
        colour, means = _COLOURS[task], [(x(np.log(n)), y(np.mean(values))) for n, values in of.items()]
        path = " ".join(f"{u:.1f},{v:.1f}" for u, v in means)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        dots = [(x(np.log(n)), y(value)) for n, values in of.items() for value in values]
        marks += [f'<circle cx="{u:.1f}" cy="{v:.1f}" r="3.5" fill="{colour}"/>' for u, v in dots]
        marks.append(_text(means[0][0] + 8, means[0][1] - 8, task, "start", colour))
    said = "rendered training samples; error on unseen people and places, share of the baseline's"
    marks.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 18, said))
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12" font-family="sans-serif"'
    paper = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{paper}{"".join(marks)}</svg>\n'


def _axis(low: float, high: float, start: float, end: float):
    """A straight map of [low, high] to pixels."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _level(y: float, value: str, colour: str, name: str) -> list[str]:
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>'
    return [line, _text(_LEFT - 8, y + 4, value, "end"), _text(_LEFT + 4, y - 5, name, "start", colour)]


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = _WORDS) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
