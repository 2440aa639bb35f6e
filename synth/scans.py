"""scans dir -> ScanLibrary: an honest verdict for every file, and prepared scans that every renderer can read.

Which files are tried: `synth.scans_choose`; which of them are one scan, and who is seen: `synth.scans_discover`. What a
mesh file uses and its key: `synth.scans_jobs`. How it is prepared: `synth.scans_prepare`, which decides by
`synth.scans_surface`, `synth.scans_geometry` and `synth.scans_colour`. What reads the files: a probe, handed in by the
caller (`renderers.importers.probe`), because nothing here needs Blender.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from synth.scans_choose import BadScans, drop_copies, find_files, group_jobs, ignored_verdicts, pick_best, plan_files
from synth.scans_discover import name_mesh, persons_of
from synth.scans_facts import IMPORTER_VERSION, ScanEntry, ScanFacts, ScanMaterial, Verdict
from synth.scans_files import FoundFile, HashMemory
from synth.scans_jobs import Job, remember_tryout, run_job, was_tried
from synth.scans_licence import find_licence, header_licence, licence_papers
from synth.scans_names import name_scans
from synth.scans_raw import BadScan, ImporterBroken, Probe, RawMaterial, RawMesh, RawPicture
from synth.scans_store import PreparedScan, load_facts, load_prepared

__all__ = [
    "IMPORTER_VERSION", "BadScan", "BadScans", "ImporterBroken", "PreparedScan", "Probe", "RawMaterial", "RawMesh",
    "RawPicture", "ScanEntry", "ScanFacts", "ScanLibrary", "ScanMaterial", "Verdict", "default_cache", "load_facts",
    "load_library", "load_prepared",
]  # fmt: skip

Progress = Callable[[int, int, str], None]
#: (store, keys) -> by key, why a prepared scan cannot be rendered, or None. Raises ImporterBroken.
Tryout = Callable[[Path, Sequence[str]], dict[str, str | None]]


@dataclass(frozen=True)
class ScanLibrary:
    """The usable scans of some folders, and what became of every file in them."""

    entries: tuple[ScanEntry, ...]
    """Sorted by key."""
    verdicts: tuple[Verdict, ...]
    """Sorted by path."""
    store: Path
    """Folder of prepared scans, by key."""


def default_cache() -> Path:
    """$SYNTH_CACHE, or the user's cache folder."""
    named = os.environ.get("SYNTH_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("synth")


def load_library(
    folders: Sequence[Path],
    cache: Path,
    probe: Probe,
    colour_missing: str = "clay",
    jobs: int = 1,
    progress: Progress | None = None,
    tryout: Tryout | None = None,
) -> ScanLibrary:
    """All scans below some folders, prepared in `<cache>/scans`, with a verdict for every file.

    colour_missing: `clay` accepts scans without colour, `refuse` does not. jobs: how many files are imported at a
    time. progress: called with (done, all, path) from this thread. tryout: renders each prepared scan once, the first
    time it is met; what fails is refused. Raises BadScans when a folder is missing, when
    nothing is usable, or when the importer does not run here.
    """
    if colour_missing not in ("clay", "refuse"):
        raise ValueError(f"colour_missing is {colour_missing!r}: clay or refuse")
    verdicts: list[Verdict] = []
    hashes = HashMemory(cache / "hashes.json")
    files = find_files(folders, hashes, cache, verdicts)
    planned = plan_files(files, hashes, verdicts)
    groups = group_jobs(drop_copies(planned, verdicts))

    def prepare(some: list[Job], before: int) -> dict[str, ScanFacts | str]:
        more = before + len(some)
        report = (
            None if progress is None else lambda done, _, name: progress(before + done, max(more, len(groups)), name)
        )
        results = _run(some, cache / "scans", probe, jobs, report)
        results |= _try(results, cache / "scans", tryout)
        return {key: _with_colour(result, colour_missing) for key, result in results.items()}

    usable = pick_best(groups, prepare, verdicts)
    entries = _entries(usable, files)
    verdicts += [_accepted(job.file, entry) for (job, _), entry in zip(usable, entries, strict=True)]
    verdicts += ignored_verdicts(files, planned)
    verdicts.sort(key=lambda v: v.path)
    if not entries:
        raise BadScans(_nothing_usable(folders, verdicts), verdicts)
    return ScanLibrary(tuple(sorted(entries, key=lambda e: (e.key, e.scan_id))), tuple(verdicts), cache / "scans")


def _entries(usable: list[tuple[Job, ScanFacts]], files: list[FoundFile]) -> list[ScanEntry]:
    """Entries of usable scans, in order: named, with the person and the licence that the user or the layout gives."""
    jobs = [job for job, _ in usable]
    ids = name_scans(jobs)
    said = [job.source.override.person or name_mesh(job.file.name).person for job in jobs]
    persons = persons_of(zip(said, ids, strict=True))
    papers = licence_papers(file.path for file in files if file.refusal is None)
    return [
        ScanEntry(scan_id=scan_id, person=person, key=job.key, facts=_with_licence(facts, job, papers))
        for (job, facts), scan_id, person in zip(usable, ids, persons, strict=True)
    ]


def _with_licence(facts: ScanFacts, job: Job, papers: dict[Path, list[Path]]) -> ScanFacts:
    """Licence and attribution as the user says, else as the file itself, else as the papers beside it."""
    paper = header_licence(job.file.path) or find_licence(job.file.path, job.file.root, papers)
    override = job.source.override
    holds = paper if not override.licence else None  # whoever names a licence has read the paper
    return facts.model_copy(
        update={
            "licence": override.licence or facts.licence or (paper and paper.name),
            "attribution": override.attribution or facts.attribution or (paper and paper.attribution),
            "no_ai": paper is not None and paper.no_ai,
            "non_commercial": holds is not None and holds.non_commercial,
            "no_sharing": holds is not None and holds.no_sharing,
            "warnings": (*facts.warnings, *(holds.limits if holds else ())),
        }
    )


def _with_colour(result: ScanFacts | str, colour_missing: str) -> ScanFacts | str:
    if isinstance(result, ScanFacts) and result.colour == "none" and colour_missing == "refuse":
        return "no colour, and scans without colour are to be refused"
    return result


def _run(
    jobs: list[Job], store: Path, probe: Probe, workers: int, progress: Progress | None
) -> dict[str, ScanFacts | str]:
    """Facts or the reason of refusal of each job, by key."""
    results = {}
    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        running = {pool.submit(run_job, job, store, probe): job for job in {job.key: job for job in jobs}.values()}
        for done, future in enumerate(as_completed(running), start=1):
            job = running[future]
            results[job.key] = future.result()
            if progress is not None:
                progress(done, len(running), job.file.name)
    except ImporterBroken as error:
        raise BadScans(str(error)) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return results


def _try(results: dict[str, ScanFacts | str], store: Path, tryout: Tryout | None) -> dict[str, str]:
    """Reasons, by key, of the scans that the tryout refuses; what it has passed once is not tried again."""
    new = [key for key, result in results.items() if isinstance(result, ScanFacts) and not was_tried(store, key)]
    if tryout is None or not new:
        return {}
    try:
        verdicts = tryout(store, new)
    except ImporterBroken as error:
        raise BadScans(str(error)) from error
    for key, reason in verdicts.items():
        remember_tryout(store, key, reason)
    return {key: reason for key, reason in verdicts.items() if reason is not None}


def _accepted(file: FoundFile, entry: ScanEntry) -> Verdict:
    facts = entry.facts
    return Verdict(
        path=file.name,
        scan_id=entry.scan_id,
        verdict="accepted",
        reason="; ".join(facts.changes),
        warnings=facts.warnings,
        height_m=facts.height_m,
        faces=facts.faces,
        colour=facts.colour,
        kind=facts.kind,
        person=entry.person,
        texture_px=facts.texture_px,
        licence=facts.licence,
    )


def _nothing_usable(folders: Sequence[Path], verdicts: list[Verdict]) -> str:
    where = ", ".join(str(folder) for folder in folders) or "no folder"
    refused = [f"{v.path}: {v.reason}" for v in verdicts if v.verdict == "refused"]
    if not refused:
        return f"{where}: no mesh file (.obj, .ply, .glb, .gltf, .fbx) among {len(verdicts)} files"
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    return f"{where}: no usable scan. {'; '.join(refused[:3])}{more}"
