"""Runs that go on with other settings: what may change, what is said of it, what the steps then do."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from made.command import fails, lose_machine, quick, tsgc

from pipelines.errors import TsgcError
from tsgc.config import FIELDS, TrainConfig, read_run_config
from tsgc.step.optimizer import learning_rate
from tsgc.training.changes import FREE, FROM_HERE, changes_said, check_changes

DOCS = Path(__file__).parents[2] / "docs/training.md"
OTHER = {  # a value of each setting that may not change, beside those of `quick`
    "variant": "small", "modality": "bone", "layer_scale": 0.1, "drop_path": 0.1, "seed": 5, "repeats": 2,
    "batch": 4, "last_batch": "spread", "shuffle_window": 3, "relabel": {"clap": {"a": 1}}, "holdout": True,
    "frames": 32, "bodies": 1, "sampling": "frames", "crop_min": 0.7, "crop_min_frames": 4, "mixup": 0.1,
    "precision": "bf16", "label_smoothing": 0.2, "weight_decay": 0.1, "ema_decay": 0.9, "mirror": 0.5,
    "optimiser": "sgd", "decay_biases": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def words(made):
    return ["train", "ntu60/xsub", "--data-root", made, *quick("log_every=1")]


@pytest.fixture(scope="module")
def over(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("over") / "run"
    tsgc(*words, "--run-dir", folder)
    return folder


@pytest.fixture
def finished(here, over):
    """A run of two epochs that is over."""
    return shutil.copytree(over, here / "run")


def resumed(made, run, *settings):
    """The words that go on with a run; what is not said is as the run has it."""
    set_ = [word for setting in settings for word in ("--set", setting)]
    return ["train", "ntu60/xsub", "--data-root", made, "--run-dir", run, "--resume", *set_]


def rates(run):
    return [json.loads(line)["lr"] for line in (run / "steps.jsonl").read_text().splitlines()]


def test_a_finished_run_is_extended_along_the_schedule_of_its_new_length(finished, made):
    before = (finished / "config.yaml").stat().st_mtime_ns
    said = tsgc(*resumed(made, finished, "epochs=4")).replace("\n", " ")
    steps = len(rates(finished)) // 4
    config = read_run_config(finished / "config.yaml")
    assert config == dataclasses.replace(config, epochs=4, variant="tiny", batch=8)
    assert (finished / "config.yaml").stat().st_mtime_ns == before  # when it was started
    expected = [
        learning_rate(step, steps, dataclasses.replace(config, epochs=2)) for step in range(2 * steps)
    ]
    expected += [learning_rate(step, steps, config) for step in range(2 * steps, 4 * steps)]
    assert rates(finished) == pytest.approx(expected, rel=1e-12)
    line = "changed: epochs 2 -> 4; from here on the learning rate is that of a run of 4 epochs:"
    now, last = f"{expected[2 * steps]:.2g} now", f"({expected[2 * steps - 1]:.2g} before), 1e-06 at the end"
    assert f"after epoch 2 of 4 {line} {now} {last}" in said
    (change,) = json.loads((finished / "environment.json").read_text())["changes"]
    assert (change["epoch"], change["step"]) == (2, 0) and change["said"].startswith(line)
    epochs = [json.loads(line)["epoch"] for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3, 4]
    said = tsgc(*resumed(made, finished))
    assert "after epoch 4 of 4; --set epochs=N trains on" in said.replace("\n", " ") and "changed" not in said


@pytest.mark.slow
def test_an_extended_run_that_is_cut_off_ends_as_an_extended_one_that_is_not(here, made, over, monkeypatch):
    for run in ("whole", "cut"):
        shutil.copytree(over, here / run)
    tsgc(*resumed(made, here / "whole", "epochs=5", "lr=2e-3"))
    lose_machine(monkeypatch, 3)
    tsgc(*resumed(made, here / "cut", "epochs=5", "lr=2e-3"), expect=1)
    monkeypatch.undo()
    said = tsgc(*resumed(made, here / "cut"))  # all that was changed stays so
    assert "after epoch 3 of 5" in said and "changed" not in said
    for name in ("last", "last-ema"):
        one, two = ((here / run / f"checkpoints/{name}.safetensors").read_bytes() for run in ("whole", "cut"))
        assert one == two


def test_a_run_may_end_sooner_but_not_before_where_it_is(here, made, words, monkeypatch):
    lose_machine(monkeypatch, 2)
    tsgc(*words, "--set", "epochs=9", "--run-dir", here / "run", expect=1)
    monkeypatch.undo()
    said = fails(*resumed(made, here / "run", "epochs=1"))
    assert "epochs is 1, and 2 have begun; expected 2 or more" in said
    assert "test" in tsgc(*resumed(made, here / "run", "epochs=2"))  # nothing to train: it is scored
    assert yaml.safe_load((here / "run/config.yaml").read_text())["epochs"] == 2
    assert (here / "run/scores/last.npz").is_file()


def test_what_is_not_given_stays_as_the_run_has_it(finished, made):
    """Even where the recipe has another value; what is given is compared, and named where it differs."""
    said = fails(*resumed(made, finished, "batch=4", "epochs=3"))
    assert "state.pt: started with batch=8 (now 4), which cannot change in a run" in said
    said = fails(*resumed(made, finished, "batch=8"), "--recipe", "reference")
    assert "started with variant=tiny (now 252)" in said  # a recipe that is named counts as given
    assert read_run_config(finished / "config.yaml").epochs == 2


@pytest.mark.parametrize("name", OTHER)
def test_what_a_run_is_made_of_may_not_change(name, tmp_path):
    started = TrainConfig(variant="tiny", frames=64, precision="float32", bodies=2)
    now = dataclasses.replace(started, **{name: OTHER[name]})
    with pytest.raises(TsgcError, match=f"started with {name}=.*, which cannot change in a run; resume with"):
        check_changes(started, now, 3, tmp_path / "state.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("micro_batch", 4), ("eval_batch", 4), ("eval_every", 1), ("save_every", 3), ("keep_last", 2),
        ("keep_every", 2), ("log_every", 1), ("compile", True), ("graphs", False), ("teachers", ("a",)),
    ],
)  # fmt: skip
def test_how_a_run_is_watched_and_fitted_to_its_machine_may_change_and_nothing_is_said(name, value, tmp_path):
    started = TrainConfig()
    now = dataclasses.replace(started, **{name: value})
    check_changes(started, now, 3, tmp_path)
    assert name in FREE and changes_said(started, now, 30, 10) == []


@pytest.mark.parametrize(
    ("settings", "position", "said"),
    [
        ({"lr": 1e-3}, 1600, r"lr 0.004 -> 0.001; .* 300 epochs: 0.0005 now \(0.002 before\), 1e-06 at"),
        ({"clip_grad": 1.0}, 30, r"changed: clip_grad None -> 1.0, from here on$"),
        (
            {"epochs": 100, "warmup_epochs": 10},
            0,
            "epochs 300 -> 100, warmup_epochs 20 -> 10; .*: 0 now, 1e-06",
        ),
        ({"epochs": 100}, 1000, "changed: epochs 300 -> 100, from here on$"),
        (
            {"schedule": "steps", "lr_steps": (200, 290)},
            2500,
            r"schedule cosine -> steps, lr_steps \(\) -> \(200, 290\); .*: 0.0004 now .* 4e-05 at the end",
        ),
    ],
)
def test_what_changes_the_steps_to_come_is_said_in_one_line(settings, position, said):
    started = TrainConfig()
    (line,) = changes_said(started, dataclasses.replace(started, **settings), position, 10)
    assert re.search(said, line)


def test_the_table_in_the_docs_has_each_setting_that_may_change():
    text = DOCS.read_text()
    table = text[text.index("| setting | on resume |") :].split("\n\n")[0]
    rows = {
        row.split("|")[2].strip(): set(re.findall(r"`(\w+)`", row.split("|")[1]))
        for row in table.splitlines()[2:]
    }
    free, from_here, never = rows.values()
    assert free == set(FREE) and from_here == set(FROM_HERE)
    assert not never & (free | from_here) and never <= set(FIELDS)
