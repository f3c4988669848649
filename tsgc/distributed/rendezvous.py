"""The meeting of the ranks of one start, apart from those of earlier starts.

torchrun keeps one store of keys over all restarts of its ranks. A restarted rank may read there the
addresses of a lost rank, and wait for it until the timeout (seen with torch 2.14, and reported as pytorch
issue 135712). So the ranks of one start first agree on a list of numbers, one freshly drawn by each rank, and
then meet in a part of the store that is named after this list.
"""

import hashlib
import os
import secrets
import time
from datetime import timedelta

import torch.distributed as dist

from pipelines.errors import TsgcError

PAUSE = 0.05  # seconds between two looks into the store
ROOT = "tsgc/"


def agents_store(timeout: timedelta) -> dist.Store | None:
    """The store of the torchrun that started this process; None where it keeps none over restarts."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timeout)


def fresh_store(store: dist.Store, rank: int, world: int, timeout: timedelta) -> dist.Store:
    """A part of `store` for these `world` ranks, unknown to ranks of earlier starts.

    Every rank writes a number, and rank 0 lists them until all ranks have confirmed the same list. A list
    with the number of an earlier rank is never confirmed. Raises TsgcError after `timeout`.
    """
    own = secrets.token_hex(8)
    store.set(f"{ROOT}hello/{rank}", own)
    until = time.monotonic() + timeout.total_seconds()
    while True:
        if rank == 0 and (listed := _hellos(store, world)) and _read(store, "list") != listed:
            store.set(f"{ROOT}list", listed)
        if (listed := _read(store, "list")) and listed.split(",")[rank : rank + 1] == [own]:
            name = hashlib.sha256(listed.encode()).hexdigest()[:16]
            store.set(f"{ROOT}{name}/seen/{rank}", "")
            if store.check([f"{ROOT}{name}/seen/{other}" for other in range(world)]):
                return dist.PrefixStore(f"{ROOT}{name}", store)
        if time.monotonic() > until:
            raise TsgcError(
                f"rank {rank} of {world}: the others did not come within {timeout}; are all machines up,"
                " and started with the same rendezvous?"
            )
        time.sleep(PAUSE)


def _hellos(store: dist.Store, world: int) -> str:
    """The numbers that ranks have written so far; empty while one is missing."""
    found = [_read(store, f"hello/{rank}") for rank in range(world)]
    return ",".join(found) if all(found) else ""


def _read(store: dist.Store, key: str) -> str:
    """A key's text; empty where there is none, as `get` would wait for it."""
    return store.get(ROOT + key).decode() if store.check([ROOT + key]) else ""
