"""Clips of several views, and who is in them, for TSGCNeXt2."""

import torch

from pipelines.skeleton import NW_UCLA_20

N, T, V, M = 3, 24, NW_UCLA_20.num_joints, 2


def clips(views=2, seed=1):
    return torch.randn(N, 3 * views, T, V, M, generator=torch.Generator().manual_seed(seed))


def presence():
    """Clips of two bodies, of one that leaves, and of none."""
    there = torch.ones(N, T, M)
    there[1, :, 1] = 0
    there[1, 13:, 0] = 0
    there[2] = 0
    return there
