"""Classes and a split by folders and names, each as patterns that `dataset.yaml` takes."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipelines.formats.kinect_text import MSR_ACTIONS

ACTION = re.compile(r"(?<![a-z0-9])a(\d{1,3})(?![0-9])", re.IGNORECASE)
# How names say who performed, the surest first; then which session, or place.
WHO = r"(?<![a-z0-9])(?:s|p|subject|subj|person|performer|actor|user)[-_]?\d{1,3}(?![0-9])"
WHEN = r"(?<![a-z])(?:session|sess|day|take|cam|camera|v|e)[-_]?\d{1,3}(?![0-9])"
PARTS = (
    ("people", re.compile(WHO, re.IGNORECASE), "performers"),
    ("people", re.compile(r"(?<![a-z])[^\W\d_]{2,}(?=[-_ ]*\d*$)"), "performers"),  # anna-3
    ("sessions", re.compile(WHEN, re.IGNORECASE), "sessions"),
)
TEST_ONE_IN = 3  # performers
MANY = 6  # performers; so many that are numbered are split into odd and even ones, as the field does


@dataclass(frozen=True)
class Classes:
    """The classes of clips."""

    names: list[str]
    of: Mapping[str, str]
    """Clip -> class."""
    labels: dict[str, str]
    """Pattern -> class; empty: folders say it."""
    why: str


@dataclass(frozen=True)
class Split:
    """A benchmark."""

    name: str
    train: list[str]
    """Patterns."""
    test: list[str]
    why: str
    by_person: bool


def classes_of(clips: Collection[str], form: str) -> Classes | None:
    """The classes by the action's number in names, by folders, or by the first word; None: no way."""
    numbered = _tokens(clips, ACTION)
    if numbered and len(set(numbered.values())) > 1:
        numbers = {token: int(token[1:]) for token in set(numbered.values())}
        known = MSR_ACTIONS if form == "msr-action3d" and max(numbers.values()) <= len(MSR_ACTIONS) else ()
        names = {
            token: known[number - 1] if known else f"action {number}" for token, number in numbers.items()
        }
        order = sorted(names, key=lambda token: numbers[token])
        return _by_pattern(clips, numbered, {token: names[token] for token in order}, "the action's number")
    folders = {clip: clip.rpartition("/")[0].rpartition("/")[2] for clip in clips}
    if len(set(folders.values())) > 1 and "" not in folders.values():
        return Classes(sorted(set(folders.values())), folders, {}, "the folders that the clips lie in")
    words = {clip: re.split(r"[-_. \d]", _name(clip))[0] for clip in clips}
    counts = Counter(words.values())
    if 1 < len(counts) <= max(2, len(clips) // 2) and "" not in counts:
        return _by_pattern(clips, words, {word: word for word in sorted(counts)}, "the first word")
    return None


def _by_pattern(
    clips: Collection[str], tokens: Mapping[str, str], names: Mapping[str, str], what: str
) -> Classes | None:
    labels = {pattern_of(clips, tokens, token): name for token, name in names.items()}
    of = {clip: names[token] for clip, token in tokens.items()}
    return None if None in labels else Classes(
        list(names.values()), of, {str(key): name for key, name in labels.items()}, f"{what} in each name"
    )  # fmt: skip


def split_of(clips: Sequence[str], classes: Mapping[str, str]) -> Split:
    """A split by performer, where names tell one; else by session; else every third clip to test on."""
    for name, pattern, what in PARTS:
        tokens = _tokens(clips, pattern, classes)
        groups = sorted(set(tokens.values()), key=_by_number)
        if not 1 < len(groups) <= max(2, len(clips) // 2):
            continue
        test = _to_test(groups)
        found = {token: pattern_of(clips, tokens, token) for token in groups}
        patterns = {token: one for token, one in found.items() if one is not None}
        if len(patterns) == len(groups):
            train = [patterns[token] for token in groups if token not in test]
            why = f"{len(groups)} {what} in the names, {len(test)} of them to test on"
            return Split(name, train, [patterns[token] for token in test], why, name == "people")
    ordered = sorted(clips)
    test = ordered[TEST_ONE_IN - 1 :: TEST_ONE_IN] or ordered[-1:]
    train = [clip for clip in ordered if clip not in set(test)]
    why = "every third clip to test on: names tell no performers"
    return Split("thirds", [_escaped(one) for one in train], [_escaped(one) for one in test], why, False)


def _to_test(groups: Sequence[str]) -> list[str]:
    """Who to test on: the even ones of many performers with numbers, else every third, at least the last."""
    numbers = [re.findall(r"\d+$", token) for token in groups]
    if all(numbers) and len(groups) >= MANY:
        even = [token for token, found in zip(groups, numbers) if int(found[0]) % 2 == 0]
        if even and len(even) < len(groups):
            return even
    return list(groups[TEST_ONE_IN - 1 :: TEST_ONE_IN]) or list(groups[-1:])


def _tokens(
    clips: Collection[str], pattern: re.Pattern[str], classes: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Clip -> the first part of its name that fits and is not its class; empty where a clip has none."""
    found = {}
    for clip in clips:
        parts = [match[0] for match in pattern.finditer(_name(clip))]
        mine = classes.get(clip) if classes else None
        part = next((part for part in parts if part != mine), None)
        if part is None:
            return {}
        found[clip] = part
    return found


def pattern_of(clips: Collection[str], tokens: Mapping[str, str], token: str) -> str | None:
    """A pattern that fits the clips of a token and no others; None: there is none."""
    mine = {clip for clip in clips if tokens[clip] == token}
    name = _name(min(mine))
    at = name.index(token)
    before, after = name[max(at - 1, 0) : at], name[at + len(token) : at + len(token) + 1]
    middle = _escaped(token) + ("" if after.isalnum() else _escaped(after))
    for start in (f"*{_escaped(before)}" if before else "*/", "", "*"):
        for end in ("*", ""):
            if {clip for clip in clips if fnmatchcase(clip, f"{start}{middle}{end}")} == mine:
                return f"{start}{middle}{end}"
    return None


def _by_number(token: str) -> tuple[str, int]:
    """The order of `s2` before `s10`, and of words by their letters."""
    word = token.rstrip("0123456789")
    return word, int(token[len(word) :] or 0)


def _name(clip: str) -> str:
    return clip.rpartition("/")[2]


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)
