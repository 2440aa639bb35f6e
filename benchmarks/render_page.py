"""One page with pieces of every case at their own size, for the eye to find smear and halos that a figure hides."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from render_cases import Case
from render_ours import Ours
from render_references import CROP_PX, CROP_SPP, Reference

#: Times that differences are enlarged.
AMPLIFIED = 8
#: The beginning of a page.
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Render benchmark</title>
<meta name="viewport" content="width=device-width">
<style>
body { margin: 2rem auto; max-width: 106rem; padding: 0 1.5rem; background: #2b2b2b; color: #d6d6d6;
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; font-weight: 600; color: #f0f0f0; }
h2 { font-size: 1rem; font-weight: 600; color: #f0f0f0; margin: 2.2rem 0 .5rem; }
p { max-width: 60rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, calc(var(--columns) * 208px - 16px)); gap: 0 3rem; }
.crops { display: grid; grid-template-columns: repeat(var(--columns), 192px); gap: .75rem 16px; }
figure { margin: 0; }
img { display: block; image-rendering: pixelated; background: #000; }
figcaption { font-size: 12.5px; color: #b4b4b4; padding-top: .25rem; font-variant-numeric: tabular-nums; }
</style></head><body>
"""


def write_page(path: Path, cases: Sequence[Case], ours: Sequence[Ours], references: Sequence[Reference]) -> None:
    """A self-contained page: by case the reference's crop, each preset's, and how they differ, amplified."""
    presets = list(ours[0].rgb)
    parts = [HEAD, "<h1>Render benchmark: pieces at their own size</h1>\n"]
    parts.append(
        f"<p>Each crop is {CROP_PX} x {CROP_PX} pixels of a picture of {cases[0].recipe.camera.width} x "
        f"{cases[0].recipe.camera.height}, pixel for pixel. The reference has {CROP_SPP} paths per pixel and no "
        f"denoiser: it is noisy itself, so look for structure in the differences, not for grain. Differences are "
        f"absolute, {AMPLIFIED} times as large. PSNR is that of the benchmark: over the subject, in four windows of "
        f"the whole picture, against far more paths.</p>\n"
    )
    parts.append(f'<main style="--columns: {1 + len(presets)}">\n')
    for case, made, reference in zip(cases, ours, references, strict=True):
        crops = {preset: made.rgb[preset][reference.crop_window] for preset in presets}
        parts.append(f'<section><h2>{escape(case.name)}</h2>\n<div class="crops">\n')
        parts.append(figure(reference.crop, f"reference, {CROP_SPP} spp"))
        for preset, crop in crops.items():
            score, seconds = reference.score(made.rgb[preset]), made.total(preset)
            parts.append(figure(crop, f"{preset}: {score:.1f} dB, {seconds:.1f} core-s"))
        parts.append("<span></span>\n")  # differences stand below their pictures
        for preset, crop in crops.items():
            parts.append(figure(difference(crop, reference.crop), f"|{preset} - reference| x {AMPLIFIED}"))
        parts.append("</div></section>\n")
    parts.append("</main></body></html>\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(parts))


def difference(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Absolute, AMPLIFIED times as large, of 8-bit values."""
    error = np.abs(picture.astype(np.int16) - reference)
    return np.minimum(error * AMPLIFIED, 255).astype(np.uint8)


def figure(pixels: np.ndarray, caption: str) -> str:
    """HTML of a picture at its own size."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    h, w = pixels.shape[:2]
    return (
        f'<figure><img width="{w}" height="{h}" alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )
