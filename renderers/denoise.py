"""Noise out of the light, never out of the texture: OpenImageDenoise on what falls onto a matte surface.

A matte picture is light times albedo. The albedo is known for every path, so it is divided out, the light alone is
denoised, smooth as it is, and the albedo is multiplied back: pores and cloth never pass the denoiser. Against Cycles'
own denoiser with albedo and normal guides this is better in less time (benchmarks/render.py, candidates).
The only user of OpenImageDenoise: the library that Blender's package brings.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np

from synth.assets import bpy_folder
from synth.errors import UserError

#: Below this albedo a surface is black: what light falls there cannot be told, nor seen.
_LEAST_ALBEDO = 1e-4
#: Values of OIDNDeviceType, OIDNFormat and OIDNQuality in its header, oidn.h of version 2.
_CPU, _FLOAT3, _FAST = 1, 3, 4

_Pointer, _Text, _Size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
_SIGNATURES: dict[str, tuple] = {
    "oidnNewDevice": (_Pointer, ctypes.c_int),
    "oidnSetDeviceInt": (None, _Pointer, _Text, ctypes.c_int),
    "oidnSetDeviceBool": (None, _Pointer, _Text, ctypes.c_bool),
    "oidnCommitDevice": (None, _Pointer),
    "oidnReleaseDevice": (None, _Pointer),
    "oidnGetDeviceInt": (ctypes.c_int, _Pointer, _Text),
    "oidnGetDeviceError": (ctypes.c_int, _Pointer, ctypes.POINTER(_Text)),
    "oidnNewFilter": (_Pointer, _Pointer, _Text),
    "oidnReleaseFilter": (None, _Pointer),
    "oidnSetFilterBool": (None, _Pointer, _Text, ctypes.c_bool),
    "oidnSetFilterInt": (None, _Pointer, _Text, ctypes.c_int),
    "oidnSetSharedFilterImage": (None, _Pointer, _Text, _Pointer, ctypes.c_int, *(_Size,) * 5),
    "oidnCommitFilter": (None, _Pointer),
    "oidnExecuteFilter": (None, _Pointer),
}


class Denoiser:
    """A denoiser of pictures in linear light, on `threads` cores (0: all of them). The same picture gives the same
    bytes with any number of threads. Raises UserError where Blender's package does not bring the library."""

    def __init__(self, threads: int):
        self._library = _load_library()
        self._device = self._library.oidnNewDevice(_CPU)
        self._library.oidnSetDeviceInt(self._device, b"numThreads", threads)
        self._library.oidnSetDeviceBool(self._device, b"setAffinity", False)  # nodes are shared
        self._library.oidnCommitDevice(self._device)
        self._raise_errors()

    @property
    def version(self) -> str:
        """Of OpenImageDenoise, e.g. 2.3.3."""
        names = (b"versionMajor", b"versionMinor", b"versionPatch")
        return ".".join(str(self._library.oidnGetDeviceInt(self._device, name)) for name in names)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(h, w, 3) float32, finite, linear of any range, without its noise."""
        picture = np.ascontiguousarray(picture, np.float32)
        clean = np.empty_like(picture)
        h, w, _ = picture.shape
        library, filtering = self._library, self._library.oidnNewFilter(self._device, b"RT")
        try:
            for name, array in ((b"color", picture), (b"output", clean)):
                library.oidnSetSharedFilterImage(filtering, name, array.ctypes.data, _FLOAT3, w, h, 0, 12, 12 * w)
            library.oidnSetFilterBool(filtering, b"hdr", True)
            # Higher qualities gain little on light without texture, for twice the time: benchmarks/render.py.
            library.oidnSetFilterInt(filtering, b"quality", _FAST)
            library.oidnCommitFilter(filtering)
            library.oidnExecuteFilter(filtering)
            self._raise_errors()
        finally:
            library.oidnReleaseFilter(filtering)
        return clean

    def close(self) -> None:
        """Gives the device back."""
        self._library.oidnReleaseDevice(self._device)

    def _raise_errors(self) -> None:
        message = _Text()
        if self._library.oidnGetDeviceError(self._device, ctypes.byref(message)):
            raise RuntimeError(f"OpenImageDenoise: {(message.value or b'').decode(errors='replace')}")


def denoise_light(
    premultiplied: np.ndarray, albedo: np.ndarray, denoise: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Colour (h, w, 3) of a matte picture whose light went through `denoise`.

    premultiplied: (h, w, 4) linear colour and coverage. albedo: (h, w, 3) linear, premultiplied alike, averaged over
    the same paths, so that their ratio is free of the texture's noise.
    """
    seen = albedo > _LEAST_ALBEDO
    colour, coverage = premultiplied[..., :3], premultiplied[..., 3]
    light = np.divide(colour, albedo, out=np.zeros_like(colour), where=seen)
    solid = coverage > 0.5
    if not solid.any():
        return colour
    # Where nothing is seen the light is unknown, not dark: its mean draws no edge that the denoiser would keep.
    light = np.where(seen, light, light[solid].mean(axis=0))
    return np.where(seen, denoise(light) * albedo, colour)


def _load_library() -> ctypes.CDLL:
    folder = bpy_folder() or Path()
    found = sorted(folder.glob("lib/libOpenImageDenoise.so*")) + sorted(folder.glob("lib/libOpenImageDenoise*.dylib"))
    if not found:
        raise UserError(f"OpenImageDenoise is not in {folder / 'lib'}; install again: pip install 'bpy==4.5.*'")
    library = ctypes.CDLL(str(found[0]))
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
