"""Which files of the scans folders are tried, in which order, and what the others are there for.

From folders to jobs, best first: zips are unpacked, files that are no scan get their verdict, levels of detail and
formats of one scan form a group of which one is used. `synth.scans` runs the jobs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from synth.errors import UserError
from synth.scans_discover import detail, name_mesh, why_no_scan
from synth.scans_facts import ScanFacts, Verdict
from synth.scans_files import FoundFile, HashMemory, list_files
from synth.scans_jobs import Job, plan_job
from synth.scans_names import HIDDEN, ignored_reason
from synth.scans_overrides import Override, find_override, load_overrides
from synth.scans_raw import BadScan, NoMesh
from synth.scans_zip import unpack_zip


class BadScans(UserError):
    """A scans folder that nothing can be made from; the message is one line for the user."""

    def __init__(self, message: str, verdicts: Sequence[Verdict] = ()):
        super().__init__(message)
        self.verdicts = tuple(verdicts)
        """What became of every file, where that is known."""


def find_files(folders: Sequence[Path], hashes: HashMemory, cache: Path, verdicts: list[Verdict]) -> list[FoundFile]:
    """Every file of some folders and of the zips in them. Raises BadScans when a folder is missing."""
    return _unpacked([file for folder in folders for file in _list(Path(folder))], hashes, cache, verdicts)


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
            verdicts.append(refused(file, str(error)))
        except OSError as error:
            verdicts.append(refused(file, f"cannot be unpacked ({error.strerror})"))
        else:
            inner = [one for one in inner if not one.path.name.startswith(".")]
            reason = f"unpacked: {len(inner)} files"
            verdicts.append(Verdict(path=file.name, scan_id=None, verdict="ignored", reason=reason))
            found += inner
    return found


def plan_files(files: list[FoundFile], hashes: HashMemory, verdicts: list[Verdict]) -> list[Job]:
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
            verdicts.append(refused(file, file.refusal))
        else:
            try:
                planned.append(plan_job(file, usable, hashes, override))
            except NoMesh as error:
                verdicts.append(Verdict(path=file.name, scan_id=None, verdict="ignored", reason=str(error)))
            except BadScan as error:
                verdicts.append(refused(file, str(error)))
    hashes.save()
    return planned


def _why_left_out(file: FoundFile, override: Override) -> str | None:
    if override.exclude:
        return "left out by scans.yaml"
    asked_for = "exclude" in override.model_fields_set
    return None if asked_for else why_no_scan(file.name)


def drop_copies(planned: list[Job], verdicts: list[Verdict]) -> list[Job]:
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


def group_jobs(jobs: list[Job]) -> list[list[Job]]:
    """Jobs that are one scan in several levels of detail or formats, the best of each group first."""
    groups: dict[tuple, list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.file.home, name_mesh(job.file.name).group), []).append(job)
    for group in groups.values():
        group.sort(key=lambda job: (detail(job.file.name, job.file.path.stat().st_size), job.file.name), reverse=True)
    return list(groups.values())


def pick_best(
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
                verdicts.append(refused(first.file, result))
                again += [rest] if rest else []
                continue
            usable.append((first, result))
            reason = f"the same scan as {first.file.name}, in less detail or another format"
            verdicts += [Verdict(path=j.file.name, scan_id=None, verdict="ignored", reason=reason) for j in rest]
        waiting = again
    return sorted(usable, key=lambda one: one[0].file.name)


def ignored_verdicts(files: list[FoundFile], planned: list[Job]) -> list[Verdict]:
    """Verdicts of all files that are no scan: what they are there for."""
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


def refused(file: FoundFile, reason: str) -> Verdict:
    """The verdict of a file that cannot be used."""
    return Verdict(path=file.name, scan_id=None, verdict="refused", reason=reason)
