"""Evaluation and prediction: figures by hand, pictures of any size, files that others read."""

import json
import os
import struct
import sys

import numpy as np
import OpenEXR
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from training import training_sample, write_training_set  # noqa: E402

from synth.cli import main  # noqa: E402
from synth.errors import UserError  # noqa: E402
from synth.store import Dataset  # noqa: E402
from train.checkpoint import save_weights  # noqa: E402
from train.data import split_positions  # noqa: E402
from train.evaluate import evaluate, score, summarise  # noqa: E402
from train.examples import dataset_examples, example_of, folder_examples, folder_names  # noqa: E402
from train.frame import place, place_camera, restore  # noqa: E402
from train.model import build_model, initialise, spec_of  # noqa: E402
from train.objective import canonical_points  # noqa: E402
from train.output import write_maps  # noqa: E402
from train.panel import depth_image, normal_image  # noqa: E402
from train.predict import Maps, Predictor, unit  # noqa: E402
from train.tiles import predict_tiled, starts  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("training") / "set")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Fresh weights of each task that say what they are: {task: file}."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for task, arch in (("depth", "tiny"), ("normal", "tiny"), ("pointmap", "tiny2")):
        model = build_model(spec_of(arch, task), task)
        initialise(model, 0)
        size = [64, 48] if arch == "tiny" else [256, 192]
        found[task] = save_weights(folder / task, model, {"arch": arch, "task": task, "size": size})
    return found


def truth(example, task: str) -> Maps:
    """What a perfect model says: depth with another scale and shift, normals as they are."""
    if task == "depth":
        return Maps(depth=0.25 * np.where(example.mask, example.depth, 3) - 3)
    return Maps(normal=example.normal)


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_the_truth_has_no_error_and_a_flip_has_one(data, task):
    dataset = Dataset(data)
    positions = split_positions(dataset, "all")
    examples = list(dataset_examples(dataset, positions))
    right = list(
        evaluate(lambda pictures: (truth(e, task) for e, _ in zip(examples, pictures, strict=True)), examples, task)
    )
    summary = summarise(right)
    assert summary["images"] == 16 and score(summary, task) < 1e-5
    spoilt = {
        "depth": [lambda maps: Maps(depth=maps.depth[:, ::-1]), lambda maps: Maps(depth=np.sin(40 * maps.depth))],
        "normal": [lambda maps, k=k: Maps(normal=maps.normal * np.where(np.arange(3) == k, -1, 1)) for k in range(3)],
    }[task]
    for spoil in spoilt:
        wrong = (spoil(truth(example, task)) for example in examples)
        bad = list(
            evaluate(lambda pictures, wrong=wrong: (m for m, _ in zip(wrong, pictures, strict=True)), examples, task)
        )
        assert score(summarise(bad), task) > (5 if task == "normal" else 0.003)


def test_groups_and_worst(data):
    dataset = Dataset(data)
    examples = list(dataset_examples(dataset, split_positions(dataset, "test")))

    def predict(pictures):
        for example, _ in zip(examples, pictures, strict=True):
            turned = example.normal * ([-1, 1, 1] if example.name == "00000014" else [1, 1, 1])
            yield Maps(normal=turned)

    summary = summarise(list(evaluate(predict, examples, "normal")))
    assert set(summary["groups"]) == {"framing", "person", "background"}
    assert set(summary["groups"]["person"]) == {"person13", "person14", "person15"}
    assert (
        summary["groups"]["person"]["person14"]["normal"]["mean_deg"]
        > 20
        > summary["groups"]["person"]["person13"]["normal"]["mean_deg"]
    )
    assert summary["worst"]["normal"][0] == "00000014"
    pixels = [v["normal"]["pixels"] for v in summary["groups"]["person"].values()]
    means = [v["normal"]["mean_deg"] for v in summary["groups"]["person"].values()]
    assert summary["pooled"]["normal"]["mean_deg"] == pytest.approx(np.average(means, weights=pixels))
    assert summary["per_image"]["normal"]["mean_deg"] == pytest.approx(np.mean(means))


def test_labels_of_an_example_are_sapiens():
    """A facing wall: OpenCV (0, 0, -1) is OpenGL (0, 0, 1)."""
    example = example_of(training_sample(0))
    towards = example.normal[example.mask]
    assert (towards[:, 2] > 0).all() and np.allclose(np.linalg.norm(towards, axis=1), 1, atol=2e-3)
    assert example.groups == {"framing": "full", "person": "person0", "background": "sky"}


@pytest.mark.parametrize("shape", [(64, 48), (100, 48), (40, 90), (128, 96), (33, 21)])
def test_a_picture_comes_back_where_it_was(shape):
    rows, columns = np.indices(shape)
    ramps = np.stack([40 + 150 * rows / shape[0], 40 + 150 * columns / shape[1], 0 * rows], -1).astype(np.uint8)
    frame, where = place(ramps, (64, 48))
    assert frame.shape == (3, 64, 48) and frame.dtype == torch.uint8
    back = restore(frame.float(), where, (64, 48))
    inner = (slice(3, -3), slice(3, -3))
    assert back.shape == ramps.shape and np.abs(back - ramps)[inner].max() < 4
    shown = frame[:2, where.top : where.top + where.rows, where.left : where.left + where.columns]
    assert shown[0].min() >= 39 and (frame.sum() - shown.sum() - frame[2].sum() == 0)


def test_the_lens_follows_the_placement():
    """The ray through a corner of the picture stays that corner's ray."""
    _, where = place(np.zeros((100, 90, 3), np.uint8), (64, 48))
    K = np.array([[200.0, 0, 44.5], [0, 200.0, 49.5], [0, 0, 1]])
    placed = place_camera(K, where)
    for u, v in ((-0.5, -0.5), (89.5, 99.5)):
        ray = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
        seen = placed[0, 0] * ray[0] + placed[0, 2] + 0.5, placed[1, 1] * ray[1] + placed[1, 2] + 0.5
        corner = (where.left + (where.columns if u > 0 else 0), where.top + (where.rows if v > 0 else 0))
        assert seen == pytest.approx(corner)


def test_pictures_of_several_sizes_in_batches(weights):
    from train.checkpoint import open_model

    model, meta = open_model(weights["normal"])
    predictor = Predictor(model, "normal", meta["size"], torch.device("cpu"), half=False)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (*shape, 3), np.uint8) for shape in ((64, 48), (50, 90), (200, 60))]
    together = list(predictor.predict(pictures, batch=2))
    assert [maps.normal.shape for maps in together] == [(64, 48, 3), (50, 90, 3), (200, 60, 3)]
    for picture, maps in zip(pictures, together, strict=True):
        alone = next(predictor.predict([picture], 1)).normal
        assert np.abs(alone - maps.normal).max() < 1e-3
        assert np.abs(np.linalg.norm(maps.normal, axis=-1) - 1).max() < 1e-4


class Echo:
    """A predictor whose normals are the picture's own colours."""

    size, task = (64, 48), "normal"

    def predict(self, pictures, batch):
        for picture in pictures:
            assert picture.shape == (64, 48, 3)
            yield Maps(normal=unit(picture.astype(np.float32) - 127))


def test_tiles_cover_a_picture_without_seams():
    assert starts(64, 64) == [0] and starts(65, 64) == [0, 1] and starts(160, 64) == [0, 48, 96]
    rows, columns = np.indices((160, 130))
    picture = np.stack([60 + rows, 250 - columns, 200 + 0 * rows], -1).clip(0, 255).astype(np.uint8)
    made = predict_tiled(Echo(), picture, 2).normal
    assert np.abs(made - unit(picture.astype(np.float32) - 127)).max() < 1e-5


def test_eval_through_the_command_line(data, weights, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    words = ["eval", "--checkpoint", str(weights["depth"]), "--data", str(data), "--json", str(figures)]
    assert main([*words, "--worst", str(tmp_path / "worst.html")]) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in ("3 images (test)", "framing full", "person person13"))
    assert said.count("mean over images") == 2
    found = json.loads(figures.read_text())
    assert found["split"] == "test" and found["images"] == 3 and found["dataset_root"] == Dataset(data).root
    assert set(found["pooled"]) == {"depth_aligned", "depth_relative"} and set(found["groups"]["framing"]) == {
        "full", "upper", "face"
    }  # fmt: skip
    page = (tmp_path / "worst.html").read_text()
    assert [page.find(f"<b>{name}</b>") for name in found["worst"]["depth_aligned"]] == sorted(
        page.find(f"<b>{name}</b>") for name in found["worst"]["depth_aligned"]
    )
    assert page.count("data:image/jpeg;base64,") == 3 and "person person14" in page and "<script" not in page
    assert main([*words, "--split", "all"]) == 0 and json.loads(figures.read_text())["images"] == 16


def test_an_empty_split_names_the_sizes_of_all(data, weights, capsys, monkeypatch):
    monkeypatch.setattr(Dataset, "column", lambda self, name: ["train"] * 16)
    assert main(["eval", "--checkpoint", str(weights["depth"]), "--data", str(data)]) == 1
    assert "split test is empty (train 16, val 0, test 0, all 16)" in capsys.readouterr().err


def write_folder(folder, count=2):
    """The layout of the official readers."""
    for part in ("rgb", "mask", "depth", "normal"):
        (folder / part).mkdir(parents=True)
    for index in range(count):
        example = example_of(training_sample(index))
        Image.fromarray(example.rgb).save(folder / "rgb" / f"{index}.png")
        Image.fromarray(example.mask.astype(np.uint8) * 255).save(folder / "mask" / f"{index}.png")
        np.save(folder / "depth" / f"{index}.npy", np.where(example.mask, example.depth, 0).astype(np.float32))
        np.savez(folder / "normal" / f"{index}.npz", normal=example.normal)
    return folder


def test_evaluation_folders_are_read(tmp_path, weights, capsys):
    folder = write_folder(tmp_path / "hi4d")
    examples = list(folder_examples(folder, folder_names(folder)))
    for index, example in enumerate(examples):
        own = example_of(training_sample(index))
        assert np.array_equal(example.mask, own.mask) and np.array_equal(example.normal, own.normal)
        assert np.array_equal(example.depth[example.mask], own.depth[own.mask])
    assert main(["eval", "--checkpoint", str(weights["normal"]), "--data", str(folder)]) == 0
    assert "2 images (folder)" in capsys.readouterr().out
    np.save(folder / "depth" / "0.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(UserError, match=r"0\.npy: float32 of \(3, 3\)"):
        list(folder_examples(folder, ["0"]))
    np.save(folder / "depth" / "0.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="not a readable array"):
        list(folder_examples(folder, ["0"]))
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no dataset, and no evaluation folder"):
        folder_names(tmp_path / "none")


def test_predict_through_the_command_line(weights, tmp_path, capsys):
    pictures = tmp_path / "frames"
    pictures.mkdir()
    for index in range(2):
        Image.fromarray(training_sample(index, 60, 80).rgb).save(pictures / f"frame{index}.png")
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray((training_sample(0, 60, 80).mask * 255).astype(np.uint8)).save(masks / "frame0.png")
    out = tmp_path / "out"
    assert main(["predict", str(pictures), "--checkpoint", str(weights["depth"]), "--out", str(out)]) == 0
    assert sorted(os.listdir(out)) == [f"frame{i}.depth.{s}" for i in (0, 1) for s in ("exr", "png")]
    depth = OpenEXR.File(str(out / "frame0.depth.exr")).channels()["Y"].pixels
    assert depth.shape == (80, 60) and depth.dtype == np.float32 and np.isfinite(depth).all()
    words = ["predict", str(pictures / "frame0.png"), "--out", str(out), "--mask", str(masks), "--format", "npy"]
    assert main([*words, "--checkpoint", str(weights["normal"])]) == 0
    normal = np.load(out / "frame0.normal.npy", allow_pickle=False)
    mask = training_sample(0, 60, 80).mask
    assert np.abs(np.linalg.norm(normal[mask], axis=1) - 1).max() < 1e-3 and not normal[~mask].any()
    assert main([*words, "--checkpoint", str(weights["normal"]), "--tiles"]) == 0
    assert main([*words, "--checkpoint", str(weights["depth"]), "--tiles"]) == 1
    assert "only normals can be tiled" in capsys.readouterr().err
    assert main([*words, "--checkpoint", str(weights["pointmap"])]) == 0
    data = (out / "frame0.ply").read_bytes()
    header, _, body = data.partition(b"end_header\n")
    assert f"element vertex {mask.sum()}".encode() in header and len(body) == 15 * mask.sum()
    x, y, z = struct.unpack("<3f", body[:12])
    assert np.isfinite([x, y, z]).all()


def test_a_mask_may_be_one_picture(weights, tmp_path, capsys):
    sample = training_sample(0, 60, 80)
    for name, pixels in (("a", sample.rgb), ("b", sample.rgb), ("mask", sample.mask.astype(np.uint8) * 255)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    words = ["--checkpoint", str(weights["depth"]), "--out", str(tmp_path / "out"), "--format", "npy"]
    words += ["--mask", str(tmp_path / "mask.png")]
    assert main(["predict", str(tmp_path / "a.png"), *words]) == 0
    assert np.array_equal(np.isfinite(np.load(tmp_path / "out" / "a.depth.npy")), sample.mask)
    assert main(["predict", str(tmp_path / "a.png"), str(tmp_path / "b.png"), *words]) == 1
    assert "for several give a folder" in capsys.readouterr().err


def test_frames_of_a_video(weights, tmp_path, capsys):
    av = pytest.importorskip("av", reason="no av: pip install synth[video]")
    path = tmp_path / "walk.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(training_sample(index).rgb, format="rgb24")
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    words = [
        "predict",
        str(path),
        "--checkpoint",
        str(weights["normal"]),
        "--out",
        str(tmp_path / "out"),
        "--batch",
        "2",
    ]
    assert main([*words, "--format", "npy", "--batch", "2"]) == 0
    assert "5 pictures, normal" in capsys.readouterr().out
    made = sorted(p.name for p in (tmp_path / "out").glob("*.npy"))
    assert made == [f"walk.{i:06d}.normal.npy" for i in range(5)]
    first = np.load(tmp_path / "out" / made[0], allow_pickle=False)
    assert first.shape == (64, 48, 3) and not np.array_equal(first, np.load(tmp_path / "out" / made[3]))
    path.write_bytes(b"no video at all")
    assert main(words) == 1 and "not a readable video" in capsys.readouterr().err


def test_videos_without_pyav_say_what_to_install(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    words = ["predict", str(tmp_path / "a.mp4"), "--checkpoint", str(weights["normal"]), "--out", str(tmp_path / "o")]
    assert main(words) == 1 and "pip install 'synth[video]'" in capsys.readouterr().err


def test_points_are_metres(tmp_path):
    """A head that says the canonical points of a wall 3 m away through a lens of 1.5 times the width: 3 m come out."""

    class Wall(torch.nn.Module):
        def forward(self, x):
            height, width = x.shape[-2:]
            z = torch.full((x.shape[0], 1, height, width), 3.0)
            K = torch.tensor([[1.5 * width, 0, width / 2 - 0.5], [0, 1.5 * width, height / 2 - 0.5], [0, 0, 1]])
            return canonical_points(z, K.expand(x.shape[0], 3, 3))

    predictor = Predictor(Wall(), "pointmap", (64, 48), torch.device("cpu"), half=False)
    (maps,) = predictor.predict([np.zeros((128, 96, 3), np.uint8)], 1)
    assert np.allclose(maps.depth, 3, atol=1e-4) and maps.points.shape == (128, 96, 3)
    across = maps.points[64, :, 0]  # half a width is a third of the depth
    assert across[0] == pytest.approx(-1, abs=0.04) and across[-1] == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize(
    "words,said",
    [
        (["no.png"], "no such picture or folder"),
        (["broken.png"], "not a readable picture"),
        (["empty"], "holds no picture"),
        (["a.png", "twice"], "another picture named a"),
    ],
)
def test_wrong_pictures_are_one_line(weights, tmp_path, capsys, words, said):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for path in (tmp_path / "a.png", tmp_path / "twice" / "a.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    brought = [str(tmp_path / word) for word in words]
    assert main(["predict", *brought, "--checkpoint", str(weights["depth"]), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_pictures_of_maps():
    """A sphere facing us is bright at its nearest point, and its normals there are (128, 128, 255)."""
    example = example_of(training_sample(0))
    depth, normal = depth_image(example.depth, example.mask), normal_image(example.normal, example.mask)
    assert not depth[~example.mask].any() and not normal[~example.mask].any()
    nearest = np.unravel_index(np.where(example.mask, example.depth, np.inf).argmin(), example.mask.shape)
    farthest = np.unravel_index(np.where(example.mask, example.depth, -np.inf).argmax(), example.mask.shape)
    assert depth[nearest].astype(int).sum() > depth[farthest].astype(int).sum() + 100
    facing = np.unravel_index(example.normal[..., 2].argmax(), example.mask.shape)
    assert np.abs(normal[facing].astype(int) - [128, 128, 255]).max() < 12


def test_maps_are_whole_files(tmp_path):
    maps = Maps(depth=np.ones((4, 5), np.float32), normal=np.full((4, 5, 3), [0, 0, 1], np.float32))
    write_maps(tmp_path, "a.b", maps, np.eye(4, 5, dtype=bool), "exr", None)
    assert sorted(os.listdir(tmp_path)) == ["a.b.depth.exr", "a.b.depth.png", "a.b.normal.exr", "a.b.normal.png"]
    channels = OpenEXR.File(str(tmp_path / "a.b.normal.exr"), separate_channels=True).channels()
    assert channels["B"].pixels[0, 0] == 1 and channels["B"].pixels[0, 1] == 0
    assert np.isinf(OpenEXR.File(str(tmp_path / "a.b.depth.exr")).channels()["Y"].pixels[0, 1])
