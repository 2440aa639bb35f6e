"""Sample <-> bytes: round trip within the stated errors, deterministic, and nothing believed that is not so."""

import dataclasses
import io
import json

import numpy as np
import OpenEXR
import pytest
from PIL import Image
from worlds import angles_deg, ball_sample

from synth.codec import MEMBERS, BadBytes, StoredSample, decode_sample, encode_sample, stored, with_flags


def test_round_trip_within_the_stated_errors():
    sample = ball_sample()
    back = decode_sample(encode_sample(sample))
    assert back.recipe == sample.recipe
    for name in ("rgb", "alpha", "instance"):
        np.testing.assert_array_equal(getattr(back, name), getattr(sample, name))
    mask = sample.mask
    np.testing.assert_array_equal(np.isposinf(back.depth_m), ~mask)
    assert np.max(np.abs(back.depth_m[mask] / sample.depth_m[mask] - 1)) <= 2.0**-16
    assert angles_deg(back.normal, sample.normal)[mask].max() < 0.03 and not back.normal[~mask].any()


def test_pictures_are_decoded_into_given_memory():
    sample = dataclasses.replace(ball_sample(), trust=ball_sample().alpha)
    members = encode_sample(sample)
    foreign = {}
    for name in ("rgb", "instance", "trust"):
        packed = io.BytesIO()
        Image.fromarray(getattr(sample, name)).save(packed, "PNG")  # Pillow's own filters
        foreign[f"{name}.png"] = packed.getvalue()
    for found in (StoredSample(members), StoredSample(members | foreign)):
        for name in ("rgb", "instance", "trust"):
            memory = np.full(getattr(sample, name).shape, 7, np.uint8)
            assert getattr(found, name)(out=memory) is memory
            np.testing.assert_array_equal(memory, getattr(sample, name))
    assert members["rgb.png"] != foreign["rgb.png"]


def test_memory_of_another_size_is_refused_and_left_alone():
    """Also where its bytes would do: turned on its side, or with gaps, the picture would go astray in silence."""
    height, width = ball_sample().mask.shape
    small, turned, gaps = (np.full(shape, 7, np.uint8) for shape in ((2, 3), (width, height), (height, 2 * width)))
    for memory in (small, turned, gaps[:, ::2]):
        with pytest.raises(ValueError, match="expected contiguous uint8"):
            StoredSample(encode_sample(ball_sample())).instance(out=memory)
        assert (memory == 7).all()


def test_a_sample_without_trust_leaves_its_memory_alone():
    memory = np.full(ball_sample().mask.shape, 7, np.uint8)
    assert StoredSample(encode_sample(ball_sample())).trust(out=memory) is None and (memory == 7).all()


def test_members_stand_in_order_and_bytes_repeat():
    sample = dataclasses.replace(ball_sample(), trust=ball_sample().alpha, albedo=ball_sample().rgb)
    first, second = encode_sample(sample), encode_sample(sample)
    assert tuple(first) == MEMBERS and first == second
    assert decode_sample(first).trust is not None


def test_json_has_the_fixed_schema():
    members, sample = stored(ball_sample())
    document = json.loads(with_flags(members, sample, ("soft_background",))["json"])
    assert set(document) == {
        "id",
        "index",
        "split",
        "scans",
        "people",
        "background",
        "width",
        "height",
        "focal_px",
        "center_px",
        "world_from_camera",
        "flags",
        "counts",
        "recipe",
    }
    assert document["flags"] == ["soft_background"] and isinstance(document["recipe"], str)


def test_other_readers_find_depth_in_y_and_normals_in_rgb():
    members = encode_sample(ball_sample())
    assert list(OpenEXR.File(io.BytesIO(members["depth.exr"]), separate_channels=True).channels()) == ["Y"]
    names = set(OpenEXR.File(io.BytesIO(members["normal.exr"]), separate_channels=True).channels())
    assert names == {"R", "G", "B"}


def _png_of_size(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("member", "data", "message"),
    [
        ("rgb.png", b"", "rgb.png"),
        ("rgb.png", _png_of_size(9, 9), "expected"),
        ("depth.exr", b"v/1\x01 not an exr", "depth.exr"),
        ("json", b"{}", "json"),
        ("json", b"\xff", "json"),
        ("instance.png", None, "missing"),
    ],
)
def test_broken_members_are_named(member, data, message):
    members = encode_sample(ball_sample())
    if data is None:
        del members[member]
    else:
        members[member] = data
    with pytest.raises(BadBytes, match=message):
        decode_sample(members)


@pytest.mark.parametrize("member", ["rgb.png", "depth.exr", "normal.exr"])
def test_truncated_members_are_refused(member):
    members = encode_sample(ball_sample())
    members[member] = members[member][: len(members[member]) // 2]
    with pytest.raises(BadBytes, match=member):
        decode_sample(members)


@pytest.mark.parametrize("stray", [np.float32(0.25), np.float32(-0.0), np.float32(np.nan)])
def test_normals_far_from_the_subject_come_back_as_they_are(stray):
    """Outside of the subject's box nothing is converted only where nothing is."""
    sample = ball_sample()
    normal = sample.normal.copy()
    assert not sample.mask[0, 0] and not sample.mask[:, 0].any()
    normal[0, 0] = stray
    back = decode_sample(encode_sample(dataclasses.replace(sample, normal=normal)))
    np.testing.assert_array_equal(back.normal[0, 0], normal[0, 0])
    np.testing.assert_array_equal(np.signbit(back.normal[0, 0]), np.signbit(normal[0, 0]))
    np.testing.assert_array_equal(back.normal, normal.astype(np.float16).astype(np.float32))


def test_pngs_of_other_writers_are_read_too():
    members, sample = stored(ball_sample())
    for name, array in (("rgb.png", sample.rgb), ("alpha.png", sample.alpha)):
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        members[name] = buffer.getvalue()
    back = decode_sample(members)
    np.testing.assert_array_equal(back.rgb, sample.rgb)
    np.testing.assert_array_equal(back.alpha, sample.alpha)
