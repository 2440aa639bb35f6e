"""Pictures at another size: each new pixel is the mean of the area that it covers, none is picked.

A window one texel wide or wider is averaged over texels as squares of one colour. At one texel and below, the window
stays a texel wide, which is linear interpolation between texel centres: both meet without a jump. Used by
`renderers.plate` and `renderers.panorama`.
"""

import numpy as np
from scipy.sparse import csr_matrix

#: Rows of the result made at a time: a plate of 100 megapixels is 1.2 GB as light.
_ROWS = 64


def overlap_shares(low: float, high: float, count: int, size: int) -> csr_matrix:
    """(count, size) float32 shares of `size` texels in `count` pixels that divide [low, high] evenly.

    Texel k covers [k, k + 1]; beyond the first and the last the edge is held. Rows add up to 1.
    """
    step = (high - low) / count
    width = max(step, 1.0)
    first = low + (np.arange(count) + 0.5) * step - width / 2
    texel = np.floor(first).astype(np.int64)[:, None] + np.arange(int(np.ceil(width)) + 1)
    share = np.minimum(first[:, None] + width, texel + 1) - np.maximum(first[:, None], texel)
    share = np.clip(share, 0, None) / width
    rows = np.broadcast_to(np.arange(count)[:, None], texel.shape)
    inside = np.clip(texel, 0, size - 1)
    return csr_matrix((share.ravel().astype(np.float32), (rows.ravel(), inside.ravel())), shape=(count, size))


def resample(
    picture: np.ndarray, rows: csr_matrix, columns: csr_matrix, decode: np.ndarray | None = None
) -> np.ndarray:
    """(H, W, 3) float32 of a picture (h, w, 3) by shares (H, h) and (W, w).

    decode: (256,) float32, linear light of each byte, for a picture of bytes; only what is needed of it is decoded.
    """
    out = np.empty((rows.shape[0], columns.shape[0], 3), np.float32)
    left, right = _reach(columns)
    columns = columns[:, left:right]
    for start in range(0, len(out), _ROWS):
        block = rows[start : start + _ROWS]
        top, bottom = _reach(block)
        texels = np.asarray(picture[top:bottom, left:right])
        texels = texels.astype(np.float32) if decode is None else decode[texels]
        tall = (block[:, top:bottom] @ texels.reshape(bottom - top, -1)).reshape(-1, right - left, 3)
        wide = columns @ np.ascontiguousarray(tall.transpose(1, 0, 2)).reshape(right - left, -1)
        out[start : start + _ROWS] = wide.reshape(columns.shape[0], -1, 3).transpose(1, 0, 2)
    return out


def _reach(shares: csr_matrix) -> tuple[int, int]:
    """First texel that takes part, and one after the last."""
    return int(shares.indices.min()), int(shares.indices.max()) + 1
