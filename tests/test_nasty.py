"""The nasty set: broken and hostile inputs end as EXPECTED.csv says, in one go, and what is usable renders."""

import csv
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from renderers.importers import probe
from renderers.tryout import try_scans
from synth.backgrounds import BadBackgrounds, load_backgrounds
from synth.scans import load_library, load_prepared

NASTY = Path(__file__).parents[2] / "shared" / "assets" / "nasty.tar.xz"
#: What EXPECTED.csv leaves open, and what we do.
OURS = {
    "obj_missing_mtl/scan.obj": "none", "obj_missing_texture/scan.obj": "none", "flat_plane.obj": "refused",
    "obj_missing_mtl_with_sidecar/scan.obj": "texture", "obj_windows_abs_path/scan.obj": "texture",
    "obj_wrong_case/scan.obj": "texture", "nan_vertices.obj": "none", "inf_vertices_binary.ply": "none",
    "scale_metres_yup.ply": "ignored",  # the same bytes as axis_yup.ply
    "axis_yup_upside_down.ply": "vertex", "axis_tilted_37deg.ply": "vertex", "offset_utm.obj": "none",
    "mtl_path_traversal/scan.obj": "none", "uv_all_zero/scan.obj": "texture", "uv_nan/scan.obj": "texture",
    "uv_missing_with_texture/scan.obj": "none", "obj_vertex_rgb.obj": "vertex", "tex_cmyk_jpg/scan.obj": "texture",
    "tex_truncated_jpg/scan.obj": "none", "tex_zero_bytes/scan.obj": "none", "tex_alpha_holes/scan.obj": "texture",
    "inverted_winding.ply": "vertex", "mixed_winding.ply": "vertex", "hole_back_of_head.ply": "vertex",
    "floaters_and_platform.ply": "none", "duplicate_surface.ply": "none", "__MACOSX/._scan.obj": "ignored",
    "ply_claims_2e9_vertices.ply": "refused", "hdr_1x1_8bit.hdr": "refused", "png_renamed.hdr": "refused",
    "nan_inf_negative.exr": "accepted", "all_black.exr": "refused", "square_1to1.exr": "refused",
    "luminance_only_Y.exr": "accepted",
}  # fmt: skip
#: Words of a warning that must stand there.
WARNED = {
    "obj_missing_mtl/scan.obj": "missing", "obj_missing_texture/scan.obj": "missing", "nan_vertices.obj": "broken",
    "inf_vertices_binary.ply": "broken", "mtl_path_traversal/scan.obj": "leads out", "uv_nan/scan.obj": "no numbers",
    "uv_all_zero/scan.obj": "same point", "uv_missing_with_texture/scan.obj": "no UVs", "nan_inf_negative.exr": "NaN",
}  # fmt: skip


@pytest.fixture(scope="module")
def nasty(tmp_path_factory) -> Path:
    if not NASTY.is_file():
        pytest.skip("needs ../shared/assets/nasty.tar.xz")
    folder = tmp_path_factory.mktemp("nasty")
    with tarfile.open(NASTY) as archive:
        archive.extractall(folder, filter="tar")  # it holds a link to nothing
    return folder / "nasty"


def expected(nasty: Path) -> dict[str, str]:
    """By file: refused, ignored, accepted, or the colour it is accepted with."""
    found = {}
    for row in csv.DictReader((nasty / "EXPECTED.csv").read_text().splitlines()):
        name = row["file"]
        if name.endswith("/") or not os.path.lexists(nasty / name):  # a folder; and one case is not in every copy
            continue
        said = row["suggested_behaviour"]
        default = "refused" if said.startswith("reject") else "accepted" if said.startswith("accept silently") else None
        found[name] = OURS.get(name, default)
        assert found[name] is not None, f"{name}: EXPECTED.csv leaves it open and OURS does not name it"
    return found


@pytest.mark.blender
def test_every_case_ends_as_expected(nasty, tmp_path):
    library = load_library([nasty], tmp_path, probe, jobs=2, tryout=try_scans)
    pictures = sorted(path for path in nasty.iterdir() if path.suffix in (".hdr", ".exr"))
    verdicts = {v.path: v for v in library.verdicts}
    verdicts |= {v.path: v for v in load_backgrounds(pictures, tmp_path).verdicts}
    for name, wanted in expected(nasty).items():
        verdict = verdicts[name]
        got = verdict.verdict
        if wanted in ("texture", "vertex", "none"):
            got = getattr(verdict, "colour", got) or got
        assert got == wanted, f"{name}: {verdict}"
        assert (verdict.reason and "\n" not in verdict.reason) or got not in ("refused", "ignored"), name
        assert WARNED.get(name, "") in " ".join(verdict.warnings), f"{name}: {verdict.warnings}"
    facts = {entry.scan_id: (entry, entry.facts) for entry in library.entries}
    upright, over = facts["axis_yup"][1], facts["axis_yup_upside_down"][1]
    assert np.allclose(upright.bounds, over.bounds, atol=1e-3)
    whole, floated = facts["duplicate_surface"][1], facts["floaters_and_platform"][1]
    assert whole.faces == 17684 and floated.kind == "bust"
    entry, _ = facts["offset_utm"]
    positions = np.asarray(load_prepared(library.store, entry.key).positions)
    assert len(np.unique(positions[:, 0])) > 1000  # to a tenth of a millimetre; single precision has half metres there


@pytest.mark.blender
def test_pictures_alone_that_cannot_light_are_said_one_by_one(nasty, tmp_path):
    bad = [nasty / name for name in ("truncated.hdr", "all_black.exr", "zero_bytes.hdr")]
    with pytest.raises(BadBackgrounds) as caught:
        load_backgrounds(bad, tmp_path)
    assert [v.verdict for v in caught.value.verdicts] == ["refused"] * 3
