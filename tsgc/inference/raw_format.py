"""The raw files that a checkpoint can read, prepared exactly as its training clips were."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipelines.channels import in_space
from pipelines.cleaning.align import aligned, reader
from pipelines.datasets import kinetics
from pipelines.datasets.custom_clips import READERS, Layout, read_clip
from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError, UsageError
from pipelines.formats.clips import find_clips, fits, look
from pipelines.formats.directions import UP
from pipelines.formats.frame_files import MARK
from pipelines.formats.other_files import told
from pipelines.formats.table import ARRAYS, FORMATS, sniff, suffixes
from pipelines.reading.sources import ends_in
from pipelines.skeleton import Skeleton
from pipelines.spec import Prepared, Raw
from tsgc.checkpoint import Description, dataset_name, reader_name

OWN_SUFFIXES = tuple(dict.fromkeys((*READERS, *suffixes())))
MANY_FILES = FORMATS["openpose"]  # the one format whose clips are a file a frame
ImageSize = tuple[float, float]
"""Width and height of the picture, in the unit of x and y."""


@dataclass(frozen=True)
class RawFormat:
    """A format of raw clips."""

    dataset: str
    suffixes: tuple[str, ...]
    """Endings of its files' names."""
    read: Callable[[str, bytes], Prepared]
    """A clip's name and bytes -> the prepared clip. Raises TsgcError: malformed."""
    find: Callable[[Path], Sequence[Raw]] = lambda location: ()
    """Clips of a folder or zip that are not simply the files that end so; none: they are."""


def raw_format(
    description: Description, image_size: ImageSize | None = None, up: str | None = None
) -> RawFormat:
    """The format of a checkpoint's raw clips: its data set's own, or any of docs/your-own-data.md.

    `image_size` is for your own clips in pictures, `up` for those in space: the axis that points up in them.
    Raises TsgcError for a preset that this version lacks, UsageError for either with other data.
    """
    name, reads, preset = dataset_name(description), reader_name(description), description.preset
    if image_size is not None and in_space(description.axes):
        raise UsageError(
            f"--image-size is for clips in pictures, {name} is in space ({description.axes}); leave it out"
        )
    is_own = reads not in DATASETS and reads != kinetics.KINETICS.name
    if up is not None and not (is_own and in_space(description.axes) and up in UP):
        raise UsageError(
            f"--up {up}: expected one of {', '.join(UP)}, for your own clips in space; {name} is of"
            f" {description.axes}"
        )
    if reads in DATASETS:
        dataset = DATASETS[reads]
        if preset not in dataset.presets:
            raise TsgcError(
                f"the checkpoint was trained on preset {preset} of {name}, which this version cannot prepare;"
                f" it has {', '.join(dataset.presets)}"
            )
        return RawFormat(name, (dataset.suffix,), reader(dataset, preset, description.alignment))
    if reads == kinetics.KINETICS.name and image_size is None:
        return RawFormat(name, (".json",), partial(kinetics.read, preset=preset, last=kinetics.ANY_LENGTH))
    layout = Layout(
        description.body, description.axes, image_size, fps=description.fps or Layout.fps,
        untracked=description.people == "untracked", up=up or description.up or "y",
    )  # fmt: skip
    own = partial(_read_own, layout=layout, preset=preset)
    read = aligned(own, name, description.skeleton, description.axes, description.alignment)
    return RawFormat(name, tuple(READERS), read, partial(_find_own, body=description.body))


def _find_own(location: Path, body: Skeleton) -> Sequence[Raw]:
    """The clips of a folder or zip in the format that they look like; none: arrays."""
    seen = look(location, None, "", body.name)
    return list(find_clips(location, seen.form).values()) if seen.form else ()


def _read_own(source: str, data: bytes, layout: Layout, preset: str) -> Prepared:
    """A clip in whichever format it looks like."""
    found = MANY_FILES if data.startswith(MARK) else sniff(source, data)
    if found is not None and fits(found, layout.skeleton.name):
        layout = replace(layout, format=found.name)
    elif not ends_in(source, tuple(READERS)):
        error = TsgcError(f"{source}: expected a name that ends in {', '.join(OWN_SUFFIXES)}")
        raise told(error, source, data, ARRAYS)
    return read_clip(source, data, layout, preset)
