"""Names of what may be done to samples before they are learnt from."""

from collections.abc import Callable
from functools import partial

import numpy as np

from train.augment import Arrays, Augment, Plate, augment
from train.augment_official import official_v1_depth, official_v1_normal, official_v2

#: (sample, (H, W) of the frame, generator, reader of a picture to put behind or None) -> sample.
Recipe = Callable[[Arrays, tuple[int, int], np.random.Generator, Plate | None], Arrays]

OURS = Augment(
    zoom=(1.0, 2.5), zoomed=0.6, flip=0.5, turn_deg=20, turned=0.3, colour=0.4, blur=0.15, noise=0.2, jpeg=0.2,
    resample=0.15, plate=0.5,
)  # fmt: skip

#: For pictures that are all of one kind, and small models that begin from nothing.
LIGHT = Augment(flip=0.5, colour=0.3)

#: None: pictures as they are, whole in the frame.
PRESETS: dict[str, Recipe | None] = {
    "ours": partial(augment, how=OURS),
    "light": partial(augment, how=LIGHT),
    "none": None,
    "official_v1_depth": official_v1_depth,
    "official_v1_normal": official_v1_normal,
    "official_v2": official_v2,
}
