"""`--exclude`: the list of clips to leave out, and which clips it means."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.errors import TsgcError
from pipelines.reading.sources import RawFile
from pipelines.spec import Dataset, Raw


@dataclass(frozen=True)
class Exclusion:
    """The clips that a list leaves out."""

    clips: frozenset[str] = frozenset()
    line: str = ""
    """What the list said, for people; empty: there was none."""


def read_exclusion(
    path: Path, spec: Dataset, found: Mapping[str, Sequence[Raw]], locations: Sequence[Path]
) -> Exclusion:
    """The found clips that a list names, one a line; `#` starts a comment.

    A line is a clip's name, or its file's path: in full, as errors print it, or relative to a folder of
    `locations` or to the folder of the clips, or the file's name alone where one clip has it; with or
    without suffix. Raises TsgcError for any other line and for a list of which no name fits. Sentences above
    the first name are passed over: the official lists begin with two.
    """
    lines = _lines(path)
    wanted = {_plain(text) for _, texts in lines for text in texts}
    meant: dict[str, set[str]] = {}
    for clip, files in found.items():
        for alias in wanted.intersection(map(_plain, _aliases(clip, files, spec, locations))):
            meant.setdefault(alias, set()).add(clip)
    bare = _by_bare_name(found, wanted - meant.keys())
    names = fit = above = 0
    clips: set[str] = set()
    for number, texts in lines:
        chosen = next((meant[_plain(text)] for text in texts if _plain(text) in meant), None)
        if chosen is None:
            chosen = next((bare[_plain(text)] for text in texts if _plain(text) in bare), None)
            if chosen is not None and len(chosen) > 1:
                raise TsgcError(
                    f"{path}: line {number}: {texts[-1]} is the file of {len(chosen)} clips,"
                    f" {', '.join(sorted(chosen)[:3])}; give its folder, too"
                )
        if chosen is None:
            if not names and _is_sentence(texts[-1], spec):
                above += 1
                continue
            _check_name(path, number, texts[-1], spec)
        names += 1
        fit += chosen is not None
        clips |= chosen or set()
    if not fit:
        raise TsgcError(
            f"{path}: none of its {names:,} names is a clip here; give names as the files have them,"
            " or leave --exclude out"
        )
    passed = f", {above:,} lines above them passed over" if above else ""
    return Exclusion(frozenset(clips), f"{names:,} names read from {path}, {fit:,} fit a clip here{passed}")


def _by_bare_name(found: Mapping[str, Sequence[Raw]], wanted: set[str]) -> dict[str, set[str]]:
    """The clips whose files have a name of `wanted`, with or without suffix, in whatever folder they lie."""
    meant: dict[str, set[str]] = {}
    for clip, files in found.items():
        for file in files if wanted else ():
            name = _plain(PurePosixPath(file.source).name)
            for alias in wanted & {name, str(PurePosixPath(name).with_suffix("")) if name else name}:
                meant.setdefault(alias, set()).add(clip)
    return meant


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The number of each line that says something, and its readings: whole, and without a comment."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise TsgcError(f"{path}: {error.strerror}; --exclude takes a text file of clip names") from error
    except UnicodeDecodeError as error:
        raise TsgcError(f"{path}: not text; --exclude takes a text file of clip names, one a line") from error
    found = []
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            found.append((number, list(dict.fromkeys((line.strip(), text)))))
    return found


def _aliases(clip: str, files: Sequence[Raw], spec: Dataset, locations: Sequence[Path]) -> Iterator[str]:
    """Everything that a clip may be called."""
    yield clip
    if clip in spec.called:
        yield spec.called[clip]
    for file in files:
        yield file.source
        places = [file.source]
        for folder in (*locations, *spec.places):
            for root in (str(folder), str(folder.absolute())):
                if file.source.startswith(f"{root}/"):
                    places.append(file.source[len(root) + 1 :])
        if isinstance(file, RawFile):
            places += [str(file.inside)] if file.member else []
            if not spec.called:  # there the file's name is the clip's, wherever it lies
                places.append(PurePosixPath(file.source).name)
        for place in places:
            yield place
            yield str(PurePosixPath(place).with_suffix("")) if PurePosixPath(place).name else place


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace("\\", "/").removeprefix("./")


def _is_sentence(text: str, spec: Dataset) -> bool:
    """Whether a line above the names is for people: several words, not the path of a clip."""
    return " " in text and "/" not in text and not (spec.suffix and text.lower().endswith(spec.suffix))


def _check_name(path: Path, number: int, text: str, spec: Dataset) -> None:
    """Raises TsgcError where a line that fits no clip here is not the name of one elsewhere."""
    name = PurePosixPath(text).name
    if spec.suffix and name.lower().endswith(spec.suffix):
        name = name[: -len(spec.suffix)]
    try:
        spec.identify(name)
    except TsgcError as error:
        raise TsgcError(f"{path}: line {number}: {error}; expected one clip name a line") from None
