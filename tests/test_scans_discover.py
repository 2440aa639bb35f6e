"""Names of well-known layouts, levels of detail, body fits, people: rules over paths."""

import pytest

from synth.scans_discover import detail, name_mesh, persons_of, why_no_scan

RP = "rp_anna_posed_001_OBJ/"


@pytest.mark.parametrize(
    ("path", "scan", "person"),
    [
        (RP + "rp_anna_posed_001_100k.obj", "rp_anna_posed_001", "rp_anna"),
        (RP + "rp_anna_posed_001_30k.OBJ", "rp_anna_posed_001", "rp_anna"),
        ("a/rp_fabienne_percy_posed_001_60k.fbx", "rp_fabienne_percy_posed_001", "rp_fabienne_percy"),
        ("rp_nathan_rigged_003_FBX/rp_nathan_rigged_003_yup_t.fbx", "rp_nathan_rigged_003", "rp_nathan"),
        ("00016/train/Take1/meshes_pkl/mesh-f00001.pkl", "00016-Take1-mesh-f00001", "00016"),
        ("x/00122/Inner/Take2/Meshes_pkl/mesh-f00011.pkl", "00122-Inner-Take2-mesh-f00011", "00122"),
        ("h/p000455_a000986/textured_meshes/000006.obj", "p000455_a000986-000006", "p000455"),
        ("buff_release/sequences/00005/tilt/tilt.000010.ply", "00005-tilt.000010", "00005"),
        ("Part1/Person7/portal_mx/scan.ply", "Part1-Person7-portal_mx", "Part1-Person7"),
        ("00001_0003/00001_0003.obj", "00001_0003", "00001"),
        ("0003/mesh-f00101.obj", "0003-mesh-f00101", "0003"),
        ("THuman2.0_Release/0525/0525.obj", "0525", "0525"),
        ("t/170410-001-m-r9iu-df44-low/170410-001-m-r9iu-df44-low_normalized.npz",
         "170410-001-m-r9iu-df44-low_normalized", "170410-001-m-r9iu"),
        ("walks/eva/walk_f0012.ply", "eva-walk_f0012", "eva"),
        ("my folder/eva.obj", None, None),
        ("0003/body.obj", None, None),
    ],
)  # fmt: skip
def test_layouts(path, scan, person):
    named = name_mesh(path)
    assert (named.scan, named.person) == (scan, person)


def test_levels_and_formats_of_one_scan_are_one_group():
    same = [RP + "rp_anna_posed_001_100k.obj", "rp_anna_posed_001_FBX/rp_anna_posed_001_60k.fbx",
            RP + "rp_anna_posed_001_2k.OBJ"]  # fmt: skip
    assert len({name_mesh(path).group for path in same}) == 1
    own = ["d/eva.obj", "d/eva_low.ply", "d/EVA-lod2.glb", "d/eva_30k.fbx", "d/eva_high-poly.obj", "d/low/eva.obj",
           "d/LOD3/eva.obj"]  # fmt: skip
    assert len({name_mesh(path).group for path in own}) == 1
    others = ["d/eva.obj", "e/eva.obj", "d/eva2.obj", "d/eva_left.obj", RP + "rp_anna_posed_002_100k.obj"]
    assert len({name_mesh(path).group for path in others}) == len(others)


def test_the_best_of_a_group_sorts_last():
    ordered = ["eva_2k.obj", "eva_low.glb", "eva_lod3.obj", "eva_30k.obj", "eva_lod1.obj", "eva.ply", "eva.obj",
               "eva.glb", "eva_highpoly.obj"]  # fmt: skip
    assert sorted(ordered, key=lambda name: detail(name, 1)) == ordered
    assert detail("eva.obj", 2) > detail("eva.obj", 1)
    assert detail("d/low/eva.obj", 1) < detail("d/eva.obj", 1)


@pytest.mark.parametrize(
    "path",
    ["0003/mesh-f00101_smpl.obj", "THuman2.0_smplx/0000/mesh_smplx.obj", "p/model_smpl300.ply", "x/SMPLX/f1.ply",
     "a/smpl_params/0.npz", "fits/eva.obj", "eva_smplh.obj", "eva_mano.ply", "eva/turntable.obj", "UCX_eva.fbx"],
)  # fmt: skip
def test_fits_and_props_are_no_scans(path):
    assert why_no_scan(path) is not None


@pytest.mark.parametrize("path", ["simple.obj", "outfits/eva.obj", "smplayer.obj", "a/mano_clara2.obj", "misfit.ply"])
def test_names_that_only_look_like_fits_are_scans(path):
    assert why_no_scan(path) is None


def test_spellings_of_one_person_are_one():
    named = [(None, "LeePerrySmith"), (None, "lee_perry_smith"), (None, "leeperrysmith_textured"), (None, "eva"),
             ("rp_anna", "rp_anna_posed_001"), (None, "eva_v2"), (None, "scan")]  # fmt: skip
    assert persons_of(named) == ["LeePerrySmith"] * 3 + ["eva", "rp_anna", "eva", "scan"]
