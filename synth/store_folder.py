"""Temporary stand-in."""

from pathlib import Path

from synth.store_files import create_if_absent, listing, write_temporary


class Folder:
    """Local."""

    def __init__(self, place):
        self.place = Path(place)

    def read(self, name):
        return (self.place / name).read_bytes()

    def read_range(self, name, start, end):
        with (self.place / name).open("rb") as f:
            f.seek(start)
            return f.read(end - start)

    def size(self, name):
        p = self.place / name
        return p.stat().st_size if p.is_file() else None

    def listing(self, name):
        return listing(self.place / name)

    def create(self, name, chunks):
        there = (self.place / name).exists()
        create_if_absent(write_temporary(self.place, chunks), self.place / name)
        return not there


def open_folder(place):
    """Local."""
    return Folder(place)
