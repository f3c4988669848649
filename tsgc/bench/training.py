"""`tsgc bench train`: how fast the network trains and recognises, and how well it uses the device."""

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.bench.clock import median_seconds, seconds_a_call, synchronise
from tsgc.bench.contenders import Contender, inference_work, training_work
from tsgc.bench.inputs import Shape, make_model
from tsgc.bench.machine import peak_flops
from tsgc.distributed.process import Process
from tsgc.kernels.cards import Card, limited
from tsgc.network.cost import count_parts, totals
from tsgc.network.cpu_memory import is_kept, keep_memory
from tsgc.network.layers import block_widths
from tsgc.network.own.wrapped import Wrapped, try_out
from tsgc.network.precision import DTYPES, arithmetic

# Steps before any is timed: the first ones of a shape, then the capture (tsgc.step.cuda_graphs.WARM_UP).
WARM_UP = 6
LONG_FRAMES = (64, 128, 256, 512, 1024)
GRADIENTS = 3  # forward passes that a step costs: one, and two for the gradients of data and weights


@dataclass(frozen=True)
class Measurement:
    """One measurement."""

    name: str
    clips_per_second: float
    ms: float
    """Milliseconds of a step, or of a batch's forward pass."""
    memory_gb: float | None
    """Peak memory of tensors, in GB of 1e9 bytes; None on CPUs."""
    utilisation: float
    """FLOPs of the model a second, over those of a large matrix product in the same precision."""
    memory_kept: bool = False
    """Whether the process kept what it freed (`tsgc.network.cpu_memory`)."""


def forward_flops(shape: Shape) -> float:
    """FLOPs of one clip's forward pass, the mixing of joints included.

    The first that a measurement does with a network: TsgcError for one of your own that fails.
    """
    cpu = torch.device("cpu")
    model = make_model(shape, cpu)
    if isinstance(model, Wrapped):
        try_out(model, cpu, every_gradient=False, presence=False)
    counted = totals(count_parts(model, shape.frames))
    return 2.0 * (counted["macs"] + counted["graph_macs"])


def measure_contenders(
    contenders: Sequence[Contender],
    shape: Shape,
    device: torch.device,
    steps: int,
    what: str,
    process: Process | None = None,
) -> list[Measurement]:
    """A row for each contender; `what`: `training` or `inference`.

    With the `process` of a process group every rank calls this; the row is of all ranks' clips together.
    On a CPU ours keep freed memory, as the commands do; plain ones do not, unless one of ours ran before.
    """
    flops = forward_flops(shape) * (GRADIENTS if what == "training" else 1)
    peaks = {precision: peak_flops(precision, device) for precision in {c.precision for c in contenders}}
    rows = []
    for contender in contenders:
        clean_up(device)
        if contender.kind == "ours":
            keep_memory(device)
        if what == "training":
            work, free = training_work(contender, shape, device, process)
        else:
            work, free = inference_work(contender, shape, device), lambda: None
        seconds = seconds_a_call(work, device, steps, warm_up=2 if device.type == "cpu" else WARM_UP)
        memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
        free()
        devices = process.world if process else 1
        rate = shape.batch / seconds  # of one device: ranks wait for each other in every step
        used = rate * flops / peaks[contender.precision]
        rows.append(Measurement(contender.name, rate * devices, 1e3 * seconds, memory, used, is_kept()))
    clean_up(device)
    return rows


def clean_up(device: torch.device) -> None:
    """Free the memory and the compiled code of earlier work, and reset the peak."""
    gc.collect()
    torch.compiler.reset()
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def compare_speed(
    contenders: Sequence[Contender], shape: Shape, device: torch.device, steps: int
) -> dict[str, Any]:
    """`training`, `inference` (rows with ratios) and `latency` (of one clip) of contenders, plain ones first.

    Keeping freed memory cannot be undone, so plain ones are measured before ours. So is the latency of one
    clip, as `tsgc predict` keeps no memory.
    """
    plain, ours = ([one for one in contenders if one.kind == kind] for kind in ("plain", "ours"))
    rows = {what: measure_contenders(plain, shape, device, steps, what) for what in ("training", "inference")}
    alone = latency([one for one in contenders if not one.compile], shape, device)
    for what, found in rows.items():
        found += measure_contenders(ours, shape, device, steps, what)
    return {**{what: ratios(found) for what, found in rows.items()}, "latency": alone}


def latency(
    contenders: Sequence[Contender], shape: Shape, device: torch.device, calls: int = 20
) -> list[dict[str, Any]]:
    """Median milliseconds from one clip's input to its logits; how many times as fast as the first."""
    alone = replace(shape, batch=1)
    times = [1e3 * median_seconds(inference_work(one, alone, device), device, calls, 3) for one in contenders]
    return [
        {"name": one.name, "ms": ms, "times_first": times[0] / ms}
        for one, ms in zip(contenders, times, strict=True)
    ]


def long_clips(contender: Contender, shape: Shape, device: torch.device, steps: int) -> list[dict[str, Any]]:
    """Time and memory of a training clip as T grows, and both per frame, relative to the shortest T."""
    rows = []
    for frames in LONG_FRAMES:
        (row,) = measure_contenders([contender], replace(shape, frames=frames), device, steps, "training")
        mb = None if row.memory_gb is None else 1e3 * row.memory_gb / shape.batch
        rows.append((frames, row.ms / shape.batch, mb, row.utilisation))
    shortest, ms, mb, _ = rows[0]
    return [
        {
            "frames": frames,
            "ms": here,
            "mb": memory,
            "utilisation": used,
            "ms_a_frame": here / frames / (ms / shortest),
            "mb_a_frame": None if memory is None or mb is None else memory / frames / (mb / shortest),
        }
        for frames, here, memory, used in rows
    ]


def ratios(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The rows, each with how many times as fast as the first it is."""
    return [{**asdict(row), "times_first": row.clips_per_second / rows[0].clips_per_second} for row in rows]


def say_kernels(shape: Shape, precision: str, device: torch.device) -> str:
    """What the kernels of a network of this shape are cut for in training; empty where it has no blocks."""
    widths, joints = (
        block_widths(make_model(shape, torch.device("cpu"))),
        SKELETONS[shape.skeleton].num_joints,
    )
    with arithmetic(precision, device):
        return kernels.settle(device, widths, joints) if widths else ""


def time_rungs(
    contender: Contender, shape: Shape, device: torch.device, steps: int, card: Card
) -> list[dict[str, Any]]:
    """Clips a second of training and recognition on each rung that has room, and last of plain blocks.

    A rung that has no room at some width leaves it to the others; one that has none anywhere is left out.
    """
    from tsgc.kernels.ladder import preferring
    from tsgc.kernels.tunings import NARROW_RUNGS, WIDE_RUNGS

    names = [rung.name for rung in (NARROW_RUNGS if contender.precision in DTYPES else WIDE_RUNGS)]
    rows = []
    with limited(card):
        for name in names:
            with preferring(name):
                said = say_kernels(shape, contender.precision, device)
                if f"{name} at" in said:
                    rows.append(_row(name, said, contender, shape, device, steps))
        with kernels.plain():
            rows.append(_row("plain", "none", contender, shape, device, steps))
    return rows


def _row(
    name: str, said: str, contender: Contender, shape: Shape, device: torch.device, steps: int
) -> dict[str, Any]:
    (training,), (inference,) = (
        measure_contenders([contender], shape, device, steps, what) for what in ("training", "inference")
    )
    return {
        "rung": name,
        "kernels": said,
        "training": training.clips_per_second,
        "inference": inference.clips_per_second,
        "memory_gb": training.memory_gb,
    }
