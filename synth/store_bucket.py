"""A dataset under a prefix of an object store: S3 and what speaks like it, Google Cloud, Azure.

An object is there whole or not at all, and a conditional put has one winner: no temporary names are needed, and there
are no empty folders. What a killed writer leaves are parts of an unfinished upload; no name shows them, and the
bucket's lifecycle rule for incomplete multipart uploads ends them.

Credentials and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME, ...) or from the machine's role, never from a dataset. Retries are obstore's own.
"""

import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import MemoryStore, ObjectStore, from_url

from synth.store_names import StoreError, check_name

#: Seconds between uploads of a log that grows, and bytes after which a new object goes on with it.
_LOG_S, _LOG_BYTES = 10.0, 2**20


@dataclass(frozen=True)
class BucketFolder:
    """See `synth.store_folder.Folder`. Threads may share it; a forked process may not use what its parent did."""

    place: str

    def where(self, name: str) -> str:
        """The URL."""
        return f"{self.place}/{check_name(self.place, name)}"

    def read(self, name: str, most: int | None = None) -> bytes:
        """One GET."""
        with self._clear_errors(name, FileNotFoundError):
            found = obstore.get(self._client, self._key(name))
            if most is not None and found.meta["size"] > most:
                raise StoreError(f"{self.where(name)}: more than {most} bytes")
            return bytes(found.bytes())

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """One ranged GET."""
        return self._read_range(name, start, end)[0] if start < end else b""

    def open(self, name: str, size: int) -> "_OpenObject":
        """Nothing is asked yet: every range that is read tells the size."""
        return _OpenObject(self, name, size)

    def size(self, name: str) -> int | None:
        """One HEAD."""
        try:
            with self._clear_errors(name, FileNotFoundError):
                return obstore.head(self._client, self._key(name))["size"]
        except FileNotFoundError:
            return None

    def listing(self, name: str) -> list[str]:
        """Objects and common prefixes."""
        found = self._list(name)
        return [path.rpartition("/")[2] for path in [*found["common_prefixes"], *(o["path"] for o in found["objects"])]]

    def sizes(self, name: str) -> dict[str, int]:
        """Objects."""
        return {entry["path"].rpartition("/")[2]: entry["size"] for entry in self._list(name)["objects"]}

    def ages(self, name: str) -> dict[str, float]:
        """By the time that the store gives an object put for the purpose."""
        clock = f"tmp/clock-{uuid.uuid4().hex}"
        self.publish(clock, [b"\n"])
        with self._clear_errors(clock):
            now = obstore.head(self._client, self._key(clock))["last_modified"]
        self.remove([clock])
        entries = self._list(name)["objects"]
        return {entry["path"].rpartition("/")[2]: (now - entry["last_modified"]).total_seconds() for entry in entries}

    def publish(self, name: str, chunks: Iterable[bytes]) -> None:
        """One PUT, or several parts of one."""
        with self._clear_errors(name):
            obstore.put(self._client, self._key(name), _joined(chunks))

    def publish_hashed(self, chunks: Iterable[bytes], name_of: Callable[[str], str]) -> tuple[str, int, str]:
        """By way of an unnamed file of this machine: an object's name must be known before its first byte is sent."""
        digest, size = hashlib.sha256(), 0
        with tempfile.TemporaryFile() as spool:
            try:
                for chunk in chunks:
                    digest.update(chunk)
                    size += spool.write(chunk)
                spool.seek(0)
            except OSError as error:
                raise StoreError(
                    f"{tempfile.gettempdir()}: {error.strerror or error}, while a shard was put together there; "
                    "nothing is lost, free some room or name another folder with TMPDIR, and run the same command again"
                ) from error
            name = name_of(digest.hexdigest())
            with self._clear_errors(name):
                obstore.put(self._client, self._key(name), spool)
        return name, size, digest.hexdigest()

    def create(self, name: str, chunks: Iterable[bytes]) -> bool:
        """By a conditional PUT. One that was carried out while its answer got lost is known by its bytes."""
        data = _joined(chunks)
        with self._clear_errors(name):
            try:
                obstore.put(self._client, self._key(name), data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return self.read(name) == data
            except NotSupportedError as error:
                raise StoreError(
                    f"{self.place}: this store has no conditional put (If-None-Match), without which two writers could "
                    "seal a shard twice; use one that has, or a folder"
                ) from error
        return True

    def remove(self, names: Iterable[str]) -> None:
        """In no order, a thousand at once where the store can."""
        keys = [self._key(name) for name in names]
        if keys:
            with self._clear_errors(keys[0]):
                obstore.delete(self._client, keys)

    def sweep(self) -> None:
        """Nothing: what is unfinished has no name."""

    def open_log(self, name: str) -> "_BucketLog":
        """Uploaded anew every few seconds; what is long goes on in another object."""
        return _BucketLog(self, self._key(name))

    @property
    def _client(self) -> ObjectStore:
        return _client(self.place)

    def _key(self, name: str) -> str:
        return check_name(self.place, name)

    def _list(self, name: str):
        with self._clear_errors(name or "."):
            return obstore.list_with_delimiter(self._client, self._key(name) if name else None)

    def _read_range(self, name: str, start: int, end: int) -> tuple[bytes, int]:
        """Bytes start..end, or what there is of them, and the size of the whole object."""
        try:
            with self._clear_errors(name, FileNotFoundError):
                found = obstore.get(self._client, self._key(name), options={"range": (start, end)})
                return bytes(found.bytes()), found.meta["size"]
        except StoreError:
            size = self.size(name)
            if size is None or size > start:
                raise
            return b"", size  # stores refuse a range behind the end

    @contextmanager
    def _clear_errors(self, name: str, *answers: type[Exception]) -> Iterator[None]:
        """Turns an error of the store into a StoreError of one line."""
        try:
            yield
        except answers:
            raise
        except (BaseError, OSError) as error:
            said = " ".join(str(error).partition("Debug source")[0].split())[:300]
            raise StoreError(f"{self.place}/{name}: {said}") from error


class _OpenObject:
    """An object that is read in ranges, each held against the size it should have."""

    def __init__(self, folder: BucketFolder, name: str, size: int):
        self._folder, self._name, self._size = folder, name, size

    def read(self, start: int, end: int) -> bytes:
        """All of start..end."""
        if start >= end:
            return b""
        try:
            data, size = self._folder._read_range(self._name, start, end)
        except FileNotFoundError as error:
            raise StoreError(f"{self._folder.where(self._name)}: is missing") from error
        if size != self._size:
            raise StoreError(f"{self._folder.where(self._name)}: has {size} bytes, the dataset says {self._size}")
        if len(data) != end - start:
            raise StoreError(f"{self._folder.where(self._name)}: ends at byte {start + len(data)}")
        return data


class _BucketLog:
    """Objects cannot grow: the lines are kept and uploaded now and then, as `x.jsonl`, `x.1.jsonl`, ..."""

    def __init__(self, folder: BucketFolder, name: str):
        self._folder, self._stem, self._part = folder, name.removesuffix(".jsonl"), 0
        self._lines, self._uploaded_at = bytearray(), -_LOG_S

    def write(self, line: str) -> None:
        self._lines += line.encode()
        if time.monotonic() - self._uploaded_at >= _LOG_S or len(self._lines) > _LOG_BYTES:
            self._upload()

    def close(self) -> None:
        if self._lines:
            self._upload()

    def _upload(self) -> None:
        part = f".{self._part}" if self._part else ""
        self._folder.publish(f"{self._stem}{part}.jsonl", [bytes(self._lines)])
        self._uploaded_at = time.monotonic()
        if len(self._lines) > _LOG_BYTES:
            self._part, self._lines = self._part + 1, bytearray()


def _joined(chunks: Iterable[bytes]) -> bytes:
    pieces = list(chunks)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _client(place: str) -> ObjectStore:
    if _first_process() != os.getpid():
        raise StoreError(
            f"{place}: a forked process cannot use an object store that its parent used: start processes with "
            "multiprocessing's 'spawn'"
        )
    return _opened(place)


@cache
def _first_process() -> int:
    """The process that used an object store first: a forked child of it would wait for ever."""
    return os.getpid()


@cache
def _opened(place: str) -> ObjectStore:
    """One client, with its connections, for a place in a process."""
    if place.startswith("memory://"):
        return MemoryStore()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    plain = place.startswith("s3://") and endpoint.startswith("http://")  # as was asked for
    try:
        return from_url(place, client_options={"allow_http": True} if plain else None)
    except (BaseError, ValueError) as error:
        said = " ".join(str(error).partition("Debug source")[0].split())[:300]
        raise StoreError(f"{place}: {said}") from error
