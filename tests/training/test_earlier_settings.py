"""Runs and checkpoints that name settings which are none any more."""

import orjson
import pytest
import torch
from made.command import fails, lose_machine, quick, tsgc

from pipelines.errors import TsgcError
from tsgc.checkpoint import load_model
from tsgc.config import REMOVED


@pytest.fixture
def broken_off(here, made, monkeypatch):
    """The words of a training that lost its machine after one of two epochs, and its checkpoints' folder."""
    words = ["train", "ntu60/xsub", "--data-root", made, *quick(), "--run-dir", here / "run"]
    lose_machine(monkeypatch, 1)
    tsgc(*words, expect=1)
    monkeypatch.undo()
    return words, here / "run/checkpoints"


def rewrite_state(path, settings):
    state = torch.load(path, weights_only=True)
    torch.save({**state, "config": {**state["config"], **settings}}, path)


def test_a_run_of_an_earlier_version_goes_on(broken_off):
    words, folder = broken_off
    rewrite_state(folder / "state.pt", REMOVED)
    assert "resuming" in tsgc(*words, "--resume")


def test_a_run_that_was_started_with_another_value_is_refused(broken_off):
    words, folder = broken_off
    rewrite_state(folder / "state.pt", {**REMOVED, "min_lr": 1e-5})
    said = fails(*words, "--resume")
    assert "state.pt: min_lr is 1e-05, expected 1e-06 or none: it is no longer a setting" in said


def test_a_checkpoint_of_an_earlier_version_is_read(broken_off):
    path = broken_off[1] / "last.safetensors"
    beside = path.with_suffix(".json")
    said = orjson.loads(beside.read_bytes())
    now = load_model(path)[1]
    beside.write_bytes(orjson.dumps({**said, "config": {**said["config"], **REMOVED}}))
    assert load_model(path)[1] == now
    beside.write_bytes(orjson.dumps({**said, "config": {**said["config"], **REMOVED, "beta1": 0.8}}))
    with pytest.raises(TsgcError, match=r"last\.json: beta1 is 0\.8, expected 0\.9 or none: it is no longer"):
        load_model(path)
