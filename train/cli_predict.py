"""`synth predict`: depth, normals or points of pictures."""

import argparse
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
        "images", nargs="+", type=Path, metavar="IMAGE", help="pictures, or folders of them (frames too)"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="RUN|FILE", help="training run or weights")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the maps go")
    parser.add_argument("--mask", type=Path, metavar="DIR", help="folder of NAME.png: where there is nobody, no label")
    parser.add_argument("--format", choices=["exr", "npy"], default="exr", help="of the maps (default: exr)")
    parser.add_argument("--tiles", action="store_true", help="normals at full resolution, from overlapping windows")
    parser.add_argument("--batch", type=int, default=4, help="pictures at a time (default: 4)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Writes NAME.depth.*, NAME.normal.* and a picture of each; NAME.ply of a pointmap."""
    from synth.picture import read_picture
    from train.output import read_mask, write_maps
    from train.tiles import predict_tiled

    pictures = list(find_pictures(args.images))
    predictor = open_predictor(args)
    if args.tiles and predictor.task != "normal":
        raise UserError(f"--tiles: {predictor.task} of a part is not that of the whole; only normals can be tiled")
    args.out.mkdir(parents=True, exist_ok=True)
    loaded = (read_picture(path) for _, path in pictures)
    if args.tiles:
        made = (predict_tiled(predictor, picture, args.batch) for picture in loaded)
    else:
        made = predictor.predict(loaded, args.batch)
    with Progress("predict", len(pictures), "picture") as progress:
        for done, ((name, path), maps) in enumerate(zip(pictures, made, strict=True), 1):
            shape = (maps.depth if maps.depth is not None else maps.normal).shape[:2]
            mask = read_mask(args.mask, path.stem, shape) if args.mask else np.ones(shape, bool)
            rgb = read_picture(path) if maps.points is not None else None
            write_maps(args.out, name, maps, mask, args.format, rgb)
            progress.to(done, name)
    say(f"{args.out}: {len(pictures)} pictures, {predictor.task}")
    return 0


def find_pictures(places: list[Path]) -> Iterator[tuple[str, Path]]:
    """(name for the output, file) of all pictures, folders' in order of name. Raises UserError."""
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
