"""Pickles of plain arrays, read without running anything they name.

A pickle is a program: it may call whatever it can import. Here its instructions are read first, and only those that
plain data needs may be there. Then it can import a handful of names, and gets our own harmless stand-ins for them, so
that nothing but numbers, texts, containers and numpy arrays can come out. Memory and time are limited by whoever runs
this (`synth.scans_arrays`, in a child process).
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_PLAIN = re.compile(r"[<>|=]?[biuf][1248]")
#: Containers nested deeper than this are not data.
_DEEPEST = 32
#: Instructions of a pickle; a mesh of seven arrays has about 250. It bounds the memo and every repetition.
_MOST_STEPS = 20_000
#: Values that come out, each counted as often as it is reached: a list of itself eight times over, ten deep, is 2**30.
_MOST_VALUES = 100_000
#: What protocols 2 to 5 write for plain data. Not here: making objects of classes, persistent ids, registered
#: extensions, buffers outside of the file.
_STEPS = {
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "MEMOIZE", "BINPUT", "LONG_BINPUT",
    "BINGET", "LONG_BINGET",
}  # fmt: skip


class BadPickle(ValueError):
    """A pickle that holds, or wants, anything but plain arrays."""


def load_plain(data: bytes) -> Any:
    """What a pickle holds: dicts, lists, numbers, texts, bytes and numpy arrays of plain numbers. Tuples become lists.

    Raises BadPickle when it names anything else, or its arrays contradict themselves.
    """
    try:
        _check_steps(data)
        return _plain(_Unpickler(io.BytesIO(data)).load(), iter(range(_MOST_VALUES)))
    except BadPickle:
        raise
    except Exception as error:  # a stranger's program: whatever goes wrong in it is its fault
        raise BadPickle(f"the pickle is damaged ({type(error).__name__}: {str(error)[:100]})") from error


def _check_steps(data: bytes) -> None:
    """Raises BadPickle unless every instruction is one of plain data; runs none of them."""
    for number, (step, argument, _) in enumerate(pickletools.genops(data)):
        if number == 0 and (step.name != "PROTO" or not 2 <= argument <= 5):
            raise BadPickle("not a pickle of protocol 2 to 5")
        if step.name not in _STEPS:
            raise BadPickle(f"a pickle with the instruction {step.name}, which plain arrays do not need")
        # The memo is an array: one instruction that puts something at 2**31 would take 32 GB.
        if number >= _MOST_STEPS or (step.name == "LONG_BINPUT" and argument >= _MOST_STEPS):
            raise BadPickle(f"a pickle of more than {_MOST_STEPS} instructions: no plain arrays")


class _Dtype:
    """What numpy.dtype would be."""

    def __init__(self, code: object, *_: object):
        self.code = code if isinstance(code, str) else ""
        self.order = ""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def real(self) -> np.dtype:
        spelled = self.order + self.code if self.order not in ("", "|") else self.code
        if not _PLAIN.fullmatch(spelled):
            raise BadPickle(f"an array of {spelled[:20]!r}, which is no plain number")
        return np.dtype(spelled)


class _Array:
    """What a numpy array would be; its memory is taken only when its bytes are there."""

    def __init__(self, *_: object):
        self.state: tuple | None = None

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, tuple) and len(state) == 5 else None

    def real(self) -> np.ndarray:
        if self.state is None or not isinstance(self.state[2], _Dtype):
            raise BadPickle("an array without content")
        _, shape, dtype, fortran, data = self.state
        return _filled(data, dtype.real(), shape, "F" if fortran else "C")


def _from_buffer(data: object, dtype: object, shape: object, order: object = "C") -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise BadPickle("an array without a type")
    return _filled(data, dtype.real(), shape, "F" if order == "F" else "C")


def _scalar(dtype: object, data: object = b"") -> object:
    if not isinstance(dtype, _Dtype):
        raise BadPickle("a number without a type")
    return _filled(data, dtype.real(), (), "C")[()]


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise BadPickle("a text in an odd encoding")
    return text.encode("latin1")


def _no_bytes(*content: object) -> bytes:
    if content:
        raise BadPickle("bytes made of something else")
    return b""


def _filled(data: object, dtype: np.dtype, shape: object, order: str) -> np.ndarray:
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not isinstance(shape, tuple) or len(shape) > 4:
        raise BadPickle("an array whose content is no bytes")
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise BadPickle(f"an array of {str(shape)[:60]} values with {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


class _Sealed:
    """A stand-in that can be called and nothing else: a pickle may also set attributes of what it has been given."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable):
        object.__setattr__(self, "_make", make)

    def __call__(self, *content: object) -> object:
        return self._make(*content)

    def __setattr__(self, name: str, value: object) -> None:
        raise BadPickle(f"it wants to change {name}"[:100])

    def __setstate__(self, state: object) -> None:
        raise BadPickle("it wants to change what it calls")


#: All that a pickle may name: what it gets for it. Numpy's modules were renamed with version 2.
_ALLOWED = {
    ("numpy", "dtype"): _Sealed(_Dtype),
    ("numpy", "ndarray"): _Sealed(_Array),
    ("trimesh.caching", "TrackedArray"): _Sealed(_Array),
    ("_codecs", "encode"): _Sealed(_encode),
    ("builtins", "bytes"): _Sealed(_no_bytes),
    ("__builtin__", "bytes"): _Sealed(_no_bytes),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Sealed(_Array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Sealed(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Sealed(_from_buffer) for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise BadPickle(f"it wants to run {module}.{name}"[:120]) from None

    def persistent_load(self, _: object) -> Any:
        raise BadPickle("it refers to something outside of itself")


def _plain(value: Any, room: Iterator[int], depth: int = 0) -> Any:
    """The value with arrays in place of their stand-ins. Raises BadPickle on anything that is not plain."""
    if depth > _DEEPEST or next(room, None) is None:
        raise BadPickle("containers in containers without end")
    if isinstance(value, _Array):
        return value.real()
    if isinstance(value, dict):
        return {key: _plain(inner, room, depth + 1) for key, inner in value.items() if isinstance(key, str | int)}
    if isinstance(value, list | tuple):
        return [_plain(inner, room, depth + 1) for inner in value]
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray | np.generic):
        return value
    raise BadPickle(f"it holds a {type(value).__name__.strip('_')}")
