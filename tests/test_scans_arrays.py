"""Pickled and zipped arrays: what they hold is read, what they want to run is not, and what they claim is checked."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_scans_geometry import BODIES, blobs

from renderers.importers import probe
from synth.scans import load_library
from synth.scans_raw import BadScan, HostLimit
from synth.scans_unpickle import BadPickle, load_plain

LAYOUTS = Path(__file__).parents[2] / "shared" / "assets" / "layouts.tar.xz"


class Runs:
    """Unpickled by Python itself, it calls what it was given."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def mesh(**more) -> dict:
    positions, triangles = blobs(BODIES["bust"][1])
    uvs = np.mod(positions[:, :2] * 3, 1).astype(np.float32)
    return {"vertices": positions.astype(np.float32), "faces": triangles.astype(np.int64), "uvs": uvs,
            "normals": np.ones_like(positions, np.float32), **more}  # fmt: skip


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "value",
    [mesh(), {"a": [1, 2.5, "text", b"bytes", None, True]}, np.arange(6, dtype=">i2").reshape(2, 3),
     np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.float32(2.5), np.zeros((0, 3)), {"b": np.array([True])}],
)  # fmt: skip
def test_plain_content_comes_through(value, protocol):
    found = load_plain(pickle.dumps(value, protocol))
    np.testing.assert_equal(found, value)


@pytest.mark.parametrize(
    "evil",
    [Runs(os.system, "touch ran"), Runs(eval, "open('ran', 'w')"), Runs(np.load, "x.npy"), Runs(os.getcwd),
     Runs(np.frombuffer, b"x"), np.array([{}], dtype=object), np.zeros(2, "U5"), np.zeros(1, [("a", "f4")]), Path("x"),
     Runs(__import__, "os"), Runs(getattr, int, "real"), Runs(exec, "open('ran', 'w')"),
     np.ones(1, np.complex64), set(), io.BytesIO, np.ma.zeros(2), np.array(["2020"], "M8[D]")],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_nothing_else_does_and_nothing_runs(evil, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadPickle):
        load_plain(pickle.dumps({"vertices": evil}, protocol))
    assert not list(tmp_path.iterdir())


def test_arrays_that_contradict_themselves_are_refused():
    whole = pickle.dumps(np.zeros((3, 3), np.uint8), 4)
    for broken in (whole[:-20], whole.replace(b"K\x03K\x03\x86", b"K\x03K\x04\x86"), b"", b"\x80\x04N" * 3, b"garbage"):
        with pytest.raises(BadPickle):
            load_plain(broken)


ARRAY = b"\x80\x04cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftC\x01btR"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (ARRAY + b".", "without content"),  # a shape of two thousand million
        (ARRAY + b"}b.", "without content"),
        (b"\x80\x04c_codecs\nencode\nN}(\x8c\x0c__defaults__K\x01u\x86b.", "wants to change"),
        (b"\x80\x04cnumpy\nndarray\n}(\x8c\x05stateK\x01ub.", "wants to change"),
        (b"\x80\x04cnumpy\nndarray\n.", "it holds a"),
        (b"\x80\x04cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"\x80\x04}}c_codecs\nencode\nN\x92.", "NEWOBJ_EX"),
        (b"\x80\x04ios\nsystem\n.", "INST|damaged"),
        (b"\x80\x04(\x8c\x02lso.", "OBJ"),
        (b"\x80\x04\x82\x01.", "EXT1"),
        (b"\x80\x04K\x01Q.", "BINPERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04Nr\x00\x00\x00\x20.", "instructions"),  # puts one thing at memo place 2**29: 4 GB
        (b"\x80\x04}N" + b"\x85" * 30_000 + b"Ns.", "instructions"),  # hashing it would overflow C's stack
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b".", "damaged"),
        (b"cos\nsystem\n(S'touch ran'\ntR.", "protocol"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "wants to run os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x11f2py.compile.main\x93.", "wants to run numpy.f2py"),
    ],
)  # fmt: skip
def test_programs_written_by_hand_come_to_nothing(program, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadPickle, match=reason):
        load_plain(program)
    assert not list(tmp_path.iterdir())


def test_a_list_that_unfolds_without_end_is_refused_at_once():
    bomb: list = []
    for _ in range(12):
        bomb = [bomb] * 8
    with pytest.raises(BadPickle, match="without end"):
        load_plain(pickle.dumps(bomb))
    bomb.append(bomb)
    with pytest.raises(BadPickle, match="without end"):
        load_plain(pickle.dumps(bomb))


def write_pickle(folder: Path, value, frame: str = "f00001", atlas=None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"mesh-{frame}.pkl").write_bytes(pickle.dumps(value, 4))
    if atlas is not None:
        (folder / f"atlas-{frame}.pkl").write_bytes(pickle.dumps(atlas, 4))
    return folder / f"mesh-{frame}.pkl"


def test_a_pickled_mesh_with_its_atlas(tmp_path):
    atlas = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    path = write_pickle(tmp_path, mesh(), atlas=atlas)
    found = probe(path, tmp_path)
    truth = mesh()
    np.testing.assert_array_equal(found.positions, truth["vertices"])
    np.testing.assert_array_equal(found.triangles, truth["faces"])
    np.testing.assert_array_equal(found.uvs, truth["uvs"][truth["faces"]])
    from PIL import Image

    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.materials[0].picture.data))), atlas)
    assert not found.v_trusted


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"faces": np.array([[0, 1, 10**6]])}, "point outside"), ({"faces": np.array([[0, 1, -1]])}, "point outside"),
     ({"faces": np.zeros((0, 3), int)}, "0 faces"), ({"vertices": np.zeros((5, 2))}, "3 columns"),
     ({"vertices": None}, "vertices"), ({"uvs": np.zeros((7, 2))}, "7 UVs"), ({"faces": "abc"}, "faces"),
     ({"texture": np.zeros((4, 4))}, "texture"), ({"faces": np.array([[0, 1, np.nan]])}, "point outside")],
)  # fmt: skip
def test_meshes_that_make_no_sense_are_refused_with_the_reason(tmp_path, change, reason):
    with pytest.raises(BadScan, match=reason):
        probe(write_pickle(tmp_path, {**mesh(), **change}), tmp_path)


@pytest.mark.parametrize(
    "more",
    [{"colors": [[1], [1, 2]]}, {"normals": [[1], [1, 2]]}, {"colors": "red"}, {"uvs": [(0, 0)]}],
)  # fmt: skip
def test_what_is_no_array_is_left_out(tmp_path, more):
    truth = mesh()
    del truth["uvs"], truth["normals"]
    found = probe(write_pickle(tmp_path, {**truth, **more}), tmp_path)
    assert (found.colors, found.normals, found.uvs) == (None, None, None)


def test_a_pickle_that_swells_is_stopped(tmp_path):
    swell = b"\x80\x04]\x94" + b"(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00e]\x94" * 4
    path = tmp_path / "mesh-f1.pkl"
    path.write_bytes(swell + b"(" + b"\x8c\x01x" * 100 + b"l.")
    with pytest.raises(BadScan):
        probe(path, tmp_path)
    big = b"\x80\x04" + b"(" + (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\x8e" + b"\xff" * 7 + b"\x7f") + b"."
    path.write_bytes(big)
    with pytest.raises(BadScan):
        probe(path, tmp_path)


def npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_npz_with_uvs_of_its_own(tmp_path):
    truth = mesh()
    flat = truth["uvs"][truth["faces"]].reshape(-1, 2).astype(np.float64)
    numbers, texture = np.arange(len(flat)).reshape(-1, 3), np.full((8, 8, 3), 7, np.uint8)
    path = npz(tmp_path / "a_normalized.npz", vertices=truth["vertices"], faces=truth["faces"], texcoords=flat,
               texcoords_indices=numbers, texture=texture)  # fmt: skip
    found = probe(path, tmp_path)
    np.testing.assert_allclose(found.uvs, truth["uvs"][truth["faces"]])
    assert found.materials[0].picture.data.startswith(b"\x89PNG")


def test_an_npz_that_lies_takes_no_memory(tmp_path):
    path = npz(tmp_path / "a.npz", vertices=np.zeros((3, 3)), faces=np.zeros((1, 3), int))
    with zipfile.ZipFile(path, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)})
        archive.writestr("vertices.npy", header.getvalue())
        archive.writestr("faces.npy", header.getvalue())
    with pytest.raises(BadScan, match="claims"):
        probe(path, tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        stream = io.BytesIO()
        np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
        archive.writestr("vertices.npy", stream.getvalue())
        archive.writestr("faces.npy", stream.getvalue())
    with pytest.raises(BadScan, match="claims"):
        probe(path, tmp_path)


NPY_HEADERS = ["{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3), ", "{'a':", "1", "{1: 2}", "[", "(" * 200,
               "'''", "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -3)}",
               "{'descr': 'O', 'fortran_order': False, 'shape': (1, 3)}",
               "{'descr': ('<f8', 3), 'fortran_order': False, 'shape': (1,)}"]  # fmt: skip


@pytest.mark.parametrize("header", NPY_HEADERS)
def test_a_damaged_npz_costs_itself_and_never_the_run(tmp_path, header):
    """Whatever numpy, zlib or the tokenizer raise: BadScan, where ImporterBroken would stop all scans."""
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(72)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("vertices.npy", data)
        archive.writestr("faces.npy", data)
    with pytest.raises(BadScan):
        probe(tmp_path / "a.npz", tmp_path)


def test_an_npz_with_broken_packing_or_a_giant_header(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **mesh())
    data = bytearray(path.read_bytes())
    for at in (90, 95):
        data[at] ^= 255
    path.write_bytes(data)
    with pytest.raises(BadScan, match="cannot be read"):
        probe(path, tmp_path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vertices.npy", b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + bytes(2**20))
        archive.writestr("faces.npy", b"")
    with pytest.raises(BadScan, match="version"):
        probe(path, tmp_path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("vertices.npy", bytes(100))
        archive.writestr("faces.npy", b"")
    with pytest.raises(BadScan, match="packed in a way"):
        probe(path, tmp_path)


def test_other_arrays_and_pickles_are_ignored(tmp_path):
    root = tmp_path / "scans"
    write_pickle(root / "00122/Inner/Take2/Meshes_pkl", mesh(), "f00011")
    (root / "basic_info.pkl").write_bytes(pickle.dumps({"a": 1}))
    npz(root / "params.npz", betas=np.zeros(10))
    library = load_library([root], tmp_path / "cache", probe)
    said = {v.path: v.verdict for v in library.verdicts}
    assert said == {"00122/Inner/Take2/Meshes_pkl/mesh-f00011.pkl": "accepted", "basic_info.pkl": "ignored",
                    "params.npz": "ignored"}  # fmt: skip
    assert [(e.scan_id, e.person) for e in library.entries] == [("00122-Inner-Take2-mesh-f00011", "00122")]


@pytest.mark.blender
def test_the_twelve_layouts_give_one_person_each_with_colour(tmp_path):
    if not LAYOUTS.is_file():
        pytest.skip("needs ../shared/assets/layouts.tar.xz")
    import tarfile

    with tarfile.open(LAYOUTS) as archive:
        archive.extractall(tmp_path, filter="data")
    library = load_library([tmp_path / "layouts"], tmp_path / "cache", probe, jobs=2)
    assert sorted(entry.person for entry in library.entries) == sorted(
        ["0000", "00001", "0003", "00003", "00005", "00016", "00122", "170410-001-m-r9iu", "Part1-Person1", "p000455",
         "rp_anna", "rp_boris"]
    )  # fmt: skip
    assert {entry.facts.colour for entry in library.entries} == {"texture", "vertex"}
    assert sum(entry.facts.colour == "texture" for entry in library.entries) == 9
    assert not [v for v in library.verdicts if v.verdict == "refused"]


def test_host_limits_are_told_apart(tmp_path):
    path = write_pickle(tmp_path, mesh())
    with pytest.raises(HostLimit, match="longer than"):
        probe(path, tmp_path, timeout_s=0.01)
