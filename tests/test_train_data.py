"""The reader: every sample once an epoch, the same batches after a resume, among processes and in a DataLoader."""

import os

import numpy as np
import pytest
from training import training_sample, write_training_set

torch = pytest.importorskip("torch", reason="no torch: scripts/setup --train")
from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from synth.codec import StoredSample, encode_sample  # noqa: E402
from synth.errors import UserError  # noqa: E402
from synth.store import Dataset  # noqa: E402
from train.augment import fit  # noqa: E402
from train.augment_presets import PRESETS  # noqa: E402
from train.batch import Batch, Buffers, write_arrays, write_stored  # noqa: E402
from train.data import Loader, arrays_of, find_plates, order_of_epoch, split_positions  # noqa: E402

SIZE = (64, 48)
NAMES = ("rgb", "mask", "depth", "normal", "trust", "K", "index")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return Dataset(write_training_set(tmp_path_factory.mktemp("training") / "set"))


def make(dataset, batch=3, recipe="ours", threads=2, **changes) -> Loader:
    positions = split_positions(dataset, "train")
    return Loader(dataset, positions, batch, SIZE, PRESETS[recipe], 5, threads, **changes)


def take(loader: Loader, count: int, start: int = 0) -> list[Batch]:
    batches = loader.batches(start)
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in NAMES)


def test_a_batch_is_a_function_of_its_number(dataset):
    whole = take(make(dataset), 9)
    assert all(same(a, b) for a, b in zip(whole[4:], take(make(dataset, threads=1), 5, start=4), strict=True))
    assert not same(whole[0], take(make(dataset, recipe="none"), 1)[0])


def test_nothing_is_left_out(dataset):
    """10 samples by threes: three epochs are ten batches, each epoch a permutation."""
    ids = torch.cat([batch.index for batch in take(make(dataset), 10)]).view(3, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in ids.tolist()) and len(set(map(tuple, ids.tolist()))) == 3


def test_processes_share_an_epoch(dataset):
    parts = [take(make(dataset, batch=2, rank=rank, world=3), 5) for rank in range(3)]
    together = [torch.cat([part[i].index for part in parts]) for i in range(5)]
    alone = [batch.index for batch in take(make(dataset, batch=6), 5)]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert sorted(torch.cat(together).tolist()) == sorted([*range(10)] * 3)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_dataloader_gives_the_same_in_the_same_order(dataset, workers):
    loader = DataLoader(make(dataset, start=2, threads=1), batch_size=None, num_workers=workers)
    found = iter(loader)
    assert all(same(batch, next(found)) for batch in take(make(dataset), 5, start=2))


def test_the_direct_way_is_the_long_way():
    for index in range(3):
        sample = training_sample(index)
        sample = type(sample)(**{**vars(sample), "trust": (sample.instance * (100 + index)).astype(np.uint8)})
        stored = StoredSample(encode_sample(sample))
        half = stored.sample(lean=True)
        a, b = Buffers(2, SIZE).take(), Buffers(2, SIZE).take()
        for batch in (a, b):
            for name in NAMES:
                getattr(batch, name).fill_(1)
        write_stored(a, 1, stored)
        write_arrays(b, 1, fit(arrays_of(half), SIZE), index)
        assert same(a, b) and int(a.index[1]) == index and a.normal.shape == (2, 3, *SIZE)


def test_labels_are_those_of_the_models(dataset):
    """OpenGL normals, integer pixel centres, 0 outside: against the sample by hand."""
    (batch,) = take(make(dataset, recipe="none"), 1)
    for i, index in enumerate(batch.index.tolist()):
        sample = training_sample(index)
        camera, mask = sample.recipe.camera, sample.mask
        assert np.array_equal(batch.rgb[i].numpy(), sample.rgb.transpose(2, 0, 1))
        assert np.array_equal(batch.mask[i, 0].numpy(), mask)
        assert np.allclose(batch.depth[i, 0].numpy(), np.where(mask, sample.depth_m, 0), rtol=2e-5)
        assert np.allclose(batch.normal[i].float().numpy(), (sample.normal * [1, -1, -1]).transpose(2, 0, 1), atol=1e-3)
        assert batch.K[i, :2, 2].tolist() == pytest.approx([camera.center_px[0] - 0.5, camera.center_px[1] - 0.5])
        assert float(batch.K[i, 0, 0]) == pytest.approx(camera.focal_px)


def test_memory_is_used_again_and_never_while_it_is_held():
    buffers = Buffers(2, SIZE)
    held = [buffers.take() for _ in range(3)]
    places = [batch.rgb.data_ptr() for batch in held]
    assert len(set(places)) == 3
    kept = held[1].normal[1]  # a view of a tensor is enough to hold it
    held.clear()
    again = [buffers.take() for _ in range(3)]
    found = {batch.rgb.data_ptr() for batch in again}
    assert len(found & set(places)) == 2 and places[1] not in found
    del kept
    assert buffers.take().rgb.data_ptr() == places[1]


def test_a_loader_needs_no_more_memory_with_time(dataset):
    batches, places = make(dataset).batches(0), set()
    for _ in range(20):
        places.add(next(batches).rgb.data_ptr())
    batches.close()
    assert len(places) <= 4  # two ahead, one in use, one being taken


def test_epochs_mix_within_windows_of_shards():
    shards = np.repeat(np.arange(6), 5)
    order = order_of_epoch(shards, 1, 0, window=2)
    assert sorted(order) == list(range(30)) and not np.array_equal(order, order_of_epoch(shards, 1, 1, window=2))
    for i in range(0, 30, 10):
        assert len(set(shards[order[i : i + 10]])) == 2
    assert len(set(order_of_epoch(shards, s, e)[0] for s in range(4) for e in range(4))) > 4


def test_photos_are_put_behind_people(dataset, tmp_path):
    Image.fromarray(np.full((60, 90, 3), [10, 200, 30], np.uint8)).save(tmp_path / "green.jpg", quality=95)
    (tmp_path / "notes.txt").write_text("")
    plates = find_plates(str(tmp_path))
    assert [path.name for path in plates] == ["green.jpg"]
    batches = take(make(dataset, plates=plates), 8)
    corners = torch.cat([batch.rgb[:, 1, 2, 2].float() - batch.rgb[:, 0, 2, 2].float() for batch in batches])
    assert 0.2 < float((corners > 60).float().mean()) < 0.8
    os.remove(tmp_path / "green.jpg")
    with pytest.raises(UserError, match="holds no photo"):
        find_plates(str(tmp_path))


def test_a_broken_sample_stops_the_reader(dataset, monkeypatch):
    """Never left out in silence: the error names the sample."""
    from synth.store import StoreError

    members = Dataset.members
    broken = lambda self, p, verify=False: members(self, p, verify) | {"rgb.png": b"no"}  # noqa: E731
    monkeypatch.setattr(Dataset, "members", broken)
    with pytest.raises(StoreError, match=r"sample 0000000\d: rgb\.png: not a readable PNG"):
        take(make(dataset), 1)
