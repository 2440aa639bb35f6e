"""Frames of a video, one after another; needs the extra `video` (PyAV, which brings its own FFmpeg)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synth.errors import UserError
from synth.picture import MOST_PIXELS

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB frames in the order they are shown, turned as the file says. Raises UserError in one line.

    One frame is held at a time. A stream that breaks off in the middle is an error after its last whole frame.
    """
    av = _av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path}: holds no video")
            stream = container.streams.video[0]
            if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
                raise UserError(
                    f"{path}: frames of {stream.codec_context.width} x {stream.codec_context.height} pixels"
                )
            found = False
            for frame in container.decode(stream):
                found = True
                pixels = frame.to_ndarray(format="rgb24")
                yield np.ascontiguousarray(np.rot90(pixels, round((getattr(frame, "rotation", 0) or 0) / 90)))
            if not found:
                raise UserError(f"{path}: holds no frame")
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a readable video: {' '.join(str(error).split())[:200]}") from error


def _av():
    try:
        import av
    except ImportError as error:
        raise UserError("videos need PyAV: pip install 'synth[video]', or give a folder of frames") from error
    return av
