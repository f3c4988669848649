"""JSON out of raw files: numbers, lists and tables, or one line that says where it is damaged."""

from typing import Any

import orjson

from pipelines.errors import TsgcError


def parse_json(source: str, data: bytes) -> Any:
    """What a file's JSON holds. Raises TsgcError, naming `source` and the line, where it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise TsgcError(
            f"{source}: line {error.lineno}: not JSON ({error.msg}); get the file again"
        ) from error
