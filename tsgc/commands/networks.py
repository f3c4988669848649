"""Commands on networks: predict, export, info."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import UsageError
from tsgc.commands.loading import uncollected
from tsgc.commands.options import (
    DATA,
    RUNS,
    Checkpoint,
    DataRoot,
    Device,
    Ema,
    Json,
    Networks,
    Overwrite,
    RunsRoot,
    RunsToUse,
    check_word,
    numbers,
    picture_size,
)


def predict(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Raw clips, folders or zips of them; - is standard input.")
    ] = None,
    run: RunsToUse = None,
    checkpoint: Checkpoint = "last",
    ema: Ema = False,
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
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which joints speak for the best class, and when.")
    ] = False,
    image_size: Annotated[
        str | None, typer.Option(help="WIDTH,HEIGHT of the picture that your own clips' x and y are in.")
    ] = None,
    up: Annotated[
        str | None,
        typer.Option(help="Axis that points up in clips of your own in space. (default: the run's)"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    network: Networks = None,
    device: Device = None,
    runs: RunsRoot = RUNS,
) -> None:
    """Recognise raw clips: the most likely classes of each. Exit code 1 if any could not be read."""
    with uncollected():
        from tsgc.console import Talker
        from tsgc.inference.predict_files import (
            LIVE_WINDOW,
            STYLES,
            choose_runs,
            predict_files,
            predict_live,
            say_precision,
        )
        from tsgc.inference.recogniser import load_run

    if bool(files) == live:
        raise UsageError("give raw clips, or - for standard input; or --live alone")
    check_word("--format", style, STYLES)
    style = "json" if json else style
    window = window or (LIVE_WINDOW if live else None)
    if explain and (live or style == "csv"):
        raise UsageError("--explain goes with files, as a table or JSON")
    if stride is not None and (window is None or stride > window):
        raise UsageError("--stride goes with --window, and is at most as long")
    shares, size = numbers(weights, "--weights"), picture_size(image_size)
    talker = Talker(json=style == "json")
    said: list[str] = []
    chosen = choose_runs(run or [], runs, checkpoint, ema, said.append)
    recogniser = load_run(chosen, device=device, weights=shares, image_size=size, up=up, network=network)
    for line in said:
        talker.aside(line)
    say_precision(talker, recogniser)
    if live:
        failed = predict_live(talker, recogniser, top=top, window=window or LIVE_WINDOW, stride=stride)
    else:
        failed = predict_files(
            talker,
            recogniser,
            files or [],
            top=top,
            style=style,
            window=window,
            stride=stride,
            batch=batch,
            explain=explain,
        )
    if failed:
        raise typer.Exit(1)


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run folder or .safetensors. (default: the newest finished, of --network if given)"
        ),
    ] = None,
    checkpoint: Checkpoint = "last",
    ema: Ema = False,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="onnx or pt2; repeatable. (default: both)")
    ] = None,
    raw_input: Annotated[
        bool, typer.Option("--raw-input", help="Take joints: centring, cropping, resizing, modality inside.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. (default: RUN/export)")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    network: Networks = None,
    data_root: DataRoot = DATA,
    runs: RunsRoot = RUNS,
) -> None:
    """A run as ONNX and torch.export, checked against PyTorch, with a model card."""
    from tsgc.console import Talker
    from tsgc.export.export import FORMATS, export_run
    from tsgc.network.own.code import admit
    from tsgc.workspace.newest_runs import newest_whole

    for name in formats or []:
        check_word("--format", name, FORMATS)
    admit(network)
    talker = Talker(json=json)
    if run is None:
        run = newest_whole(runs, f"{checkpoint}-ema" if ema else checkpoint, talker.note, network).folder
        talker.note(f"the newest run: {run}")
    export_run(
        talker,
        run,
        checkpoint=checkpoint,
        ema=ema,
        formats=formats or list(FORMATS),
        raw_input=raw_input,
        out=out,
        overwrite=overwrite,
        data_root=data_root,
    )


def info(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder or .safetensors. (default: the options)")
    ] = None,
    checkpoint: Checkpoint = "last",
    network: Annotated[
        str | None,
        typer.Option(
            help="tsgcnext, tsgcnext2, ctrgcn, stgcn++, or your own: FILE.py:NAME. (default: tsgcnext)"
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="network.key=value, an argument of the network.")
    ] = None,
    variant: Annotated[str, typer.Option(help="252, 432, small or tiny.")] = "252",
    skeleton: Annotated[str, typer.Option(help="ntu-25, nw-ucla-20, coco-17 or openpose-18.")] = "ntu-25",
    frames: Annotated[int | None, typer.Option(min=1, help="(default: 256, or the run's)")] = None,
    bodies: Annotated[int, typer.Option(min=1, help="Bodies in a clip.")] = 2,
    classes: Annotated[int, typer.Option(min=1, help="Classes to tell apart.")] = 120,
    json: Json = False,
) -> None:
    """Parameters, multiply-accumulates and activations of a network, block by block."""
    from tsgc.console import Talker
    from tsgc.inspect.network import open_network, show_info

    model, facts, length = open_network(
        run,
        checkpoint,
        network=network,
        settings=settings or [],
        variant=variant,
        skeleton=skeleton,
        frames=frames,
        bodies=bodies,
        classes=classes,
    )
    show_info(Talker(json=json), model, facts, length)
