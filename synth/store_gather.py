"""All sealed units of a run, and its revisions over them, as one table: read ahead, checked record by record, in
several processes where it pays.

A record of 128 samples has 250 kB of JSON, and Python checks one sample in 30 microseconds: 500 000 samples are 15
seconds of one core. Next: `synth.store_index` makes a version of the table.
"""

import hashlib
import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

from synth.store_folder import Folder
from synth.store_names import StoreError, is_shared
from synth.store_overlay import environments_of, overlay, root_of
from synth.store_record import LARGEST_JSON, parse_record
from synth.store_revision import InEffect, patch_names, revisions_in_effect
from synth.store_table import TableBuilder
from synth.store_write import Run

#: Unit records that are read ahead.
_AHEAD = 16
#: Units that one process is given at a time.
_PIECE = 64
#: Below so many units further processes take longer to start than they save.
_FEW = 512
#: More processes wait for the one that puts the pieces together.
_MOST_PROCESSES = 8


@dataclass(frozen=True, eq=False)
class Gathered:
    """Rows of sealed units, ascending."""

    table: Any
    """pyarrow, see `synth.store_table.schema`."""
    shards: list[dict]
    """As a manifest lists them; column `shard` counts in it."""
    environments: Counter[str]
    """Samples by env_id."""
    root: str
    """See `synth.store_record.root_hash`."""
    revisions: tuple[str, ...]
    """Names of the revisions in effect."""


def gather_rows(run: Run, processes: int) -> Gathered:
    """Reads all unit records of a run. Raises StoreError naming the first that is not what it should be.

    processes: 1 stays in this one. More import the program's main module again, which only a program can know to be
    harmless; they are started where they save time.
    """
    import pyarrow as pa

    tasks = list(_tasks(run))
    if sum(len(units) for _, units in tasks) < _FEW or not is_shared(run.out):
        processes = 1
    tables, shards, environments, root = [], [], Counter(), hashlib.sha256()
    with _mapping(min(processes, _MOST_PROCESSES)) as each:
        for table, piece_shards, piece_environments, lines in each(partial(_read_piece, run.folder), tasks):
            tables.append(table)
            shards += piece_shards
            environments.update(piece_environments)
            root.update(lines)
    table = pa.concat_tables(tables) if tables else TableBuilder(0).table()
    revisions = revisions_in_effect(run)
    if not revisions:
        return Gathered(table, shards, environments, root.hexdigest(), ())
    table, shards = overlay(table, shards, _read_patches(run, revisions, len(shards)), run.folder.where(run.name()))
    return Gathered(table, shards, environments_of(table), root_of(table), tuple(r.plan for r in revisions))


def _read_patches(run: Run, revisions: Sequence[InEffect], shard: int) -> TableBuilder:
    builder = TableBuilder(shard)
    names = [name for revision in revisions for name in patch_names(run, revision)]
    try:
        for name, data in zip(names, _read_ahead(run.folder, names), strict=True):
            builder.add(parse_record(run.folder, name, data), 0, name)
    except FileNotFoundError as error:
        raise StoreError(f"{run.out}: a patch of a revision is missing ({error}); put it back") from error
    return builder


def _tasks(run: Run) -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """(number of the first shard, [(record, first index to take from it)]) of pieces, ascending."""
    units, next_index = [], 0
    for unit in run.units():
        # Two runs of different N at the same time may seal overlapping units; their common samples are the same.
        if unit.last >= next_index:
            units.append((run.record_name(unit), next_index))
            next_index = unit.last + 1
    for start in range(0, len(units), _PIECE):
        yield start, units[start : start + _PIECE]


def _read_piece(folder: Folder, task: tuple[int, list[tuple[str, int]]]) -> tuple[Any, list[dict], Counter, bytes]:
    """A piece's (table, shards, samples by env_id, what the root hashes of it)."""
    shard, units = task
    builder = TableBuilder(shard)
    for (name, first), data in zip(units, _read_ahead(folder, [name for name, _ in units]), strict=True):
        builder.add(parse_record(folder, name, data), first)
    return builder.table(), builder.shards, builder.environments, bytes(builder.root_lines)


def _read_ahead(folder: Folder, names: Sequence[str]) -> Iterator[bytes]:
    """Each file's bytes; the next ones are read meanwhile, for a file server answers late."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        reading = deque()
        for name in names:
            reading.append(pool.submit(folder.read, name, LARGEST_JSON))
            if len(reading) > _AHEAD:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


@contextmanager
def _mapping(processes: int) -> Iterator[Any]:
    """`map` in this process, or in several that leave Ctrl-C to this one."""
    if processes == 1:
        yield map
        return
    # spawn: the threads of Ray and of an object store's client do not survive a fork
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(processes, get_context("spawn"), ignore) as pool:
        try:
            yield pool.map
        except BrokenProcessPool as error:
            raise StoreError("a process that read unit records was killed; run the same command again") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
