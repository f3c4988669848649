"""Which clips of a format lie below a folder: files and links, at any depth, in zips too."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from pipelines.errors import TsgcError
from pipelines.formats.table import Format, find_format, sniff, suffixes
from pipelines.reading.sources import RawFile, walk_files

ARRAY_SUFFIXES = (".npy", ".json", ".csv")
LOOKED_AT = 8  # files that may say what the format is; the first may be of a recording without anybody


def find_clips(folder: Path, form: Format | None) -> dict[str, RawFile]:
    """The clips by their path below `folder`, in order, without suffix; a zip's folders lie where it lies.

    `form` None: the arrays of docs/your-own-data.md. Raises TsgcError: none, or one in two files.
    """
    ends = form.suffixes if form else ARRAY_SUFFIXES
    clips: dict[str, RawFile] = {}
    for file in sorted(_files(folder, ends), key=lambda file: (file.path, file.member)):
        clip = clip_name(file, folder, ends)
        if clip in clips:
            raise TsgcError(f"{clips[clip].source} and {file.source}: one clip in two files; remove one")
        clips[clip] = file
    if not clips:
        raise TsgcError(f"no clips in {folder}; expected {', '.join(ends)} files there")
    return clips


def clip_name(file: RawFile, folder: Path, ends: tuple[str, ...]) -> str:
    """A file's path below a folder, without suffix; a zip is a folder where it has none inside."""
    place = PurePosixPath(file.path.relative_to(folder.absolute()).as_posix())
    if file.member:
        inside = PurePosixPath(file.member)
        place = (place.parent if len(inside.parts) > 1 else place.with_suffix("")) / inside
    name = place.name
    end = next((end for end in sorted(ends, key=len, reverse=True) if name.endswith(end)), place.suffix)
    return str(place.with_name(name.removesuffix(end)))


def choose_format(folder: Path, name: str | None) -> Format | None:
    """The format of that name; without one, the format that the first files below a folder look like."""
    if name is not None:
        return find_format(name)
    for file in islice(_files(folder, (*suffixes(), *ARRAY_SUFFIXES)), LOOKED_AT):
        if found := sniff(file.source, file.read()):
            return found
    return None


def _files(folder: Path, ends: tuple[str, ...]) -> Iterator[RawFile]:
    return walk_files(folder.absolute(), ends, set())
