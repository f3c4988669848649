"""Tasks spread over processes, here or on a Dask cluster: results in order, memory bounded."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import joblib

from pipelines.errors import TsgcError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

WAVE_TASKS = 16  # tasks for each worker in a wave; with fewer, workers wait for the slowest more often
WORTH_TASKS = 25  # tasks for a worker at least; with fewer, its start takes longer than it saves
MOST = 64  # workers; one process writes what they read, and ten keep it busy (benchmarks/prepare.py cores)
EXIT_CODES = re.compile(r"exit codes of the workers are \{([^}]*)\}")
IDLE = 10  # seconds after which a worker without work ends
ADDRESS = re.compile(r"(\w+://)?[^/\s]+:\d+")
PATIENCE = 10  # seconds for the scheduler to answer, and for its first worker


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int | None, dask: str | None = None
) -> Generator[Result, None, None]:
    """What `function` gives of each task, in the order of the tasks. Close it where you stop before its end.

    `jobs`: worker processes at most (default: one a core; 1, or few tasks: this process); `dask`: the
    address of a Dask scheduler whose workers to use instead. Raises what `function` raises, and TsgcError: a
    worker died, or no cluster answers.
    """
    jobs = min(jobs or joblib.cpu_count(), MOST, len(tasks) // WORTH_TASKS)
    if dask is None and jobs <= 1:
        yield from map(function, tasks)
    else:
        yield from _run_in_waves(function, tasks, jobs, dask)


def _run_in_waves(
    function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int, dask: str | None
) -> Iterator[Result]:
    """The results from joblib's processes, or from those of a Dask cluster.

    Work goes out in waves, each awaited whole; while the caller handles one wave's results, the next is
    worked on. So no more than two waves' results are in memory.
    """
    with _workers(jobs, dask) as pool, ThreadPoolExecutor(1) as ahead:
        size = WAVE_TASKS * pool.n_jobs
        handled: Future[list[Result]] | None = None
        for start in range(0, len(tasks), size):
            following = ahead.submit(_run_wave, pool, function, tasks[start : start + size])
            if handled:
                yield from handled.result()
            handled = following
        if handled:
            yield from handled.result()


def _run_wave(
    pool: joblib.Parallel, function: Callable[[Task], Result], tasks: Sequence[Task]
) -> list[Result]:
    with dead_workers_named():
        return list(pool(joblib.delayed(function)(task) for task in tasks))


@contextmanager
def dead_workers_named() -> Iterator[None]:
    """A worker process that dies within the block is a TsgcError, which names its exit code or signal."""
    try:
        yield
    except BrokenExecutor as error:
        codes = EXIT_CODES.search(str(error))
        how = codes[1] if codes else str(error).splitlines()[0]
        raise TsgcError(
            f"a worker process died ({how}); if memory was short, run again with fewer --jobs"
        ) from error


# A wave is bounded already: all of it goes out together, in the tasks it came in.
WHOLE_WAVE: dict[str, Any] = {"batch_size": 1, "pre_dispatch": "all", "max_nbytes": None}


@contextmanager
def _workers(jobs: int, dask: str | None) -> Iterator[joblib.Parallel]:
    if dask is None:
        with local_workers(jobs, **WHOLE_WAVE) as pool:
            yield pool
        return
    with _connect(dask) as client:
        with joblib.parallel_config("dask", client=client):
            pool = joblib.Parallel(n_jobs=sum(client.ncores().values()), **WHOLE_WAVE)
        with pool:
            yield pool


def local_workers(jobs: int, **options: Any) -> joblib.Parallel:
    """joblib's processes on this machine, with its `options`; they end with this process, however it ends."""
    return joblib.Parallel(
        n_jobs=jobs,
        initializer=_follow_parent,
        initargs=(os.getpid(),),
        idle_worker_timeout=IDLE,
        **options,
    )


def _follow_parent(parent: int) -> None:
    """Lets this worker end soon after its parent, even one that was killed; it would wait for minutes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which says so once

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _connect(address: str) -> Any:
    """A client of the scheduler, which has a worker."""
    try:
        from distributed import Client
    except ImportError as error:
        raise TsgcError("--dask needs Dask; install it with `pip install 'tsgc[dask]'`") from error
    if not ADDRESS.fullmatch(address):  # Dask would say so in a traceback, twenty seconds later
        raise UsageError(f"{address}: no address of a Dask scheduler; expected one such as tcp://host:8786")
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise TsgcError(
            f"{address}: no Dask scheduler answers there ({error}); start one with `dask scheduler`"
        ) from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        client.close()
        raise TsgcError(f"{address}: no Dask worker; start some with `dask worker {address}`") from error
    return client
