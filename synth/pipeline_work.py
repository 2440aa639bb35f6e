"""Who renders what: ids become tasks of one scan each, so that workers stay on a scan and shards still mix people.

Pure arithmetic; `synth.pipeline` carries it out.
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import groupby

from synth.randomize import scan_order
from synth.store_write import Unit

#: Ids in a block: inside one, ids are grouped by scan. 64 shards keep the staging area of a run bounded.
BLOCK = 64 * 128
#: Most ids of a task.
LARGEST_TASK = 32


#: A refused attempt: (attempt, reason, detail).
Refusal = tuple[int, str, str]


@dataclass(frozen=True)
class Task:
    """Ids of one scan, ascending, with the unit each belongs to."""

    ids: tuple[int, ...]
    units: tuple[Unit, ...]
    refused: tuple[Refusal, ...] = ()
    """Attempts at the first id that are refused already."""
    alone: bool = False
    """One id that a worker was lost on: it gets a process of its own."""

    def after(self, done: int) -> "Task | None":
        """What is left when the first `done` ids are made."""
        if done == 0:
            return self
        return Task(self.ids[done:], self.units[done:]) if self.ids[done:] else None

    def split(self) -> tuple["Task", "Task | None"]:
        """The first id alone, and what comes after it."""
        return Task(self.ids[:1], self.units[:1], self.refused, alone=True), self.after(1)


def deal_tasks(units: Iterable[Unit], staged: Set[int], scan_count: int, seed: int, workers: int) -> Iterator[Task]:
    """Tasks for all ids of `units` that are not staged yet, block by block.

    A task has at most 32 ids; fewer where a block is so small that a worker would be left idle.
    """
    for _, block in groupby(units, key=lambda unit: unit.first // BLOCK):
        todo = [(index, unit) for unit in block for index in unit.ids if index not in staged]
        by_scan = _group_by_scan(todo, scan_count, seed)
        size = max(1, min(LARGEST_TASK, len(todo) // (2 * max(1, workers))))
        for group in by_scan:
            for start in range(0, len(group), size):
                piece = group[start : start + size]
                yield Task(tuple(index for index, _ in piece), tuple(unit for _, unit in piece))


def _group_by_scan(todo: list[tuple[int, Unit]], scan_count: int, seed: int) -> list[list[tuple[int, Unit]]]:
    groups: dict[int, list[tuple[int, Unit]]] = {}
    for round_number, members in groupby(todo, key=lambda item: item[0] // scan_count):
        order = scan_order(scan_count, seed, round_number)
        for index, unit in members:
            groups.setdefault(int(order[index % scan_count]), []).append((index, unit))
    return list(groups.values())
