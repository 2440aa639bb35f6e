"""Demo bodies: MakeHuman's CC0 base mesh, morphed, dressed by displacement, written as OBJ + MTL + PNG.

The bytes come out the same on every machine: additions, products and square roots in a fixed order, coordinates
rounded to 0.01 mm, no random numbers. Space `base` is the unmorphed mesh: y up, z forward, decimetres, A-pose; which
part of the skin is sleeve or hair is decided there, once for all shapes, by `synth.assets_look`; `synth.assets_paint`
makes the texture. `synth.assets` reads the data from the wheel and checks the hashes of what is written.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from synth.assets_look import Look, hair_cover, shirt_cover, trousers_cover, value_noise
from synth.assets_paint import paint, png_bytes, prepare_canvas

ReadMember = Callable[[str], bytes]
"""A file of MakeHuman's data by its path below the data folder, e.g. `3dobjs/base.obj`."""

SHOE_TOP = -6.7
"""Height (base y, dm) up to which the foot of MakeHuman's tights stands in for shoe and sock: it has no toes."""
SHIRT_OFFSET_DM = 0.08
TROUSERS_OFFSET_DM = 0.14
FOLDS_DM = 0.08


@dataclass(frozen=True)
class BodyMesh:
    """Quads over vertices in space `base`, with UVs (origin at the lower left, as OBJ has it)."""

    base: np.ndarray  # (V, 3) float64, decimetres; helper geometry included, so that morph targets fit
    uv: np.ndarray  # (T, 2) float64
    quads: np.ndarray  # (F, 4) int, indices into base
    quads_uv: np.ndarray  # (F, 4) int, indices into uv
    shoe: np.ndarray  # (V,) bool, vertices of the shoes


def make_bodies(
    read: ReadMember, bodies: Iterable[tuple[str, dict[str, float], Look, str]]
) -> Iterator[dict[str, bytes]]:
    """File name -> bytes of each body of (name, morph targets, look, comment): OBJ in decimetres, MTL, PNG."""
    mesh = load_body(read)
    canvas = prepare_canvas(mesh.base, mesh.uv, mesh.quads, mesh.quads_uv, mesh.shoe, read)
    for name, targets, look, comment in bodies:
        shape = shape_body(mesh, read, targets, look)
        yield {
            f"{name}.obj": obj_text(mesh, shape, name, comment),
            f"{name}.mtl": mtl_text(name),
            f"{name}.png": png_bytes(paint(canvas, look)),
        }


def load_body(read: ReadMember) -> BodyMesh:
    """Body, eyes and shoes of the base mesh; clothes helpers, joint cubes, teeth and lashes are left out."""
    base, uv, groups = _parse_obj(read("3dobjs/base.obj"))
    quads, quads_uv = (np.array(part) for part in zip(*groups["body"], strict=True))
    bare_foot = base[quads, 1].max(axis=1) < -7.13  # where the map's islands of the feet end
    body = quads[~bare_foot], quads_uv[~bare_foot]
    eyes, eyes_uv = (np.array(p) for p in zip(*groups["helper-l-eye"], *groups["helper-r-eye"], strict=True))
    # The eyes' islands are 50 texels wide; the corner of the map that the helpers leave free takes them at 4x.
    moved = np.unique(eyes_uv)
    uv[moved] = (uv[moved] - [0.76, 0.93]) * 4 + [0.77, 0.86]
    shoes, shoes_uv, more_uv = _shoes(base, np.array([quad for quad, _ in groups["helper-tights"]]), len(uv))
    shoe = np.zeros(len(base), bool)
    shoe[shoes] = True
    return BodyMesh(
        base=base,
        uv=np.concatenate([uv, more_uv]),
        quads=np.concatenate([body[0], eyes, shoes]),
        quads_uv=np.concatenate([body[1], eyes_uv, shoes_uv]),
        shoe=shoe,
    )


def shape_body(mesh: BodyMesh, read: ReadMember, targets: dict[str, float], look: Look) -> np.ndarray:
    """(V, 3) decimetres: base plus weighted morph targets, then clothes and hair raised off the skin."""
    shape = mesh.base.copy()
    for name, weight in targets.items():
        index, offset = _parse_target(read(f"targets/{name}.target.gz"))
        shape[index] += weight * offset  # (K, 3); a target names a vertex once
    edge = 0.12  # decimetres; quads are about as large
    shirt = np.where(mesh.shoe, 0.0, shirt_cover(mesh.base, look, edge))
    trousers = np.where(mesh.shoe, 0.0, trousers_cover(mesh.base, look, edge))
    cloth = np.maximum(shirt, trousers)
    # The trousers' open end stays put: smoothing would pull it up the leg.
    shape = _drape(shape, mesh.quads, cloth * (mesh.base[:, 1] > SHOE_TOP))
    folds = value_noise(mesh.base * [1.1, 0.5, 1.1], seed=7) - 0.5
    lift = np.maximum(shirt * SHIRT_OFFSET_DM, trousers * TROUSERS_OFFSET_DM) + FOLDS_DM * cloth * folds
    tufts = 0.75 + 0.5 * value_noise(mesh.base * [2.0, 1.2, 2.0], seed=8)
    lift += hair_cover(mesh.base, look, soft=0.18) * look.hair_dm * tufts
    lift += np.where(mesh.shoe, 0.04, 0.0)
    return shape + lift[:, None] * vertex_normals(shape, mesh.quads)


def obj_text(mesh: BodyMesh, shape: np.ndarray, name: str, comment: str) -> bytes:
    """The OBJ file: decimetres, y up, only vertices in use, smooth normals, quads. `comment` may have many lines."""
    used, quads = np.unique(mesh.quads, return_inverse=True)
    used_uv, quads_uv = np.unique(mesh.quads_uv, return_inverse=True)
    compact = replace(mesh, quads=quads.reshape(-1, 4), quads_uv=quads_uv.reshape(-1, 4))
    normals = vertex_normals(shape[used], compact.quads)
    lines = [f"# {line}" for line in comment.splitlines()] + [f"mtllib {name}.mtl", f"o {name}"]
    lines += [_row("v", row, 4) for row in shape[used]]
    lines += [_row("vt", row, 5) for row in mesh.uv[used_uv]]
    lines += [_row("vn", row, 3) for row in normals]
    lines += ["usemtl painted", "s 1"]
    for corner, corner_uv in zip((compact.quads + 1).tolist(), (compact.quads_uv + 1).tolist(), strict=True):
        lines.append("f " + " ".join(f"{v}/{t}/{v}" for v, t in zip(corner, corner_uv, strict=True)))
    return ("\n".join(lines) + "\n").encode()


def mtl_text(name: str) -> bytes:
    """The MTL file: one material, its colour all in the texture."""
    return f"newmtl painted\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}.png\n".encode()


def vertex_normals(shape: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, weighted by area; vertices of no quad get 0."""
    a, b = shape[quads[:, 2]] - shape[quads[:, 0]], shape[quads[:, 3]] - shape[quads[:, 1]]  # the diagonals
    cross = np.stack([a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)
    normals = _sum_at(quads, np.repeat(cross[:, None], 4, axis=1), len(shape))
    length = np.sqrt(normals[:, 0] ** 2 + normals[:, 1] ** 2 + normals[:, 2] ** 2)
    return normals / np.where(length > 0, length, 1.0)[:, None]


def _drape(shape: np.ndarray, quads: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Cloth follows where the body swells and bridges where it sinks in: only outward steps of smoothing are kept."""
    body = _smooth(shape, quads, cover, steps=6)
    bridged = _smooth(body, quads, cover, steps=40)
    normals = vertex_normals(body, quads)
    step = (bridged - body) * normals
    outward = np.maximum(step[:, 0] + step[:, 1] + step[:, 2], 0.0)
    return body + outward[:, None] * normals


def _smooth(shape: np.ndarray, quads: np.ndarray, cover: np.ndarray, steps: int) -> np.ndarray:
    """Each vertex moves towards the mean of its neighbours, as far as cloth covers it."""
    ahead, behind = np.roll(quads, -1, axis=1), np.roll(quads, 1, axis=1)
    count = np.bincount(quads.ravel(), minlength=len(shape)) * 2.0
    pull = np.where(count > 0, 0.5 * cover, 0.0)[:, None]
    for _ in range(steps):
        mean = _sum_at(quads, shape[ahead] + shape[behind], len(shape)) / np.maximum(count, 1.0)[:, None]
        shape = shape + pull * (mean - shape)
    return shape


def _sum_at(index: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """(size, 3) sums of values (F, 4, 3) by index (F, 4). bincount adds one by one, in order: the same everywhere."""
    return np.stack([np.bincount(index.ravel(), values[..., i].ravel(), size) for i in range(3)], axis=1)


def _shoes(base: np.ndarray, tights: np.ndarray, uv_count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(quads, quads_uv, uv) of both shoes; four islands, each one side of a shoe seen from that side."""
    shoes = tights[base[tights, 1].max(axis=1) < SHOE_TOP]
    side = np.where(base[shoes, 0].mean(axis=1) > 0, 2, 0)  # left or right foot
    middle = 2.2 + 0.15 * (base[shoes, 2].mean(axis=1) - 0.3)  # the feet point outwards a little
    side += np.abs(base[shoes, 0]).mean(axis=1) > middle
    corners, quads_uv = np.unique(shoes * 4 + side[:, None], return_inverse=True)
    island, vertex = corners % 4, corners // 4
    u = 0.02 + 0.17 * (island % 2) + (base[vertex, 2] + 1.1) * 0.048
    v = 0.02 + 0.075 * (island // 2) + (base[vertex, 1] + 8.25) * 0.048
    return shoes, quads_uv.reshape(-1, 4) + uv_count, np.stack([u, v], axis=1)


def _parse_obj(data: bytes) -> tuple[np.ndarray, np.ndarray, dict[str, list]]:
    """(vertices, uv, group -> [(four vertex indices, four uv indices)]); joint cubes are skipped."""
    vertices, uv, groups, quads = [], [], {}, []
    for line in data.decode("ascii", "replace").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()])
        elif kind == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            quads = groups.setdefault(rest.strip(), [])
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            quads.append(([int(c[0]) - 1 for c in corners], [int(c[1]) - 1 for c in corners]))
    return np.array(vertices), np.array(uv), groups


def _parse_target(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    lines = [line.split() for line in gzip.decompress(data).decode("ascii").splitlines()]
    rows = [row for row in lines if len(row) == 4 and row[0] != "#"]
    index = np.array([row[0] for row in rows], dtype=np.int64)  # may be empty: an average body is no offset
    return index, np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 3)


def _row(kind: str, values: np.ndarray, digits: int) -> str:
    return kind + "".join(f" {value + 0.0:.{digits}f}" for value in np.round(values, digits))  # + 0.0: no "-0"
