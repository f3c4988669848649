"""The input of several steps made as one batch, and cut apart again.

A small step's operations cost the host more to launch than the GPU to run, and as much for four steps as for
one. Every clip's input depends on its own joints and numbers alone, so it is the same in a larger batch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from shards.batch import PackedBatch, Step
from tsgc.input.random_numbers import Draws
from tsgc.step.micro_batch import MicroBatch


def join_draws(draws: Sequence[Draws]) -> Draws:
    """Several steps' random numbers, one after another."""
    joined = {name: np.concatenate([one.arrays[name] for one in draws]) for name in draws[0].arrays}
    return Draws.named(joined)


def join_parts(steps: Sequence[Step], device: torch.device) -> PackedBatch:
    """All micro-batches of `steps` as one, whose positions are those in `join_draws`.

    Partners stay as they are: indices in each micro-batch.
    """
    parts, positions, offsets = [], [], []
    before, rows = 0, 0
    for step in steps:
        for part in step.parts:
            parts.append(part)
            positions.append(part.positions + before)
            offsets.append(part.offsets + rows)
            rows += len(part.joints)
        before += step.size
    same = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ("frames", "bodies", "labels", "indices", "partner", "missing")
    }
    return PackedBatch(
        joints=torch.cat([part.joints.to(device, non_blocking=True) for part in parts]),
        positions=torch.cat(positions),
        offsets=torch.cat(offsets),
        **same,
    )


def cut_apart(batch: MicroBatch, steps: Sequence[Step], bodies: int) -> list[list[MicroBatch]]:
    """`batch`, made of `join_parts`, as each step's micro-batches: views of its tensors."""
    counts = [len(part) for step in steps for part in step.parts]
    rows = [bodies * count for count in counts]
    cut: dict[str, Sequence[Any]] = {
        name: tensor.split(rows, 1) if name == "survival" else tensor.split(counts)
        for name, tensor in batch.tensors.items()
    }
    if batch.alive is not None:
        cut["alive"] = np.split(batch.alive, np.cumsum(rows)[:-1], axis=1)
    single = iter([type(batch)(**dict(zip(cut, tensors))) for tensors in zip(*cut.values())])
    return [[next(single) for _ in step.parts] for step in steps]
