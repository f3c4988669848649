"""Workers give what one process gives, in order, and end whatever happens."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made.waiting import group_is_gone, wait_until

from pipelines.errors import TsgcError
from pipelines.workers import run_tasks as module
from pipelines.workers.run_tasks import run_tasks


@pytest.fixture(autouse=True)
def few_are_worth_workers(monkeypatch):
    monkeypatch.setattr(module, "WORTH_TASKS", 1)
    monkeypatch.setattr(module, "WAVE_TASKS", 3)


def numbered(size: int, task: int) -> dict:
    """A result that says which task it is of, and by whom."""
    return {"square": task**2, "array": np.full(size, task, np.float32), "by": os.getpid()}


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("tasks", [0, 1, 5, 40])
def test_results_come_in_the_order_of_the_tasks(jobs, tasks):
    results = list(run_tasks(partial(numbered, 5000), range(tasks), jobs))
    assert [result["square"] for result in results] == [task**2 for task in range(tasks)]
    for task, result in enumerate(results):
        np.testing.assert_array_equal(result["array"], np.full(5000, task, np.float32))
    assert (os.getpid() in {result["by"] for result in results}) == (tasks > 0 and min(jobs, tasks) == 1)


def test_few_tasks_are_done_here(monkeypatch):
    monkeypatch.setattr(module, "WORTH_TASKS", 10)
    assert {one["by"] for one in run_tasks(partial(numbered, 1), range(19), 8)} == {os.getpid()}
    assert os.getpid() not in {one["by"] for one in run_tasks(partial(numbered, 1), range(20), 8)}


def total(array: np.ndarray) -> int:
    return int(array.sum())


def test_large_tasks_and_results_come_whole():
    tasks = [np.full(3_000_000, task, np.uint8) for task in range(9)]
    assert list(run_tasks(total, tasks, 2)) == [3_000_000 * task for task in range(9)]
    results = run_tasks(partial(numbered, 4_000_000), range(5), 2)
    assert [float(result["array"].mean()) for result in results] == [0, 1, 2, 3, 4]


def noted(folder: Path, task: int) -> int:
    (folder / str(task)).touch()
    return task


def test_no_more_than_two_waves_are_worked_on_ahead(tmp_path):
    """So memory is bounded, however slow the caller is."""
    with closing(run_tasks(partial(noted, tmp_path), range(60), 2)) as results:
        for task in results:
            time.sleep(0.01)
            wave = task // 6
            assert len(list(tmp_path.iterdir())) <= 6 * (wave + 2)


def fail_at(wrong: int, error: Exception, task: int) -> int:
    if task == wrong:
        raise error
    return task


@pytest.mark.parametrize("error", [TsgcError("clip 7: bad"), ValueError("of any kind"), OSError(5, "disk")])
def test_what_the_function_raises_is_raised_here_after_the_waves_before_it(error):
    done = []
    with (
        pytest.raises(type(error)) as raised,
        closing(run_tasks(partial(fail_at, 7, error), range(20), 2)) as it,
    ):
        done.extend(it)
    assert str(raised.value) == str(error)
    assert done == list(range(6))


def die_at(wrong: int, task: int) -> int:
    if task == wrong:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def leave_at(wrong: int, task: int) -> int:
    if task == wrong:
        os._exit(3)
    return task


@pytest.mark.parametrize(("function", "how"), [(die_at, "SIGKILL(-9)"), (leave_at, "EXIT(3)")])
def test_a_worker_that_dies_is_told(function, how):
    with pytest.raises(TsgcError) as error:
        list(run_tasks(partial(function, 5), range(30), 2))
    assert how in str(error.value).partition(";")[0]
    assert str(error.value).startswith("a worker process died (")
    assert str(error.value).endswith("); if memory was short, run again with fewer --jobs")
    assert "\n" not in str(error.value)
    assert list(run_tasks(partial(numbered, 1), range(4), 2))[3]["square"] == 9  # the next call has new ones


def workers() -> set[str]:
    """Processes of joblib's that this one has started."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread or a process that has ended since
            for child in (task / "children").read_text().split():
                if b"popen_loky" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.add(child)
    return found


def test_a_caller_that_stops_early_has_no_workers_soon(monkeypatch):
    monkeypatch.setattr(module, "IDLE", 0.5)
    with closing(run_tasks(partial(numbered, 5000), range(1000), 3)) as results:
        for result in results:
            assert result["by"] != os.getpid()
            if result["square"] == 25:
                break
    wait_until(lambda: not workers())


SLOW = """
import sys, time
from pipelines.workers import run_tasks as module
module.WORTH_TASKS = 1
print("begun", flush=True)
for done in module.run_tasks(time.sleep, [0.05] * 2000, 2):
    print("done", flush=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("to_all", [True, False])
def test_a_caller_that_is_ended_ends_its_workers(sent, to_all):
    """Ctrl-C in a terminal goes to all processes, a scheduler's signal to the first."""
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"begun\n"
    assert process.stdout.readline() == b"done\n"
    (os.killpg if to_all else os.kill)(process.pid, sent)
    _, said = process.communicate(timeout=120)
    assert process.returncode == -sent, said
    assert said.count(b"Traceback") <= (sent == signal.SIGINT), said
    wait_until(lambda: group_is_gone(process.pid))  # workers do not outlive their caller
