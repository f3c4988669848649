"""Ranks that each train runs of their own: no process group, as layers would exchange sums over it.

They exchange words, through a store, and may wait for each other for as long as one of them trains.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
import torch.distributed as dist

from tsgc.distributed.process import (
    MEETING,
    LostRankError,
    Process,
    launcher_name,
    pick_device,
    started_by_torchrun,
)
from tsgc.distributed.rendezvous import agents_store, fresh_store

PAUSE = 0.2  # seconds between two looks for the others' words
GOODBYE = 30.0  # seconds that rank 0, which may hold the store, waits for the others to have read it


def never() -> bool:
    """What is asked where nobody stops the waiting."""
    return False


@dataclass(frozen=True)
class Apart:
    """This rank of `world` that share a list of runs."""

    rank: int
    world: int
    device: torch.device
    store: dist.Store | None = None
    """None: there is one rank."""

    @property
    def title(self) -> str:
        """What this rank is called among several; empty for one."""
        return f"process {self.rank} of {self.world}" if self.world > 1 else ""

    def exchange(self, about: str, word: str, stop: Callable[[], bool] = never) -> list[str] | None:
        """Every rank's word, by rank; None: `stop` said so before all were there.

        Waits for as long as it takes; signals are heard meanwhile. A word is given once for each `about`.
        """
        if self.store is None:
            return [word]
        keys = [f"{about}/{rank}" for rank in range(self.world)]
        try:
            self.store.set(keys[self.rank], word)
            while not self.store.check(keys):
                if stop():
                    return None
                time.sleep(PAUSE)
            return [self.store.get(key).decode() for key in keys]
        except dist.DistError as error:
            raise LostRankError(
                f"{self.title}: lost the one that keeps the list of runs, which says"
                " why unless it was killed; --resume goes on"
            ) from error

    def leave(self) -> None:
        """Say that this rank needs the store no more; rank 0, which may keep it, waits for the others."""
        if self.store is None:
            return
        if self.rank == 0:
            until = time.monotonic() + GOODBYE
            self.exchange("end", "", lambda: time.monotonic() > until)
        else:
            with suppress(dist.DistError):  # rank 0 has not waited for so long
                self.store.set(f"end/{self.rank}", "")

    def alone(self) -> Process:
        """This process as the only one of a run."""
        launchers = self.exchange("launcher", launcher_name())
        return Process(0, 1, self.device, tuple(launchers or ()) if started_by_torchrun() else ())


@contextmanager
def join_apart(device: str | None) -> Iterator[Apart]:
    """This process among its ranks, from torchrun's environment, each for itself; one of one without it."""
    if not started_by_torchrun():
        yield Apart(0, 1, pick_device(device))
        return
    chosen = pick_device(device, int(os.environ["LOCAL_RANK"]))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    apart = Apart(rank, world, chosen, _open_store(rank, world) if world > 1 else None)
    yield apart
    apart.leave()


def _open_store(rank: int, world: int) -> dist.Store:
    """A store that all ranks of this start share: torchrun's, or one that rank 0 keeps."""
    if shared := agents_store(MEETING):
        return fresh_store(shared, rank, world, MEETING)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(host, port, world, is_master=rank == 0, timeout=MEETING, wait_for_workers=False)
