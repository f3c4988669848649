"""The demo: its own words, without trainings, and all of it."""

import pytest

from pipelines.errors import UsageError
from tsgc import demo as module
from tsgc.console import Talker
from tsgc.distributed.preemption import PreemptedError
from tsgc.evaluation.scores import all_and_clean


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


@pytest.mark.slow  # four trainings
@pytest.mark.timeout(900)
def test_the_whole_chain_gets_more_than_nine_of_ten_clips_right(tmp_path, capsys):
    out = tmp_path / "demo"
    fused = module.run_demo(out, Talker(), seed=0, jobs=2, device="cpu", overwrite=False)
    assert set(fused) == {"ntu60/xsub", "nw-ucla/xview"}
    for benchmark, scores in fused.items():
        assert all_and_clean(scores)["all"].top1 > 90, benchmark
        assert len(list((out / "runs" / benchmark).rglob("scores/last.npz"))) == len(module.STREAMS)
    said = capsys.readouterr().out
    assert all(word in said for word in ("192 NTU and 360 NW-UCLA clips", "ntu60/xsub fused", "s in all"))
