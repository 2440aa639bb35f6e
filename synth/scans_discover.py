"""Which mesh files are one scan, which are none, and who is seen: rules over names and folders, nothing is opened.

One scan is one stem without its level of detail. What the public data sets call their files is in `_LAYOUTS`; a
user's own names need no rule. `synth.scans` asks here before anything is imported.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

#: Body models fitted to a scan, by file and by folder: SMPL and its kin are no scans.
_FIT = re.compile(r"(?<![a-z])smpl(?:ify)?(?:[xh]|\+h)?(?![a-z])|[_-](?:mano|flame)$", re.IGNORECASE)
_FIT_FOLDER = re.compile(r"fits?|fit_.*|body_?fits?|smpl_params", re.IGNORECASE)
#: Meshes that come with scans and show nobody.
_PROP = re.compile(
    r"(?:^|[^a-z])(?:turntable|calibration|collision|collider|ucx|hitbox|skeleton|armature|landmarks?)(?:[^a-z]|$)",
    re.IGNORECASE,
)
#: The level of detail at the end of a stem or a folder's name.
_LOD = re.compile(
    r"(?:^|[_\-. ])(?:(?P<k>\d+)k(?:[_-]?(?:tris?|faces|poly))?|lod[_-]?(?P<lod>\d+)|(?P<word>low|mid|medium|high|full)"
    r"(?:[_-]?(?:res|poly))?|(?P<less>decimated|simplified|reduced))$",
    re.IGNORECASE,
)
_WORDS = {"low": 5e3, "mid": 5e4, "medium": 5e4, "high": 2e6, "full": 2e6}
#: A stem that says nothing of its level of detail is the scan itself.
_UNSAID = 1e6
_FORMATS = (".glb", ".gltf", ".obj", ".fbx", ".ply", ".npz", ".pkl")
#: (path below the scans folder, person, scan); the names of groups are filled in.
_LAYOUTS = tuple(
    (re.compile(r"(?:.*/)?" + pattern, re.IGNORECASE), person, scan)
    for pattern, person, scan in (
        # RenderPeople: the same name in its OBJ, FBX and MAYA packs.
        (r"(?P<p>rp_[a-z]+(?:_[a-z]+)*?)_(?P<k>posed|rigged|animated|static)_(?P<n>\d+)[^/]*", "{p}", "{p}_{k}_{n}"),
        (r"(?P<p>[^/]+)/(?P<o>inner|outer)/(?P<t>take[^/]*)/meshes_pkl/(?P<s>[^/]+)", "{p}", "{p}-{o}-{t}-{s}"),
        (r"(?P<p>[^/]+)/(?:train|test)/(?P<t>take[^/]*)/meshes_pkl/(?P<s>[^/]+)", "{p}", "{p}-{t}-{s}"),
        (r"(?P<p>p\d{6})_(?P<a>a\d{6})/(?:[^/]+/)?(?P<s>[^/]+)", "{p}", "{p}_{a}-{s}"),
        (r"sequences/(?P<p>[^/]+)/(?P<t>[^/]+)/(?P<s>[^/]+)", "{p}", "{p}-{s}"),
        (r"(?P<q>part\d+)/(?P<p>person\d+)/(?P<d>[^/]+)/[^/]+", "{q}-{p}", "{q}-{p}-{d}"),
        (r"(?P<p>\d{5})_(?P<s>\d{4})/[^/]+", "{p}", "{p}_{s}"),  # THuman3.0: person in one dress, pose
        (r"(?P<p>\d{4})/(?P<s>mesh-f\d+)", "{p}", "{p}-{s}"),  # CustomHumans
        (r"(?P<p>\d{4,5})/(?P=p)", "{p}", "{p}"),  # THuman2, 2K2K
        (r"(?P<p>\d{6}-\d{3}-[mf]-[a-z0-9]{4})-[^/]*", "{p}", "{stem}"),  # 3DBodyTex
        # Frames of somebody's own sequence: one person, however many.
        (r"(?P<p>[^/]+)/(?:[^/]*[-_.])?(?:f|frame)[-_]?(?P<n>\d{3,})", "{p}", "{p}-{stem}"),
    )
)
#: What exporters and people add to a person's name.
_ADDED = re.compile(
    r"[_\-. ](?:(?:un)?textured|textures?|vertex_?colou?rs?|clean(?:ed)?|final|scan|mesh|obj|fbx|ply|glb|gltf|v\d+)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Named:
    """What the rules say about a mesh file."""

    scan: str | None
    """Name of the scan where a layout is known; else the file's own name decides."""
    person: str | None
    """Who is seen, where a layout tells."""
    group: str
    """Files of one group are one scan in several levels of detail or formats."""


def why_no_scan(name: str) -> str | None:
    """Why a mesh file is no scan, by its path below the scans folder (forward slashes); None if it may be one."""
    path = PurePosixPath(name)
    if _FIT.search(path.stem) or any(_FIT.search(part) or _FIT_FOLDER.fullmatch(part) for part in path.parts[:-1]):
        return "a fitted body model, not a scan"
    if _PROP.search(path.stem):
        return "by its name no person"
    return None


def name_mesh(name: str) -> Named:
    """What a path below the scans folder says of scan, person and group."""
    path = PurePosixPath(name)
    stem = _without_lod(path.stem)
    plain = str(path.with_name(stem))
    for pattern, person, scan in _LAYOUTS:
        if match := pattern.fullmatch(plain):
            words = {**{key: value or "" for key, value in match.groupdict().items()}, "stem": stem}
            # RenderPeople's packs lie in folders of their own; all others are told apart by their folder too.
            group = scan.format(**words) if "k" in words else plain
            return Named(scan.format(**words), person.format(**words), group.casefold())
    folders = [_without_lod(part) for part in path.parts[:-1] if not _LOD.fullmatch(part)]
    return Named(None, None, "/".join([*folders, stem]).casefold())


def detail(name: str, size: int) -> tuple[float, int, int]:
    """Sorts the files of a group, the best last: level of detail, format, size in bytes."""
    path = PurePosixPath(name)
    faces = min((_faces(part) for part in (*path.parts[:-1], path.stem)), default=_UNSAID)
    suffix = path.suffix.lower()
    return faces, -_FORMATS.index(suffix) if suffix in _FORMATS else -len(_FORMATS), size


def persons_of(names: Iterable[tuple[str | None, str]]) -> list[str]:
    """Who is seen in each scan: (person of its layout or override, or None; its scan_id).

    Without a layout it is the scan's own name less what exporters add, and spellings that differ in case and signs
    only are one person: LeePerrySmith, lee_perry_smith and leeperrysmith_textured.
    """
    said = [person or _plain_person(scan_id) for person, scan_id in names]
    spelling: dict[str, str] = {}
    for person in sorted(said):
        spelling.setdefault(_letters(person), person)
    return [spelling[_letters(person)] for person in said]


def without_detail(stem: str) -> str:
    """A stem in lower case without its level of detail: `rp_anna_100k` is `rp_anna`."""
    return _without_lod(stem).casefold()


def _plain_person(scan_id: str) -> str:
    stem = scan_id
    while (shorter := _without_lod(_ADDED.sub("", stem))) != stem and shorter:
        stem = shorter
    return stem


def _letters(person: str) -> str:
    return re.sub(r"[^a-z0-9]", "", person.casefold()) or person


def _without_lod(stem: str) -> str:
    while (shorter := _LOD.sub("", stem)) != stem and shorter:
        stem = shorter
    return stem


def _faces(part: str) -> float:
    """About how many faces a name promises."""
    match = _LOD.search(part)
    if match is None:
        return _UNSAID
    if match["k"]:
        return 1e3 * int(match["k"][:9])
    if match["lod"]:
        return _UNSAID / 4 ** min(int(match["lod"][:3]), 20)
    return _WORDS[match["word"].lower()] if match["word"] else 1e4
