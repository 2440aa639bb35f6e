"""Labels held against what does not come from them: Cycles' own depth, and what a person can look like.

A wrong pose, lens or mesh on either side shows in the depth that Cycles returns with every colour render, sampled at
the pixel centre: a check of each frame that costs nothing.
"""

import numpy as np

from renderers.raycast import Labels
from synth.sample import BadSample, LabelCounts

#: Share of the subject's pixels whose depth may differ from Cycles' by more than the tolerance, a share of the depth:
#: silhouettes where single precision decides otherwise. Measured on real scans: at most 0.00007 differ by 1e-4.
_MAX_DEPTH_MISMATCH = 0.002
_DEPTH_TOLERANCE = 2e-4
#: Share of the subject's pixels that may show the inside of its mesh: a hollow head from behind is no person, but
#: locks of hair and a skirt show theirs.
_MAX_BACK_FACES = 0.3
#: Cycles' depth is 1e10 where nothing is.
_NO_DEPTH = 1e9


def check_subject(labels: Labels) -> None:
    """Raises BadSample("no_subject") where there is none, and BadSample("back_faces") where it is seen inside out."""
    subject = np.count_nonzero(labels.instance)
    if not subject:
        raise BadSample("no_subject", "no pixel centre meets a subject")
    inside_out = np.count_nonzero(labels.back) / subject
    if inside_out > _MAX_BACK_FACES:
        raise BadSample("back_faces", f"{inside_out:.0%} of what is seen is the inside of an open scan")


def check_depth(labels: Labels, depth: np.ndarray, window: tuple[slice, slice]) -> None:
    """Holds Cycles' depth, (h, w) of the window, against the labels; veiled pixels are left out.

    Raises BadSample("depth_mismatch").
    """
    ours = labels.depth_m[window].astype(np.float64)
    seen, cycles_seen = np.isfinite(ours), depth < _NO_DEPTH
    certain = ~labels.veiled[window]
    with np.errstate(invalid="ignore"):
        far = np.abs(ours - depth) > _DEPTH_TOLERANCE * ours
    wrong = certain & ((seen != cycles_seen) | (seen & cycles_seen & far))
    share = wrong.sum() / max(1, (certain & seen).sum())
    if share > _MAX_DEPTH_MISMATCH:
        raise BadSample("depth_mismatch", f"labels and Cycles' depth differ on {share:.1%} of the subject")


def count_labels(labels: Labels) -> LabelCounts:
    """What a trainer may want to know of the subject's pixels."""
    subject = labels.instance > 0
    return LabelCounts(
        back_faces=np.count_nonzero(labels.back & subject),
        leaning_normals=np.count_nonzero(labels.leaning & subject),
        unproven_depth=np.count_nonzero(labels.veiled & subject),
    )
