"""A dataset's folder by relative names: what versions, tags and verification need of it, and nothing else."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synth.store_files import create_if_absent, listing, write_temporary


@dataclass(frozen=True)
class Folder:
    """A local folder, or one that is mounted. Names are ours or checked: they do not leave it."""

    place: Path

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        return (self.place / name).read_bytes()

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Bytes start..end of a file; fewer where it is shorter."""
        with (self.place / name).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        path = self.place / name
        return path.stat().st_size if path.is_file() else None

    def listing(self, name: str) -> list[str]:
        """Names directly in a folder, in no order; none if it is not there."""
        return listing(self.place / name)

    def create(self, name: str, chunks: Iterable[bytes]) -> bool:
        """A new file of these bytes, unless the name is taken; whether it is ours. Of many racing writers one wins."""
        data = b"".join(chunks)
        temporary = write_temporary(self.place, [data])
        inode = temporary.stat().st_ino
        create_if_absent(temporary, self.place / name)
        return (self.place / name).stat().st_ino == inode


def open_folder(place: Path | str) -> Folder:
    """The folder of a dataset."""
    return Folder(Path(place).absolute())
