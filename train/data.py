"""A dataset as batches for a model: read by ranges, decoded in threads into memory that is used again, augmented, in an
order that can be resumed. Next: `train.batch` for what a batch is.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from synth.errors import UserError
from synth.picture import read_picture
from synth.sample import Sample
from synth.splits import SPLITS
from synth.store import Dataset
from train.augment import Arrays, Plate, fit
from train.augment_presets import Recipe
from train.batch import Batch, Buffers, lens_of, write_arrays, write_stored

#: Batches that are made ahead of the one in use.
_AHEAD = 2
#: Shards whose samples are mixed: few enough that their files stay in the page cache, enough to mix well.
_WINDOW = 8


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
    mask = torch.from_numpy(sample.mask)[None]
    normal = torch.from_numpy(sample.normal).permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
    normal[1:].neg_()  # OpenCV's camera frame to OpenGL's
    return Arrays(
        rgb=torch.from_numpy(sample.rgb).permute(2, 0, 1).float(),  # (3, H, W)
        alpha=torch.from_numpy(sample.alpha)[None].float() / 255,
        mask=mask,
        depth=torch.from_numpy(sample.depth_m)[None].masked_fill(~mask, 0.0),
        normal=normal,
        trust=mask.float() if sample.trust is None else torch.from_numpy(sample.trust)[None].float() / 255,
        K=torch.from_numpy(lens_of(sample.recipe)),
    )


def order_of_epoch(shards: np.ndarray, seed: int, epoch: int, window: int = _WINDOW) -> np.ndarray:
    """Permutation of a dataset's samples for an epoch: shards in random order, samples mixed within `window` shards.

    shards: (N,) which shard holds each sample. A function of (seed, epoch) alone.
    """
    rng = _generator(seed, epoch)
    sorted_, first = np.argsort(shards, kind="stable"), np.unique(np.sort(shards), return_index=True)[1]
    held = np.split(sorted_, first[1:])
    held = [held[i] for i in rng.permutation(len(held))]
    mixed = [rng.permutation(np.concatenate(held[i : i + window])) for i in range(0, len(held), window)]
    return np.concatenate(mixed)


class Loader(IterableDataset):
    """Batches of a dataset's samples at some positions, for one of several processes.

    Number s is a pure function of (seed, s, rank, world). All processes together walk through one epoch after the
    other, each a permutation: nothing is left out, a batch may hold the end of one epoch and the beginning of the next.
    """

    def __init__(
        self,
        dataset: Dataset,
        positions: np.ndarray,
        batch: int,
        size: tuple[int, int],
        recipe: Recipe | None,
        seed: int,
        threads: int,
        rank: int = 0,
        world: int = 1,
        plates: tuple[Path, ...] = (),
        start: int = 0,
    ):
        """size: (H, W) of the batches. recipe: None for pictures as they are. plates: photos it may put behind people.

        start: number of the first batch of `iter`, which is for torch's DataLoader (`batch_size=None`): its workers
        deal the numbers out among themselves, and their order is kept.
        """
        self._dataset, self._positions, self._batch, self._size = dataset, np.asarray(positions), batch, size
        self._recipe, self._seed, self._threads, self._rank, self._world = recipe, seed, threads, rank, world
        self._plates, self._start = plates, start
        self._shards, self._buffers = dataset.shard_numbers[self._positions], Buffers(batch, size)
        self._order: tuple[int, np.ndarray] | None = None

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        return self.batches(self._start + (worker.id if worker else 0), worker.num_workers if worker else 1)

    def batches(self, start: int, step: int = 1) -> Iterator[Batch]:
        """Endless batches number start, start + step, ...; closing the iterator ends its threads.

        A batch's memory is used again once no tensor of it is held.
        """
        numbers = itertools.count(start, step)
        # A core for a thread: torch would else share each picture's arithmetic among all cores.
        with ThreadPoolExecutor(self._threads, "decode", torch.set_num_threads, (1,)) as pool:
            ahead: deque[tuple[Batch, list[Future]]] = deque()
            try:
                while True:
                    while len(ahead) < _AHEAD:
                        batch, places = self._buffers.take(), self._places(next(numbers))
                        ahead.append((batch, [pool.submit(self._make, *p, batch, i) for i, p in enumerate(places)]))
                    batch, made = ahead.popleft()
                    for future in made:
                        future.result()
                    yield batch
                    del batch  # or the buffer would be held while the next one is taken
            finally:
                for future in (f for _, futures in ahead for f in futures):
                    future.cancel()

    def _places(self, number: int) -> list[tuple[int, int]]:
        """(epoch, position) of a batch's samples."""
        first, places = (number * self._world + self._rank) * self._batch, []
        for p in range(first, first + self._batch):
            epoch, i = divmod(p, len(self._positions))
            if self._order is None or self._order[0] != epoch:
                self._order = epoch, order_of_epoch(self._shards, self._seed, epoch)
            places.append((epoch, int(self._positions[self._order[1][i]])))
        return places

    def _make(self, epoch: int, position: int, batch: Batch, i: int) -> None:
        with self._dataset.opened(position) as stored:
            if self._recipe is None and stored.recipe.camera.shape == self._size:
                write_stored(batch, i, stored)
                return
            sample = stored.sample(lean=True)
        arrays, index = arrays_of(sample), sample.recipe.index
        if self._recipe is None:
            arrays = fit(arrays, self._size)
        else:
            rng = _generator(self._seed, epoch, index)
            arrays = self._recipe(arrays, self._size, rng, self._plate(rng))
        write_arrays(batch, i, arrays, index)

    def _plate(self, rng: np.random.Generator) -> Plate | None:
        """Reads one of the photos, no larger than needed."""
        if not self._plates:
            return None
        path = self._plates[rng.integers(len(self._plates))]
        return lambda: torch.from_numpy(read_picture(path, least=max(self._size))).permute(2, 0, 1).float()


def _generator(seed: int, *what: int) -> np.random.Generator:
    """Of one epoch's order, or of one sample in one epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=what))
