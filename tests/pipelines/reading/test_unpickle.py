"""Pickles of strangers: arrays and containers come back as they were; anything else is one clear line."""

import collections
import io
import os
import pickle
import struct
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.errors import TsgcError
from pipelines.reading.unpickle import load_pickle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles")


def read(folder: Path, data: bytes) -> object:
    path = folder / "some.pkl"
    path.write_bytes(data)
    return load_pickle(path)


def refuse(folder: Path, data: bytes) -> str:
    """The one line of the error that reading `data` gives."""
    with pytest.raises(TsgcError) as caught:
        read(folder, data)
    message = str(caught.value)
    assert message.startswith(str(folder / "some.pkl")) and "\n" not in message
    return message


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray | np.generic):
        assert isinstance(b, np.ndarray | np.generic) and type(a) is type(b)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        assert type(a) is type(b)
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(endianness="?"),
    hnp.byte_string_dtypes(),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), arrays,
    arrays.filter(lambda array: array.size > 0).map(lambda array: array.reshape(-1)[0]),
    st.frozensets(st.integers()),
)  # fmt: skip
objects = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(value=objects, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_arrays_and_containers_come_back_as_they_were(folder: Path, value: object, protocol: int) -> None:
    assert same(value, read(folder, pickle.dumps(value, protocol)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_column_major_array_comes_back_as_it_was(folder: Path, protocol: int) -> None:
    array = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    assert same(array, read(folder, pickle.dumps(array, protocol)))


def test_pickles_of_older_numpy_are_read(folder: Path) -> None:
    data = pickle.dumps({"test_0": np.arange(3, dtype=np.float32)}, protocol=4)
    older = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    older = _reframed(older)
    assert older != data
    assert same({"test_0": np.arange(3, dtype=np.float32)}, read(folder, older))


def test_pickles_of_python_2_are_read(folder: Path) -> None:
    array = np.array([1, 200, -3], np.float32)
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btRq\x01(K\x01K\x03\x85"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x0c"
        + array.tobytes() + b"tb."
    )  # fmt: skip
    assert same(array, read(folder, data))


def test_an_array_that_is_in_two_places_is_one_array(folder: Path) -> None:
    array = np.arange(3)
    first, second = read(folder, pickle.dumps([array, {"again": array}]))  # type: ignore[misc]
    assert np.shares_memory(first, second["again"])


def test_a_list_inside_itself_is_read(folder: Path) -> None:
    value: list = [np.arange(2)]
    value.append((value,))
    result = read(folder, pickle.dumps(value))
    assert isinstance(result, list) and isinstance(result[0], np.ndarray) and result[1][0] is result


class Runs:
    """Whatever `call` does, when unpickled."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.parts = call, arguments

    def __reduce__(self) -> tuple:
        return self.parts


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("call", [os.mkdir, eval, exec, getattr, np.load, io.open, __import__, pickle.loads])
def test_nothing_in_a_pickle_is_run(folder: Path, call: object, protocol: int) -> None:
    target = folder / "made"
    message = refuse(folder, pickle.dumps({"test_0": Runs(call, str(target))}, protocol))
    assert "only NumPy arrays and plain containers" in message
    assert not target.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a", None], object),
        np.zeros(2, [("x", np.float32), ("y", object)]),
        np.array(["2026-01-01"], "M8[D]"),
        date(2026, 1, 1),
        collections.Counter("ab"),
        np.dtype("f4"),
        Path("a"),
        len,
    ],
    ids=repr,
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_what_is_neither_array_nor_container_is_refused_by_name(
    folder: Path, value: object, protocol: int
) -> None:
    assert "only NumPy arrays and plain containers" in refuse(folder, pickle.dumps([value], protocol))


def _named(name: str) -> bytes:
    """The opcode that names something of a module."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


FLOATS = _named("numpy.dtype") + b"(S'f4'\nI00\nI01\ntR"
ARRAY = _named("numpy.core.multiarray._reconstruct") + b"(" + _named("numpy.ndarray") + b"(I0\ntS'b'\ntR"


@pytest.mark.parametrize(
    "data",
    [
        # A dtype with hidden fields: what would make NumPy take bytes for object pointers.
        FLOATS + b"(I3\nS'|'\nN(S'a'\nt(dI8\nI8\nI63\ntb.",
        ARRAY + b"(I1\n(I2\nt" + FLOATS + b"I00\nS'four'\ntb.",  # 2 floats in 4 bytes
        ARRAY + b"(I1\n(I999999999999\nt" + _named("numpy.dtype") + b"(S'S0'\nI00\nI01\ntRI00\nS''\ntb.",
        ARRAY + b"(I1\n(I-1\nt" + FLOATS + b"I00\nS'four'\ntb.",  # a negative size
        ARRAY + b"(I1\n(I1\nt" + FLOATS + b"I00\n(lp0\nI1\natb.",  # a list of objects for its data
        ARRAY + b"(I1\n(I1\ntNI00\nS'four'\ntb.",  # no dtype
        _named("numpy.dtype") + b"(dp0\nS'_call'\nNsb.",  # a change of what a name stands for
        _named("numpy.dtype") + b"(N(dS'_call'\nNstb.",
        _named("collections.OrderedDict") + b"(N(dS'_call'\nNstb.",
        _named("builtins.set") + b"(lp0\n\x81.",  # made past the function that the name stands for
        _named("numpy.dtype") + b"(S'O'\ntR.",
        _named("_codecs.encode") + b"(S'x'\nS'rot13'\ntR.",
        _named("numpy.core.multiarray.scalar") + b"(" + FLOATS + b"S'eightbyt'\ntR.",
        b"\x82\x01.",  # the registry of extensions
        b"Pstranger\n.",  # a persistent id
        b"\x80\x05\x97.",  # a buffer from outside
        b"(" + _named("os.system")[1:] + b"i.",  # the oldest way to make an instance
        b"(i" + b"os\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x13core.multiarray.load\x93.",
        b"}" + FLOATS + b"I1\ns.",  # a dtype as a key
        b"\x80\x04c__builtin__\nbytes\nM\xff\xff\x85R.",  # a length for its bytes
    ],
)
def test_forged_pickles_are_refused(folder: Path, data: bytes) -> None:
    refuse(folder, data)


def test_a_forged_pickle_changes_nothing_for_the_next_one(folder: Path) -> None:
    for name in ("numpy.dtype", "collections.OrderedDict", "builtins.set"):
        refuse(folder, _named(name) + b"(N(dS'_call'\nNstb.")
    value = collections.OrderedDict(a=np.zeros(2))
    assert same(value, read(folder, pickle.dumps(value)))
    assert collections.OrderedDict(a=1) == {"a": 1}


def test_few_bytes_cannot_fill_the_memory(folder: Path) -> None:
    assert "object number" in refuse(folder, b"Np2147483646\n.")
    assert "object number" in refuse(folder, b"Nr" + struct.pack("<I", 2**31 - 1) + b".")
    refuse(folder, b"\x80\x04\x8e" + struct.pack("<Q", 2**50) + b"abc.")  # bytes of a petabyte
    refuse(folder, b"\x80\x04\x95" + struct.pack("<Q", 2**50) + b"N.")  # a frame of a petabyte
    bomb = b"(lp0\n" + b"".join(b"(lp%d\n" % i + b"g%d\na" % (i - 1) * 9 for i in range(1, 99)) + b"."
    assert isinstance(read(folder, bomb), list)  # 9**98 items, if each were visited


@pytest.mark.parametrize("depth", [10**5])
def test_deep_nesting_is_one_line(folder: Path, depth: int) -> None:
    assert "nested too deeply" in refuse(folder, b"(l" * depth + b"a" * (depth - 1) + b".")


@given(cut=st.floats(0, 1, exclude_max=True), protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_cut_pickle_is_one_line(folder: Path, cut: float, protocol: int) -> None:
    data = pickle.dumps({"a": np.arange(40.0), "b": [1, "two", None]}, protocol)
    assert "no whole pickle" in refuse(folder, data[: int(len(data) * cut)])


@given(data=st.data(), protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_damaged_pickle_is_read_or_one_line(folder: Path, data: st.DataObject, protocol: int) -> None:
    content = bytearray(pickle.dumps({"a": np.arange(5), "b": [(1.5, "c"), None, {1, 2}]}, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(folder, bytes(content))
    except TsgcError as error:
        assert "\n" not in str(error)


def test_no_file_no_folder_and_no_pickle_are_one_line(folder: Path) -> None:
    with pytest.raises(TsgcError, match="no such file"):
        load_pickle(folder / "missing.pkl")
    with pytest.raises(TsgcError, match="cannot be read"):
        load_pickle(folder)
    refuse(folder, b"")
    refuse(folder, b"PK\x03\x04 a zip, say")


def _reframed(data: bytes) -> bytes:
    """Protocol 4 with the length of its only frame set right."""
    assert data[2:3] == b"\x95"
    return data[:3] + struct.pack("<Q", len(data) - 11) + data[11:]
