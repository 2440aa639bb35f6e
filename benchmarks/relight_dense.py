"""Demo bodies of several hundred thousand triangles, in folds and creases: what a photogrammetry scan is made of.

Every triangle of a prepared scan becomes sixteen, and points move along the surface's normal by a sum of waves from
the width of a hand down to that of a finger. The same bytes every time; kept from run to run.
"""

import shutil
from pathlib import Path

import numpy as np

from synth.scans import PreparedScan

#: Times that every triangle is made four.
_ROUNDS = 2
#: Waves: how many, between which lengths, and how high the longest is, metres; shorter ones are lower in proportion.
_WAVES, _LENGTHS_M, _HEIGHT_M = 48, (0.012, 0.12), 0.0035
#: Goes into the names of kept meshes: raise it when the same scan gives another.
_VERSION = 1


def make_dense(scan: PreparedScan, picture: Path, folder: Path, name: str) -> Path:
    """The folder of an OBJ `name` that is `scan` with sixteen times the triangles, folded; made where it is missing.

    picture: the scan's texture.
    """
    place = folder / f"{scan.folder.name}-v{_VERSION}" / name
    if (place / f"{name}.obj").is_file():
        return place
    positions, triangles = _weld(np.asarray(scan.positions, np.float64), np.asarray(scan.triangles))
    uvs = np.asarray(scan.uvs, np.float64)
    for _ in range(_ROUNDS):
        positions, triangles, uvs = _divide(positions, triangles, uvs)
    positions = positions + _waves(positions)[:, None] * _normals(positions, triangles)
    temporary = place.with_name(f".{name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    painted = f"{name}{picture.suffix}"
    shutil.copy(picture, temporary / painted)
    (temporary / f"{name}.mtl").write_text(f"newmtl painted\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {painted}\n")
    _write_obj(temporary / f"{name}.obj", positions, triangles, uvs)
    temporary.rename(place)
    return place


def _weld(positions: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points in one place made one, so that no seam opens."""
    places, which = np.unique(positions, axis=0, return_inverse=True)
    return places, which.reshape(-1)[triangles]


def _divide(positions: np.ndarray, triangles: np.ndarray, uvs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each triangle as four, by the middles of its edges."""
    edges = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2)  # (T, 3, 2): edge k leaves corner k
    ends, which = np.unique(np.sort(edges.reshape(-1, 2), axis=1), axis=0, return_inverse=True)
    middle = len(positions) + which.reshape(-1, 3)
    uv = (uvs + np.roll(uvs, -1, axis=1)) / 2
    a, b, c = triangles.T
    ab, bc, ca = middle.T
    parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    u, v, w = uvs.transpose(1, 0, 2)
    uv_ab, uv_bc, uv_ca = uv.transpose(1, 0, 2)
    uv_parts = ((u, uv_ab, uv_ca), (uv_ab, v, uv_bc), (uv_ca, uv_bc, w), (uv_ab, uv_bc, uv_ca))
    return (
        np.concatenate([positions, positions[ends].mean(axis=1)]),
        np.concatenate([np.stack(part, axis=1) for part in parts]),
        np.concatenate([np.stack(part, axis=1) for part in uv_parts]),
    )


def _normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3), unit, of the triangles around each point by their areas."""
    corners = positions[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(face[:, k], 3), len(positions)) for k in range(3)], axis=1
    )
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)


def _waves(positions: np.ndarray) -> np.ndarray:
    """(V,) metres."""
    rng = np.random.default_rng(0)
    height = np.zeros(len(positions))
    for length in np.geomspace(*_LENGTHS_M, _WAVES):
        direction = rng.normal(size=3)
        towards = 2 * np.pi / length * direction / np.linalg.norm(direction)
        amplitude = _HEIGHT_M * length / _LENGTHS_M[1] / np.sqrt(_WAVES / 12)
        height += amplitude * np.sin(positions @ towards + rng.uniform(0, 2 * np.pi))
    return height


def _write_obj(path: Path, positions: np.ndarray, triangles: np.ndarray, uvs: np.ndarray) -> None:
    """Y up, as most files are."""
    places, which = np.unique(uvs.reshape(-1, 2), axis=0, return_inverse=True)
    corners = np.stack([triangles, which.reshape(-1, 3)], axis=2).reshape(-1, 6) + 1
    with path.open("w") as file:
        file.write(f"mtllib {path.stem}.mtl\nusemtl painted\n")
        np.savetxt(file, positions[:, [0, 2, 1]] * (1, 1, -1), fmt="v %.6f %.6f %.6f")
        np.savetxt(file, places, fmt="vt %.6f %.6f")
        np.savetxt(file, corners, fmt="f %d/%d %d/%d %d/%d")
