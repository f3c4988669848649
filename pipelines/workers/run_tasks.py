"""Tasks spread over processes, here or on a Dask cluster: results in order, memory bounded."""

import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from queue import SimpleQueue
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import joblib
from joblib.externals.loky.backend import resource_tracker as loky_tracker

from pipelines.errors import TsgcError, UsageError
from pipelines.files import unfinished
from pipelines.interrupts import shielded

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
    with _workers(jobs, dask) as pool, ThreadPoolExecutor(1) as ahead, while_needed(dask) as needed:
        size = WAVE_TASKS * pool.n_jobs
        handled: Future[list[Result]] | None = None
        for start in range(0, len(tasks), size):
            following = ahead.submit(_run_wave, pool, needed(function), tasks[start : start + size])
            if handled:
                yield from handled.result()
            handled = following
        if handled:
            yield from handled.result()


def _run_wave(
    pool: joblib.Parallel, function: Callable[[Task], Result], tasks: Sequence[Task]
) -> list[Result]:
    with dead_workers_named(), shielded():
        return list(pool(joblib.delayed(function)(task) for task in tasks))


def run_as_they_come(
    function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Generator[Result, None, None]:
    """What `function` gives of each task, in order, each as soon as it is there: all may wait in memory.

    `jobs`: worker processes; 1: this process. Raises as `run_tasks` does, and is closed as that is.
    """
    if jobs <= 1:
        yield from map(function, tasks)
        return
    come: SimpleQueue[Result | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as beside, while_needed() as needed:

        def work() -> None:
            with dead_workers_named(), shielded():
                pool = local_workers(jobs, return_as="generator")
                for result in pool(joblib.delayed(needed(function))(task) for task in tasks):
                    come.put(result)

        all_done = beside.submit(work)
        all_done.add_done_callback(lambda _: come.put(None))
        while (result := come.get()) is not None:
            yield result
        all_done.result()


@contextmanager
def while_needed(dask: str | None = None) -> Iterator[Callable[[Callable[[Task], Result]], Callable]]:
    """A block whose end, however it comes, lets workers of this machine pass over the tasks that are left.

    Gives a function that makes another one so. Killing workers in the midst of it would be quicker, but may
    leave the queues to them locked, and this process waiting.
    """
    if dask is not None:
        yield lambda function: function
        return
    with NamedTemporaryFile(prefix="tsgc-") as mark, unfinished(Path(mark.name)):
        yield lambda function: partial(_while_there, mark.name, function)


def _while_there(mark: str, function: Callable[[Task], Result], task: Task) -> Result | None:
    return function(task) if os.path.exists(mark) else None  # noqa: PTH110, called for each task


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
    """joblib's processes on this machine, with its `options`; they end with this process, however it ends.

    Call it `shielded`, so that Ctrl-C ends the parent alone, which says so once.
    """
    for tracker in (resource_tracker, loky_tracker):  # launched later, they would undo the shield
        with shielded():
            tracker.ensure_running()
    return joblib.Parallel(
        n_jobs=jobs,
        initializer=_follow_parent,
        initargs=(os.getpid(),),
        idle_worker_timeout=IDLE,
        **options,
    )


def _follow_parent(parent: int) -> None:
    """Lets this worker end soon after its parent, even one that was killed; it would wait for minutes."""

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
