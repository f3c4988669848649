"""Which clips of a format lie below a folder, and which format that is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from pipelines.errors import TsgcError
from pipelines.formats.other_files import found_instead
from pipelines.formats.table import Format, find_format, sniff, suffixes
from pipelines.reading.sources import RawFile, ends_in, walk_files
from pipelines.skeleton import Skeleton
from pipelines.spec import Raw

ARRAY_SUFFIXES = (".npy", ".json", ".csv")
LOOKED_AT = 64  # files that may say what the format is; the first ones may be of nobody


@dataclass(frozen=True)
class Look:
    """What the first files below a folder say."""

    form: Format | None
    """None: the arrays of docs/your-own-data.md."""
    skeleton: Skeleton | None
    """The skeleton that they have; None: they do not tell."""


def look(folder: Path, form: str | None, name: str, skeleton: str | None = None) -> Look:
    """The format and skeleton of the clips below a folder.

    `form` and `skeleton`: as a description gives them, None where it leaves them open, `skeleton` empty for
    one that it defines itself; `name`: of the data set. Raises TsgcError: an unknown format.
    """
    known = find_format(form) if form is not None else None
    if form is not None and known is None:
        return Look(None, None)
    for file in islice(
        _files(folder, known.suffixes if known else (*suffixes(), *ARRAY_SUFFIXES)), LOOKED_AT
    ):
        data = file.read()
        found = known or sniff(file.source, data)
        if found is None or not (known or fits(found, skeleton)):
            continue
        try:
            known, body = found, found.skeleton(file.source, data, name)
        except TsgcError:  # a bad clip, which is said when it is read
            continue
        if body is not None:
            return Look(found, body)
    return Look(known, None)


def fits(form: Format, skeleton: str | None) -> bool:
    """Whether a description's skeleton speaks for the format: arrays of MediaPipe's size may be anything."""
    return skeleton is None or ".npy" not in form.suffixes or skeleton in form.skeletons


def find_clips(folder: Path, form: Format | None) -> Mapping[str, Raw]:
    """The clips by their path below `folder`, in order, without suffix; a zip's folders lie where it lies.

    `form` None: the arrays of docs/your-own-data.md. Raises TsgcError: none, or one in two files.
    """
    ends = form.suffixes if form else ARRAY_SUFFIXES
    clips: dict[str, Raw] = {}
    if form and form.find:
        clips = dict(form.find(folder))
    else:
        for file in sorted(_files(folder, ends), key=lambda file: (file.path, file.member)):
            clip = clip_name(file, folder, ends)
            if clip in clips:
                raise TsgcError(f"{clips[clip].source} and {file.source}: one clip in two files; remove one")
            clips[clip] = file
    if not clips:
        raise TsgcError(
            f"no clips in {folder}; expected {', '.join(ends)} files there{found_instead(folder)}"
        )
    return clips


def clip_name(file: RawFile, folder: Path, ends: tuple[str, ...]) -> str:
    """A file's path below a folder, without suffix; a zip is a folder where it has none inside."""
    top = folder.parent if folder.is_file() else folder  # a zip by itself
    place = PurePosixPath(file.path.relative_to(top.absolute()).as_posix())
    if file.member:
        inside = file.inside
        place = (place.parent if len(inside.parts) > 1 else place.with_suffix("")) / inside
    name = place.name
    end = next((end for end in sorted(ends, key=len, reverse=True) if ends_in(name, end)), place.suffix)
    return str(place.with_name(name[: len(name) - len(end)]))


def _files(folder: Path, ends: tuple[str, ...]) -> Iterator[RawFile]:
    return walk_files(folder.absolute(), ends, set())
