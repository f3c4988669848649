"""Forked workers give what joblib's do, in order, and end with the block whatever happens."""

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import TsgcError
from pipelines.workers import forks, workers
from pipelines.workers.fork_worker import SLOT_BYTES, pack, unpack

pytestmark = pytest.mark.skipif(not forks.AVAILABLE, reason="this system cannot fork or share memory so")


def hosts() -> list[str]:
    """Our processes that fork workers, those that ended and were never asked about included."""
    lists = [(task / "children").read_text().split() for task in Path("/proc/self/task").iterdir()]
    programs = [Path(f"/proc/{child}/cmdline").read_bytes() for one in lists for child in one]
    return [str(program) for program in programs if not program or b"fork_worker" in program]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert hosts() == []


def numbered(size: int, task: int) -> dict[str, object]:
    """A result with an array of `size` numbers, a scalar and a text."""
    return {"array": np.full(size, task, np.float32), "square": task**2, "text": f"task {task}"}


def run(function, tasks, jobs=2, load=dict) -> list:
    """All results, their arrays copied before the next is asked for."""
    with forks.forks(function, jobs, load) as forked:
        return [copied(result) for result in forked(tasks, jobs)]


def copied(result):
    return {key: np.array(value) for key, value in result.items()} if isinstance(result, dict) else result


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("tasks", [0, 1, 5, 40])
@pytest.mark.parametrize("size", [3, 5000])
def test_results_come_in_the_order_of_the_tasks(jobs, tasks, size):
    results = run(partial(numbered, size), range(tasks), jobs)
    assert [int(result["square"]) for result in results] == [task**2 for task in range(tasks)]
    for task, result in enumerate(results):
        np.testing.assert_array_equal(result["array"], np.full(size, task, np.float32))


def test_joblib_gives_the_same():
    function, tasks = partial(numbered, 5000), list(range(37))
    plain = [copied(result) for result in workers.run_in_waves(function, tasks, 2)]
    for fast, slow in zip(run(function, tasks), plain, strict=True):
        assert fast.keys() == slow.keys()
        for key in fast:
            np.testing.assert_array_equal(fast[key], slow[key])


@pytest.mark.parametrize("size", [10, 2000, SLOT_BYTES // 8, SLOT_BYTES // 8 + 1])
def test_what_is_packed_comes_back_from_the_slot_or_the_message(size):
    result = [numbered(size, task) for task in range(2)]
    slot = memoryview(bytearray(SLOT_BYTES))
    message = pack(result, slot)
    assert (len(message) < 4000) == (size <= SLOT_BYTES // 8)
    for one, other in zip(unpack(message, slot), result, strict=True):
        np.testing.assert_array_equal(one["array"], other["array"])


def test_results_larger_than_a_slot_come_too():
    results = run(partial(numbered, SLOT_BYTES), range(5))
    assert [result["array"].size for result in results] == [SLOT_BYTES] * 5


def total(array: np.ndarray) -> int:
    return int(array.sum())


def test_tasks_larger_than_what_the_system_holds_for_a_reader_do_not_block():
    tasks = [np.full(3_000_000, task, np.uint8) for task in range(9)]
    assert run(total, tasks) == [3_000_000 * task for task in range(9)]


def note(path: Path) -> None:
    with path.open("a") as file:
        file.write("loaded\n")


def test_what_is_to_be_loaded_is_loaded_once(tmp_path):
    run(partial(numbered, 1), range(20), 3, partial(note, tmp_path / "notes"))
    assert (tmp_path / "notes").read_text() == "loaded\n"


def fail_at(wrong: int, error: Exception, task: int) -> int:
    if task == wrong:
        raise error
    return task


@pytest.mark.parametrize("error", [TsgcError("clip 7: bad"), ValueError("of any kind"), OSError(5, "disk")])
def test_what_the_function_raises_is_raised_here_after_the_results_before_it(error):
    done = []
    with pytest.raises(type(error)) as raised, forks.forks(partial(fail_at, 7, error), 2, dict) as forked:
        done.extend(forked(range(20), 2))
    assert str(raised.value) == str(error)
    assert done == list(range(7))
    assert "in fail_at" in raised.value.__notes__[0]


def die_at(wrong: int, task: int) -> int:
    if task == wrong:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def die_with_all(wrong: int, task: int) -> int:
    if task == wrong:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def leave_at(wrong: int, task: int) -> int:
    if task == wrong:
        raise SystemExit(0)
    return task


@pytest.mark.parametrize(
    ("function", "how"), [(die_at, "SIGKILL"), (die_with_all, "SIGKILL"), (leave_at, "status 1")]
)
def test_a_worker_that_is_killed_is_told(function, how):
    message = rf"^a worker process died \({how}\); if memory was short, run again with fewer --jobs$"
    with pytest.raises(TsgcError, match=message):
        run(partial(function, 5), range(30))


def leave() -> None:
    raise SystemExit(3)


def test_a_host_that_cannot_load_is_told():
    with pytest.raises(TsgcError, match=r"^a worker process died \(status 3\)"):
        run(total, [np.zeros(1)] * 9, load=leave)


def test_a_caller_that_stops_early_leaves_nothing_behind():
    with forks.forks(partial(numbered, 5000), 3, dict) as forked:
        for result in forked(range(1000), 3):
            if result["square"] == 25:
                break


def test_workers_that_turn_out_not_to_be_needed_are_no_trouble():
    with workers.workers(partial(numbered, 1), 4) as few:
        assert [result["square"] for result in few(range(3))] == [0, 1, 4]
    with pytest.raises(ZeroDivisionError), workers.workers(partial(numbered, 1), 4):
        raise ZeroDivisionError


def test_where_no_memory_can_be_shared_joblib_does_the_work(monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(27, "File too large")

    monkeypatch.setattr("os.ftruncate", refuse)
    with workers.workers(partial(numbered, 1), 2) as plain:
        assert [result["square"] for result in plain(range(20))] == [task**2 for task in range(20)]
