"""Mangled background pictures: does any kill, hang or bloat the process that reads it, or raise anything unforeseen?

`python benchmarks/backgrounds_fuzz.py --n 2000 --seed 0`: seeded mutations of small EXR, Radiance and ordinary pictures
through the readers of `synth`, in a child process. `--bare` leaves out our look at the EXR header, to see what OpenEXR
does by itself: about one file of 5000 asks for more than 3 GB. It is why `synth.backgrounds_prepare` reads strangers'
pictures in a child process.
"""

import argparse
import io
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image

from synth.backgrounds_exr import read_exr
from synth.backgrounds_hdr import read_hdr
from synth.backgrounds_photo import read_photo
from synth.backgrounds_picture import BadPicture
from synth.sandbox import ChildFailed, run_child

_COMPRESSIONS = ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
#: What a mutation writes over four bytes: sizes and counts that a careless reader would believe.
_WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, 0x4000, 0x3FFF)


def exr_bases() -> list[bytes]:
    """Small sound EXR files: every compression, half and float, tiled, layered, grey."""
    rng = np.random.default_rng(1)
    pixels = rng.gamma(1.0, 1.0, (64, 128, 3)).astype(np.float32)
    bases = []
    for number, name in enumerate(_COMPRESSIONS):
        header = {"compression": getattr(OpenEXR, f"{name}_COMPRESSION"), "type": OpenEXR.scanlineimage}
        if number % 2:
            header |= {"type": OpenEXR.tiledimage, "tiles": tiles()}
        kind = np.float16 if number % 3 else np.float32
        bases += [_write(header, {"RGB": pixels.astype(kind)}), _write(header, {"Y": pixels[..., 0].astype(kind)})]
    layers = {f"ViewLayer.{layer}.{c}": pixels[..., 0].copy() for layer in ("Combined", "DiffCol") for c in "RGB"}
    return [*bases, _write({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, layers)]


def tiles() -> OpenEXR.TileDescription:
    """Tiles of 32 x 32 pixels, one level."""
    made = OpenEXR.TileDescription()
    made.xSize = made.ySize = 32
    return made


def mutated(base: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes, a word or a stretch changed, half of the time near the start, or the end cut off."""
    data = bytearray(base)
    for _ in range(int(rng.integers(1, 6))):
        reach = len(data) if rng.random() < 0.5 else min(len(data), 500)
        at = int(rng.integers(4, max(reach, 5)))
        way = rng.integers(5)
        if way == 0:
            data[at : at + 1] = bytes([int(rng.integers(256))])
        elif way == 1:
            data[at : at + 4] = _WORDS[int(rng.integers(len(_WORDS)))].to_bytes(4, "little")
        elif way == 2:
            data[at : at + 16] = rng.bytes(16)
        elif way == 3:
            del data[at : at + int(rng.integers(1, 9))]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def cases(kind: str, count: int, seed: int) -> list[bytes]:
    """`count` mutated files of a kind: exr, hdr or photo."""
    rng = np.random.default_rng([seed, len(kind)])
    bases = {"exr": exr_bases, "hdr": hdr_bases, "photo": photo_bases}[kind]()
    return [mutated(bases[k % len(bases)], rng) for k in range(count)]


def hdr_bases() -> list[bytes]:
    """Small sound Radiance files: flat, and run-length coded by literal runs."""
    rgbe = np.random.default_rng(2).integers(1, 255, (64, 128, 4)).astype(np.uint8)
    head = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 128\n"
    coded = b"".join(bytes((2, 2, 0, 128)) + b"".join(b"\x80" + channel.tobytes() for channel in row.T) for row in rgbe)
    return [head + rgbe.tobytes(), head + coded]


def photo_bases() -> list[bytes]:
    """Small sound pictures of every format that is read."""
    pixels = np.random.default_rng(3).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    bases = []
    for name, how in (("PNG", {}), ("JPEG", {}), ("WEBP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {}),
                      ("TIFF", {"compression": "tiff_deflate"}), ("TIFF", {"compression": "jpeg"}), ("BMP", {}),
                      ("WEBP", {"lossless": True})):  # fmt: skip
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, name, **how)
        bases.append(stream.getvalue())
    return bases


def read_all(kind: str, count: int, seed: int, start: int, log: Path, bare: bool) -> None:
    """The child: reads cases from `start` on and logs each before and after."""
    read = {"exr": read_exr, "hdr": read_hdr, "photo": read_photo}[kind]
    with log.open("a") as stream:
        for number, data in enumerate(cases(kind, count, seed)[start:], start=start):
            before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
            try:
                if bare:
                    OpenEXR.File(io.BytesIO(data), separate_channels=True)
                else:
                    read(data)
                said = "read"
            except BadPicture:
                said = "refused"
            except Exception as error:  # what is looked for
                said = "refused" if bare else f"{type(error).__name__}: {error}"[:120]
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            stream.write(json.dumps([number, said, time.perf_counter() - began, grown]) + "\n")
            stream.flush()


def measure(kind: str, count: int, seed: int, bare: bool) -> None:
    """Runs all cases of a kind and prints what became of them."""
    endings: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        log, done = Path(folder, "log.jsonl"), 0
        log.touch()
        while done < count:
            command = [sys.executable, __file__, "--child", kind, "--n", str(count), "--seed", str(seed),
                       "--start", str(done), "--log", str(log), *(["--bare"] if bare else [])]  # fmt: skip
            try:
                run_child(command, 300.0, 3000)
            except ChildFailed as failure:
                done = len(log.read_text().splitlines()) + 1
                endings[str(failure)[:100]] += 1
                with log.open("a") as stream:
                    stream.write(json.dumps([done - 1, "killed", 0.0, 0.0]) + "\n")
                continue
            done = count
        rows = [json.loads(line) for line in log.read_text().splitlines()]
    said = Counter(row[1] for row in rows)
    print(f"{kind}{' (bare)' if bare else ''}: {len(rows)} files, {dict(said)}, killed by {dict(endings)}, ", end="")
    print(f"slowest {max(row[2] for row in rows):.2f} s, most memory at once {max(row[3] for row in rows):.0f} MiB")


def _write(header: dict, channels: dict) -> bytes:
    stream = io.BytesIO()
    OpenEXR.File(header, channels).write(stream)
    return stream.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--child")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--log", type=Path)
    args = parser.parse_args()
    if args.child:
        read_all(args.child, args.n, args.seed, args.start, args.log, args.bare)
    else:
        for each in ("exr",) if args.bare else ("exr", "hdr", "photo"):
            measure(each, args.n, args.seed, args.bare)
