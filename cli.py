"""The tsgc command: each command parses, calls one function, prints one result."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pipelines.errors import TsgcError

if TYPE_CHECKING:
    from shards.reading import Reading

# Heavy imports (torch above all) wait inside the commands: `tsgc --help` answers at once.

QUIET = "TSGC_QUIET"  # tsgc.console's: no progress, no notes
LAUNCHED = "TSGC_LAUNCHED"  # set for the ranks that --gpus starts: their launcher speaks for them


class Edge(TyperGroup):
    """The one place where an error becomes a message: one line, exit code 1 (2 for wrong usage)."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        self.debug = "--debug" in words or bool(os.environ.get("TSGC_DEBUG"))
        self.words = [word for word in words if word not in ("--debug", "--quiet")]
        before = os.environ.get(QUIET)
        if "--quiet" in words:
            os.environ[QUIET] = "1"  # in the environment, so that the ranks that --gpus starts have it too
        try:
            return super().main(self.words, *rest, **options)
        finally:
            os.environ.pop(QUIET, None) if before is None else os.environ.update({QUIET: before})

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TsgcError as error:
            if self.debug:
                raise
            raise typer.Exit(_report(error, error.exit_code)) from None
        except OSError as error:
            if self.debug:
                raise
            raise typer.Exit(_report(_plain(error), 1)) from None


def _plain(error: OSError) -> TsgcError:
    """The operating system's complaint as one line."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TsgcError(f"{where}no space left on the device; free some, or write elsewhere")
    return TsgcError(f"{where}{error.strerror or error}")


def _report(error: TsgcError, code: int) -> int:
    """Say it on standard error; a rank that --gpus started leaves that to its launcher."""
    is_rank = "TORCHELASTIC_ERROR_FILE" in os.environ
    if is_rank:
        from tsgc.distributed import record_failure

        record_failure(error)
    if not (is_rank and LAUNCHED in os.environ):
        print(f"error: {error}", file=sys.stderr)
    return code


def words(ctx: typer.Context) -> list[str]:
    """The command line as it was given, for the ranks to repeat."""
    command = ctx.find_root().command
    assert isinstance(command, Edge)
    return command.words


app = typer.Typer(
    cls=Edge,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Anywhere: --quiet says results and errors alone; --debug shows an error's traceback.",
)

DataRoot = Annotated[
    Path, typer.Option("--data-root", envvar="TSGC_DATA", help="Where raw, prepared and sharded data lie.")
]
RunsRoot = Annotated[Path, typer.Option("--runs", envvar="TSGC_RUNS", help="Where runs lie.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes to use. (default: one a core)")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. (default: a GPU where there is one)")]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON, and nothing else.")]
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
DATA = Path("data")
RUNS = Path("runs")


@app.callback()
def main() -> None:
    """Skeleton-based action recognition: raw skeleton files to fused predictions.

    The main job, in order: tsgc prepare, tsgc shard, tsgc train, tsgc ensemble.
    """


@app.command(epilog="Example: tsgc prepare ntu120 --raw data/nturgbd_raw --jobs 8")
def prepare(
    dataset: Annotated[str, typer.Argument(help="ntu60, ntu120, nw-ucla, kinetics, pyskl, npz or custom.")],
    raw: Annotated[
        list[Path] | None,
        typer.Option(help="Raw folder or zip, repeatable; a .pkl or .npz. (default: the data root's)"),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="reference: the published preparation, to the letter; corrected: without its flaws."
        ),
    ] = "reference",
    align: Annotated[
        bool, typer.Option("--align", help="Turn each clip: spine upright, shoulders along x.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the result. (default: the data set's)")] = None,
    out: Annotated[Path | None, typer.Option(help="Result. (default: DATA_ROOT/prepared/NAME.h5)")] = None,
    exclude: Annotated[Path | None, typer.Option(help="Text file of clip names to leave out.")] = None,
    jobs: Jobs = None,
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler: its workers do the work.")
    ] = None,
    compress: Annotated[
        str | None, typer.Option(help="lzf (a fifth smaller, reads fast) or gzip (a quarter, reads slower).")
    ] = None,
    overwrite: Overwrite = False,
    data_root: DataRoot = DATA,
) -> None:
    """Raw skeleton files to one denoised, centred HDF5, with a report of all that was dropped."""
    if out is not None and out.suffix != ".h5":
        raise typer.BadParameter(f"{str(out)!r}: expected a name that ends in .h5", param_hint="--out")
    if name is not None and (not name or name.startswith(".") or set(name) & set("/\\")):
        raise typer.BadParameter(f"{name!r}: expected a file's name, without folders", param_hint="--name")
    from pipelines.align import SPINE_AND_SHOULDERS
    from pipelines.dataset import default_name
    from pipelines.prepare import prepare as run
    from tsgc.console import Talker

    talker = Talker()
    suffix = ("" if preset == "reference" else f"-{preset}") + ("-aligned" if align else "")
    path = out or data_root / "prepared" / f"{name or default_name(dataset, raw, data_root) + suffix}.h5"
    with talker.counting("preparing", "clips") as progress:
        report = run(
            dataset,
            raw,
            path,
            data_root=data_root,
            preset=preset,
            name=name,
            alignment=SPINE_AND_SHOULDERS if align else "",
            jobs=jobs,
            dask=dask,
            compress=compress,
            exclude=exclude,
            overwrite=overwrite,
            progress=progress,
        )
    for line in report.lines():
        talker.line(line)


@app.command(epilog="Example: tsgc shard ntu120 --benchmark xsub")
def shard(
    names: Annotated[list[str] | None, typer.Argument(help="Prepared data sets. (default: all)")] = None,
    prepared: Annotated[Path | None, typer.Option(help="A prepared HDF5, wherever it is.")] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(help="xsub, xview, ...; repeatable. (default: all)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Result. (default: DATA_ROOT/shards)")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of clips.")] = 0,
    jobs: Jobs = None,
    overwrite: Overwrite = False,
    data_root: DataRoot = DATA,
) -> None:
    """Prepared HDF5 to WebDataset tars and a manifest, for each benchmark."""
    from tsgc.console import Talker
    from tsgc.workspace import describe_shards, shard_all

    talker = Talker()
    with talker.counting("sharding", "clips") as progress:
        written = shard_all(
            names or [],
            data_root=data_root,
            prepared=prepared,
            benchmarks=benchmark or [],
            out=out,
            seed=seed,
            jobs=jobs,
            overwrite=overwrite,
            progress=progress,
        )
    for manifest in written:
        talker.line(describe_shards(manifest))


@app.command(epilog="Example: tsgc verify data/prepared/ntu120.h5")
def verify(
    path: Annotated[
        Path | None, typer.Argument(help="A prepared HDF5, or a shard set. (default: all of both)")
    ] = None,
    data_root: DataRoot = DATA,
) -> None:
    """Check prepared files and shard sets whole: every byte, every clip, every claim."""
    from pipelines.verify import verify_store
    from shards.verify import verify_shards
    from tsgc.console import Talker
    from tsgc.workspace import prepared, sharded

    talker = Talker()
    problems = 0
    places = [path] if path else [*prepared(data_root), *sharded(data_root).values()]
    if not places or not places[0].exists():
        raise TsgcError(f"{path or data_root}: nothing to verify; expected a prepared HDF5 or a shard set")
    for place in places:
        found = verify_shards(place) if place.is_dir() else verify_store(place)
        problems += len(found)
        for problem in found or [f"{place}: whole"]:
            talker.line(str(problem))
    if problems:
        raise TsgcError(
            f"problems found: {problems}; write it again with `tsgc prepare` or `tsgc shard`, --overwrite"
        )


@app.command(epilog="Example: tsgc inspect data/prepared/ntu60.h5 --clip S001C001P001R001A010 --out clip.gif")
def inspect(
    path: Annotated[Path, typer.Argument(help="A raw clip, prepared file, shard set, run or checkpoint.")],
    clip: Annotated[
        str | None, typer.Option(help="The name of one clip of a prepared file or shard set.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the clip: .png (stills), .gif or .html (animated).")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Of a raw clip: ntu60, ntu120, nw-ucla, kinetics or custom. (default: it tells)"),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Of a raw clip: every difference between the presets.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Look at a raw clip (and what each preset keeps of it), prepared file, shard set, run or checkpoint."""
    from tsgc.console import Talker
    from tsgc.inspect import Wish
    from tsgc.inspect import inspect as run

    talker = Talker()
    for line in run(path, Wish(dataset, compare, clip, out, overwrite)):
        talker.line(line)


@app.command(epilog="Example: tsgc train ntu120/xsub --modality joint_motion --gpus 2 --set epochs=100")
def train(
    ctx: typer.Context,
    benchmark: Annotated[
        str | None,
        typer.Argument(help="Such as ntu120/xsub; ntu120: its main one. (default: of the only data set)"),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(help="joint, bone, joint_motion, bone_motion, or another of docs/streams.md."),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="252, 432 or tiny.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Processes to start, one a GPU.")] = None,
    device: Device = None,
    config: Annotated[Path | None, typer.Option(help="YAML of settings, in place of configs/.")] = None,
    recipe: Annotated[str | None, typer.Option(help="reference: the published recipe exactly.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; repeatable.")] = None,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Choose `best` on held-out training clips.")
    ] = False,
    init: Annotated[Path | None, typer.Option(help="Checkpoint to start from.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Overwrite = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings and stop.")
    ] = False,
    shards: Annotated[str | None, typer.Option(help="Shard set, wherever it is: a folder or a URL.")] = None,
    on_error: OnError = "raise",
    cache: Cache = None,
    cache_size: CacheSize = 20,
    run_dir: Annotated[Path | None, typer.Option(help="Run folder. (default: below RUNS)")] = None,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """Train one stream of TSGCNeXt; ends by scoring it on the test split."""
    from tsgc import distributed
    from tsgc.config import resolve, settle_window, to_yaml
    from tsgc.console import Silent, Talker
    from tsgc.runs import run_folder
    from tsgc.train import train as run
    from tsgc.workspace import pick_shards

    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    if recipe not in (None, "reference") or (recipe and config):
        raise typer.BadParameter("--recipe takes `reference`, and not beside --config")
    reading = _reading(on_error, cache, cache_size)
    folder, benchmark = pick_shards(data_root, benchmark, _place(shards))
    options = {"modality": modality, "variant": variant, "seed": seed, "holdout": holdout or None}
    settled = resolve(benchmark, recipe=recipe, config=config, settings=settings or [], options=options)
    settled = settle_window(settled, remote=isinstance(folder, str))
    if print_config:
        print(to_yaml(settled), end="")
        return
    if gpus and not distributed.started_by_torchrun():
        os.environ[LAUNCHED] = "1"
        distributed.launch(gpus, words(ctx), device)
        return
    with distributed.join(device) as process:
        run(
            settled,
            benchmark,
            folder,
            run_dir or run_folder(runs, benchmark, settled),
            process,
            Talker() if process.main else Silent(),
            resume=resume,
            overwrite=overwrite,
            init=init,
            reading=reading,
        )


@app.command(epilog="Example: tsgc evaluate runs/ntu120/xsub/252/joint/seed0 --ema")
def evaluate(
    ctx: typer.Context,
    run: Annotated[Path | None, typer.Argument(help="Run folder. (default: the newest)")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="last, best, or a file: ours, or a released .pth.")
    ] = "last",
    ema: Annotated[bool, typer.Option("--ema", help="The averaged weights.")] = False,
    variant: Annotated[str | None, typer.Option(help="Of a released .pth.")] = None,
    modality: Annotated[str | None, typer.Option(help="Of a released .pth.")] = None,
    shards: Annotated[
        str | None, typer.Option(help="Shard set: a folder or a URL. (default: the run's benchmark)")
    ] = None,
    on_error: OnError = "raise",
    cache: Cache = None,
    cache_size: CacheSize = 20,
    split: Annotated[str, typer.Option(help="test, train or holdout.")] = "test",
    run_dir: Annotated[Path | None, typer.Option(help="Where scores/ goes. (default: the run)")] = None,
    json: Json = False,
    gpus: Annotated[int | None, typer.Option(min=1, help="Processes to start, one a GPU.")] = None,
    device: Device = None,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """Score a checkpoint on a split; writes the scores file and prints the accuracies."""
    from tsgc import distributed
    from tsgc.console import Silent, Talker
    from tsgc.evaluate import evaluate_run

    reading = _reading(on_error, cache, cache_size)
    if gpus and not distributed.started_by_torchrun():
        os.environ[LAUNCHED] = "1"
        distributed.launch(gpus, words(ctx), device)
        return
    with distributed.join(device) as process:
        evaluate_run(
            process,
            Talker(json=json) if process.main else Silent(),
            run=run,
            checkpoint=checkpoint,
            ema=ema,
            variant=variant,
            modality=modality,
            shards=_place(shards),
            split=split,
            run_dir=run_dir,
            data_root=data_root,
            runs_root=runs,
            reading=reading,
        )


def _place(shards: str | None) -> Path | str | None:
    from shards.remote import parse_place

    return None if shards is None else parse_place(shards)


def _reading(on_error: str, cache: Path | None, cache_size: float) -> "Reading":
    """The options of reading, checked before any rank starts."""
    from shards.reading import ON_ERROR, Reading

    if on_error not in ON_ERROR:
        raise typer.BadParameter(f"--on-error takes {' or '.join(ON_ERROR)}")
    if not 0 < cache_size < 1e6:
        raise typer.BadParameter("--cache-size takes GB: more than 0, less than a million")
    return Reading(on_error, cache, int(cache_size * 1e9))


@app.command(epilog="Example: tsgc ensemble --recipe 4s --tune --out fused.npz")
def ensemble(
    streams: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Runs, score files (.npz), or pickles of {name: logits} (.pkl)."
            " (default: the newest benchmark's streams)"
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A published combination: 2s, 3s, 4s, new4s or reference.")
    ] = None,
    fuse: Annotated[str, typer.Option(help="What is added up: logits, softmax or calibrated.")] = "logits",
    weights: Annotated[str | None, typer.Option(help="One a stream, with commas. (default: equal)")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Learn the weights on the clips that --holdout left out.")
    ] = False,
    tune_on_test: Annotated[
        bool, typer.Option("--tune-on-test", help="Learn them on the test split, to compare with papers.")
    ] = False,
    ema: Annotated[bool, typer.Option("--ema", help="The averaged weights' scores.")] = False,
    shards: Annotated[Path | None, typer.Option(help="Shard set whose test clips label all streams.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the fused scores here (.npz).")] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    runs: RunsRoot = RUNS,
) -> None:
    """Fuse the streams' scores, and say what that is worth: intervals, leave-one-out, oracle, McNemar."""
    from tsgc.console import Talker
    from tsgc.ensemble import Plan, fuse_streams

    if (weights is not None) + tune + tune_on_test > 1:
        raise typer.BadParameter("--weights, --tune and --tune-on-test exclude each other")
    shares = _numbers(weights, "--weights")
    clips = "holdout" if tune else "test" if tune_on_test else None
    plan = Plan(streams or [], recipe, fuse, shares, clips, ema, shards)
    fuse_streams(Talker(json=as_json), plan, runs_root=runs, out=out, overwrite=overwrite)


RunsToUse = Annotated[
    list[Path] | None,
    typer.Option("--run", help="Run folder or .safetensors; several: fused. (default: newest streams)"),
]


@app.command(epilog="Example: tsgc predict recording.skeleton --window 90 --stride 30 --format csv")
def predict(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Raw clips, folders or zips of them; - is standard input.")
    ] = None,
    run: RunsToUse = None,
    checkpoint: Annotated[str, typer.Option(help="last or best, of run folders.")] = "last",
    ema: Annotated[bool, typer.Option("--ema", help="The averaged weights.")] = False,
    weights: Annotated[str | None, typer.Option(help="One a run, with commas. (default: equal)")] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes in an answer.")] = 5,
    style: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    window: Annotated[
        int | None, typer.Option(min=1, help="Frames of a window. (default: the whole clip; live: 64)")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Frames between windows. (default: half a window)")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Frames as JSON lines on standard input; docs/predict.md.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 32,
    image_size: Annotated[
        str | None, typer.Option(help="WIDTH,HEIGHT of the picture that your own clips' x and y are in.")
    ] = None,
    device: Device = None,
    runs: RunsRoot = RUNS,
) -> None:
    """Recognise raw clips: the most likely classes of each. Exit code 1 if any could not be read."""
    from tsgc.console import Talker
    from tsgc.inference import load_run
    from tsgc.predictions import LIVE_WINDOW, STYLES, choose_runs, predict_files, predict_live

    if bool(files) == live:
        raise typer.BadParameter("give raw clips, or - for standard input; or --live alone")
    if style not in STYLES:
        raise typer.BadParameter(f"{style!r}: expected {', '.join(STYLES)}", param_hint="--format")
    window = window or (LIVE_WINDOW if live else None)
    if stride is not None and (window is None or stride > window):
        raise typer.BadParameter("--stride goes with --window, and is at most as long")
    talker = Talker(json=style == "json")
    size = _numbers(image_size, "--image-size")
    if size is not None and (len(size) != 2 or min(size) <= 0):
        raise typer.BadParameter(f"{image_size!r}: expected WIDTH,HEIGHT", param_hint="--image-size")
    recogniser = load_run(
        choose_runs(run or [], runs, checkpoint, ema),
        device=device,
        weights=_numbers(weights, "--weights"),
        image_size=(size[0], size[1]) if size else None,
    )
    if live:
        failed = predict_live(talker, recogniser, top=top, window=window or LIVE_WINDOW, stride=stride)
    else:
        failed = predict_files(
            talker, recogniser, files or [], top=top, style=style, window=window, stride=stride, batch=batch
        )
    if failed:
        raise typer.Exit(1)


def _numbers(words: str | None, option: str) -> list[float] | None:
    """Numbers with commas between, as an option has them."""
    try:
        return [float(word) for word in words.split(",")] if words else None
    except ValueError:
        raise typer.BadParameter(
            f"{words!r}: expected numbers with commas between", param_hint=option
        ) from None


@app.command(epilog="Example: tsgc report runs/ntu120/xsub/252/joint/seed0 --out report.html")
def report(
    run: Annotated[
        list[Path] | None, typer.Argument(help="Run folders; several are compared. (default: the newest)")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    ema: Annotated[bool, typer.Option("--ema", help="Look closely at the averaged weights.")] = False,
    clips: Annotated[
        int, typer.Option(min=0, help="Show this many of each run's worst clips: mind the data's terms.")
    ] = 0,
    overwrite: Overwrite = False,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """A run, or several compared, as one HTML file: curves, confusions, calibration, learned graphs."""
    from tsgc.console import Talker
    from tsgc.report import write_report

    write_report(
        Talker(),
        run or [],
        out=out,
        ema=ema,
        clips=clips,
        overwrite=overwrite,
        data_root=data_root,
        runs_root=runs,
    )


@app.command(epilog="Example: tsgc export runs/ntu120/xsub/252/joint/seed0 --ema --raw-input")
def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or one of its .safetensors.")],
    checkpoint: Annotated[str, typer.Option(help="last or best.")] = "last",
    ema: Annotated[bool, typer.Option("--ema", help="The averaged weights.")] = False,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="onnx or pt2; repeatable. (default: both)")
    ] = None,
    raw_input: Annotated[
        bool, typer.Option("--raw-input", help="Take joints: centring, cropping, resizing, modality inside.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. (default: RUN/export)")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    data_root: DataRoot = DATA,
) -> None:
    """A run as ONNX and torch.export, checked against PyTorch, with a model card."""
    from tsgc.console import Talker
    from tsgc.export import FORMATS, export_run

    for name in formats or []:
        if name not in FORMATS:
            raise typer.BadParameter(f"{name!r}: expected {', '.join(FORMATS)}", param_hint="--format")
    export_run(
        Talker(json=json),
        run,
        checkpoint=checkpoint,
        ema=ema,
        formats=formats or list(FORMATS),
        raw_input=raw_input,
        out=out,
        overwrite=overwrite,
        data_root=data_root,
    )


@app.command(epilog="Example: tsgc info --variant 432 --frames 64 --classes 60")
def info(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder or .safetensors. (default: the options)")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="last or best, of a run folder.")] = "last",
    variant: Annotated[str, typer.Option(help="252, 432 or tiny.")] = "252",
    skeleton: Annotated[str, typer.Option(help="ntu-25, nw-ucla-20, coco-17 or openpose-18.")] = "ntu-25",
    frames: Annotated[int | None, typer.Option(min=1, help="(default: 256, or the run's)")] = None,
    bodies: Annotated[int, typer.Option(min=1, help="Bodies in a clip.")] = 2,
    classes: Annotated[int, typer.Option(min=1, help="Classes to tell apart.")] = 120,
    json: Json = False,
) -> None:
    """Parameters, multiply-accumulates and activations of a network, block by block."""
    from tsgc.console import Talker
    from tsgc.info import open_network, show_info

    network, facts, length = open_network(
        run, checkpoint, variant=variant, skeleton=skeleton, frames=frames, bodies=bodies, classes=classes
    )
    show_info(Talker(json=json), network, facts, length)


@app.command(epilog="Example: tsgc doctor --json")
def doctor(
    json: Json = False,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """What is installed, which data and runs are here, and what is missing to run what."""
    from tsgc.console import Talker
    from tsgc.doctor import examine, show

    show(Talker(json=json), examine(data_root, runs))


@app.command(epilog="Example: tsgc demo --out demo")
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the made data and of the training.")] = 0,
    jobs: Jobs = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Everything at once on made data: raw files, prepare, shard, two streams, fusion."""
    from tsgc.console import Talker
    from tsgc.demo import demo as run

    run(out, Talker(), seed=seed, jobs=jobs, device=device, overwrite=overwrite)


if __name__ == "__main__":
    app()
