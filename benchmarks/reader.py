"""The training reader against decoding alone: samples/s of 1024 x 768 on a few threads.

    python -m benchmarks.reader [--data DATASET] [--threads 2] [--rounds 25]

Without --data a set of its own: the analytic engine's picture and labels, roughened until they weigh what rendered
scans do. The limit is the same members of the same bytes, already in memory, decoded to a sample's arrays on as many
threads, with nothing done to them; the row below it throws each array away before the next is decoded, so that the
processor's cache holds it all. The reader reads ranges, decodes, converts and fills batches, with augmentation off; in
every eighth round with ours on, too. Rounds alternate, so that neighbours on the machine slow all of them; ratios are
medians over rounds.
"""

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.farm_mold import Mold, make_job, seal_directly
from synth.codec import StoredSample, stored
from synth.pipeline_worker import make_sample, open_engines
from synth.sample import Sample
from synth.store import Dataset, open_version
from synth.store_index import commit
from synth.store_row import make_row
from synth.store_write import open_run
from train.augment_presets import PRESETS
from train.data import Loader

#: What the project promises of the reader, as a share of the limit.
LEAST = 0.9
_SAMPLES, _BATCH = 48, 4
_SIZE = (1024, 768)
#: Rounds from one of it to the next, where that is not 1.
_EVERY = {"reader, augmented": 8}
#: (samples/s, CPU milliseconds a sample) of one round.
Rate = tuple[float, float]


def main() -> int:
    """Prints the table; exit 1 on FAIL."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", metavar="DATASET", help="default: one of its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="synth-bench-reader-"))
    try:
        dataset = open_version(args.data) if args.data else build(folder)
        return measure(dataset, args.threads, args.rounds)
    finally:
        shutil.rmtree(folder)


def measure(dataset: Dataset, threads: int, rounds: int) -> int:
    """Prints the table; 0 if the reader is fast enough, else 1."""
    count = min(len(dataset), _SAMPLES)
    held = [dataset.members(i) for i in range(count)]
    print(f"{count} samples of {sum(map(len, held[0].values())) / 1e6:.2f} MB, {threads} threads, {rounds} rounds")
    contenders: dict[str, Callable[[], Rate]] = {
        "decoding alone": lambda: decoding(held, threads, _decode),
        "each thrown away": lambda: decoding(held, threads, _throw_away),
        "reader": partial(reading, make_loader(dataset, None, threads), count),
        "reader, augmented": partial(reading, make_loader(dataset, "ours", threads), count),
    }
    found: dict[str, list[Rate]] = {name: [] for name in contenders}
    grown = []
    for number in range(rounds):
        for name, run in contenders.items():
            if number % _EVERY.get(name, 1) == 0:
                found[name].append(run())
        grown.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    limits = np.array(found["decoding alone"])
    print(f"{'':<20} {'samples/s':>10} {'of the limit':>13} {'CPU ms/sample':>14} {'of the limit':>13}")
    for name, rates in found.items():
        rates, limit = np.array(rates), limits[:: _EVERY.get(name, 1)]
        speed, work = rates[:, 0] / limit[:, 0], limit[:, 1] / rates[:, 1]
        figures = np.median(rates, axis=0)
        print(f"{name:<20} {figures[0]:>10.1f} {np.median(speed):>13.2f} {figures[1]:>14.1f} {np.median(work):>13.2f}")
    ratio = float(np.median(np.array(found["reader"])[:, 0] / limits[:, 0]))
    print(f"memory at its highest after round 2 and at the end: {grown[min(1, rounds - 1)]:.0f} MB, {grown[-1]:.0f} MB")
    print(f"  {'PASS' if ratio >= LEAST else 'FAIL'}: the reader at {ratio:.2f} of decoding alone, at least {LEAST}")
    return 0 if ratio >= LEAST else 1


def decoding(held: list[dict[str, bytes]], threads: int, decode: Callable[[dict[str, bytes]], object]) -> Rate:
    """Every sample once, from memory."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, held[:threads]))  # the threads are there, and the caches warm
        started, work = time.perf_counter(), time.process_time()
        for _ in pool.map(decode, held):
            pass
    return len(held) / (time.perf_counter() - started), 1000 * (time.process_time() - work) / len(held)


def make_loader(dataset: Dataset, augment: str | None, threads: int) -> Loader:
    """The trainer's own."""
    recipe = augment and PRESETS[augment]
    return Loader(dataset, np.arange(len(dataset)), _BATCH, _SIZE, recipe, seed=0, threads=threads)


def reading(loader: Loader, count: int) -> Rate:
    """As many samples in batches, from one batch to another once the reader runs evenly."""
    batches = loader.batches(0)
    next(batches)
    number = count // _BATCH
    started, work = time.perf_counter(), time.process_time()
    for _ in range(number):
        next(batches)
    seconds, work = time.perf_counter() - started, time.process_time() - work
    batches.close()
    return number * _BATCH / seconds, 1000 * work / (number * _BATCH)


def build(folder: Path) -> Dataset:
    """A dataset of one roughened sample under many ids."""
    job = make_job(folder, height=_SIZE[0], width=_SIZE[1])
    run = open_run(folder / "set", {"seed": 0, "config": {}, "scans": []})
    made, refused = make_sample(open_engines(job), job, 0)
    members, sample = stored(roughened(made.sample))
    env_id = run.add_environment({"renderer": "analytic, roughened"})
    row = make_row(sample, members, flags=(), env_id=env_id, seconds=1.0, refused=refused)
    for unit in run.plan_units(_SAMPLES):
        (run.out / "shards").mkdir(exist_ok=True)
        (run.out / run.record_name(unit)).parent.mkdir(parents=True, exist_ok=True)
        seal_directly(run, Mold(sample, members, row), unit)
    commit(run, lineage={})
    return Dataset(folder / "set")


def roughened(sample: Sample) -> Sample:
    """With folds and pores in labels and picture, and a background that is none of a gradient."""
    rng = np.random.default_rng(0)
    mask = sample.mask
    bumps = np.stack([_noise(rng, mask.shape) for _ in range(3)], axis=-1)
    normal = np.where(mask[..., None], sample.normal + 0.25 * bumps, 0)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    depth = np.where(mask, sample.depth_m + 0.004 * _noise(rng, mask.shape), np.inf)
    rgb = sample.rgb + 40 * _noise(rng, mask.shape)[..., None] + rng.normal(0, 1.5, sample.rgb.shape)
    changes = {"normal": normal.astype(np.float32), "depth_m": depth.astype(np.float32)}
    return Sample(**{**vars(sample), **changes, "rgb": rgb.clip(0, 255).astype(np.uint8)})


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) of about unit size, twice as strong at twice the wavelength."""
    total = np.zeros(shape, np.float32)
    for octave in range(2, 9):
        coarse = rng.standard_normal((1, 1, *(max(2, side >> octave) for side in shape)), dtype=np.float32)
        fine = F.interpolate(torch.from_numpy(coarse), shape, mode="bicubic", align_corners=False)
        total += fine[0, 0].numpy() * 2.0 ** (octave - 8)
    return total


def _decode(members: dict[str, bytes]) -> None:
    _ = [member() for member in _held_by_batches(members)]


def _throw_away(members: dict[str, bytes]) -> None:
    for member in _held_by_batches(members):
        member()


def _held_by_batches(members: dict[str, bytes]) -> tuple[Callable[[], np.ndarray | None], ...]:
    found = StoredSample(members)
    return found.instance, found.normal, found.depth_m, found.trust, found.rgb


if __name__ == "__main__":
    sys.exit(main())
