"""What a step of a network other than TSGCNeXt needs besides: its random numbers, and ranks that agree.

TSGCNeXt draws nothing itself (drop path is drawn with the clips, by position), and its one BatchNorm takes
its statistics over all ranks. Another network's dropout draws from torch's generators, and its BatchNorms
see one rank's clips.
"""

import itertools

import numpy as np
import torch
from torch import nn

from tsgc.distributed.process import Process


def seed_step(seed: int, position: int, rank: int) -> None:
    """Set torch's generators for a step of a rank, so that it draws the same whatever was drawn before."""
    (key,) = np.random.SeedSequence((seed, position, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(key) >> 1)  # 63 bits: a generator takes no more without a sign


@torch.no_grad()
def share_weights(model: nn.Module, process: Process) -> None:
    """Give all ranks the weights and buffers of rank 0: one's own code may draw them from anywhere."""
    if process.world == 1:
        return
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if not process.main:
            tensor.zero_()
        if tensor.numel():
            process.sum(tensor.data)


@torch.no_grad()
def average_buffers(model: nn.Module, process: Process) -> None:
    """The mean over ranks of statistics, such as BatchNorm's running ones, on all of them, in one exchange.

    They are linear in each step's, so it is as if each step's statistics were the mean of the ranks'.
    """
    if process.world == 1:
        return
    kept = [buffer for buffer in model.buffers() if buffer.is_floating_point() and buffer.numel()]
    if not kept:
        return
    flat = process.sum(torch.cat([buffer.flatten().float() for buffer in kept])) / process.world
    for buffer, part in zip(kept, flat.split([buffer.numel() for buffer in kept])):
        buffer.copy_(part.view_as(buffer))
