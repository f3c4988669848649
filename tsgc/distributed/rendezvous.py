"""Where the ranks of one start meet, apart from those of every start before.

torchrun keeps one store of keys for all the times that it starts its ranks. A rank that is started again
may read there the addresses that a lost rank left, and wait for them until the time is up (seen with
torch 2.14, and reported as pytorch issue 135712). So the ranks of one start first agree on who they are, by
numbers drawn anew, and then meet under a name made of those.
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
    """A part of `store` that these `world` ranks alone know, and no rank of an earlier start.

    Every rank writes a number of its own, and rank 0 lists them until all ranks have confirmed the same
    list: one that still names a rank of an earlier start is never confirmed. Raises TsgcError after
    `timeout`.
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
    """Every rank's number, as they stand now; empty where one is missing."""
    found = [_read(store, f"hello/{rank}") for rank in range(world)]
    return ",".join(found) if all(found) else ""


def _read(store: dist.Store, key: str) -> str:
    """A key's text; empty where it is not there, as `get` would wait for it."""
    return store.get(ROOT + key).decode() if store.check([ROOT + key]) else ""
