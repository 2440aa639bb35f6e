"""`synth predict`: depth, normals or points of pictures."""

import argparse
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synth.cli_library import say
from synth.cli_progress import Progress
from synth.errors import UserError
from train.cli_eval import add_model_arguments, open_predictor

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pictures, which model, what to write."""
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="pictures, videos, or folders of pictures (frames)"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="RUN|FILE", help="training run or weights")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the maps go")
    parser.add_argument(
        "--mask", type=Path, metavar="FILE|DIR", help="where somebody is; for several pictures a folder of NAME.png"
    )
    parser.add_argument("--format", choices=["exr", "npy"], default="exr", help="of the maps (default: exr)")
    parser.add_argument("--tiles", action="store_true", help="normals at full resolution, from overlapping windows")
    parser.add_argument("--batch", type=int, default=4, help="pictures at a time (default: 4)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Writes NAME.depth.*, NAME.normal.* and a picture of each; NAME.ply of a pointmap. Frames: NAME.000000.*"""
    from train.output import read_mask, write_maps
    from train.tiles import predict_tiled

    places = list(find_pictures(args.images))
    if args.mask and not args.mask.is_dir() and (len(places) > 1 or is_video(places[0][1])):
        raise UserError(f"--mask {args.mask}: is one picture; for several give a folder of NAME.png")
    predictor = open_predictor(args)
    if args.tiles and predictor.task != "normal":
        raise UserError(f"--tiles: {predictor.task} of a part is not that of the whole; only normals can be tiled")
    args.out.mkdir(parents=True, exist_ok=True)
    waiting: deque[tuple[str, np.ndarray]] = deque()  # no more than a batch

    def pictures() -> Iterator[np.ndarray]:
        for one in load_pictures(places):
            waiting.append(one)
            yield one[1]

    if args.tiles:
        made = (predict_tiled(predictor, picture, args.batch) for picture in pictures())
    else:
        made = predictor.predict(pictures(), args.batch)
    count = 0
    with Progress("predict", len(places), "file") as progress:
        for maps in made:
            name, rgb = waiting.popleft()
            shape = rgb.shape[:2]
            mask = read_mask(args.mask, name, shape) if args.mask else np.ones(shape, bool)
            write_maps(args.out, name, maps, mask, args.format, rgb)
            count += 1
            progress.to(min(count, len(places)), name)
    say(f"{args.out}: {count} pictures, {predictor.task}")
    return 0


def is_video(path: Path) -> bool:
    """By its name."""
    from train.video import VIDEOS

    return path.suffix.lower() in VIDEOS


def load_pictures(places: list[tuple[str, Path]]) -> Iterator[tuple[str, np.ndarray]]:
    """(name for the output, pixels) of every picture and of every frame of every video, one at a time."""
    from synth.picture import read_picture
    from train.video import read_frames

    for name, path in places:
        if is_video(path):
            yield from ((f"{name}.{number:06d}", frame) for number, frame in enumerate(read_frames(path)))
        else:
            yield name, read_picture(path)


def find_pictures(places: list[Path]) -> Iterator[tuple[str, Path]]:
    """(name for the output, file) of all pictures and videos, folders' pictures in order of name. Raises UserError."""
    taken: set[str] = set()
    for place in places:
        if not place.exists():
            raise UserError(f"{place}: no such picture or folder")
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in _PICTURES) if place.is_dir() else [place]
        if not files:
            raise UserError(f"{place}: holds no picture ({', '.join(_PICTURES)})")
        for path in files:
            if path.stem in taken:
                raise UserError(
                    f"{path}: there is another picture named {path.stem}; predict them into different --out"
                )
            taken.add(path.stem)
            yield path.stem, path
