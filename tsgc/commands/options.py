"""Options that several commands have, and the values of their words."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import UsageError

if TYPE_CHECKING:
    from shards.options import LoaderOptions

DATA = Path("data")
RUNS = Path("runs")

DataRoot = Annotated[
    Path, typer.Option("--data-root", envvar="TSGC_DATA", help="Where raw, prepared and sharded data lie.")
]
RunsRoot = Annotated[Path, typer.Option("--runs", envvar="TSGC_RUNS", help="Where runs lie.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes to use. (default: one a core)")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. (default: a GPU where there is one)")]
Gpus = Annotated[int | None, typer.Option(min=1, help="Processes to start, one a GPU.")]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON, and nothing else.")]
Ema = Annotated[bool, typer.Option("--ema", help="The averaged weights.")]
Checkpoint = Annotated[str, typer.Option(help="last or best, of a run folder.")]
OnError = Annotated[
    str, typer.Option("--on-error", help="raise, or skip: leave damaged clips out, and count them.")
]
Cache = Annotated[
    Path | None,
    typer.Option(envvar="TSGC_CACHE", help="Folder for remote shards. (default: ~/.cache/tsgc/shards)"),
]
CacheSize = Annotated[
    float, typer.Option("--cache-size", envvar="TSGC_CACHE_SIZE", help="GB that remote shards may take.")
]
Log = Annotated[
    list[str] | None,
    typer.Option(help="tensorboard, wandb, mlflow, trackio or none; repeatable. (default: tensorboard)"),
]
RunsToUse = Annotated[
    list[Path] | None,
    typer.Option("--run", help="Run folder or .safetensors; several: fused. (default: newest streams)"),
]

Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network", help="Your own network of a run, whose code may then run: FILE.py:NAME; repeatable."
    ),
]


def check_word(option: str, value: str, known: Iterable[str]) -> None:
    """Raise UsageError where an option that takes one of a few words has another."""
    names = list(known)
    if value not in names:
        raise UsageError(f"{option} {value}: expected {', '.join(names[:-1])} or {names[-1]}")


def exclude_each_other(options: Mapping[str, object]) -> None:
    """Raise UsageError where more than one of these options is given."""
    if len([name for name, value in options.items() if value]) > 1:
        *most, last = options
        raise UsageError(f"{', '.join(most)} and {last} exclude each other")


def numbers(words: str | None, option: str) -> list[float] | None:
    """The numbers of an option that takes several, with commas between."""
    if words is None:
        return None
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        raise UsageError(f"{option} {words!r}: expected numbers with commas between") from None


def picture_size(words: str | None) -> tuple[float, float] | None:
    """The width and height that --image-size gives."""
    size = numbers(words, "--image-size")
    if size is None:
        return None
    if len(size) != 2 or not all(0 < length < float("inf") for length in size):
        raise UsageError(f"--image-size {words!r}: expected WIDTH,HEIGHT")
    return size[0], size[1]


def shards_place(shards: str | None) -> Path | str | None:
    """The shard set that --shards names: a folder here, or a URL."""
    from shards.remote import parse_place

    return None if shards is None else parse_place(shards)


def loader_options(on_error: str, cache: Path | None, cache_size: float) -> "LoaderOptions":
    """Options of the loaders, checked before any rank starts."""
    from shards.options import ON_ERROR, LoaderOptions

    check_word("--on-error", on_error, ON_ERROR)
    if not 0 < cache_size < 1e6:
        raise UsageError(f"--cache-size {cache_size:g}: expected GB, more than 0 and less than a million")
    return LoaderOptions(on_error, cache, int(cache_size * 1e9))
