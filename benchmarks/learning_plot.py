"""What `benchmarks/learning.py` found, for people: a table in Markdown and a curve as SVG."""

from collections.abc import Iterator

import numpy as np

_UNITS = {"normal": "mean error, degrees", "depth": "RMSE after scale and shift, m"}
_COLOURS = {"normal": "#3366cc", "depth": "#228855"}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 380, 60, 20, 20, 60


def table(found: dict, task: str) -> Iterator[str]:
    """Lines: baselines, then each size with the mean of its seeds, their range, and shares of the first baseline."""
    baselines = found["baselines"][task]
    first = next(iter(baselines.values()))
    yield f"| {task}, split test | {_UNITS[task]} | seeds: least to most | of the baseline |"
    yield "|---|---|---|---|"
    for name, error in baselines.items():
        yield f"| baseline: {name} | {error:.4g} | | {error / first:.3f} |"
    for samples, errors in errors_by_size(found, task).items():
        spread = f"{min(errors):.4g} to {max(errors):.4g} ({len(errors)})"
        yield f"| {samples} samples | {np.mean(errors):.4g} | {spread} | {np.mean(errors) / first:.3f} |"


def breakdown(found: dict, task: str, group: str, kind: str, figure: str) -> Iterator[str]:
    """Lines: the largest size's error in each part of the test split, mean of seeds."""
    largest = max(errors_by_size(found, task))
    runs = [run["test"]["groups"][group] for run in found["runs"] if (run["task"], run["samples"]) == (task, largest)]
    yield f"| {task}, {largest} samples, by {group} | images | {_UNITS[task]} |"
    yield "|---|---|---|"
    for value, figures in runs[0].items():
        error = np.mean([run[value][kind][figure] for run in runs])
        yield f"| {value} | {figures['images']} | {error:.4g} |"


def errors_by_size(found: dict, task: str) -> dict[int, list[float]]:
    """Number of training samples -> error of each seed, ascending."""
    runs = [run for run in found["runs"] if run["task"] == task]
    return {n: [r["error"] for r in runs if r["samples"] == n] for n in sorted({r["samples"] for r in runs})}


def curve(found: dict, most: float) -> str:
    """An SVG: share of the baseline's error over the number of samples; lines through means, a dot for each seed."""
    sizes = sorted({run["samples"] for run in found["runs"]})
    low, high = np.log(sizes[0]) - 0.3, np.log(sizes[-1]) + 0.3
    shares = {
        task: {n: [e / next(iter(baselines.values())) for e in errors] for n, errors in errors_by_size(found, task).items()}
        for task, baselines in found["baselines"].items()
    }  # fmt: skip
    every = [share for of in shares.values() for values in of.values() for share in values]
    bottom, top = np.floor(min(*every, most) * 10 - 0.5) / 10, max(1.05, max(every) + 0.05)

    def x(samples: float) -> float:
        return _LEFT + (np.log(samples) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(share: float) -> float:
        return _TOP + (top - share) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    marks = []
    for value in [*np.arange(bottom, top, 0.1), most]:
        colour = {True: "#cc3333"}.get(abs(value - most) < 1e-6, "#888888" if abs(value - 1) < 1e-6 else "#dddddd")
        marks.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{colour}"/>')
        marks.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    marks += [_text(_WIDTH - _RIGHT, y(1) - 5, "baseline", "end", "#666666"), _text(_WIDTH - _RIGHT, y(most) - 5, "aim", "end", "#cc3333")]
    marks += [_text(x(n), _HEIGHT - _BOTTOM + 20, str(n)) for n in sizes]
    for task, of in shares.items():
        colour = _COLOURS[task]
        path = " ".join(f"{x(n):.1f},{y(np.mean(values)):.1f}" for n, values in of.items())
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marks += [f'<circle cx="{x(n):.1f}" cy="{y(v):.1f}" r="3.5" fill="{colour}"/>' for n, values in of.items() for v in values]
        n, values = next(iter(of.items()))
        marks.append(_text(x(n) + 8, y(np.mean(values)) - 8, task, "start", colour))
    marks.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 18, "rendered training samples; error on unseen people and places, share of the baseline's"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12" font-family="sans-serif">'
    return f'{head}<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>{"".join(marks)}</svg>\n'


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#333333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
