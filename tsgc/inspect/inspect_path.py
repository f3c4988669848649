"""`tsgc inspect`: the contents of a path as text, and its clips as pictures.

To add a kind of file, write its functions and add an entry to KINDS.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from pipelines.errors import TsgcError, UsageError
from pipelines.files import refuse_existing
from pipelines.reading.sources import find_clips
from tsgc.drawing.picture import Pictured, check_suffix, write_picture
from tsgc.inspect.checkpoint import checkpoint_lines, is_checkpoint
from tsgc.inspect.clip_picture import raw_clip_picture, shard_clip_picture, store_clip_picture
from tsgc.inspect.inspection import Inspection
from tsgc.inspect.prepared_file import is_store, store_lines
from tsgc.inspect.raw_clip import is_raw_clip, raw_clip_lines
from tsgc.inspect.shard_set import is_shard_set, shard_lines
from tsgc.network.own.code import admit
from tsgc.workspace.runs import checkpoint_path, is_run

MOST_LOOKED_AT = 5_000  # files of a folder that are searched for examples to name


@dataclass(frozen=True)
class Wish:
    """The options of the command, beside the path."""

    dataset: str | None = None
    """The data set whose reader reads a raw clip; None: found by its name, place or content."""
    compare: bool = False
    """Whether to list the differences of the presets on a raw clip."""
    clip: str | None = None
    """The name of one clip of a data set."""
    out: Path | None = None
    """The file for a picture of the clip."""
    overwrite: bool = False
    """Whether to replace an existing file."""
    run: Path | None = None
    """The run that is to say what it takes the clip for, and why."""
    data_root: Path = Path("data")
    """Where the run's shards lie, for a clip of theirs that is named alone."""


@dataclass(frozen=True)
class Kind:
    """A kind of file or folder that can be looked at."""

    name: str
    """The kind's name in messages."""
    matches: Callable[[Path], bool]
    """Whether an existing path is of this kind, by its look."""
    lines: Callable[[Path, Wish], list[str]]
    """The lines to print; raises TsgcError for a damaged file."""
    comparable: bool = False
    """Whether --dataset and --compare apply to it."""
    picture: Callable[[Path, Wish], Pictured] | None = None
    """A picture of the path, if it is a clip."""
    clip: Callable[[Path, str], Pictured] | None = None
    """A picture of one clip by name, if the path holds many."""


KINDS = (
    Kind(
        "a raw clip (.skeleton, .json, .npy or .csv)",
        lambda path: is_raw_clip(path) and not is_shard_set(path),  # a manifest is a .json too
        lambda path, wish: raw_clip_lines(path, wish.dataset, wish.compare),
        comparable=True,
        picture=lambda path, wish: raw_clip_picture(path, wish.dataset),
    ),
    Kind("a prepared file (.h5)", is_store, lambda path, wish: store_lines(path), clip=store_clip_picture),
    Kind("a shard set", is_shard_set, lambda path, wish: shard_lines(path), clip=shard_clip_picture),
    Kind(
        "a checkpoint (.safetensors or a released .pth)",
        is_checkpoint,
        lambda path, wish: checkpoint_lines(path),
    ),
    Kind(
        "a run folder (its last checkpoint)",
        is_run,
        lambda path, wish: checkpoint_lines(checkpoint_path(path, "last", ema=False)),
    ),
)


def inspect_path(
    path: str | Path,
    *,
    dataset: str | None = None,
    compare: bool = False,
    clip: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    run: str | Path | None = None,
    data_root: str | Path = "data",
    network: str | Sequence[str] | None = None,
) -> Inspection:
    """Look at what a path holds: a raw clip, a prepared file, a shard set, a checkpoint, a run's folder.

    `dataset`: whose reader reads a raw clip (default: found by its name, place or content); `compare`: list
    what the presets do to it. `clip`: one clip of many, by name. `out`: write its picture there (.png, .gif,
    .html), also with `overwrite` where a file is. `run`: what this run takes a clip for, and which joints
    speak for that; `path` may name a clip of its shards under `data_root`. `network`: that run's, if
    it is your own, as in `load_run`. Raises TsgcError for a path that does not exist or is of no known kind,
    UsageError for options that do not apply to its kind.
    """
    admit(network)
    path = Path(path)
    wish = Wish(
        dataset,
        compare,
        clip,
        Path(out) if out else None,
        overwrite,
        Path(run) if run else None,
        Path(data_root),
    )
    if wish.run is not None:
        return _with_run(path, wish, wish.run)
    kind = next((kind for kind in KINDS if kind.matches(path)), None)
    if kind is None:
        what = "nothing that can be looked at" if path.exists() else "no such file"
        raise TsgcError(f"{path}: {what}; give {_inside(path) or _kinds()}")
    _check(path, kind, wish)
    draw = None
    if wish.clip is not None and kind.clip:
        pictured = kind.clip(path, wish.clip)
        lines = list(pictured.lines)
        draw = partial(_same, pictured)
    else:
        lines = kind.lines(path, wish)
        if kind.picture:
            draw = partial(kind.picture, path, wish)
    if wish.out is not None:
        assert draw is not None  # `_check` makes sure
        lines.append(write_picture(draw(), wish.out))
    return Inspection(lines, draw)


def _same(pictured: Pictured) -> Pictured:
    return pictured


def _with_run(path: Path, wish: Wish, run: Path) -> Inspection:
    """Lines about a clip as a run sees it; writes a picture where the wish asks for one."""
    if wish.compare or wish.dataset:
        raise UsageError("--run reads clips as its own data; leave out --compare and --dataset")
    _check_out(wish)
    from tsgc.inspect.explained_clip import explained_clip  # torch

    pictured = explained_clip(path, wish.clip, run, wish.data_root)
    written = [] if wish.out is None else [write_picture(pictured, wish.out)]
    return Inspection([*pictured.lines, *written], partial(_same, pictured))


def _check(path: Path, kind: Kind, wish: Wish) -> None:
    """Raise UsageError, before any work, where the wish does not apply to the kind."""
    if not kind.comparable and (wish.compare or wish.dataset):
        raise UsageError(f"{path}: {kind.name}; --compare and --dataset are for raw clips")
    if wish.clip is not None and not kind.clip:
        raise UsageError(f"{path}: {kind.name}; --clip is for prepared files and shard sets")
    if wish.out is None:
        return
    if not (kind.picture or kind.clip):
        raise UsageError(f"{path}: {kind.name}, of which there is no picture; leave out --out")
    if kind.clip and wish.clip is None:
        raise UsageError(f"{path}: {kind.name}, with many clips; name the one to draw with --clip")
    _check_out(wish)


def _check_out(wish: Wish) -> None:
    """Raise before any work where the picture could not be written."""
    if wish.out is not None:
        check_suffix(wish.out)
        refuse_existing(wish.out, wish.overwrite)


def _inside(path: Path) -> str:
    """Examples of what a folder or zip holds that can be inspected, one of each kind; empty: nothing."""
    if path.suffix.lower() == ".zip" and path.is_file():
        clip = next(iter(_clips_of_zip(path)), None)
        return f"one of its clips, such as {path}/{clip}" if clip else ""
    found: dict[str, Path] = {}
    for place in islice(path.rglob("[!.]*"), MOST_LOOKED_AT) if path.is_dir() else ():
        kind = next((kind.name for kind in KINDS if kind.matches(place)), None)
        if kind is not None and place < found.get(kind, place.parent / "~"):
            found[kind] = place
    if len(found) > 1:
        found.pop(KINDS[0].name, None)  # any .json might be a raw clip
    return " or ".join(f"{place}, {kind}" for kind, place in found.items())


def _clips_of_zip(path: Path) -> Iterator[str]:
    """The name of the first clip of each format in a zip."""
    for suffix in (".skeleton", ".json"):
        with suppress(TsgcError):  # none that ends so
            yield PurePosixPath(next(iter(find_clips([path], suffix).values()))[0].member).name


def _kinds() -> str:
    return " or ".join(kind.name for kind in KINDS)
