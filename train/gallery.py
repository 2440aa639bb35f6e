"""The worst images of an evaluation on one page: picture, truth, prediction, error, and the figures of each.

Names come from datasets and folders of strangers: they are escaped, and the page runs no script.
"""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from synth.report_file import replacing
from train.evaluate import Row
from train.examples import Example
from train.metrics import DepthError
from train.panel import COLUMNS, panel_row
from train.predict import Maps

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #1c1c1c }
figure { margin: 0 0 2rem } img { width: 100%; display: block; background: #000 } figcaption { margin-top: .4rem }
pre { overflow-x: auto; background: #f3f3f1; padding: .8rem } h1 { font-size: 1.4rem } .figures { color: #555 }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #e6e6e6 } pre { background: #222 } .figures { color: #aaa }
}
"""
_HEIGHT = 288


def write_gallery(path: Path, title: str, table: Iterable[str], worst: Iterable[tuple[Example, Maps, Row]]) -> int:
    """Writes the page, one file with all pictures inside; how many there are. table: lines of text above them."""
    figures = [_figure(*one) for one in worst]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<pre>{html.escape(chr(10).join(table))}</pre>"
        f"<p>The worst {len(figures)} images, worst first. Each row: {html.escape(COLUMNS)}.</p>"
        f"{''.join(figures)}</html>"
    )
    with replacing(path) as file:
        file.write(page.encode())
    return len(figures)


def _figure(example: Example, maps: Maps, row: Row) -> str:
    buffer = io.BytesIO()
    Image.fromarray(panel_row(example, maps, _HEIGHT)).save(buffer, "JPEG", quality=90, subsampling=0)
    picture = base64.b64encode(buffer.getvalue()).decode()
    about = ", ".join(f"{group} {value}" for group, value in example.groups.items())
    figures = "; ".join(_words(kind, error) for kind, error in row.errors.items())
    return (
        f'<figure><img alt="{html.escape(f"{example.name}: {COLUMNS}")}" src="data:image/jpeg;base64,{picture}">'
        f"<figcaption><b>{html.escape(example.name)}</b> {html.escape(about)}<br>"
        f'<span class="figures">{html.escape(figures)}</span></figcaption></figure>'
    )


def _words(kind: str, error) -> str:
    if isinstance(error, DepthError):
        return f"{kind.replace('_', ' ')}: rmse {error.rmse_m:.4f} m, abs_rel {error.abs_rel:.4f}"
    return f"{kind}: mean {error.mean_deg:.2f}, median {error.median_deg:.2f} degrees"
