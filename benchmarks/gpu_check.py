"""A captured training step beside the plain one, on a GPU: do they agree, and how fast is each?

    python benchmarks/gpu_check.py [--quick]

For NW-UCLA-like and NTU-like input, in every precision: the same steps plain and captured in a CUDA graph,
from the same weights; prints the largest differences of losses, weights and averages, beside those
between two plain runs (kernels may add in any order), and the time of each. Also: batches of two sizes, a
reset, and input made on a stream of its own against input made in turn. Exits 1 when something disagrees.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from pipelines.skeleton import SKELETONS
from shards.batch import PackedBatch, Step
from tsgc.bench.clock import seconds_a_call, synchronise
from tsgc.bench.inputs import NTU, NW_UCLA, Shape, make_batch, make_model, make_step
from tsgc.config import TrainConfig
from tsgc.console import Talker
from tsgc.input.pipeline import InputPipeline
from tsgc.step.micro_batch import MicroBatch
from tsgc.step.optimizer import learning_rate
from tsgc.step.train_step import TrainStep
from tsgc.training.feed import Feed

STEPS = 8
TOLERANCE = (
    2e-3  # of the largest loss; of a weight, beside lr: AdamW's first steps are near lr whatever the gradient
)


def check_config(shape: Shape, precision: str) -> TrainConfig:
    return TrainConfig(
        variant=shape.variant, frames=shape.frames, bodies=shape.bodies, batch=shape.batch, epochs=10,
        warmup_epochs=1, lr=1e-3, clip_grad=1.0, ema_decay=0.99, ema_warmup=True, precision=precision,
    )  # fmt: skip


def trajectory(step: TrainStep, batches: Sequence[MicroBatch]) -> list[float]:
    """The loss of each step, read after it."""
    losses = []
    for position, batch in enumerate(batches):
        step.clear()
        lr = learning_rate(position, STEPS // 2, step.config)
        step([batch], lr=lr, size=len(batch.x), position=position)
        losses.append(step.loss_sum.item() / len(batch.x))
    return losses


def state(step: TrainStep) -> list[torch.Tensor]:
    return [
        tensor.detach().float()
        for model in (step.model, step.ema.module)
        for tensor in model.state_dict().values()
    ]


def apart(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """Distance of two states over the length of one, all tensors together."""
    distance = sum((a - b).double().square().sum().item() for a, b in zip(one, other, strict=True))
    return (distance / sum(a.double().square().sum().item() for a in one)) ** 0.5


def step_seconds(step: TrainStep, batch: MicroBatch, calls: int) -> float:
    """Seconds a step."""
    return seconds_a_call(
        lambda: step([batch], lr=1e-4, size=len(batch.x), position=100), step.process.device, calls, warm_up=5
    )


class MadeLoader:
    """Steps of ragged noise in pinned memory, as a loader gives them."""

    def __init__(self, shape: Shape, steps: int, pin: bool) -> None:
        self.shape, self.steps_per_epoch, self.pin = shape, steps, pin

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Step]:
        shape = self.shape
        for number in range(start_step, self.steps_per_epoch):
            random = np.random.default_rng(number)
            frames = torch.from_numpy(random.integers(30, 120, shape.batch))
            bodies = torch.from_numpy(random.integers(1, shape.bodies + 1, shape.batch))
            rows = frames * bodies
            joints = SKELETONS[shape.skeleton].num_joints
            alone = torch.arange(shape.batch)
            batch = PackedBatch(
                joints=torch.from_numpy(random.standard_normal((int(rows.sum()), joints, 3), np.float32)),
                frames=frames,
                bodies=bodies,
                offsets=rows.cumsum(0) - rows,
                labels=alone % shape.classes,
                indices=alone,
                positions=alone,
                partner=alone.flip(0),
            )
            yield Step(number, shape.batch, [batch.pin_memory() if self.pin else batch])


def feed_agrees(shape: Shape, device: torch.device) -> tuple[bool, float]:
    """Whether input made ahead equals input made in turn, to the bit; and its milliseconds a step."""
    config = dataclasses.replace(check_config(shape, "float32"), sampling="frames", normalise="min-max")
    model = make_model(shape, device)
    pipeline = InputPipeline(config, SKELETONS[shape.skeleton], shape.bodies, "zeros")
    loader = MadeLoader(shape, 24, pin=True)
    feed = Feed(loader, pipeline, model, device)  # type: ignore[arg-type]
    same = True
    busy = torch.randn(4096, 4096, device=device)
    for epoch in (0, 1):
        for ahead, in_turn in zip(feed.epoch(epoch), feed._in_turn(epoch, 0), strict=True):
            busy = (busy @ busy).clamp(-1, 1)  # keeps the current stream behind
            for mine, plain in zip(ahead.parts, in_turn.parts, strict=True):
                for name, tensor in mine.tensors.items():
                    same = same and bool(torch.equal(tensor, plain.tensors[name]))
    seconds = seconds_a_call(lambda: [None for _ in feed.epoch(2)], device, 1, warm_up=0)
    feed.close()
    return same, 1e3 * seconds / loader.steps_per_epoch


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="bf16 alone, a smaller NTU batch")
    options.add_argument("--calls", type=int, default=30, help="steps that are timed")
    given = options.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch finds no GPU here: this check is for one")
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    print(torch.cuda.get_device_name(device), "torch", torch.__version__, flush=True)

    rows, wrong = [], []
    ntu = dataclasses.replace(NTU, batch=32) if given.quick else NTU
    for name, shape in (("nw-ucla", NW_UCLA), ("ntu", ntu)):
        for precision in ("bf16",) if given.quick else ("bf16", "tf32", "float32"):
            config = check_config(shape, precision)
            maker = make_model(shape, device)
            batches = [make_batch(shape, maker, device, seed=number) for number in range(STEPS)]
            # The last batches are smaller by one: a second CUDA graph.
            short = dataclasses.replace(shape, batch=shape.batch - 1)
            batches += [make_batch(short, maker, device, seed=100 + number) for number in range(STEPS)]
            results = []
            for cuda_graphs in (False, False, True):
                torch.cuda.reset_peak_memory_stats()
                step = make_step(shape, config, device, cuda_graphs=cuda_graphs)
                losses = trajectory(step, batches)
                end = state(step)
                seconds = step_seconds(step, batches[0], given.calls)
                results.append((losses, end, seconds, torch.cuda.max_memory_allocated() / 1e9))
                if cuda_graphs and step._cuda_graphs is not None and len(step._cuda_graphs) != 2:
                    wrong.append(f"{name} {precision}: {len(step._cuda_graphs)} graphs, expected 2")
                step.reset()
                del step
                synchronise(device)
                torch.cuda.empty_cache()
            plain, again, captured = results
            noise = apart(plain[1], again[1])
            differs = apart(plain[1], captured[1])
            loss_differs = max(abs(a - b) for a, b in zip(plain[0], captured[0], strict=True)) / max(plain[0])
            loss_noise = max(abs(a - b) for a, b in zip(plain[0], again[0], strict=True)) / max(plain[0])
            if not (differs <= max(5 * noise, TOLERANCE) and loss_differs <= max(5 * loss_noise, TOLERANCE)):
                wrong.append(f"{name} {precision}: a captured step is not the plain one")
            rows.append(
                [
                    f"{name} {shape.batch} {precision}",
                    f"{loss_differs:.1e} ({loss_noise:.1e})",
                    f"{differs:.1e} ({noise:.1e})",
                    f"{1e3 * plain[2]:.2f}",
                    f"{1e3 * captured[2]:.2f}",
                    f"{shape.batch / captured[2]:,.0f}",
                    f"{plain[3]:.2f}",
                    f"{captured[3]:.2f}",
                ]
            )
            print(*rows[-1], flush=True)
        same, milliseconds = feed_agrees(shape, device)
        print(f"{name}: input made ahead {'equals' if same else 'DIFFERS FROM'} input made in turn,"
              f" {milliseconds:.2f} ms a step by itself", flush=True)  # fmt: skip
        if not same:
            wrong.append(f"{name}: input made ahead differs from input made in turn")
    columns = ["", "loss apart (noise)", "state apart (noise)", "plain ms", "captured ms", "clips/s",
               "plain GB", "captured GB"]  # fmt: skip
    Talker().table("Captured steps beside plain ones", columns, rows)
    for line in wrong:
        print("WRONG:", line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
