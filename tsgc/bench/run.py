"""What `tsgc bench` runs and prints: options to measurements, measurements to tables and JSON."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipelines.errors import UsageError
from pipelines.files import write_atomic
from pipelines.skeleton import SKELETONS
from tsgc.bench import joint_mixing, machine
from tsgc.bench.contenders import Contender, contenders, training_work
from tsgc.bench.inputs import Shape, make_model
from tsgc.bench.options import TrainOptions, check_options
from tsgc.bench.trace import trace_idle
from tsgc.bench.training import (
    WARM_UP,
    clean_up,
    compare_speed,
    forward_flops,
    latency,
    long_clips,
    measure_contenders,
    say_kernels,
    time_rungs,
)
from tsgc.console import Talker, rate_text
from tsgc.distributed.environment import LAUNCHED
from tsgc.distributed.launch import launch
from tsgc.distributed.process import Process, join_ranks, started_by_torchrun
from tsgc.kernels.cards import named_card
from tsgc.network.layers import block_widths
from tsgc.network.precision import emulation_cost
from tsgc.networks import OURS


def bench_train(options: TrainOptions, talker: Talker, out: Path | None, words: Sequence[str]) -> None:
    """`tsgc bench train`. `words`: the command line, which the ranks of --gpus repeat."""
    check_options(options)
    if started_by_torchrun():
        assert out is not None
        _rank(options, out)
        return
    result: dict[str, Any] = {"machine": machine.machine_facts(options.device)}
    talker.line(about(result["machine"]))
    _warn_of_emulation(options.precision, options.device, talker, options.shape.network == OURS)
    if options.data is not None:
        result["data"] = _data(options, talker)
    else:
        result |= _made(options, talker, words)
    finish(result, talker, out)


def _warn_of_emulation(precision: str, device: torch.device, talker: Talker, ours: bool) -> None:
    if costs := emulation_cost(precision, device, "--precision auto", ours):
        talker.warn(costs)


def _made(options: TrainOptions, talker: Talker, words: Sequence[str]) -> dict[str, Any]:
    """All that is timed on made clips."""
    result: dict[str, Any] = {
        "shape": dataclasses.asdict(options.shape),
        "forward_gflop_a_clip": forward_flops(options.shape) / 1e9,
    }
    if options.limit_like is not None:
        return {**result, "rungs": _rungs(options, options.limit_like, talker)}
    on_gpu = options.device.type == "cuda"
    if on_gpu and (cut := say_kernels(options.shape, options.precision, options.device)):
        talker.line(f"kernels: {cut}")
    if options.long:
        return {**result, "long": _long(options, talker)}
    result |= _speed(options, talker)
    if options.gpus > 1:
        result["devices"] = _devices(options, words, result["training"][-1], talker)
    if options.trace:
        result["trace"] = _trace(options, talker)
    return result


def bench_graph(
    shape: Shape, device: torch.device, precision: str, steps: int, talker: Talker, out: Path | None
) -> None:
    """`tsgc bench graph`."""
    facts = machine.machine_facts(device)
    talker.line(about(facts))
    _warn_of_emulation(precision, device, talker, shape.network == OURS)
    rows = joint_mixing.bench_products(shape, precision, device, steps)
    for row in rows:
        slowest = "block, plain" if "block" in row["name"] else "naive"
        plain = next((r for r in rows if (r["stage"], r["name"]) == (row["stage"], slowest)), row)
        for direction in ("forward", "backward"):
            row[f"{direction}_times"] = plain[f"{direction}_ms"] / row[f"{direction}_ms"]
    talker.table(
        f"Graph products of {shape.batch} clips, {precision}; x: times as fast as naive, as the plain block",
        ("stage, T x V x C", "", "forward ms", "x", "backward ms", "x"),
        [
            [
                f"{row['stage']}: {row['frames']} x {SKELETONS[shape.skeleton].num_joints} x {row['width']}",
                row["name"],
                f"{row['forward_ms']:.3f}",
                f"{row['forward_times']:.2f}",
                f"{row['backward_ms']:.3f}",
                f"{row['backward_times']:.2f}",
            ]
            for row in rows
        ],
    )
    finish({"machine": facts, "shape": dataclasses.asdict(shape), "rows": rows}, talker, out)


def _contenders(options: TrainOptions, *, compare: bool) -> list[Contender]:
    network = "" if options.shape.network == OURS else options.shape.title
    settings = tuple(words for words in options.settings if not words.startswith("network."))
    return contenders(
        options.precision,
        options.device,
        plain=options.plain,
        compare=compare,
        settings=settings,
        network=network,
    )


def _speed(options: TrainOptions, talker: Talker) -> dict[str, Any]:
    """Training, recognition, and the time that one clip takes."""
    shape, device = options.shape, options.device
    result = compare_speed(_contenders(options, compare=options.compare), shape, device, options.steps)
    if shape.network != OURS:
        _beside_ours(result, options)
    for what in ("training", "inference"):
        talker.table(
            f"{what}: {shape.title}, T {shape.frames}, {shape.skeleton}, {shape.bodies} bodies,"
            f" batch {shape.batch}",
            ("", "clips/s", "ms", "GB", "MFU", "x first"),
            [
                [
                    row["name"],
                    rate_text(row["clips_per_second"]),
                    f"{row['ms']:,.2f}",
                    "-" if row["memory_gb"] is None else f"{row['memory_gb']:.2f}",
                    f"{100 * row['utilisation']:.1f} %",
                    f"{row['times_first']:.2f}",
                ]
                for row in result[what]
            ],
        )
    for row in result["latency"]:
        talker.line(f"one clip, {row['name']}: {row['ms']:.2f} ms ({row['times_first']:.2f} x first)")
    if result["training"][-1]["memory_kept"]:
        talker.line("ours keep freed memory, as training and scoring do; plain ones and one clip do not")
    return result


def _beside_ours(result: dict[str, Any], options: TrainOptions) -> None:
    """Add TSGCNeXt's own rows, for the same input, in this run."""
    shape, title = options.shape.of_ours, f"TSGCNeXt {options.shape.variant}"
    ours = Contender("ours", options.precision, network=title)
    for what in ("training", "inference"):
        found = measure_contenders([ours], shape, options.device, options.steps, what)
        first = result[what][0]["clips_per_second"]
        result[what] += [
            {**dataclasses.asdict(row), "times_first": row.clips_per_second / first} for row in found
        ]
    first = result["latency"][0]["ms"]
    (alone,) = latency([ours], shape, options.device)
    result["latency"].append({**alone, "times_first": first / alone["ms"]})


def _long(options: TrainOptions, talker: Talker) -> list[dict[str, Any]]:
    (contender,) = _contenders(options, compare=False)[-1:]
    rows = long_clips(contender, options.shape, options.device, options.steps)
    talker.table(
        f"A training clip as T grows, {contender.name}, batch {options.shape.batch}; a frame: over T = 64's",
        ("T", "ms a clip", "a frame", "MB a clip", "a frame", "MFU"),
        [
            [
                str(row["frames"]),
                f"{row['ms']:.3f}",
                f"{row['ms_a_frame']:.2f}",
                "-" if row["mb"] is None else f"{row['mb']:.1f}",
                "-" if row["mb_a_frame"] is None else f"{row['mb_a_frame']:.2f}",
                f"{100 * row['utilisation']:.1f} %",
            ]
            for row in rows
        ],
    )
    return rows


def _rungs(options: TrainOptions, name: str, talker: Talker) -> list[dict[str, Any]]:
    """Every rung that a card has room for, timed here."""
    if not block_widths(make_model(options.shape, torch.device("cpu"))):
        raise UsageError(f"--limit-like: {options.shape.title} has no blocks whose kernels are cut for GPUs")
    (contender,) = _contenders(options, compare=False)[-1:]
    rows = time_rungs(contender, options.shape, options.device, options.steps, named_card(name))
    talker.table(
        f"Rungs of kernels as on {name}, timed on this GPU: {contender.name}, batch {options.shape.batch}",
        ("rung", "kernels", "training, clips/s", "recognition, clips/s", "GB"),
        [
            [
                row["rung"],
                row["kernels"],
                rate_text(row["training"]),
                rate_text(row["inference"]),
                f"{row['memory_gb']:.2f}",
            ]
            for row in rows
        ],
    )
    return rows


def _data(options: TrainOptions, talker: Talker) -> dict[str, Any]:
    from tsgc.bench.data import data_config, data_path

    assert options.data is not None
    shards = options.data if "://" in options.data else Path(options.data)
    config = data_config(
        shards,
        options.settings,
        network=options.shape.network,
        variant=options.shape.variant,
        precision=options.precision,
        batch=options.shape.batch,
        frames=options.given_frames,
    )
    process = Process(0, 1, options.device)
    result = data_path(shards, config, process, options.steps, traced=options.trace)
    talker.line(
        f"{result['benchmark']}, {result['clips']:,} clips, T {config.frames}, batch {config.batch}:"
        f" {result['made']:,.0f} clips/s on one batch again and again, {result['real']:,.0f} on real ones,"
        f" {100 * result['slower']:.1f} % slower; {result['cores_real']:.1f} CPU cores used"
        f" ({result['cores_made']:.1f} on one batch)"
    )
    if "trace" in result:
        _say_trace(result["trace"], talker)
    return result


def _trace(options: TrainOptions, talker: Talker) -> dict[str, float]:
    (contender,) = _contenders(options, compare=False)[-1:]
    clean_up(options.device)
    work, free = training_work(contender, options.shape, options.device)
    for _ in range(WARM_UP):
        work()
    result = trace_idle(work, options.device)
    free()
    _say_trace(result, talker)
    return result


def _say_trace(result: dict[str, float], talker: Talker) -> None:
    talker.line(
        f"GPU idle in {result['steps']:.0f} steps: {100 * result['idle']:.2f} %"
        f" ({result['kernels_a_step']:.0f} kernels and copies a step)"
    )


def _devices(
    options: TrainOptions, words: Sequence[str], alone: dict[str, Any], talker: Talker
) -> dict[str, Any]:
    """The same training on several devices at once, over one's: by torchrun, as training itself."""
    clean_up(options.device)
    os.environ[LAUNCHED] = "1"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ranks.json"
        launch(options.gpus, [*words, "--out", str(file)], options.device.type)
        together = json.loads(file.read_text())
    together["times_one"] = together["clips_per_second"] / alone["clips_per_second"]
    talker.line(
        f"{options.gpus} devices, {options.shape.batch} clips each:"
        f" {together['clips_per_second']:,.0f} clips/s, {together['times_one']:.2f} times one"
    )
    return together


def _rank(options: TrainOptions, out: Path) -> None:
    """A rank's part of `_devices`; the first writes the result."""
    with join_ranks(options.device.type) as process:
        ours = Contender("ours", options.precision, settings=options.settings)
        (row,) = measure_contenders([ours], options.shape, process.device, options.steps, "training", process)
        process.barrier()
        if process.main:
            write_atomic(out, json.dumps(dataclasses.asdict(row)).encode())


def about(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    flags = " ".join(facts["cpu_flags"]) or "none of those that bfloat16 is fast with"
    cpu = f"{facts['cpu']} ({facts['cores']} cores, {facts['threads']} threads; {flags})"
    return ", ".join([*([facts["gpu"]] if "gpu" in facts else []), cpu, f"torch {facts['torch']}"])


def finish(result: dict[str, Any], talker: Talker, out: Path | None) -> None:
    """Print the result as JSON where that is asked for, and write it to `out`."""
    talker.data(result)
    if out is not None:
        write_atomic(out, json.dumps(result, indent=2).encode())
        talker.line(f"written: {out}")
