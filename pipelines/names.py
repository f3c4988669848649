"""Names of clips and data sets as every later file can hold them: HDF5, tars, manifests, scores."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

LONGEST = 95  # bytes of UTF-8; with `.json` they fill the 100 that a USTAR header has for a name
RULE = f"1 to {LONGEST} bytes of letters, marks and digits of any script, _ and -"
DIGEST = 8  # hexadecimal digits that keep two names apart
_PLAIN = re.compile(r"[A-Za-z0-9_-]*")


def is_safe(name: str) -> bool:
    """Whether a name can stay as it is."""
    return 0 < len(name.encode("utf-8", "replace")) <= LONGEST and allowed(name)


def allowed(text: str) -> bool:
    """Whether all characters are letters, marks or digits of some script, _ or -."""
    return bool(_PLAIN.fullmatch(text)) or all(map(_allowed, set(text)))


def _allowed(character: str) -> bool:
    category = unicodedata.category(character)
    return character in "_-" or category[0] in "LM" or category == "Nd"


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as files can hold it: composed (NFC), every character outside the rule as -.

    A name that is too long keeps its end, and one that would equal another's all its letters; both get a
    digest of the whole name. Raises ValueError where two are equal even so.
    """
    safe = {name: _in_rule(name) for name in names}
    count = Counter(safe.values())
    result = {
        name: short if count[short] == 1 and is_safe(short) else _with_digest(name, short)
        for name, short in safe.items()
    }
    if len(set(result.values())) < len(result):
        raise ValueError("names that end in each other's digests")
    return result


def _in_rule(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)
    if _PLAIN.fullmatch(composed):
        return composed
    return "".join(character if _allowed(character) else "-" for character in composed)


def _with_digest(name: str, short: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST]
    end = short.encode()[-(LONGEST - DIGEST - 1) :].decode("utf-8", "ignore")
    return f"{end}-{digest}"
