"""Prepared backgrounds on disk: a plain array and its facts, under the hash of the picture they were made from.

A panorama is float32 light, a plate is uint8 sRGB. No other reader ever sees a stranger's picture.
"""

import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np

from synth.backgrounds_picture import BadPicture

#: Goes into the address of every prepared picture: a changed preparation is a changed file.
PREPARE_VERSION = 2


def load_panorama(store: Path, sha256: str) -> np.ndarray:
    """The prepared panorama (h, w, 3) float32, linear Rec. 709, row 0 the zenith, memory-mapped."""
    return np.load(_folder(store, sha256) / "panorama.npy", mmap_mode="r", allow_pickle=False)


def load_plate(store: Path, sha256: str) -> np.ndarray:
    """The prepared plate (h, w, 3) uint8, sRGB, upright, row 0 on top, memory-mapped."""
    return np.load(_folder(store, sha256) / "plate.npy", mmap_mode="r", allow_pickle=False)


def read_facts(store: Path, sha256: str) -> dict | None:
    """What was found out about a picture when it was prepared; None where it was not."""
    file = _folder(store, sha256) / "facts.json"
    return json.loads(file.read_text()) if file.is_file() else None


def write_prepared(store: Path, sha256: str, name: str, pixels: np.ndarray, facts: dict) -> None:
    """Stores an array as `<name>.npy` with its facts; all of it or nothing, and the first of several wins."""
    folder = _folder(store, sha256)
    store.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=store))
    np.save(temporary / f"{name}.npy", np.ascontiguousarray(pixels), allow_pickle=False)
    (temporary / "facts.json").write_text(json.dumps(facts))
    try:
        os.rename(temporary, folder)
    except OSError:
        if not (folder / "facts.json").is_file():  # anything but "another process was first"
            raise
        for file in temporary.iterdir():
            file.unlink()
        temporary.rmdir()


def _folder(store: Path, sha256: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise BadPicture(f"{sha256!r} is not a sha256")
    return store / f"{sha256[:32]}-v{PREPARE_VERSION}"
