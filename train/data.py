"""A dataset as batches for a model: read by ranges, decoded in threads, augmented, in an order that can be resumed.

Here and nowhere else stored arrays (HWC, OpenCV normals, half-integer pixel centres) become the models' (CHW, OpenGL
normals, integer centres).
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synth.errors import UserError
from synth.picture import read_picture
from synth.sample import Sample
from synth.splits import SPLITS
from synth.store import Dataset
from train.augment import Arrays, fit
from train.augment_presets import Recipe

#: Batches that are made ahead of the one in use.
_AHEAD = 3
#: Shards whose samples are mixed: few enough that their files stay in the page cache, enough to mix well.
_WINDOW = 8


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples in the models' conventions, in CPU memory."""

    rgb: Tensor
    """(B, 3, H, W) uint8, sRGB-encoded."""
    mask: Tensor
    """(B, 1, H, W) bool: person pixels that carry labels."""
    depth: Tensor
    """(B, 1, H, W) float32, planar z, metres; 0 outside the mask."""
    normal: Tensor
    """(B, 3, H, W) float32, unit, OpenGL camera frame (x right, y up, z towards the camera); 0 outside the mask."""
    trust: Tensor
    """(B, 1, H, W) float32, 0..1; 1 where the dataset stores none."""
    K: Tensor
    """(B, 3, 3) float32, pixel centres at integer coordinates."""
    index: Tensor
    """(B,) int64, the samples' ids."""


def split_positions(dataset: Dataset, split: str) -> np.ndarray:
    """Positions of a split's samples, ascending; `all` for every one. Raises UserError when it is empty."""
    if split == "all":
        return np.arange(len(dataset))
    splits = np.array(dataset.column("split"))
    positions = np.flatnonzero(splits == split)
    if not positions.size:
        sizes = ", ".join(f"{name} {int((splits == name).sum())}" for name in SPLITS)
        raise UserError(f"{dataset.path}: split {split} is empty ({sizes}, all {len(splits)})")
    return positions


def find_plates(folder: str | None) -> tuple[Path, ...]:
    """Photos of a folder, by name. Raises UserError when it holds none."""
    if folder is None:
        return ()
    found = tuple(sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")))
    if not found:
        raise UserError(f"--backgrounds {folder}: holds no photo (.jpg, .png)")
    return found


def arrays_of(sample: Sample) -> Arrays:
    """A stored sample as what `train.augment` works on."""
    camera, mask = sample.recipe.camera, torch.from_numpy(sample.mask)[None]
    depth = torch.from_numpy(np.ascontiguousarray(sample.depth_m, np.float32))[None]
    normal = torch.from_numpy(sample.normal.astype(np.float32) * np.array([1, -1, -1], np.float32)).permute(2, 0, 1)
    trust = mask.float() if sample.trust is None else torch.from_numpy(sample.trust)[None].float() / 255
    f, (u, v) = camera.focal_px, camera.center_px
    return Arrays(
        rgb=torch.from_numpy(sample.rgb).permute(2, 0, 1).float(),  # (3, H, W)
        alpha=torch.from_numpy(sample.alpha)[None].float() / 255,
        mask=mask,
        depth=torch.where(mask, depth, 0.0),
        normal=torch.where(mask, normal, 0.0),
        trust=trust,
        K=torch.tensor([[f, 0, u], [0, f, v], [0, 0, 1]], dtype=torch.float64),
    )


def order_of_epoch(shards: np.ndarray, seed: int, epoch: int, window: int = _WINDOW) -> np.ndarray:
    """Permutation of a dataset's samples for an epoch: shards in random order, samples mixed within `window` shards.

    shards: (N,) which shard holds each sample. A function of (seed, epoch) alone.
    """
    rng = np.random.default_rng([seed, epoch])
    held = [np.flatnonzero(shards == shard) for shard in rng.permutation(np.unique(shards))]
    mixed = [rng.permutation(np.concatenate(held[i : i + window])) for i in range(0, len(held), window)]
    return np.concatenate(mixed)


class Loader:
    """Batches of a dataset's samples at some positions, for one of several processes."""

    def __init__(
        self,
        dataset: Dataset,
        positions: np.ndarray,
        batch: int,
        size: tuple[int, int],
        recipe: Recipe,
        seed: int,
        threads: int,
        rank: int = 0,
        world: int = 1,
        plates: tuple[Path, ...] = (),
    ):
        """size: (H, W) of the batches. plates: photos that `recipe` may put behind people."""
        self._dataset, self._positions, self._batch, self._size = dataset, np.asarray(positions), batch, size
        self._recipe, self._seed, self._threads, self._rank, self._world = recipe, seed, threads, rank, world
        self._plates = plates
        self._shards = dataset.shard_numbers[self._positions]
        self._order: tuple[int, np.ndarray] | None = None

    def batches(self, start: int) -> Iterator[Batch]:
        """Endless batches from number `start` on. Number s is a pure function of (seed, s, rank, world).

        All processes together walk through one epoch after the other, each a permutation: nothing is left out, a batch
        may hold the end of one epoch and the beginning of the next. Closing the iterator ends its threads.
        """
        numbers = iter(range(start, 2**62))
        with ThreadPoolExecutor(self._threads, "decode") as pool:
            ahead: list[list[Future]] = []
            try:
                while True:
                    while len(ahead) < _AHEAD:
                        ahead.append([pool.submit(self._make, place) for place in self._places(next(numbers))])
                    yield _stacked([future.result() for future in ahead.pop(0)])
            finally:
                for future in (f for futures in ahead for f in futures):
                    future.cancel()

    def once(self) -> Iterator[Batch]:
        """Every sample of this process once, in order of positions, whole in the frame; the last batch is smaller."""
        mine = self._positions[self._rank :: self._world]
        with ThreadPoolExecutor(self._threads, "decode") as pool:
            for i in range(0, len(mine), self._batch):
                yield _stacked(list(pool.map(self._make_plain, mine[i : i + self._batch])))

    def _places(self, number: int) -> list[tuple[int, int]]:
        """(epoch, position) of a batch's samples."""
        first, places = (number * self._world + self._rank) * self._batch, []
        for p in range(first, first + self._batch):
            epoch, i = divmod(p, len(self._positions))
            if self._order is None or self._order[0] != epoch:
                self._order = epoch, order_of_epoch(self._shards, self._seed, epoch)
            places.append((epoch, int(self._positions[self._order[1][i]])))
        return places

    def _make(self, place: tuple[int, int]) -> tuple[int, Arrays]:
        epoch, position = place
        sample = self._dataset.read(position)
        rng = np.random.default_rng([self._seed, epoch, sample.recipe.index])
        plate = None
        if self._plates:
            pixels = read_picture(self._plates[rng.integers(len(self._plates))])
            plate = torch.from_numpy(pixels).permute(2, 0, 1).float()  # (3, h, w)
        return sample.recipe.index, self._recipe(arrays_of(sample), self._size, rng, plate)

    def _make_plain(self, position: int) -> tuple[int, Arrays]:
        sample = self._dataset.read(int(position))
        return sample.recipe.index, fit(arrays_of(sample), self._size)


def _stacked(samples: list[tuple[int, Arrays]]) -> Batch:
    """A batch of samples of one size."""
    arrays = [a for _, a in samples]
    K = torch.stack([a.K for a in arrays])
    K[:, :2, 2] -= 0.5  # pixel centres at integers
    return Batch(
        rgb=torch.stack([a.rgb for a in arrays]).round().clamp(0, 255).to(torch.uint8),
        mask=torch.stack([a.mask for a in arrays]),
        depth=torch.stack([a.depth for a in arrays]),
        normal=torch.stack([a.normal for a in arrays]),
        trust=torch.stack([a.trust for a in arrays]),
        K=K.float(),
        index=torch.tensor([index for index, _ in samples]),
    )
