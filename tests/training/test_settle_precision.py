"""What a run trains in: settled and said at its start, written down, kept where it goes on elsewhere."""

import json

import orjson
import pytest
import torch
from made.command import fails, lose_machine, quick, tsgc

from tsgc.config import read_run_config
from tsgc.network import precision
from tsgc.step import loss_scale
from tsgc.training import settle_precision


@pytest.fixture
def on(monkeypatch):
    """Sets what is fastest here, as on another machine."""

    def set_to(name):
        monkeypatch.setattr(settle_precision, "fastest", lambda device, ours=True: name)
        monkeypatch.setattr(precision, "fastest", lambda device, ours=True: name)

    return set_to


@pytest.fixture
def words(here, made):
    """Of a training that chooses by itself, in `run`."""
    return ["train", "ntu60/xsub", "--data-root", made, "--run-dir", here / "run", *quick("precision=auto")]


def started(folder):
    """What config.yaml says: asked for, trained in."""
    config = read_run_config(folder / "config.yaml")
    return config.precision, config.trained_in


@pytest.mark.parametrize("chosen", ["float32", "bf16"])
def test_auto_is_settled_said_and_written_down(here, words, on, chosen):
    on(chosen)
    assert f", {chosen} (auto) -> " in tsgc(*words, "--set", "epochs=1")
    assert started(here / "run") == ("auto", chosen)
    said = orjson.loads((here / "run/checkpoints/last.json").read_bytes())["config"]
    assert (said["precision"], said["trained_in"]) == ("auto", chosen)


def test_a_run_goes_on_elsewhere_in_what_it_was_trained_in(here, words, on, monkeypatch):
    on("bf16")
    lose_machine(monkeypatch, 1)
    tsgc(*words, expect=1)
    monkeypatch.undo()
    on("float32")
    assert "bf16 (auto) -> " in tsgc(*words, "--resume") and started(here / "run") == ("auto", "bf16")
    assert "started with precision=bf16 (now float32), which cannot change in a run" in fails(
        *words, "--set", "precision=float32", "--resume"
    )


def test_a_run_of_before_auto_goes_on_in_what_its_recipe_said(here, words, on, monkeypatch):
    on("bf16")
    lose_machine(monkeypatch, 1)
    tsgc(*words, "--set", "precision=float32", expect=1)
    monkeypatch.undo()
    on("bf16")
    path = here / "run/checkpoints/state.pt"
    state = torch.load(path, weights_only=True)
    del state["config"]["trained_in"], state["loss_scale"]  # as an earlier version left it
    torch.save(state, path)
    config = here / "run/config.yaml"
    config.write_text(config.read_text().replace("trained_in: float32\n", ""))
    assert ", float32 (auto) -> " in tsgc(*words, "--resume")


def test_an_explicit_precision_is_itself_and_emulation_is_told(here, made, trained, words, on):
    on("float32")
    said = tsgc(*words, "--set", "precision=bf16", "--set", "epochs=1")
    assert ", bf16 -> " in said and started(here / "run") == ("bf16", "bf16")
    assert said.count("which this CPU has no instructions for") == 1
    assert said.count("; --set precision=auto takes float32 here") == 1
    told = "the run's precision is bf16, which this CPU has no instructions for: float32 takes its place"
    where = ["--data-root", made, "--device", "cpu"]
    assert tsgc("evaluate", here / "run", *where).count(told) == 1
    clip = next((trained / "data/nturgbd_raw").rglob("*.skeleton"))
    predict = ["predict", clip, "--run", here / "run", "--device", "cpu"]
    assert tsgc(*predict).count(told) == 1
    json.loads(tsgc(*predict, "--json"))  # and nothing beside it
    on("bf16")
    assert "instructions" not in tsgc("evaluate", here / "run", *where) + tsgc(*predict)


def test_a_runs_settings_for_another_run_leave_out_what_it_was_trained_in(here, words, on):
    on("bf16")
    tsgc(*words, "--set", "epochs=1")
    again = ["train", "ntu60/xsub", "--config", here / "run/config.yaml", *words[2:4]]
    assert "trained_in: null" in tsgc(*again, "--print-config")
    assert "trained_in is float32, expected bf16, as precision is, or null" in fails(
        *again, "--set", "precision=bf16", "--set", "trained_in=float32", code=2
    )


@pytest.mark.slow
def test_float16_trains_goes_on_to_the_bit_and_tells_when_it_diverges(here, words, monkeypatch):
    words = [*words, "--set", "precision=float16", "--set", "log_every=1"]
    tsgc(*words, "--run-dir", here / "whole")
    lose_machine(monkeypatch, 1)
    tsgc(*words, expect=1)
    monkeypatch.undo()
    assert "resuming" in tsgc(*words, "--resume")
    weights = [(here / run / "checkpoints/last-ema.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]
    states = [torch.load(here / run / "checkpoints/state.pt") for run in ("whole", "run")]
    assert states[0]["loss_scale"] == states[1]["loss_scale"] != {}
    monkeypatch.setattr(loss_scale, "FIRST", 1e-6)
    said = tsgc(*words, "--overwrite", expect=1)
    assert "error: gradients overflow float16 in epoch 1, by step 1, at any scale" in said
    assert "start with --set precision=float32" in said
