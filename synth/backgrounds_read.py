"""Child process that reads strangers' pictures: `python -m synth.backgrounds_read JOB STORE`.

JOB/paths.json names the files. Each becomes a prepared background in STORE and one line in JOB/outcomes.jsonl, written
as soon as it is known: where the lines end, the file that killed this process is the next one. Decoders in C may crash
on mangled bytes, and nothing in Python could catch that. Started by `synth.backgrounds_prepare`.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from synth.backgrounds_clean import clean_light
from synth.backgrounds_exr import read_exr
from synth.backgrounds_hdr import read_hdr
from synth.backgrounds_light import project_light
from synth.backgrounds_photo import check_plate, is_panorama, linear_from_srgb8, read_photo
from synth.backgrounds_picture import BadPicture, check_panorama_size, picture_kind
from synth.backgrounds_store import read_facts, write_prepared

_SOFT = "low dynamic range: soft light, no sun"


def prepare_picture(data: bytes, store: Path) -> str:
    """Stores a picture's bytes as a prepared panorama or plate; returns its sha256. Raises BadPicture."""
    sha256 = hashlib.sha256(data).hexdigest()
    if read_facts(store, sha256) is not None:
        return sha256
    kind = picture_kind(data)
    if kind == "photo":
        _prepare_photo(data, store, sha256)
    elif kind == "exr":
        _prepare_light(*read_exr(data), store, sha256)
    else:
        _prepare_light(read_hdr(data), [], store, sha256)
    return sha256


def main(job: Path, store: Path) -> None:
    """Prepares all files of a job, in order."""
    with (job / "outcomes.jsonl").open("w") as outcomes:
        for path in json.loads((job / "paths.json").read_text()):
            outcomes.write(json.dumps(_outcome(Path(path), store)) + "\n")
            outcomes.flush()


def _outcome(path: Path, store: Path) -> dict:
    try:
        data = path.read_bytes()
    except OSError as error:
        return {"refused": f"cannot be read ({error.strerror})"}
    try:
        return {"sha256": prepare_picture(data, store)}
    except BadPicture as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": "needs more memory than there is"}


def _prepare_photo(data: bytes, store: Path, sha256: str) -> None:
    pixels, warnings = read_photo(data)
    if is_panorama(pixels):
        height, width = pixels.shape[:2]
        check_panorama_size(width, height)
        _prepare_light(linear_from_srgb8(pixels), [*warnings, _SOFT], store, sha256)
        return
    check_plate(pixels)
    height, width = pixels.shape[:2]
    facts = {"kind": "plate", "width_px": width, "height_px": height, "notes": [], "warnings": warnings}
    write_prepared(store, sha256, "plate", pixels, facts)


def _prepare_light(pixels: np.ndarray, warnings: list[str], store: Path, sha256: str) -> None:
    panorama, notes, mended = clean_light(pixels)
    height, width = panorama.shape[:2]
    facts = {
        "kind": "hdri",
        "width_px": width,
        "height_px": height,
        "irradiance_sh": project_light(panorama),
        "notes": notes,
        "warnings": [*warnings, *mended],
    }
    write_prepared(store, sha256, "panorama", panorama, facts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
