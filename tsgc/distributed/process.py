"""The processes of one training: which of them this one is, and what they exchange."""

import gc
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from pipelines.errors import TsgcError, UsageError
from pipelines.interrupts import is_ending
from tsgc.distributed.rendezvous import agents_store, fresh_store

TIMEOUT = timedelta(minutes=30)  # a rank that waits longer for the others gives up
MEETING = timedelta(minutes=10)  # for all ranks to meet: torchrun starts them together
PATIENCE = 30  # seconds until a network file system shows what another machine wrote


class LostRankError(TsgcError):
    """Another rank is gone: it has said why, or was killed."""


class CommonError(TsgcError):
    """Something that all ranks have found alike: it is said of none in particular."""


def is_lost(error: BaseException) -> bool:
    """Whether an exchange between ranks failed, not this rank's own work."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)  # gloo has no error class


@dataclass(frozen=True)
class Process:
    """This process among the `world` that train together; rank 0 writes files and prints."""

    rank: int
    world: int
    device: torch.device
    launchers: tuple[str, ...] = ()
    """The launcher of each rank: `launcher_name`."""

    @property
    def main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            dist.barrier()

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of x over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(x)
        return x

    def gather(self, word: str) -> list[str]:
        """Every rank's word, by rank."""
        if self.world == 1:
            return [word]
        words: list[str] = [""] * self.world
        dist.all_gather_object(words, word)
        return words


def started_by_torchrun() -> bool:
    """Whether this process is a rank of torchrun's."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launcher_name() -> str:
    """A name for the torchrun that started this process, the same after restarts; empty without one."""
    errors = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not started_by_torchrun() or not errors:
        return ""
    # <a folder made for this launcher>/attempt_<restarts>/<local rank>/error.json. torchrun's own count of
    # restarts does not do: it stays 0 on machines that start again because another one failed.
    return f"{socket.gethostname()}:{Path(errors).parents[2].name}"


def check_shared(process: Process, folder: Path) -> None:
    """Raise TsgcError on all ranks where any of them does not see what rank 0 writes to `folder`."""
    if process.world == 1:
        return
    token = process.gather(secrets.token_hex(8))[0]
    mark = folder / f".seen-by-all-{token}"
    if process.main:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    try:
        process.barrier()
        until = time.monotonic() + PATIENCE
        while not (seen := mark.exists()) and time.monotonic() < until:
            time.sleep(0.5)
        blind = [host for host in process.gather("" if seen else socket.gethostname()) if host]
    finally:
        if process.main:
            mark.unlink(missing_ok=True)
    if blind:
        raise TsgcError(
            f"{folder}: not shared: {', '.join(sorted(set(blind)))} cannot see what rank 0 writes there;"
            " give --run-dir on a file system that all machines share"
        )


def pick_device(name: str | None, local_rank: int = 0) -> torch.device:
    """The device of this process: `name` (cpu, cuda), or a GPU where there is one."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name != "cuda":
        raise UsageError(f"--device {name}: expected cpu or cuda")
    if not torch.cuda.is_available():
        raise TsgcError("--device cuda: torch finds no GPU here; leave the option out, or give --device cpu")
    if local_rank >= torch.cuda.device_count():
        raise TsgcError(
            f"process {local_rank} has no GPU: {torch.cuda.device_count()} found; start fewer processes"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def join_ranks(device: str | None) -> Iterator[Process]:
    """This process among its ranks, from torchrun's environment; a world of one without it.
    Raises LostRankError where an exchange between ranks fails, as it does when another one has stopped.
    """
    if not started_by_torchrun():
        yield Process(0, 1, pick_device(device))
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    chosen = pick_device(device, local_rank)
    on_gpu = chosen.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(chosen)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        store = agents_store(TIMEOUT)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=fresh_store(store, rank, world, MEETING) if store else None,
            rank=rank,
            world_size=world,
            timeout=TIMEOUT,
            device_id=chosen if on_gpu else None,
        )
        process = Process(dist.get_rank(), dist.get_world_size(), chosen)
        yield replace(process, launchers=tuple(process.gather(launcher_name())))
    except Exception as error:
        # The launcher ends a rank when it misses another one: that must not hide why this one failed.
        is_ending(signal.SIGTERM, time.monotonic())
        if not (isinstance(error, RuntimeError) and is_lost(error)):
            raise
        said = str(error).splitlines()[0]
        said = (said.partition("] ")[2] or said).partition(". ")[0]  # gloo's own file and line, and advice
        raise LostRankError(
            f"process {rank} of {world}: lost another one ({said}), which says"
            " why unless it was killed; training goes on from the last checkpoint with --resume"
        ) from error
    finally:
        if dist.is_initialized():  # not where another one was lost before all had met
            dist.destroy_process_group()
            gc.collect()  # DDP is in a cycle and holds gloo's threads; an exit that meets them aborts
