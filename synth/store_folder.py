"""A dataset's folder by relative names: the one seam between the store and what it lies on.

A local or mounted folder is `synth.store_files`, an object store `synth.store_bucket`. A folder holds no handle: it may
be sent to any process that sees the place.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from synth.store_files import LocalFolder
from synth.store_names import Place, StoreError, place_of


class OpenFile(Protocol):
    """A file that is read in ranges. Threads may share it; it closes when nobody holds it."""

    def read(self, start: int, end: int) -> bytes:
        """Bytes start..end. Raises StoreError when the file ends before."""


class Log(Protocol):
    """A file that grows by lines."""

    def write(self, line: str) -> None:
        """Adds a line, given with its end."""

    def close(self) -> None:
        """Nothing more comes."""


class Folder(Protocol):
    """What the store needs of where it lies. All methods raise StoreError in one line, reading also FileNotFoundError.

    Whatever kills a writer at whatever point, a name holds a whole file or none.
    """

    place: Place

    def where(self, name: str) -> str:
        """A name with its place, for people."""

    def read(self, name: str, most: int | None = None) -> bytes:
        """A whole file; StoreError if it has more than `most` bytes. Raises FileNotFoundError."""

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Bytes start..end of a file; fewer where it is shorter. Raises FileNotFoundError."""

    def open(self, name: str, size: int) -> OpenFile:
        """A file for many ranges; StoreError if it is missing or not of this size."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""

    def listing(self, name: str) -> list[str]:
        """Names directly in a folder (`""` is the place itself), in no order; none if it is not there."""

    def sizes(self, name: str) -> dict[str, int]:
        """Files directly in a folder, with their bytes; none if it is not there."""

    def ages(self, name: str) -> dict[str, float]:
        """Files directly in a folder, with the seconds since they were written, by the clock of the place itself."""

    def publish(self, name: str, chunks: Iterable[bytes]) -> None:
        """A file of these bytes under a name, replacing what was there."""

    def publish_hashed(self, chunks: Iterable[bytes], name_of: Callable[[str], str]) -> tuple[str, int, str]:
        """A file named by its own bytes: `name_of(sha256)`. Returns (name, size, sha256); it survives a power cut.

        The bytes may be more than fits in memory.
        """

    def create(self, name: str, chunks: Iterable[bytes]) -> bool:
        """A new file of these bytes, unless the name is taken; whether it is ours. Of many racing writers one wins.

        Either way the name holds a whole file that survives a power cut.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, those that are there, and folders that are empty then."""

    def sweep(self) -> None:
        """Removes what dead writers left unfinished."""

    def open_log(self, name: str) -> Log:
        """A file to add lines to while others read it. It may lack the latest ones when its writer is killed."""


def open_folder(place: Place) -> Folder:
    """The folder at a place; nothing is looked at yet. Raises StoreError for a URL that nothing here serves."""
    place = place_of(place)
    if not isinstance(place, str):
        return LocalFolder(place)
    try:
        from synth.store_bucket import BucketFolder
    except ModuleNotFoundError as error:
        raise StoreError(f"{place}: object stores need {error.name}; pip install 'synth[cloud]'") from error
    return BucketFolder(place)
