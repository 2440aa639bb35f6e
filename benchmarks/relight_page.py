"""One page with a piece of every case at its own size: relight, Cycles with all its paths, and how they differ."""

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
    """A self-contained page: by case three crops, and the whole subject small."""
    camera = cases[0].recipe.camera
    parts = [HEAD.replace("Render benchmark", "Relight benchmark")]
    parts.append("<h1>Relight benchmark: pieces at their own size</h1>\n")
    parts.append(
        f"<p>Crops of pictures of {camera.width} x {camera.height}, pixel for pixel: relight, Cycles with "
        f"{2 * HALF_SPP} paths per pixel and no denoiser, and their absolute difference, {AMPLIFIED} times as large. "
        f"Grain in the difference is the reference's. Below, every {_STEP}rd pixel of the whole subject, against "
        f"{2 * WHOLE_SPP} paths, so that grain is stronger there. Figures are over the subject: PSNR in twelve windows "
        "of it against the same number of paths, and over all of it free of the reference's noise.</p>\n"
    )
    parts.append('<main style="--columns: 3">\n')
    for case, made, reference in zip(cases, relit, references, strict=True):
        if reference.crop is not None and reference.whole is not None:
            parts.append(_section(case, made.rgb, reference))
    parts.append("</main></body></html>\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(parts))


def _section(case: Case, rgb: np.ndarray, reference: Reference) -> str:
    crop, truth = rgb[reference.crop_window], reference.crop_truth
    scores = f"{reference.score(rgb):.1f} dB, {reference.clean_db(rgb):.1f} dB free of noise"
    parts = [f'<section><h2>{escape(case.name)}: {scores}</h2>\n<div class="crops">\n']
    parts.append(figure(crop, "relight"))
    parts.append(figure(truth, f"Cycles, {2 * HALF_SPP} spp"))
    parts.append(figure(difference(crop, truth), f"|difference| x {AMPLIFIED}"))
    whole = np.clip(np.rint(reference.whole.mean(axis=0)), 0, 255).astype(np.uint8)
    box = rgb[reference.box]
    for pixels, caption in (
        (box, "relight"),
        (whole, f"Cycles, {2 * WHOLE_SPP} spp"),
        (difference(box, whole), f"|difference| x {AMPLIFIED}"),
    ):
        parts.append(figure(pixels[::_STEP, ::_STEP], caption))
    return "".join(parts) + "</div></section>\n"
