"""What `scripts/fuzz` watches while a hostile file is read: the bait that no one may touch, and every file opened.

Two ways, because neither sees all. inotify on the bait's folder sees whoever opens or reads anything in it, C++ code
and other processes too, but only there. Python's audit hook sees every path that Python opens, lists or runs, in the
process that reads and in its forked children, wherever it lies, but no C++ code. A TCP port that no one may call
stands for the network. What stays unseen: C++ code that opens a file elsewhere than in the bait.
"""

import contextlib
import ctypes
import io
import os
import socket
import struct
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from PIL import Image

_ACCESS, _OPEN, _CREATE, _DELETE, _MODIFY = 0x1, 0x20, 0x100, 0x200, 0x2
_HEADER = struct.Struct("iIII")
#: Where Python and Blender read their own files.
_SYSTEM = ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/usr/share/", "/usr/lib", "/lib", "/etc/localtime",
           "/etc/ld.so", "/etc/mime.types")  # fmt: skip


class Trap:
    """A folder of secrets and a port, and who has touched them."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        for suffix, data in secrets().items():
            (folder / f"secret{suffix}").write_bytes(data)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = _ACCESS | _OPEN | _CREATE | _DELETE | _MODIFY
        if self._events < 0 or self._libc.inotify_add_watch(self._events, os.fsencode(folder), mask) < 0:
            raise OSError(ctypes.get_errno(), "inotify does not work here, so nothing could be said of reads")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        (folder / "secret.bin").read_bytes()
        if self.touched() != ["secret.bin"]:
            raise OSError("inotify says nothing of a file that was read: is this folder on a network disk?")

    def touched(self) -> list[str]:
        """Names in the folder that were opened, read or made since the last call, and whether the port was called."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._events, 65536):
                at = 0
                while at < len(data):
                    _, _, _, length = _HEADER.unpack_from(data, at)
                    found.append(data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0").decode())
                    at += _HEADER.size + length
        with contextlib.suppress(BlockingIOError):
            self._socket.accept()[0].close()
            found.append("the port")
        return sorted(set(found))

    def close(self) -> None:
        """Gives back the port and the watch."""
        self._socket.close()
        os.close(self._events)


def secrets() -> dict[str, bytes]:
    """What lies in the bait, by suffix: files that would be used if anyone came to them."""
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (255, 0, 255)).save(stream, "PNG")
    mtl = b"newmtl skin\nmap_Kd secret.png\n"
    known = {".obj": b"v 0 0 0\n", ".mtl": mtl, ".png": stream.getvalue(), ".bin": b"secret" * 4096}
    more = (".ply", ".glb", ".gltf", ".fbx", ".zip", ".pkl", ".npz", ".hdr", ".exr")
    return {**known, **{suffix: b"secret" for suffix in more}}


def watch_opens(allowed: list[Path], report: Callable[[str], None]) -> None:
    """From now on tells of every path opened, listed or run by Python outside of `allowed` and its own installation.

    It cannot be switched off again, as audit hooks cannot. Raises RuntimeError when it does not see what it should.
    """
    seen: list[str] = []
    # An editable install is on no path; and names relative to an open folder look as if they lay in ours.
    checkout = str(Path(__file__).resolve().parents[1])
    own = {checkout, sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *filter(None, sys.path)}
    roots = (*_SYSTEM, *(os.path.realpath(path) for path in [*allowed, *own]))

    def look(event: str, arguments: tuple) -> None:
        if event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            if isinstance(path, int) or path is None:
                return
            real = os.path.realpath(os.fsdecode(path))
            if not real.startswith(roots):
                (report if seen else seen.append)(f"{event} {real}")
        elif event in ("os.system", "os.exec", "os.posix_spawn", "socket.connect"):
            report(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(look)
    os.listdir("/")
    if seen != ["os.listdir /"]:
        raise RuntimeError(f"the audit hook sees {seen}")
