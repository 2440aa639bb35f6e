"""scans dir -> ScanLibrary: an honest verdict for every file, and prepared scans that every renderer can read.

Which files are one scan, and who is seen: `synth.scans_discover`. What a mesh file uses and its key:
`synth.scans_jobs`. How it is prepared: `synth.scans_prepare`, which decides by
`synth.scans_surface`, `synth.scans_geometry` and `synth.scans_colour`. What reads the files: a probe, handed in by
the caller (`renderers.importers.probe`), because nothing here needs Blender.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from synth.errors import UserError
from synth.scans_discover import detail, name_mesh, persons_of, why_no_scan
from synth.scans_facts import IMPORTER_VERSION, ScanEntry, ScanFacts, ScanMaterial, Verdict
from synth.scans_files import FoundFile, HashMemory, list_files
from synth.scans_jobs import Job, plan_job, remember_tryout, run_job, was_tried
from synth.scans_names import HIDDEN, ignored_reason, name_scans
from synth.scans_overrides import Override, find_override, load_overrides
from synth.scans_raw import BadScan, ImporterBroken, NoMesh, Probe, RawMaterial, RawMesh, RawPicture
from synth.scans_store import PreparedScan, load_facts, load_prepared
from synth.scans_zip import unpack_zip

__all__ = [
    "IMPORTER_VERSION", "BadScan", "BadScans", "ImporterBroken", "PreparedScan", "Probe", "RawMaterial", "RawMesh",
    "RawPicture", "ScanEntry", "ScanFacts", "ScanLibrary", "ScanMaterial", "Verdict", "default_cache", "load_facts",
    "load_library", "load_prepared",
]  # fmt: skip

Progress = Callable[[int, int, str], None]
#: (store, keys) -> by key, why a prepared scan cannot be rendered, or None. Raises ImporterBroken.
Tryout = Callable[[Path, Sequence[str]], dict[str, str | None]]


class BadScans(UserError):
    """A scans folder that nothing can be made from; the message is one line for the user."""

    def __init__(self, message: str, verdicts: Sequence[Verdict] = ()):
        super().__init__(message)
        self.verdicts = tuple(verdicts)
        """What became of every file, where that is known."""


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
    files = _unpacked([file for folder in folders for file in _list(Path(folder))], hashes, cache, verdicts)
    planned = _plan(files, hashes, verdicts)
    groups = _groups(_without_copies(planned, verdicts))

    def prepare(some: list[Job], before: int) -> dict[str, ScanFacts | str]:
        more = before + len(some)
        report = (
            None if progress is None else lambda done, _, name: progress(before + done, max(more, len(groups)), name)
        )
        results = _run(some, cache / "scans", probe, jobs, report)
        results |= _try(results, cache / "scans", tryout)
        return {key: _with_colour(result, colour_missing) for key, result in results.items()}

    usable = _best_of(groups, prepare, verdicts)
    entries = _entries(usable)
    verdicts += [_accepted(job.file, entry) for (job, _), entry in zip(usable, entries, strict=True)]
    verdicts += _ignored(files, planned)
    verdicts.sort(key=lambda v: v.path)
    if not entries:
        raise BadScans(_nothing_usable(folders, verdicts), verdicts)
    return ScanLibrary(tuple(sorted(entries, key=lambda e: (e.key, e.scan_id))), tuple(verdicts), cache / "scans")


def _list(folder: Path) -> list[FoundFile]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise BadScans(f"{folder} {what}; --scans takes a folder of .obj, .ply, .glb, .gltf or .fbx files")
    return list_files(folder)


def _unpacked(files: list[FoundFile], hashes: HashMemory, cache: Path, verdicts: list[Verdict]) -> list[FoundFile]:
    """The files with those in zips in place of the zips, which get their verdict."""
    found = []
    for file in files:
        if file.path.suffix.lower() != ".zip" or file.refusal or ignored_reason(file, (), {}) == HIDDEN:
            found.append(file)
            continue
        try:
            inner = list_files(unpack_zip(file.path, hashes.sha256(file.path), cache), archive=file)
        except BadScan as error:
            verdicts.append(_refused(file, str(error)))
        except OSError as error:
            verdicts.append(_refused(file, f"cannot be unpacked ({error.strerror})"))
        else:
            inner = [one for one in inner if not one.path.name.startswith(".")]
            reason = f"unpacked: {len(inner)} files"
            verdicts.append(Verdict(path=file.name, scan_id=None, verdict="ignored", reason=reason))
            found += inner
    return found


def _plan(files: list[FoundFile], hashes: HashMemory, verdicts: list[Verdict]) -> list[Job]:
    """Jobs of all mesh files that may be looked at; the others get their verdict."""
    usable = {file.path for file in files if file.refusal is None}
    overrides = {home: load_overrides(home) for home in {file.home for file in files}}
    planned = []
    for file in files:
        if ignored_reason(file, (), {}) is not None:
            continue
        override = find_override(overrides[file.home], file.name)
        if (reason := _why_left_out(file, override)) is not None:
            verdicts.append(Verdict(path=file.name, scan_id=None, verdict="ignored", reason=reason))
        elif file.refusal is not None:
            verdicts.append(_refused(file, file.refusal))
        else:
            try:
                planned.append(plan_job(file, usable, hashes, override))
            except NoMesh as error:
                verdicts.append(Verdict(path=file.name, scan_id=None, verdict="ignored", reason=str(error)))
            except BadScan as error:
                verdicts.append(_refused(file, str(error)))
    hashes.save()
    return planned


def _why_left_out(file: FoundFile, override: Override) -> str | None:
    if override.exclude:
        return "left out by scans.yaml"
    asked_for = "exclude" in override.model_fields_set
    return None if asked_for else why_no_scan(file.name)


def _without_copies(planned: list[Job], verdicts: list[Verdict]) -> list[Job]:
    """The first of each content, by path; the others get their verdict, unless a layout says they are someone else."""
    kept: dict[str, list[Job]] = {}
    for job in sorted(planned, key=lambda job: job.file.name):
        same = kept.setdefault(job.key, [])
        person = name_mesh(job.file.name).person
        if same and (person is None or person in (name_mesh(other.file.name).person for other in same)):
            reason = f"same content as {same[0].file.name}"
            verdicts.append(Verdict(path=job.file.name, scan_id=None, verdict="ignored", reason=reason))
        else:
            same.append(job)
    return [job for same in kept.values() for job in same]


def _groups(jobs: list[Job]) -> list[list[Job]]:
    """Jobs that are one scan in several levels of detail or formats, the best of each group first."""
    groups: dict[tuple, list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.file.home, name_mesh(job.file.name).group), []).append(job)
    for group in groups.values():
        group.sort(key=lambda job: (detail(job.file.name, job.file.path.stat().st_size), job.file.name), reverse=True)
    return list(groups.values())


def _best_of(
    groups: list[list[Job]],
    prepare: Callable[[list[Job], int], dict[str, ScanFacts | str]],
    verdicts: list[Verdict],
) -> list[tuple[Job, ScanFacts]]:
    """The first usable job of every group, with its facts; a worse one is tried only where a better one is refused."""
    usable, waiting, tried = [], [list(group) for group in groups], 0
    while waiting:
        results = prepare([group[0] for group in waiting], tried)
        tried += len(waiting)
        again = []
        for first, *rest in waiting:
            result = results[first.key]
            if isinstance(result, str):
                verdicts.append(_refused(first.file, result))
                again += [rest] if rest else []
                continue
            usable.append((first, result))
            reason = f"the same scan as {first.file.name}, in less detail or another format"
            verdicts += [Verdict(path=j.file.name, scan_id=None, verdict="ignored", reason=reason) for j in rest]
        waiting = again
    return sorted(usable, key=lambda one: one[0].file.name)


def _entries(usable: list[tuple[Job, ScanFacts]]) -> list[ScanEntry]:
    """Entries of usable scans, in order: named, with the person and the licence that the user or the layout gives."""
    jobs = [job for job, _ in usable]
    ids = name_scans(jobs)
    said = [job.source.override.person or name_mesh(job.file.name).person for job in jobs]
    persons = persons_of(zip(said, ids, strict=True))
    return [
        ScanEntry(scan_id=scan_id, person=person, key=job.key, facts=_with_licence(facts, job.source.override))
        for (job, facts), scan_id, person in zip(usable, ids, persons, strict=True)
    ]


def _with_licence(facts: ScanFacts, override: Override) -> ScanFacts:
    said = {name: value for name in ("licence", "attribution") if (value := getattr(override, name)) is not None}
    return facts.model_copy(update=said)


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


def _ignored(files: list[FoundFile], planned: list[Job]) -> list[Verdict]:
    used_by: dict[Path, Job] = {}
    for job in sorted(planned, key=lambda job: job.file.name):
        for companion in job.companions:
            used_by.setdefault(companion, job)
    reasons = [(file, ignored_reason(file, planned, used_by)) for file in files]
    return [
        Verdict(path=file.name, scan_id=None, verdict="ignored", reason=reason)
        for file, reason in reasons
        if reason is not None
    ]


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
    )


def _refused(file: FoundFile, reason: str) -> Verdict:
    return Verdict(path=file.name, scan_id=None, verdict="refused", reason=reason)


def _nothing_usable(folders: Sequence[Path], verdicts: list[Verdict]) -> str:
    where = ", ".join(str(folder) for folder in folders) or "no folder"
    refused = [f"{v.path}: {v.reason}" for v in verdicts if v.verdict == "refused"]
    if not refused:
        return f"{where}: no mesh file (.obj, .ply, .glb, .gltf, .fbx) among {len(verdicts)} files"
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    return f"{where}: no usable scan. {'; '.join(refused[:3])}{more}"
