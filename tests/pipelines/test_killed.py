"""`tsgc prepare` killed at any moment, or on a disk that takes no more, and on several machines."""

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made.clips import ntu_clip, write_folder
from made.waiting import group_is_gone, wait_until

from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.prepared.verify import verify_store

ROOT = Path(__file__).parents[2]
KILLS = 20
SEED = 20261123


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """800 clips, four contents under many names: enough work to be killed in."""
    folder = tmp_path_factory.mktemp("raw")
    for performer in range(1, 5):
        first, *others = (
            f"S001C001P00{performer}R00{r}A{a:03}.skeleton" for r in (1, 2) for a in range(1, 101)
        )
        write_folder(folder, {first: ntu_clip(performer, frames=30, bodies=1 + performer % 2)})
        for name in others:
            (folder / name).hardlink_to(folder / first)
    return folder


def start(raw: Path, out: Path, jobs: int = 2, **options) -> subprocess.Popen:
    """The command, in a process group of its own."""
    command = [
        sys.executable,
        "-m",
        "tsgc",
        "prepare",
        "ntu120",
        "--raw",
        raw,
        "--out",
        out,
        "--jobs",
        str(jobs),
    ]
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    return subprocess.Popen([*map(str, command), "--overwrite"], cwd=ROOT, **options)


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory) -> tuple[bytes, float]:
    """The bytes that an undisturbed run writes, and its seconds."""
    out, began = tmp_path_factory.mktemp("whole") / "made.h5", time.monotonic()
    process = start(raw, out)
    assert process.wait() == 0, process.stderr.read()
    assert verify_store(out) == []
    return out.read_bytes(), time.monotonic() - began


@pytest.mark.slow
def test_killed_at_any_moment_nothing_but_a_whole_file_has_the_name(raw, whole, tmp_path):
    expected, seconds = whole
    seconds = min(seconds, 3.0)  # a busy machine need not make the test long
    moments = random.Random(SEED)
    out = tmp_path / "made.h5"
    interrupted = 0
    for kill in range(KILLS):
        process = start(raw, out)
        if kill % 2:  # start-up takes a good part of the time: aim behind it too
            wait_until(lambda of=process: of.poll() is not None or list(tmp_path.glob(".*.partial")))
        time.sleep(moments.uniform(0, seconds / (1 + kill % 2)))
        process.kill()
        cut = process.wait() == -signal.SIGKILL
        interrupted += cut
        seconds *= 1 if cut else 0.7  # the undisturbed run was made while the machine was busier
        wait_until(lambda group=process.pid: group_is_gone(group))  # workers do not outlive the command
        left = [path.name for path in tmp_path.iterdir() if path.suffix == ".partial"]
        # One of the HDF5 and one of the report: each is swept when the next run comes to write it.
        reports = [name for name in left if ".report.json." in name]
        assert len(reports) <= 1 and len(left) - len(reports) <= 1, f"not swept: {left}"
        if out.exists():
            assert out.read_bytes() == expected
            out.unlink()
    assert interrupted >= KILLS // 2
    process = start(raw, out)
    assert process.wait() == 0, process.stderr.read()
    assert out.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.h5", "made.report.json"]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_disk_that_takes_no_more_ends_in_one_line_and_leaves_nothing(raw, tmp_path, jobs):
    def allow_a_megabyte() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error instead of an end
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    out = tmp_path / "made.h5"
    _, said = (process := start(raw, out, jobs, preexec_fn=allow_a_megabyte)).communicate()
    assert process.returncode == 1
    assert said.decode().splitlines()[-1] == f"error: {out}: cannot be written: File too large"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def cluster():
    """Three Dask worker processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes(cluster, raw, whole, tmp_path):
    report = prepare_dataset(
        "ntu120", [raw], tmp_path / "made.h5", data_root=tmp_path, dask=cluster.scheduler_address
    )
    assert report.kept == 800
    assert (tmp_path / "made.h5").read_bytes() == whole[0]


@pytest.mark.slow
def test_a_bad_clip_on_a_cluster_is_told_as_anywhere(cluster, tmp_path):
    raw = write_folder(tmp_path / "raw", {"S001C001P001R001A001.skeleton": b"?\n"})
    with pytest.raises(TsgcError, match=r"line 1: '\?', expected the number of frames"):
        prepare_dataset("ntu60", [raw], tmp_path / "a.h5", data_root=tmp_path, dask=cluster.scheduler_address)


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_told(raw, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("pipelines.workers.run_tasks.PATIENCE", 1)
    with pytest.raises(TsgcError, match=r"^tcp://127.0.0.1:9: no Dask scheduler answers there"):
        prepare_dataset("ntu120", [raw], tmp_path / "a.h5", data_root=tmp_path, dask="tcp://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_address_is_told(raw, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(
        TsgcError, match=r"^nowhere: no address of a Dask scheduler; expected one such as tcp://"
    ):
        prepare_dataset("ntu120", [raw], tmp_path / "a.h5", data_root=tmp_path, dask="nowhere")


def test_a_scheduler_without_workers_is_told(raw, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("pipelines.workers.run_tasks.PATIENCE", 60)  # the scheduler itself does answer
    wait = distributed.Client.wait_for_workers
    monkeypatch.setattr(distributed.Client, "wait_for_workers", lambda *words, timeout: wait(*words, 0.5))
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty,
        pytest.raises(TsgcError, match="no Dask worker; start some with `dask worker tcp://"),
    ):
        prepare_dataset("ntu120", [raw], tmp_path / "a.h5", data_root=tmp_path, dask=empty.scheduler_address)


def test_without_dask_the_option_says_what_to_install(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(TsgcError, match=r"--dask needs Dask; install it with `pip install 'tsgc\[dask\]'`"):
        prepare_dataset("ntu120", [raw], tmp_path / "a.h5", data_root=tmp_path, dask="tcp://127.0.0.1:9")
