"""export_dataset(): a version of a dataset, or a part of it, as the files that somebody else's program reads.

Which samples: `synth.export_where`. The layouts: `synth.export_sapiens`, `synth.export_synthhuman`,
`synth.export_webdataset`, `synth.export_hf`. What would poison training on Sapiens: `synth.export_rules`. An export
goes on where it was stopped; its bytes do not depend on that, nor on the number of workers.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from synth import export_hf, export_sapiens, export_synthhuman, export_webdataset
from synth.card_manifest import read_origin
from synth.errors import UserError
from synth.export_dest import Encoding, ExportFile, Layout, LeftOut, asked_of, opened, write_export
from synth.export_job import Job, Made
from synth.export_papers import write_papers
from synth.pool import run_tasks
from synth.recipe import sample_id
from synth.store import Dataset
from synth.store_names import is_shared

#: Layout: the module that writes it, and for whom it is.
LAYOUTS: dict[Layout, tuple[ModuleType, str]] = {
    "sapiens": (export_sapiens, "official readers of Sapiens v1 and Sapiens2"),
    "synthhuman": (export_synthhuman, "readers of SynthHuman (DAViD)"),
    "webdataset": (export_webdataset, "webdataset, and whoever reads tar files"),
    "hf": (export_hf, "the Hugging Face Hub and datasets"),
}


def export_dataset(
    dataset: Dataset,
    positions: np.ndarray,
    dest: Path,
    layout: Layout,
    *,
    encoding: Encoding = "archive",
    copy: bool = False,
    where: str | None = None,
    fraction: float = 1.0,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[ExportFile, bool]:
    """Writes an export, or goes on with it; returns what it is now, and whether there was anything to do.

    positions: which samples, ascending; where and fraction: how they were chosen, to be remembered. workers: processes.
    Raises UserError in one line: another export is there, the dataset is being rendered, a sample is damaged.
    """
    if dataset.manifest["index"] is None:
        raise UserError(
            f"{dataset.path}: is being rendered, and an export is of a version: let `synth render` finish, or name a "
            "tag, DATASET@1.0.0"
        )
    if encoding != "archive" and layout != "webdataset":
        raise UserError(f"--encoding {encoding}: is for --to webdataset; {layout} has an encoding of its own")
    asked = asked_of(dataset, layout, encoding, where, fraction, len(positions))
    tag = read_origin(dataset).tag  # what cannot be described is refused now, not when all is written
    licences = tuple(dataset.manifest.get("licences", ()))
    begin = ExportFile(asked=asked, version=tag.number if tag else None, licences=licences)
    with opened(dest.absolute(), begin) as export:
        if export.finished:
            return export, False
        writer, _ = LAYOUTS[layout]
        job = Job(dataset, dest.absolute(), encoding, copy)
        arranged = writer.arrange(dataset, np.asarray(positions))
        workers = workers if is_shared(dataset.path) else 1
        made: list[Made] = []
        for some in run_tasks(writer.make, job, writer.plan(job, arranged), workers):
            made += some
            progress(len(made))
        kept = [one for one in made if not one.faults]
        if not kept:
            raise UserError(f"{dest}: all {len(made)} samples break a rule: {_counted(made)}")
        writer.finish(job, arranged, made)
        write_papers(job, layout, arranged, kept, workers)
        left_out = tuple(
            LeftOut(id=sample_id(int(dataset.ids[arranged[one.rank]])), reasons=dict(one.faults))
            for one in made
            if one.faults
        )
        export = export.model_copy(update={"finished": True, "exported": len(kept), "left_out": left_out})
        write_export(dest.absolute(), export)
    return export, True


def _counted(made: list[Made]) -> str:
    counts = Counter(rule for one in made for rule, _ in one.faults)
    return ", ".join(f"{rule} {count}" for rule, count in counts.most_common())
