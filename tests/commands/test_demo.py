"""The demo's own words, without its trainings; `make demo` runs the whole of it."""

import pytest

from pipelines.errors import UsageError
from tsgc import demo as module
from tsgc.console import Talker
from tsgc.distributed.preemption import PreemptedError


def test_a_demo_that_is_asked_to_stop_says_how_it_starts_again(tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise PreemptedError(
            "asked to stop: saved after epoch 1; the same command with --resume goes on there"
        )

    monkeypatch.setattr(module.raw_files, "write_ntu", lambda *args, **kwargs: [])
    monkeypatch.setattr(module.raw_files, "write_nw_ucla", lambda *args, **kwargs: [])
    monkeypatch.setattr(
        module, "prepare_dataset", lambda *args, **kwargs: type("Report", (), {"lines": list})()
    )
    monkeypatch.setattr(module, "shard_all", lambda *args, **kwargs: [])
    monkeypatch.setattr(module, "train_stream", stopped)
    with pytest.raises(PreemptedError, match="tsgc demo --overwrite starts again") as caught:
        module.run_demo(tmp_path / "demo", Talker(), seed=0, jobs=1, device="cpu", overwrite=False)
    assert caught.value.exit_code == 75


def test_a_wrong_device_is_told_before_anything_is_made(tmp_path):
    with pytest.raises(UsageError, match="--device tpu: expected cpu or cuda"):
        module.run_demo(tmp_path / "demo", Talker(), seed=0, jobs=1, device="tpu", overwrite=False)
    assert not (tmp_path / "demo").exists()
