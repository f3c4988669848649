"""The raw files that a checkpoint can read, prepared exactly as its training clips were."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipelines.channels import in_space
from pipelines.cleaning.align import reader
from pipelines.datasets import kinetics
from pipelines.datasets.custom_clips import READERS, Layout, read
from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError, UsageError
from pipelines.reading.sources import ends_in
from pipelines.spec import Prepared
from tsgc.checkpoint import Description, dataset_name, reader_name

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


def raw_format(description: Description, image_size: ImageSize | None = None) -> RawFormat:
    """The format of a checkpoint's raw clips: its data set's own, or that of docs/your-own-data.md.

    `image_size` is for your own clips in pictures. Raises TsgcError for a preset that this version lacks,
    UsageError for a picture's size with data in space.
    """
    name, reads, preset = dataset_name(description), reader_name(description), description.preset
    if image_size is not None and in_space(description.axes):
        raise UsageError(
            f"--image-size is for clips in pictures, {name} is in space ({description.axes}); leave it out"
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
        return RawFormat(name, (".json",), partial(kinetics.read, preset=preset))
    layout = Layout(
        description.body, description.axes, image_size,
        fps=description.fps or Layout.fps, untracked=description.people == "untracked",
    )  # fmt: skip
    return RawFormat(name, tuple(READERS), partial(_read_own, layout=layout, preset=preset))


def _read_own(source: str, data: bytes, layout: Layout, preset: str) -> Prepared:
    if not ends_in(source, tuple(READERS)):
        raise TsgcError(f"{source}: expected a name that ends in {', '.join(READERS)}")
    return read(source, data, layout, preset)
