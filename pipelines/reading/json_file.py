"""JSON out of raw files: numbers, lists and tables, or one line that says where it is damaged."""

import codecs
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import orjson

from pipelines.errors import TsgcError
from pipelines.reading.text_mark import UTF_16


def parse_json(source: str, data: bytes) -> Any:
    """What a file's JSON holds. Raises TsgcError, naming `source` and the line, where it is none."""
    try:
        return orjson.loads(data.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        what, advice = error.msg, "get the file again"
        if data.startswith(UTF_16):
            what, advice = "text in UTF-16, expected UTF-8", "save it again as UTF-8"
        raise TsgcError(f"{source}: line {error.lineno}: not JSON ({what}); {advice}") from error


def parse_loose(source: str, data: bytes) -> Any:
    """JSON as programs write it: NaN is a number, a byte-order mark may come first."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return parse_json(source, data)
    except TsgcError:
        if b"NaN" in data or b"Infinity" in data:
            with suppress(ValueError, RecursionError):
                return json.loads(data)
        raise


def number_array(nested: Sequence[Any]) -> np.ndarray:
    """Nested lists as an array; null is NaN. Raises ValueError for lists of unequal length."""
    array = np.array(nested)
    return np.array(_without_null(nested)) if array.dtype == object else array


def _without_null(nested: Any) -> Any:
    if isinstance(nested, list):
        return [_without_null(part) for part in nested]
    return math.nan if nested is None else nested
