"""`tsgc bench predict`: how long one clip takes on the CPU, by each way there is, and from the shell."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.errors import TsgcError
from tsgc.bench import machine
from tsgc.bench.contenders import Contender, inference_work
from tsgc.bench.inputs import Shape, make_batch, make_model
from tsgc.bench.run import about, finish
from tsgc.checkpoint import Description, save_weights
from tsgc.config import TrainConfig
from tsgc.console import Silent, Talker
from tsgc.network.precision import fastest, without_instructions

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
FRAMES = 100  # of the raw clip that the command is given
WARM_UP = 3

Way = Callable[[], object]


def made_run(shape: Shape, folder: Path) -> tuple[Path, Path]:
    """A checkpoint with made weights, and a raw clip for it: their files."""
    described = Description(
        skeleton=shape.skeleton,
        num_classes=shape.classes,
        bodies=shape.bodies,
        channels=3,
        benchmark="made/clips",
        preset="reference",
        epoch=0,
        ema=False,
        selected_on="none",
        config=TrainConfig(variant=shape.variant, frames=shape.frames, bodies=shape.bodies, precision="auto"),
        dataset="made",
        class_names=[f"class {label}" for label in range(shape.classes)],
        absent_body="zeros",
        fps=30,
    )
    model = make_model(shape, CPU)
    checkpoint, clip = folder / "last.safetensors", folder / "clip.npy"
    save_weights(checkpoint, model.state_dict(), described)
    rng = np.random.default_rng(0)
    size = (shape.bodies, described.body.num_joints, 3)
    steps = rng.normal(0, 0.03, (FRAMES, *size)).cumsum(0)
    np.save(clip, (rng.normal(0, 0.5, size) + steps).astype(np.float32))
    return checkpoint, clip


def onnx_work(checkpoint: Path, shape: Shape, folder: Path) -> Way:
    """The network in ONNX Runtime, on as many threads as torch has. Raises TsgcError: it is not installed."""
    from tsgc.export.export import export_run, needed

    runtime = needed("onnxruntime")
    (file, _) = export_run(Silent(), checkpoint, formats=["onnx"], out=folder, data_root=folder)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    batch = make_batch(replace(shape, batch=1), make_model(shape, CPU), CPU, seed=0)
    inputs = {"x": batch.x.numpy()}
    return lambda: session.run(None, inputs)


def one_clip(shape: Shape, checkpoint: Path, folder: Path, calls: int) -> tuple[list[dict[str, Any]], str]:
    """A row for each way from one clip's input to its logits; and what is left out, with the reason.

    All ways take turns, so that other work on the machine falls on all of them alike.
    """
    alone = replace(shape, batch=1)
    names = ["float32", *(["bf16"] if fastest(CPU) == "bf16" else [])]
    ways = {f"PyTorch {name}": inference_work(Contender("ours", name), alone, CPU) for name in names}
    left_out = [] if "bf16" in names else [without_instructions("bf16", CPU)]
    try:
        ways["ONNX Runtime float32"] = onnx_work(checkpoint, shape, folder)
    except TsgcError as error:
        left_out.append(f"ONNX Runtime: {error}")
    found = in_turns(ways, calls)
    first = next(iter(found.values()))
    rows = [
        {
            "name": name,
            "ms": 1e3 * statistics.median(times),
            "least_ms": 1e3 * min(times),
            "times_first": statistics.median(one / own for one, own in zip(first, times, strict=True)),
        }
        for name, times in found.items()
    ]
    return rows, "; ".join(left_out)


def in_turns(ways: Mapping[str, Way], calls: int) -> dict[str, list[float]]:
    """Seconds of each call of each way, one after another in every round, after WARM_UP rounds."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM_UP + calls):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn >= WARM_UP:
                found[name].append(time.perf_counter() - start)
    return found


def cold_start(checkpoint: Path, clip: Path, starts: int) -> list[dict[str, Any]]:
    """Seconds of `tsgc predict` from the shell to its answer, and of Python and torch alone, which are in it.

    `cpu_s`: of all threads, user and system, which other work on the machine lengthens less.
    """
    words = ["-m", "tsgc", "predict", str(clip), "--run", str(checkpoint), "--device", "cpu", "--json"]
    commands = {
        "python -c pass": ["-c", "pass"],
        "python -c 'import torch'": ["-c", "import torch"],
        "tsgc predict CLIP": words,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(starts):
        for name, command in commands.items():
            found[name].append(started(command))
    return [
        {
            "name": name,
            "s": statistics.median(wall for wall, _ in times),
            "least_s": min(wall for wall, _ in times),
            "cpu_s": statistics.median(cpu for _, cpu in times),
            "least_cpu_s": min(cpu for _, cpu in times),
        }
        for name, times in found.items()
    ]


def started(words: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a Python process. Raises TsgcError with its last line where it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise TsgcError(f"tsgc predict failed: {done.stderr.strip().splitlines()[-1]}")
    return wall, sum(after[2:4]) - sum(before[2:4])  # user and system time of processes that have ended


def bench_predict(shape: Shape, calls: int, starts: int, talker: Talker, out: Path | None) -> None:
    """`tsgc bench predict`."""
    facts = machine.machine_facts(CPU)
    talker.line(about(facts))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint, clip = made_run(shape, folder)
        rows, left_out = one_clip(shape, checkpoint, folder, calls)
        cold = cold_start(checkpoint, clip, starts) if starts else []
    size = f"{shape.variant}, T {shape.frames}, {shape.skeleton}, {shape.bodies} bodies"
    talker.table(
        f"one clip: {size}, {calls} calls",
        ("", "ms, median", "least", "x first"),
        [[row["name"], *(f"{row[key]:.2f}" for key in ("ms", "least_ms", "times_first"))] for row in rows],
    )
    if left_out:
        talker.line(f"left out: {left_out}")
    if cold:
        talker.table(
            f"from the shell to the answer, {starts} starts",
            ("", "s, median", "least", "CPU s, median", "least"),
            [
                [row["name"], *(f"{row[key]:.2f}" for key in ("s", "least_s", "cpu_s", "least_cpu_s"))]
                for row in cold
            ],
        )
    result = {"machine": facts, "shape": asdict(shape), "one_clip": rows, "left_out": left_out}
    finish({**result, "cold_start": cold}, talker, out)
