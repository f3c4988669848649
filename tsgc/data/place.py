"""Which rank this process is, and which device its batches go to."""

import os

import torch
import torch.distributed as dist
from torch.utils.data import get_worker_info

from pipelines.errors import TsgcError, UsageError


def this_rank(rank: int | None, world: int | None) -> tuple[int, int]:
    """The rank and the number of ranks: as given, of torch.distributed, of torchrun, or 0 of 1.

    UsageError where one of them is given, or they do not fit together.
    """
    if rank is None and world is None:
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
        if {"RANK", "WORLD_SIZE"} <= os.environ.keys():
            return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        return 0, 1
    if rank is None or world is None or not 0 <= rank < world:
        raise UsageError(f"rank is {rank} and world {world}, expected both, with 0 <= rank < world")
    return rank, world


def kept_rank(rank: int | None, world: int | None) -> tuple[int | None, int | None]:
    """What a copy for another process is to know: the rank of several; one process asks anew there.

    A DataLoader's worker has no rank of its own, and takes the one of the process that started it. A process
    that is alone may yet start the ranks, as Lightning's `ddp_spawn` does.
    """
    found = this_rank(rank, world)
    return found if found[1] > 1 else (rank, world)


def known_device(device: torch.device | str) -> torch.device:
    """The device of a name. UsageError for a word that torch does not know."""
    try:
        return torch.device(device)
    except RuntimeError:
        raise UsageError(f"device is {device!r}, expected cpu, cuda or cuda:N") from None


def this_device(device: torch.device | str) -> torch.device:
    """The device itself: of `cuda` the current one.

    UsageError for a GPU in a worker of a DataLoader, TsgcError for one that is not here.
    """
    found = known_device(device)
    if found.type == "cpu":
        return found
    if get_worker_info() is not None:
        raise UsageError(
            f"device is {found}: workers of a DataLoader make batches on the CPU;"
            " give num_workers=0, which reads ahead by threads, or device='cpu'"
        )
    if found.type == "cuda" and not torch.cuda.is_available():
        raise TsgcError(f"device is {found}: torch finds no GPU here; give device='cpu'")
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return found
