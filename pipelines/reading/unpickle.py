"""Pickles of strangers: NumPy arrays and plain containers, and nothing else.

Loading a pickle runs what its writer asked for. So no class or function of a file is ever looked up: the
few names that arrays and containers need (`NAMES`) stand for functions below, which check their
arguments and build numeric and text arrays with public NumPy calls. NumPy's own rebuilding is not used,
because a forged dtype can make it take bytes for object pointers.
"""

import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipelines.errors import TsgcError

KINDS = "biufcSU"  # of dtypes: truth values, integers, floats, complex numbers, bytes, text
ORDERS = "<>|="  # byte order, as dtypes write it


class _ForeignError(Exception):
    """Something in the pickle that is neither array nor plain container."""


class _Type:
    """A dtype while it is read: the element's code first, its byte order after."""

    __slots__ = ("dtype",)
    __hash__ = None  # type: ignore[assignment]  # never a key: keys are not put in place

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or np.dtype(code).kind not in KINDS or np.dtype(code).shape:
            raise _ForeignError(f"an array of {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order, *parts = state[1:5]
        if order not in ORDERS or any(part is not None for part in parts):
            raise _ForeignError("a structured array")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array while it is read; `_plain` puts `value` in its place."""

    __slots__ = ("value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *_: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        shape, kind, is_fortran, data = state[-4:]  # a version comes first
        self.value = _array(data, kind, shape, "F" if is_fortran else "C")


def _array(data: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """An array over `data`, which is not copied (so it is read-only over bytes)."""
    if axes is not None:
        raise _ForeignError("an array with its axes in another order")
    if not isinstance(kind, _Type):
        raise _ForeignError("an array without a dtype")
    if isinstance(data, str):  # Python 2 wrote bytes as text
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise _ForeignError("an array of objects")
    if not isinstance(shape, tuple) or any(type(size) is not int or size < 0 for size in shape):
        raise _ForeignError("an array without a shape")
    count, size = math.prod(shape), kind.dtype.itemsize
    if count * size != len(data) or (count > 1 and not size):  # room is made even for empty text
        raise _ForeignError(f"an array of shape {shape} in {len(data)} bytes")
    if not data:
        return np.zeros(shape, kind.dtype)
    return np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: Any, data: Any) -> Any:
    return _array(data, kind, (1,), "C")[0]


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as protocols 0 to 2 write them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _ForeignError(f"text encoded as {encoding!r}")
    return text.encode("latin-1")


def _bytes(data: Any = b"") -> bytes:
    """Empty bytes as protocols 0 to 2 write them; a number here would be a length to make room for."""
    if not isinstance(data, bytes):
        raise _ForeignError(f"bytes of {type(data).__name__}")
    return data


class _Named:
    """A callable that a pickle can call, and cannot change."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _ForeignError(f"a change of {name!r}")


NAMES: dict[str, Any] = {
    **{f"numpy.{core}.multiarray._reconstruct": _Named(_Array) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _Named(_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Named(_array) for core in ("core", "_core")},
    "numpy.dtype": _Named(_Type),
    "numpy.ndarray": "numpy.ndarray",  # only ever an argument
    "collections.OrderedDict": _Named(OrderedDict),
    "builtins.set": _Named(set),
    "builtins.frozenset": _Named(frozenset),
    "builtins.bytes": _Named(_bytes),
    "builtins.bytearray": _Named(lambda *data: bytearray(_bytes(*data))),
    "_codecs.encode": _Named(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        try:
            return NAMES[f"{module}.{name}"]
        except KeyError:
            raise _ForeignError(f"{module}.{name}") from None


def load_pickle(path: Path) -> Any:
    """What a pickle file holds: numbers, text, None, lists, tuples, sets, dicts, NumPy arrays and scalars.

    Arrays may be read-only. The whole file is held in memory: pickle has no other way.
    Raises TsgcError where the file is cut or no pickle, or holds anything else; nothing in it is run.
    """
    try:
        with path.open("rb") as file:
            _check_memo(file)
            file.seek(0)
            return _plain(_Unpickler(file, encoding="latin-1").load(), {})
    except FileNotFoundError:
        raise TsgcError(f"{path}: no such file") from None
    except _ForeignError as error:
        raise TsgcError(
            f"{path}: holds {_line(error)}; only NumPy arrays and plain containers are read"
            " from a pickle, so save it as those"
        ) from None
    except MemoryError:
        raise TsgcError(f"{path}: does not fit in memory, or is damaged") from None
    except RecursionError:
        raise TsgcError(f"{path}: nested too deeply; expected arrays in plain containers") from None
    except OSError as error:
        raise TsgcError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # the reader of pickles raises nearly anything on damaged ones
        raise TsgcError(f"{path}: no whole pickle ({_line(error)}); copy or download it again") from None


def _line(error: Exception) -> str:
    """The error as part of one line: a pickle can put anything into its names."""
    return " ".join(repr(str(error) or type(error).__name__)[1:-1].split())[:200]


def _check_memo(file: IO[bytes]) -> None:
    """Refuses numbers of remembered objects beyond those there are.

    The reader makes room up to the highest number: a file of ten bytes could fill the memory.
    """
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "LONG_BINPUT") and argument is not None and argument > steps:
            raise _ForeignError(f"object number {argument} after {steps} steps")


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """`value` with arrays in the place of the reader's stand-ins; shared and circular parts stay so."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, _Type | _Named):
        raise _ForeignError("a dtype or function on its own")
    if not isinstance(value, list | dict | tuple | set | frozenset):
        return value
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, tuple):
        rebuilt = tuple(_plain(item, seen) for item in value)
        seen[id(value)] = seen[id(rebuilt)] = rebuilt
        return rebuilt
    seen[id(value)] = value
    if isinstance(value, list):
        value[:] = [_plain(item, seen) for item in value]
    elif isinstance(value, dict):
        _plain(list(value), seen)  # keys are never arrays
        for key, item in value.items():
            value[key] = _plain(item, seen)
    else:
        _plain(list(value), seen)  # members are never arrays
    return value
