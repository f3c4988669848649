"""The digest of a prepared file's content: of what it says, however HDF5 packs it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson


def digest_array(pieces: Iterable[np.ndarray]) -> str:
    """Type, shape and sha256 of an array that comes in pieces along its first axis (one at least)."""
    digest = ArrayDigest()
    for piece in pieces:
        digest.add(piece)
    return str(digest)


class ArrayDigest:
    """`digest_array`, while the pieces come."""

    def __init__(self) -> None:
        self._bytes = hashlib.sha256()
        self._length = 0
        self._kind = ""

    def add(self, piece: np.ndarray) -> None:
        self._bytes.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)  # no copy
        self._length += len(piece)
        self._kind = f"{piece.dtype.str} {self._length, *piece.shape[1:]}"

    def __str__(self) -> str:
        return f"{self._kind} {self._bytes.hexdigest()}"


def content_digest(about: Mapping[str, Any], arrays: Mapping[str, str]) -> str:
    """sha256 over what a file says about itself and its arrays' digests, by name."""
    return hashlib.sha256(orjson.dumps([about, arrays], option=orjson.OPT_SORT_KEYS)).hexdigest()
