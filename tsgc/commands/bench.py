"""Commands that measure how fast the network is here: bench train, bench predict, bench graph."""

from pathlib import Path
from typing import Annotated

import typer

from tsgc.commands.error_line import OneLineErrors
from tsgc.commands.options import Device, Json

app = typer.Typer(
    no_args_is_help=True, help="How fast the network and its training are here, beside plain twins."
)

Network = Annotated[
    str | None,
    typer.Option(help="tsgcnext, tsgcnext2, ctrgcn, stgcn++, or your own: FILE.py:NAME. (default: tsgcnext)"),
]
Variant = Annotated[str, typer.Option(help="252, 432, small or tiny.")]
Precision = Annotated[
    str | None, typer.Option(help="bf16, tf32, float32 or float16. (default: the fastest that is safe here)")
]
Batch = Annotated[int | None, typer.Option(min=1, help="Clips a device. (default: 128; 8 on a CPU)")]
Frames = Annotated[int | None, typer.Option(help="T. (default: 256; of --data: the recipe's)")]
Skeleton = Annotated[str, typer.Option(help="ntu-25, nw-ucla-20, coco-17 or openpose-18.")]
Bodies = Annotated[int, typer.Option(min=1, help="M.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps that are timed. (default: 30; 3 on a CPU)")]
Out = Annotated[Path | None, typer.Option(help="File for the result as JSON.")]


@app.command(epilog="Example: tsgc bench train --compare --out bench.json")
def train(
    ctx: typer.Context,
    network: Network = None,
    variant: Variant = "252",
    precision: Precision = None,
    batch: Batch = None,
    frames: Frames = None,
    skeleton: Skeleton = "ntu-25",
    bodies: Bodies = 2,
    classes: Annotated[int, typer.Option(min=2, help="Classes.")] = 120,
    modality: Annotated[str, typer.Option(help="Several joined by +: a view each of tsgcnext2.")] = "joint",
    steps: Steps = None,
    device: Device = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="The plain twin of the published code alone.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Plain, plain compiled and ours, in this order.")
    ] = False,
    gpus: Annotated[int | None, typer.Option(min=2, help="Also on N devices at once, a batch each.")] = None,
    data: Annotated[str | None, typer.Option(help="Shard set: real batches against made ones.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="key=value of the recipe, with --data (without: graphs, network.KEY); repeatable."
        ),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Profile 50 steps: how long the GPU is idle.")
    ] = False,
    long: Annotated[
        bool, typer.Option("--long", help="Time and memory of a clip for T of 64 to 1,024.")
    ] = False,
    limit_like: Annotated[
        str | None,
        typer.Option(metavar="CARD", help='Every rung of kernels that a GPU has room for, as "rtx 4090".'),
    ] = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """Clips a second of a whole training step (mixing, network, loss, AdamW, average) and of recognition."""
    from tsgc.bench.options import TrainOptions, check_shape
    from tsgc.bench.run import bench_train
    from tsgc.console import Talker
    from tsgc.distributed.launch import check_gpus
    from tsgc.network.own.code import admit
    from tsgc.networks import OURS, recorded_name

    admit(network)

    if gpus:
        check_gpus(gpus, device)
    shape, place, precision, steps = check_shape(
        variant,
        skeleton,
        frames,
        bodies,
        classes,
        batch,
        precision,
        steps,
        device,
        recorded_name(network or OURS),
        settings or [],
        modality,
        limit_like,
    )
    options = TrainOptions(
        shape=shape,
        device=place,
        precision=precision,
        steps=steps,
        plain=plain,
        compare=compare,
        gpus=gpus or 1,
        data=data,
        settings=tuple(settings or ()),
        given_frames=frames,
        trace=trace,
        long=long,
        limit_like=limit_like,
    )
    command = ctx.find_root().command
    assert isinstance(command, OneLineErrors)
    bench_train(options, Talker(json=json), out, command.words)


@app.command(epilog="Example: tsgc bench predict --calls 50")
def predict(
    variant: Variant = "252",
    frames: Frames = None,
    skeleton: Skeleton = "ntu-25",
    bodies: Bodies = 2,
    classes: Annotated[int, typer.Option(min=2, help="Classes.")] = 120,
    calls: Annotated[int, typer.Option(min=1, help="Clips that are timed, one at a time.")] = 20,
    starts: Annotated[int, typer.Option(min=0, help="Starts from the shell; 0: none.")] = 3,
    json: Json = False,
    out: Out = None,
) -> None:
    """One clip on the CPU in float32, bfloat16 and ONNX Runtime; and `tsgc predict` from the shell."""
    from tsgc.bench.options import check_shape
    from tsgc.bench.predict import bench_predict
    from tsgc.console import Talker

    shape, *_ = check_shape(variant, skeleton, frames, bodies, classes, 1, None, None, "cpu")
    bench_predict(shape, calls, starts, Talker(json=json), out)


@app.command(epilog="Example: tsgc bench graph --precision float32")
def graph(
    variant: Variant = "252",
    precision: Precision = None,
    batch: Batch = None,
    frames: Frames = None,
    skeleton: Skeleton = "ntu-25",
    bodies: Bodies = 2,
    steps: Steps = None,
    device: Device = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """The graph product: naive, as the paper accelerates it, and ours; forward and backward."""
    from tsgc.bench.options import check_shape
    from tsgc.bench.run import bench_graph
    from tsgc.console import Talker

    shape, place, precision, steps = check_shape(
        variant, skeleton, frames, bodies, 2, batch, precision, steps, device
    )
    bench_graph(shape, place, precision, steps, Talker(json=json), out)
