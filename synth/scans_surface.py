"""The surface of a scan: broken faces dropped, winding outwards, one normal per corner.

Every face that goes and every normal that is made is counted and said. Arrays in, arrays out; units do not matter.
Where the mesh stands is `synth.scans_geometry`.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from synth.scans_parts import faces_of_person, repeated_faces
from synth.scans_raw import BadScan, RawMesh
from synth.scans_winding import faces_to_turn

#: A vertex further out than this many median radii is a broken number, not a body part (3e38 and the like).
_STRAY_RADII = 1000.0
#: Steps of single precision coarser than this share of the extent show as a staircase.
_MAX_STEP = 1 / 4000
#: Importers replace NaN by 0: faces that reach for the origin with edges this many times the usual are torn.
_TORN_EDGES = 10.0
_OUTSIDE = 1.5
#: Faces thinner than this (area over squared extent) have no direction in float32.
_LEAST_AREA = 1e-13
#: Authored normals are kept while at most this share of corners is unusable; those are filled with smooth ones.
_MAX_BAD_NORMALS = 0.05
#: A mesh with at most this share of open edges encloses a volume, whose sign tells inside from outside.
_NEARLY_CLOSED = 0.05
#: An open sheet (half a face) is wound inwards when this share of its area faces its centroid. Measured 0.93 on one.
_INWARDS = 0.6
#: Share of corner normals on the outer side of their faces from which on a scan's own normals are believed though its
#: faces had to be turned.
_AGREEING = 0.95


@dataclass(frozen=True, eq=False)
class Surface:
    """A cleaned mesh. V vertices, T triangles; all vertices used, all numbers finite."""

    mesh: RawMesh
    """Its normals are filled in and unit."""
    normals_from: Literal["authored", "smooth"]
    welded: np.ndarray
    """(V,) int64: vertices at one place share a number, so that seams are no edges."""
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def clean_surface(mesh: RawMesh, keep_all: bool = False) -> Surface:
    """Drops what is no surface or nobody's, turns it outwards, completes its normals.

    keep_all: fragments and platforms stay. Raises BadScan when nothing is left.
    """
    changes: list[str] = []
    warnings: list[str] = []
    count = len(mesh.triangles)
    _check_precision(mesh.positions - np.array(mesh.offset))
    if any(mesh.offset):
        changes.append(f"{np.abs(mesh.offset).max():.0f} units from the origin: moved there in double precision")
    mesh = _drop_broken(mesh, warnings)
    welded = weld(mesh.positions)
    mesh, welded = _drop_degenerate(mesh, welded, changes)
    mesh, welded = _drop_others(mesh, welded, keep_all, changes)
    if len(mesh.triangles) == 0:
        raise BadScan(f"all {count} faces are degenerate or use broken vertices")
    extent = np.ptp(mesh.positions, axis=0)
    if extent.min() <= 1e-6 * extent.max():
        raise BadScan(f"flat: its extent is {extent[0]:.4g} x {extent[1]:.4g} x {extent[2]:.4g}")
    mesh, turned = _wind_outwards(mesh, welded, changes)
    # Normals that were made from a wrong winding are wrong too; those of a modeller need not be.
    least_agreement = _AGREEING if turned else 0.5
    normals, source = _complete_normals(mesh, welded, least_agreement, warnings)
    return Surface(replace(mesh, normals=normals), source, welded, tuple(changes), tuple(warnings))


def weld(positions: np.ndarray) -> np.ndarray:
    """(V,) int64 numbers of places: equal for vertices whose float32 positions are equal."""
    centred = (positions - positions.mean(axis=0)).astype(np.float32) + np.float32(0)  # -0 and 0 are one place
    order = np.lexsort(centred.T)
    ordered = centred[order]
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    places = np.empty(len(positions), dtype=np.int64)
    places[order] = np.cumsum(new) - 1
    return places


def smooth_normals(positions: np.ndarray, triangles: np.ndarray, welded: np.ndarray) -> np.ndarray:
    """(T, 3, 3) float32 unit normals per corner: face normals weighted by their angle at each place.

    Angle weights do not depend on how a surface is cut into triangles (Thurmer and Wuthrich 1998).
    """
    corners = positions[triangles]  # (T, 3, 3)
    face = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    ahead = _unit(np.roll(corners, -1, axis=1) - corners)
    back = _unit(np.roll(corners, 1, axis=1) - corners)
    angle = np.arccos(np.clip((ahead * back).sum(axis=2), -1, 1))  # (T, 3)
    place = welded[triangles].ravel()
    total = np.stack(
        [np.bincount(place, (angle * face[:, None, axis]).ravel(), welded.max() + 1) for axis in range(3)], axis=1
    )
    smooth = total[place].reshape(-1, 3, 3)
    length = np.linalg.norm(smooth, axis=2, keepdims=True)
    # Where sheets meet back to back the sum vanishes: the face itself is then the best that can be said.
    smooth = np.where(length > 1e-6, smooth, face[:, None, :])
    return _unit(smooth).astype(np.float32)


def _check_precision(positions: np.ndarray) -> None:
    """Importers keep single precision: far from the origin nothing but steps is left of a surface."""
    finite = positions[np.isfinite(positions).all(axis=1)]
    if len(finite) == 0:
        raise BadScan("no vertex has finite coordinates")
    low, high = np.percentile(finite, [5, 95], axis=0)
    step = float(np.spacing(np.float32(np.abs([low, high]).max())))
    if step > _MAX_STEP * (high - low).max() > 0:
        raise BadScan(f"its coordinates lie so far from the origin that steps of {step:.2g} are left; move it there")


def _zeroed(mesh: RawMesh) -> np.ndarray:
    """(V,) vertices of which an importer has put a coordinate to 0 because it was no number.

    All their faces reach there with edges far longer than the mesh's.
    """
    zero = (mesh.positions == mesh.offset).any(axis=1)
    if not zero.any() or len(mesh.triangles) == 0:
        return np.zeros(len(zero), dtype=bool)
    corners = mesh.positions[mesh.triangles]
    with np.errstate(invalid="ignore", over="ignore"):
        longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
        torn = longest > _TORN_EDGES * np.median(longest)
    faces = np.bincount(mesh.triangles.ravel(), minlength=len(zero))
    torn_faces = np.bincount(mesh.triangles[torn].ravel(), minlength=len(zero))
    suspect = zero & (faces > 0) & (torn_faces == faces)
    return suspect & _outside(mesh) if suspect.any() else suspect


def _outside(mesh: RawMesh) -> np.ndarray:
    """(V,) vertices that lie outside of those they share faces with; a turntable's hub lies amidst them."""
    corner, count = mesh.triangles.ravel(), len(mesh.positions)
    with np.errstate(invalid="ignore", over="ignore"):
        points = mesh.positions[mesh.triangles] - np.nanmedian(mesh.positions, axis=0)
        others = np.stack([points.sum(axis=1)[:, None] - points, (points**2).sum(axis=1)[:, None] - points**2])
        sums, squares = (
            np.stack([np.bincount(corner, part[..., axis].ravel(), count) for axis in range(3)], axis=1)
            for part in others
        )
        number = 2.0 * np.maximum(np.bincount(corner, minlength=count), 1)[:, None]
        middle = sums / number
        spread = np.sqrt(np.maximum(squares / number - middle**2, 0).sum(axis=1))
        away = np.linalg.norm(mesh.positions - np.nanmedian(mesh.positions, axis=0) - middle, axis=1)
    return away > _OUTSIDE * spread


def _drop_broken(mesh: RawMesh, warnings: list[str]) -> RawMesh:
    finite = np.isfinite(mesh.positions).all(axis=1) & ~_zeroed(mesh)
    if not finite.any():
        raise BadScan("no vertex has usable coordinates")
    centre = np.median(mesh.positions[finite], axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        radius = np.abs(mesh.positions - centre).max(axis=1)
        good = finite & ~(radius > _STRAY_RADII * max(np.median(radius[finite]), 1e-30))
    broken = int((~good).sum())
    if not broken:
        return mesh
    kept = good[mesh.triangles].all(axis=1)
    warnings.append(f"{broken} vertices with broken coordinates: {int((~kept).sum())} faces that use them dropped")
    return _select(mesh, kept)[0]


def _drop_degenerate(mesh: RawMesh, welded: np.ndarray, changes: list[str]) -> tuple[RawMesh, np.ndarray]:
    if len(mesh.triangles) == 0:
        return mesh, welded
    a, b, c = np.moveaxis(mesh.positions[mesh.triangles], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    place = welded[mesh.triangles]
    distinct = (place[:, 0] != place[:, 1]) & (place[:, 1] != place[:, 2]) & (place[:, 2] != place[:, 0])
    kept = distinct & (area > _LEAST_AREA * np.ptp(mesh.positions, axis=0).max() ** 2)
    if not kept.all():
        changes.append(f"{int((~kept).sum())} degenerate faces dropped")
    count = len(mesh.positions)
    mesh, used = _select(mesh, kept)
    if len(used) == count:  # nothing has moved, and welding sorts
        return mesh, welded
    return mesh, weld(mesh.positions) if len(used) else welded[:0]


def _drop_others(mesh: RawMesh, welded: np.ndarray, keep_all: bool, changes: list[str]) -> tuple[RawMesh, np.ndarray]:
    """Without repeated faces, and without what does not belong to the person."""
    if len(mesh.triangles) == 0:
        return mesh, welded
    again = repeated_faces(welded[mesh.triangles])
    if again.any():
        changes.append(f"{int(again.sum())} faces that repeat others dropped")
        mesh, used = _select(mesh, ~again)
        welded = welded[used]
    if keep_all:
        return mesh, welded
    by_place = np.empty((int(welded.max()) + 1, 3))
    by_place[welded] = mesh.positions
    person, others = faces_of_person(by_place, welded[mesh.triangles])
    if others is not None:
        changes.append(f"{others} dropped, {int((~person).sum())} faces (`parts: all` in scans.yaml keeps them)")
        mesh, _ = _select(mesh, person)
        welded = weld(mesh.positions)
    return mesh, welded


def _select(mesh: RawMesh, kept: np.ndarray) -> tuple[RawMesh, np.ndarray]:
    """The mesh with some faces only, and the vertices they use."""
    triangles = mesh.triangles[kept]
    is_used = np.zeros(len(mesh.positions), bool)
    is_used[triangles.ravel()] = True
    used = np.flatnonzero(is_used)
    triangles = (np.cumsum(is_used) - 1)[triangles].astype(np.int32)
    chosen = {
        name: None if (array := getattr(mesh, name)) is None else array[kept]
        for name in ("normals", "uvs", "colors", "material")
    }
    return replace(mesh, positions=mesh.positions[used], triangles=triangles, **chosen), used


def _wind_outwards(mesh: RawMesh, welded: np.ndarray, changes: list[str]) -> tuple[RawMesh, bool]:
    """The mesh with all faces wound counter-clockwise seen from outside, and whether any had to be turned."""
    against = faces_to_turn(mesh.positions, mesh.triangles, welded[mesh.triangles])
    if against.any():
        mesh = _turn(mesh, against)
        changes.append(f"{int(against.sum())} faces were wound against their neighbours: turned")
    inwards = _faces_inwards(mesh, welded)
    if inwards:
        mesh = _turn(mesh, np.ones(len(mesh.triangles), bool))
        changes.append("faces were wound inwards: turned")
    return mesh, inwards or bool(against.any())


def _faces_inwards(mesh: RawMesh, welded: np.ndarray) -> bool:
    """Whether the mesh is inside out as a whole."""
    corners = mesh.positions[mesh.triangles] - mesh.positions.mean(axis=0)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if _open_share(welded[mesh.triangles]) <= _NEARLY_CLOSED:
        return bool(np.einsum("ij,ij->", corners[:, 0], cross) < 0)
    facing_in = np.einsum("ij,ij->i", corners.mean(axis=1), cross) < 0
    area = np.linalg.norm(cross, axis=1)
    return bool(area[facing_in].sum() > _INWARDS * area.sum())


def _turn(mesh: RawMesh, which: np.ndarray) -> RawMesh:
    """The mesh with some faces, (T,) bool, wound the other way; what their corners hold goes with them."""
    turned = {}
    for name in ("triangles", "uvs", "colors", "normals"):
        if (array := getattr(mesh, name)) is not None:
            turned[name] = array.copy()
            turned[name][which] = array[which][:, ::-1]
    return replace(mesh, **turned)


def _open_share(places: np.ndarray) -> float:
    """Share of edges that belong to one triangle only; places (T, 3)."""
    edges = np.sort(np.concatenate([places[:, [0, 1]], places[:, [1, 2]], places[:, [2, 0]]]), axis=1)
    keys = edges[:, 0] * (int(places.max()) + 1) + edges[:, 1]
    _, counts = np.unique(keys, return_counts=True)
    return float((counts == 1).mean())


def _complete_normals(
    mesh: RawMesh, welded: np.ndarray, least_agreement: float, warnings: list[str]
) -> tuple[np.ndarray, Literal["authored", "smooth"]]:
    if mesh.normals is None:
        return smooth_normals(mesh.positions, mesh.triangles, welded), "smooth"
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.linalg.norm(mesh.normals.astype(np.float64), axis=2)
    good = np.isfinite(length) & (length > 1e-6)
    corners = mesh.positions[mesh.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    authored = np.where(good[..., None], mesh.normals, 0.0)
    agree = np.einsum("ijk,ik->ij", authored, face)[good] > 0
    refusal = None
    if (~good).mean() > _MAX_BAD_NORMALS:
        refusal = f"{(~good).mean():.0%} of its normals are unusable: made anew"
    elif agree.mean() < least_agreement:
        refusal = "its normals point against its faces: made anew"
    if refusal is None and good.all():
        return (mesh.normals / length[..., None]).astype(np.float32), "authored"
    smooth = smooth_normals(mesh.positions, mesh.triangles, welded)
    if refusal is not None:
        warnings.append(refusal)
        return smooth, "smooth"
    filled = np.where(good[..., None], mesh.normals / np.where(good, length, 1.0)[..., None], smooth)
    return filled.astype(np.float32), "authored"


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))[..., None]  # a third of np.linalg.norm's time
    return vectors / np.where(length > 0, length, 1.0)
