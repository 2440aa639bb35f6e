"""One contract for local folders and object stores: whole files or none, one winner, and no name outside."""

import hashlib
import itertools
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synth.errors import UserError
from synth.store_folder import Folder, open_folder
from synth.store_names import StoreError, place_of

_NUMBERS = itertools.count()
PLACES = ("local", "s3", "memory")


@pytest.fixture(params=PLACES)
def folder(request, tmp_path) -> Folder:
    """An empty one."""
    if request.param == "local":
        return open_folder(tmp_path / "set")
    if request.param == "memory":
        pytest.importorskip("obstore")
        return open_folder(f"memory://set{next(_NUMBERS)}")
    return open_folder(f"{request.getfixturevalue('s3')}/folder/set{next(_NUMBERS)}")


def test_what_is_published_is_read_whole_and_in_ranges(folder):
    assert folder.size("a/b.json") is None and folder.listing("a") == [] == folder.listing("")
    assert folder.sizes("a") == {}
    with pytest.raises(FileNotFoundError):
        folder.read("a/b.json")
    with pytest.raises(FileNotFoundError):
        folder.read_range("a/b.json", 0, 5)
    folder.publish("a/b.json", [b"0123", b"", b"456789"])
    assert folder.read("a/b.json") == b"0123456789" == folder.read("a/b.json", most=10)
    with pytest.raises(StoreError, match=r"a/b\.json: more than 9 bytes"):
        folder.read("a/b.json", most=9)
    for start, end in ((0, 10), (3, 7), (9, 10), (8, 12), (10, 12), (20, 30), (4, 4)):
        assert folder.read_range("a/b.json", start, end) == b"0123456789"[start:end]
    folder.publish("a/b.json", [memoryview(b"new")])
    assert folder.read("a/b.json") == b"new" and folder.size("a/b.json") == 3
    folder.publish("a/empty", [])
    assert folder.read("a/empty") == b"" == folder.read_range("a/empty", 0, 9) and folder.size("a/empty") == 0
    assert str(folder.place) in folder.where("a/b.json") and folder.where("a/b.json").endswith("/a/b.json")


def test_listings_name_what_lies_directly_in_a_folder(folder):
    for name in ("a/x.json", "a/y.tar", "a/deep/z", "b", "ab/c", "a/odd name %2F+~é"):
        folder.publish(name, [name.encode()])
    assert sorted(folder.listing("a")) == ["deep", "odd name %2F+~é", "x.json", "y.tar"]
    assert sorted(set(folder.listing("")) - {"tmp"}) == ["a", "ab", "b"]
    assert folder.sizes("a") == {"x.json": 8, "y.tar": 7, "odd name %2F+~é": len("a/odd name %2F+~é".encode())}
    assert folder.read("a/odd name %2F+~é") == "a/odd name %2F+~é".encode()
    assert folder.size("a") is None and folder.listing("no") == []


def test_more_names_than_one_answer_holds(folder):
    count = 1100 if "s3" in str(folder.place) else 50  # S3 lists a thousand at once
    names = [f"many/{i:04d}" for i in range(count)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: folder.publish(name, [b"x"]), names))
    assert sorted(folder.listing("many")) == [name[5:] for name in names] == sorted(folder.sizes("many"))
    folder.remove(names)
    assert folder.listing("many") == []


def test_what_is_removed_is_gone_with_its_folder(folder):
    for name in ("a/1", "a/2", "b/1"):
        folder.publish(name, [b"x"])
    folder.remove(iter(["a/1", "a/none", "none/1"]))
    assert folder.listing("a") == ["2"]
    folder.remove(["a/2"])
    folder.remove([])
    assert set(folder.listing("")) - {"tmp"} == {"b"}


def test_a_file_named_by_its_bytes(folder):
    data = os.urandom(12_000_000)  # more than one part of an upload
    chunks = (data[start : start + 1_000_000] for start in range(0, len(data), 1_000_000))
    name, size, sha256 = folder.publish_hashed(chunks, lambda sha256: f"shards/{sha256[:12]}.tar")
    assert (size, sha256) == (len(data), hashlib.sha256(data).hexdigest()) and name == f"shards/{sha256[:12]}.tar"
    assert folder.read(name) == data and folder.sizes("shards") == {f"{sha256[:12]}.tar": len(data)}


def test_an_open_file_gives_ranges_and_knows_its_size(folder):
    folder.publish("a", [b"0123456789"])
    opened = folder.open("a", 10)
    assert opened.read(2, 5) == b"234" and opened.read(0, 10) == b"0123456789" and opened.read(5, 5) == b""
    with pytest.raises(StoreError, match="a: ends at byte 10"):
        opened.read(8, 12)
    with pytest.raises(StoreError, match="a: has 10 bytes, the dataset says 11"):
        folder.open("a", 11).read(0, 5)
    with pytest.raises(StoreError, match="none: "):
        folder.open("none", 11).read(0, 5)


def test_writers_that_fail_leave_nothing(folder):
    def chunks():
        yield bytes(7_000_000)
        raise RuntimeError("out of samples")

    for write in (
        lambda: folder.publish("a", chunks()),
        lambda: folder.create("a", chunks()),
        lambda: folder.publish_hashed(chunks(), lambda sha256: "a"),
    ):
        with pytest.raises(RuntimeError, match="out of samples"):
            write()
        assert folder.size("a") is None and folder.listing("tmp") == []


def test_the_first_of_many_writers_wins(folder):
    """Every racer writes other bytes: the name holds those of the one that was told it won."""
    for name in ("units/1.json", "units/2.json", "3"):
        with ThreadPoolExecutor(12) as pool:
            texts = [bytes([65 + k]) * 100_000 for k in range(12)]
            won = list(pool.map(lambda text, name=name: folder.create(name, [text]), texts))
        assert sum(won) == 1 and folder.read(name) == texts[won.index(True)]
        assert folder.create(name, [b"late"]) is False
    assert folder.listing("tmp") == []


def test_a_log_grows_and_is_whole_once_it_is_closed(folder, monkeypatch):
    if not isinstance(folder.place, Path):
        monkeypatch.setattr(sys.modules["synth.store_bucket"], "_LOG_BYTES", 1000)
    log, lines = folder.open_log("events/x.jsonl"), [f'{{"line":{number}}}\n' for number in range(300)]
    log.write(lines[0])
    assert folder.read("events/x.jsonl") == lines[0].encode()
    for line in lines[1:]:
        log.write(line)
    log.close()
    parts = sorted(folder.listing("events"), key=lambda name: int(name.split(".")[1]) if name.count(".") > 1 else 0)
    assert "".join(folder.read(f"events/{part}").decode() for part in parts) == "".join(lines)
    assert len(parts) == 1 if isinstance(folder.place, Path) else len(parts) > 3


OUTSIDE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a//b",
    "",
    ".",
    "a/.",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "a/",
    "..",
    "%2e%2e/../x",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leaves_its_folder(folder, name):
    uses = [
        folder.read, folder.size, folder.where, folder.open_log,
        lambda name: folder.read_range(name, 0, 1),
        lambda name: folder.open(name, 1).read(0, 1),
        lambda name: folder.publish(name, [b"x"]),
        lambda name: folder.publish_hashed([b"x"], lambda _: name),
        lambda name: folder.create(name, [b"x"]),
        lambda name: folder.remove([name]),
    ]  # fmt: skip
    for use in [*uses, *([folder.listing, folder.sizes] if name else [])]:
        with pytest.raises(StoreError, match="is no name inside of a dataset"):
            use(name)
    assert set(folder.listing("")) <= {"tmp"}


def test_a_prefix_hides_what_lies_beside_it(s3):
    """Neighbours in the bucket, one of them with a name that begins alike."""
    outer = open_folder(f"{s3}/beside")
    for name in ("set/a", "set2/b", "secret"):
        outer.publish(name, [b"x"])
    inner = open_folder(f"{s3}/beside/set")
    assert inner.listing("") == ["a"] and sorted(outer.listing("")) == ["secret", "set", "set2"]
    for name in ("../secret", "../set2/b"):
        with pytest.raises(StoreError, match="is no name"):
            inner.read(name)


def test_a_folder_is_sent_to_other_processes(folder):
    folder.publish("a", [b"x"])
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder and again.read("a") == b"x" and len(pickle.dumps(folder)) < 300


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/data/set", Path("/data/set")),
        (Path("/data/set"), Path("/data/set")),
        ("s3://bucket/set", "s3://bucket/set"),
        ("s3://bucket/a/set/", "s3://bucket/a/set"),
        ("S3://Bucket/Set", "s3://Bucket/Set"),
        ("gs://bucket", "gs://bucket"),
        ("az://account/container/set", "az://account/container/set"),
        ("memory://x", "memory://x"),
    ],
)
def test_places(text, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of(text) == place == place_of(place) and place_of("set") == tmp_path / "set"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://host/set", "no store for http://; give a folder, or s3://"),
        ("file:///data/set", "no store for file://"),
        ("s3://", "is no place in an object store"),
        ("s3://bucket/../other", "is no place"),
        ("s3://bucket//set", "is no place"),
        ("s3://bucket/set?endpoint=http://evil", "is no place"),
        ("s3:///set", "is no place"),
        (Path("s3://bucket/set"), "became a path"),
        ("s3:/bucket/set", "became a path"),
    ],
)
def test_what_is_no_place_is_named_with_the_way_out(text, message):
    with pytest.raises(UserError, match=message) as refusal:
        open_folder(text)
    assert str(refusal.value).startswith(str(text))


def test_a_local_folder_reads_no_pipe_and_survives_one_that_vanishes(tmp_path):
    folder = open_folder(tmp_path / "set")
    folder.publish("a", [b"x"])
    os.mkfifo(tmp_path / "set" / "pipe")
    for read in (folder.read, lambda name: folder.read_range(name, 0, 1), lambda name: folder.open(name, 0)):
        with pytest.raises(StoreError, match="pipe: is no plain file"):
            read("pipe")
    assert folder.size("pipe") is None and folder.sizes("") == {"a": 1}
    shutil.rmtree(tmp_path / "set")
    (tmp_path / "set").touch()
    with pytest.raises(FileNotFoundError):
        folder.read("a")
    for use in (lambda: folder.publish("a", [b"x"]), lambda: folder.listing("")):
        with pytest.raises(StoreError, match="set"):
            use()


def test_without_the_extra_one_line_names_the_command():
    code = "import sys; sys.modules['obstore'] = None\nfrom synth.store import Dataset\nDataset('s3://bucket/set')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(
        "s3://bucket/set: object stores need obstore; pip install 'synth[cloud]'"
    )
