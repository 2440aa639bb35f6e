"""One page with pieces of every case at their own size: relight, Cycles with all its paths, and how they differ."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from relight_ours import Relit
from relight_references import HALF_SPP, WHOLE_SPP, Reference
from render_cases import Case
from render_page import AMPLIFIED, HEAD, difference, figure

#: The whole subject is shown with every so many-th row and column.
_STEP = 3


def write_page(path: Path, cases: Sequence[Case], relit: Sequence[Relit], references: Sequence[Reference]) -> None:
    """A self-contained page: by case twelve windows, and a crop and the whole subject where references have them."""
    camera = cases[0].recipe.camera
    parts = [HEAD.replace("Render benchmark", "Relight benchmark")]
    parts.append("<h1>Relight benchmark: pieces at their own size</h1>\n")
    parts.append(
        f"<p>Pieces of pictures of {camera.width} x {camera.height}, pixel for pixel: relight, Cycles with "
        f"{2 * HALF_SPP} paths per pixel and no denoiser, and their absolute difference, {AMPLIFIED} times as large. "
        "Grain in the difference is the reference's. First the twelve windows that PSNR is taken in; then, where a "
        f"case has such references, a crop, and every {_STEP}rd pixel of the whole subject, against {2 * WHOLE_SPP} "
        "paths, so that grain is stronger there.</p>\n"
    )
    parts.append('<main style="--columns: 3">\n')
    for case, made, reference in zip(cases, relit, references, strict=True):
        parts.append(_section(case, made.rgb, reference))
    parts.append("</main></body></html>\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(parts))


def _section(case: Case, rgb: np.ndarray, reference: Reference) -> str:
    """Rows of three pictures: ours, the truth, the difference."""
    scores = [f"{reference.score(rgb):.1f} dB"]
    windows = _side_by_side(np.stack([rgb[window] for window in reference.windows]))
    rows = [(windows, _side_by_side(reference.small_truth), f"{2 * HALF_SPP} spp, twelve windows", 1)]
    if reference.crop is not None:
        rows.append((rgb[reference.crop_window], reference.crop_truth, f"{2 * HALF_SPP} spp", 1))
    if reference.whole is not None:
        scores.append(f"{reference.clean_db(rgb):.1f} dB free of noise")
        rows.append((rgb[reference.box], reference.whole_truth, f"{2 * WHOLE_SPP} spp", _STEP))
    parts = [f'<section><h2>{escape(case.name)}: {", ".join(scores)}</h2>\n<div class="crops">\n']
    for ours, truth, caption, step in rows:
        parts.append(figure(ours[::step, ::step], "relight"))
        parts.append(figure(truth[::step, ::step], f"Cycles, {caption}"))
        parts.append(figure(difference(ours, truth)[::step, ::step], f"|difference| x {AMPLIFIED}"))
    return "".join(parts) + "</div></section>\n"


def _side_by_side(windows: np.ndarray) -> np.ndarray:
    """(12, h, w, 3) as one picture of three rows."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in np.split(windows, 3)])
