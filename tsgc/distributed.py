"""Processes of one training: who this one is, and how N of them are started."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from pipelines.errors import TsgcError, UsageError

TIMEOUT = timedelta(minutes=30)  # a rank that waits longer for the others gives up


@dataclass(frozen=True)
class Process:
    """This process among the `world` that train together; rank 0 is the one that writes and talks."""

    rank: int
    world: int
    device: torch.device

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


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


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
def join(device: str | None) -> Iterator[Process]:
    """This process's place, from torchrun's environment; alone without it."""
    if not started_by_torchrun():
        yield Process(0, 1, pick_device(device))
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    place = pick_device(device, local_rank)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    on_gpu = place.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", timeout=TIMEOUT, device_id=place if on_gpu else None
    )
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()


def launch(processes: int, arguments: Sequence[str], device: str | None) -> None:
    """Run `python -m tsgc ARGUMENTS` as `processes` ranks under torchrun's elastic launcher.

    Raises TsgcError with the first failed rank's own words.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    if pick_device(device).type == "cuda" and processes > torch.cuda.device_count():
        raise TsgcError(
            f"--gpus {processes}: {torch.cuda.device_count()} GPU found; give fewer, or --device cpu"
        )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    for name in ("torch.distributed.elastic", "torch.distributed.run"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the failed rank's words are passed on below
    options = ["--standalone", f"--nproc-per-node={processes}", "-m", "tsgc", *arguments]
    try:
        run(parse_args(options))
    except SignalException as signal:
        name = signal.sigval.name
        raise TsgcError(f"stopped by {name}; the ranks have saved, --resume goes on there") from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        recorded = failure.error_file_data.get("message") if failure.error_file_data else None
        if isinstance(recorded, dict):
            said = recorded["message"].removeprefix("TsgcError: ")
        else:
            said = f"stopped with exit code {failure.exitcode}; what it printed is above"
        raise TsgcError(f"process {rank} of {processes}: {said}") from None


def record_failure(error: BaseException) -> None:
    """Leave a failed rank's words where the launcher finds them."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)
