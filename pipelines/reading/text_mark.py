"""The mark that some editors put before a text, which says how its characters are stored."""

import codecs

from pipelines.errors import TsgcError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def without_mark(source: str, data: bytes) -> bytes:
    """A text's bytes without the mark of UTF-8. Raises TsgcError for a text in UTF-16."""
    if data.startswith(UTF_16):
        raise TsgcError(f"{source}: text in UTF-16, expected UTF-8; save it again as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)
