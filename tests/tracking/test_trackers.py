"""Trackers: what each has of a run in the end, that none is needed, and that none can stop a training."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from importlib import import_module
from types import SimpleNamespace

import pytest
from made.command import fails, lose_machine, quick, tsgc
from made.wandb_file import read_offline_run
from typer.testing import CliRunner

import cli
from pipelines.errors import TsgcError
from tsgc.tracking import mlflow, table, trackers
from tsgc.tracking.tracker import RunFacts
from tsgc.training import epoch

ONE_EPOCH = ("epochs=1", "warmup_epochs=0")
LIBRARIES = {"wandb", "mlflow", "trackio", "tensorboard"}


class Kept:
    """A tracker that keeps what it is told; `fails_at`, `waits_at`: calls that raise or wait."""

    def __init__(self, run_id="kept-1", fails_at="", waits_at=""):
        self.id, self.fails_at, self.waits_at = run_id, fails_at, waits_at
        self.calls, self.go_on = [], threading.Event()

    def __getattr__(self, name):
        if not name.startswith(("log_", "finish")):
            raise AttributeError(name)

        def call(*words):
            self.calls.append((name, *words))
            if name == self.waits_at:
                self.go_on.wait(60)
            if name == self.fails_at:
                raise ConnectionError("no route\nto host")

        return call

    @property
    def names(self):
        return [name for name, *_ in self.calls]


@pytest.fixture
def started(monkeypatch):
    """Puts a tracker in the place of each that a run starts; the calls of `start`."""
    calls = []

    def take(tracker):
        monkeypatch.setattr(trackers, "check_installed", lambda name: None)

        def start(name, facts, run_id):
            calls.append((name, facts, run_id))
            if isinstance(tracker, Exception):
                raise tracker
            return tracker

        monkeypatch.setattr(trackers, "start", start)
        return calls

    return take


def words(made, run, *more):
    return ["train", "ntu60/xsub", "--data-root", made, "--run-dir", run, *quick(*more)]


@pytest.mark.parametrize("name", table.TRACKERS)
def test_a_trackers_module_alone_loads_no_library(name):
    before = LIBRARIES & sys.modules.keys()
    assert callable(import_module(f"tsgc.tracking.{name}").start)
    assert LIBRARIES & sys.modules.keys() == before


@pytest.mark.slow
def test_no_tracker_is_loaded_that_was_not_asked_for(made, here):
    code = f"import sys, cli; cli.app(standalone_mode=False); print(sorted({LIBRARIES} & set(sys.modules)))"
    command = [sys.executable, "-c", code, *map(str, words(made, here / "run", *ONE_EPOCH)), "--log", "none"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert {path.name for path in (here / "run").iterdir()} == {
        "checkpoints", "config.yaml", "environment.json", "metrics.jsonl", "scores", "steps.jsonl",
        "trackers.json",
    }  # fmt: skip


def test_wrong_words_are_one_line(made, here, monkeypatch):
    assert "--log comet: expected tensorboard, wandb, mlflow, trackio or none" in fails(
        *words(made, here / "run"), "--log", "comet", code=2
    )
    assert "--log none excludes any other" in fails(
        *words(made, here / "run"), "--log", "none", "--log", "wandb", code=2
    )
    (here / "wandb").mkdir()  # runs of W&B's, which Python takes for a package
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr(table, "find_spec", lambda name: SimpleNamespace(origin=None))
    said = fails(*words(made, here / "run"), "--log", "wandb")
    assert said == "error: --log wandb: wandb is not installed; install it: pip install 'tsgc[wandb]'\n"
    assert not (here / "run").exists()


def test_a_run_tells_its_tracker_all_and_goes_on_with_the_same_run(made, here, monkeypatch, started):
    tracker = Kept()
    calls = started(tracker)
    monkeypatch.setitem(table.TRACKERS, "kept", table.Library("kept"))
    lose_machine(monkeypatch, 1)
    tsgc(*words(made, here / "run", "log_every=2"), "--log", "wandb", expect=1)
    monkeypatch.undo()
    assert tracker.calls[-1] == ("finish", "failed")
    assert json.loads((here / "run/trackers.json").read_bytes()) == {"wandb": "kept-1"}

    started(tracker)
    monkeypatch.setattr(trackers, "start", lambda *told: calls.append(told) or tracker)
    monkeypatch.setattr(trackers, "check_installed", lambda name: None)
    tsgc(*words(made, here / "run", "log_every=2"), "--resume")
    (_, facts, first), (name, again, second) = calls
    assert (name, first, second) == ("wandb", None, "kept-1") and (facts.epoch, again.epoch) == (0, 1)
    assert facts.project == "ntu60-xsub" and facts.name == "tiny joint seed0"
    assert facts.settings["lr"] == 1e-3 and facts.settings["preset"] == "reference"

    epochs = [told[1] for told in tracker.calls if told[0] == "log_epoch"]
    steps = [told[1] for told in tracker.calls if told[0] == "log_step"]
    assert epochs == [1, 2] and steps == [2, 4, 5, 7, 9, 10]
    figures = [json.loads(line) for line in (here / "run/metrics.jsonl").read_text().splitlines()]
    assert [{"epoch": told[1], **told[2]} for told in tracker.calls if told[0] == "log_epoch"] == figures
    (scores,) = [told[1] for told in tracker.calls if told[0] == "log_scores"]
    assert scores["test/last/top1"] >= 0 and "test/last-ema/clean_top1" in scores
    assert tracker.calls[-2:] == [("log_report", here / "run/report.html"), ("finish", "finished")]
    assert "<html" in (here / "run/report.html").read_text()


def test_a_tracker_that_fails_is_told_once_and_stops_nothing(made, here, started):
    tracker = Kept(fails_at="log_step")
    started(tracker)
    said = tsgc(*words(made, here / "run", "log_every=1"), "--log", "mlflow")
    assert said.count("mlflow: no route to host; the run goes on without it") == 1
    assert tracker.names == ["log_step", "finish"] and "run: " in said
    assert len((here / "run/steps.jsonl").read_text().splitlines()) == 10


def test_a_tracker_that_never_answers_is_left(monkeypatch):
    monkeypatch.setitem(trackers.PATIENCE, "finished", 2.0)
    slow, other, said = Kept(waits_at="log_epoch"), Kept(), []
    with trackers.Trackers({"wandb": slow, "mlflow": other}, said.append) as both:
        for epoch in range(1, 4):
            both.log_epoch(epoch, {"loss": 1.0})
    assert slow.names == ["log_epoch"] and other.names == ["log_epoch"] * 3 + ["finish"]
    assert said == ["wandb: left while busy; it lacks the last figures"]
    slow.go_on.set()


def test_a_tracker_that_cannot_start_stops_a_new_run_and_not_a_resumed_one(made, here, started, monkeypatch):
    started(RuntimeError("not logged in"))
    said = tsgc(*words(made, here / "run"), "--log", "wandb", expect=1)
    assert said.splitlines()[-1] == "error: --log wandb: not logged in"
    monkeypatch.undo()
    tsgc(*words(made, here / "run", *ONE_EPOCH), "--log", "none")
    started(RuntimeError("not logged in"))
    said = tsgc(*words(made, here / "run", *ONE_EPOCH), "--resume", "--log", "wandb")
    assert "wandb: not logged in; the run goes on without it" in said


def test_a_resumed_run_keeps_to_none(made, here):
    tsgc(*words(made, here / "run", *ONE_EPOCH), "--log", "none")
    tsgc(*words(made, here / "run", *ONE_EPOCH), "--resume")
    assert not (here / "run/tensorboard").exists()


def test_what_a_run_says_of_its_trackers_is_read_with_care(tmp_path, started):
    calls = started(Kept())
    for text in ("", "[]", '{"comet": 1, "wandb": "x"}'):
        (tmp_path / "trackers.json").write_text(text)
        facts = RunFacts(tmp_path, "ntu60/xsub", "tiny joint", 0, {})
        trackers.open_trackers(None, facts, print, resume=True).finish("finished")
    assert [(name, run) for name, _, run in calls] == [
        ("tensorboard", None), ("tensorboard", None), ("wandb", "x"),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """A folder for what the trackers keep; some read where it is once a process, when they are imported."""
    return tmp_path_factory.mktemp("trackers")


@pytest.fixture
def offline(stores, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_SILENT", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    places = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DATA_DIR": stores / "data",
        "WANDB_CACHE_DIR": stores / "cache",
        "WANDB_CONFIG_DIR": stores / "config",
        "MLFLOW_TRACKING_URI": f"sqlite:///{stores}/mlflow.db",
        "TRACKIO_DIR": stores / "trackio",
    }
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    return stores


def stop_and_resume(made, run, monkeypatch, *log):
    """A run of two epochs that is stopped within the second, and gone on with, saved less often."""
    rate = epoch.learning_rate

    def kills_itself(step, steps, config):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return rate(step, steps, config)

    with monkeypatch.context() as patch:
        patch.setattr(epoch, "learning_rate", kills_itself)
        tsgc(*words(made, run, "log_every=2"), *log, expect=75)
    again = [*words(made, run, "log_every=2", "save_every=2"), "--resume"]
    result = CliRunner().invoke(cli.app, [str(word) for word in again])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"run: {run}"  # what libraries say goes to standard error
    figures = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return figures, json.loads((run / "trackers.json").read_bytes())


@pytest.mark.slow
def test_wandb_has_a_run_for_each_of_several_side_by_side(made, here, offline):
    pytest.importorskip("wandb", reason="W&B is not installed: the extra `wandb`")
    both = ["--seeds", "0-1", "--at-once", 2, "--log", "wandb", "--runs", here / "runs"]
    tsgc("train", "ntu60/xsub", "--data-root", made, *quick(*ONE_EPOCH), *both)
    found = [read_offline_run(path) for path in (here / "runs").rglob("offline-*/*.wandb")]
    assert sorted(run.config["seed"] for run in found) == [0, 1] and len({run.id for run in found}) == 2
    assert [run.exit_code for run in found] == [0, 0]
    assert all(sum("loss" in line for line in run.history) == 1 for run in found)


@pytest.mark.slow
def test_wandb_offline(made, here, offline, monkeypatch):
    pytest.importorskip("wandb", reason="W&B is not installed: the extra `wandb`")
    figures, known = stop_and_resume(made, here / "run", monkeypatch, "--log", "wandb")
    before, after = [
        read_offline_run(path) for path in sorted((here / "run/wandb").glob("offline-*/*.wandb"))
    ]
    assert before.id == after.id == known["wandb"] and before.project == "ntu60-xsub"
    assert before.preempting and (before.exit_code, after.exit_code) == (1, 0)
    assert before.config["lr"] == 1e-3 and before.config["preset"] == "reference"
    assert (before.config["save_every"], after.config["save_every"]) == (1, 2)
    assert before.axes["loss"] == "epoch" and before.axes["step/*"] == "step/step"
    history = [*before.history, *after.history]
    assert [line["step/step"] for line in history if "step/step" in line] == [2, 4, 5, 7, 9, 10]
    for name in ("epoch", "loss", "lr", "clips_per_second"):
        kept = [line[name] for line in history if "loss" in line]
        assert kept == pytest.approx([line[name] for line in figures])
    assert after.summary["scores/test/last/top1"] == 0
    assert after.artefacts == [f"report/report-{after.id}/report.html"]


@pytest.mark.slow
def test_mlflow_and_trackio_together(made, here, offline, monkeypatch):
    library = pytest.importorskip("mlflow", reason="MLflow is not installed: the extra `mlflow`")
    pytest.importorskip("trackio", reason="Trackio is not installed: the extra `trackio`")
    log = ("--log", "mlflow", "--log", "trackio", "--log", "tensorboard")
    figures, known = stop_and_resume(made, here / "run", monkeypatch, *log)

    client = library.MlflowClient()
    (experiment,) = [each for each in client.search_experiments() if each.name == "ntu60-xsub"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == known["mlflow"] and run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.001" and run.data.params["benchmark"] == "ntu60/xsub"
    assert run.data.params["save_every"] == "1"  # MLflow lets no parameter change
    assert {k: v for k, v in run.data.tags.items() if "resumed" in k} == {"resumed/save_every": "2"}
    for name in ("loss", "lr"):
        history = client.get_metric_history(known["mlflow"], name)
        assert [(each.step, each.value) for each in history] == [
            (line["epoch"], line[name]) for line in figures
        ]
    steps = client.get_metric_history(known["mlflow"], "step/loss")
    assert [each.step for each in steps] == [2, 4, 5, 7, 9, 10]
    assert "scores/test/last-ema/top1" in run.data.metrics
    assert [each.path for each in client.list_artifacts(known["mlflow"])] == ["report.html"]

    storage = import_module("trackio.sqlite_storage").SQLiteStorage
    assert storage.get_runs("ntu60-xsub") == [known["trackio"]]
    lines = storage.get_logs("ntu60-xsub", known["trackio"])
    assert [(line["step"], line["loss"]) for line in lines if "loss" in line] == [
        (line["epoch"], line["loss"]) for line in figures
    ]
    assert [line["step"] for line in lines if "step/loss" in line] == [2, 4, 5, 7, 9, 10]
    assert "scores/test/last/top1" in lines[-1]
    assert storage.get_run_config("ntu60-xsub", known["trackio"])["lr"] == 1e-3
    with sqlite3.connect(offline / "trackio/ntu60-xsub.db") as database:
        artefacts = database.execute("SELECT type, size_bytes FROM artifacts NATURAL JOIN artifact_versions")
        assert artefacts.fetchall()[0][0] == "report"
    assert len(list((here / "run/tensorboard").iterdir())) == 2


def test_a_server_that_is_not_there_is_given_up_soon(monkeypatch):
    monkeypatch.delenv(mlflow.RETRIES, raising=False)
    for own in (None, "9"):
        if own:
            monkeypatch.setenv(mlflow.RETRIES, own)
        with pytest.raises(ConnectionError), mlflow._few_retries():
            assert os.environ[mlflow.RETRIES] == (own or "2")
            raise ConnectionError
        assert os.environ.get(mlflow.RETRIES) == own


def test_an_unknown_tracker_is_no_module(here):
    with pytest.raises(TsgcError, match="expected tensorboard"):
        table.tracker_names(["wandb.sdk"])
