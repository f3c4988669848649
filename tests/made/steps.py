"""Training steps on made batches."""

import dataclasses

import torch

from tsgc.bench.inputs import Shape, make_batch, make_model
from tsgc.config import TrainConfig
from tsgc.step import cuda_graphs
from tsgc.step.optimizer import learning_rate

SHAPE = Shape(variant="tiny", skeleton="nw-ucla-20", frames=16, bodies=2, classes=5, batch=6)


CONFIG = TrainConfig(
    variant="tiny", frames=16, epochs=4, warmup_epochs=1, lr=1e-2, clip_grad=0.5, ema_decay=0.9,
    ema_warmup=True, label_smoothing=0.1, weight_decay=0.1,
)  # fmt: skip


CPU = torch.device("cpu")


STEPS = 8


def batches(presence=False, sizes=(6,) * STEPS):
    model = make_model(SHAPE, CPU)
    return [
        make_batch(dataclasses.replace(SHAPE, batch=size), model, CPU, seed, presence)
        for seed, size in enumerate(sizes)
    ]


def train(step, given):
    """Loss of each step."""
    losses = []
    for position, batch in enumerate(given):
        step.clear()
        step([batch], lr=learning_rate(position, 2, step.config), size=len(batch.x), position=position)
        losses.append(step.loss_sum.item() / len(batch.x))
    return losses


def tensors(step):
    return [*step.model.state_dict().values(), *step.ema.module.state_dict().values()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Recorded(cuda_graphs.StepGraphs):
    """Graphs without a GPU: what would be captured is run with the captured inputs, every time."""

    def _warm_up(self, parts, run):
        run(parts)

    def _capture(self, parts, run):
        inputs = [cuda_graphs.clone(part) for part in parts]
        return cuda_graphs.Captured(inputs, lambda: run(inputs))
