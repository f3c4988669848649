"""How far several runs say they are."""

from types import SimpleNamespace

import pytest

from tsgc import live
from tsgc.console import Talker
from tsgc.side_by_side import progress
from tsgc.side_by_side.progress import GroupProgress


@pytest.fixture
def now(monkeypatch):
    time = SimpleNamespace(at=1000.0)
    for module in (live, progress):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.at))
    return time


def run(clips=0.0, epochs=4, loss=float("nan")):
    """A run of 100 clips an epoch, `clips` of them done."""
    config = SimpleNamespace(epochs=epochs)
    return SimpleNamespace(
        clips=clips, clips_before=[0, 50, 100], epoch=int(clips // 100), loss=loss, top1="", said=None,
        run=SimpleNamespace(config=config),
    )  # fmt: skip


def test_rate_and_time_left_are_those_of_all_runs(now):
    seen = GroupProgress(3)
    first, second = run(), run(clips=200.0)  # the second goes on where it was
    for name, one in (("joint seed 0", first), ("bone seed 0", second)):
        seen.start(name, one)
    seen.reached()
    now.at += 10
    first.clips, second.clips, first.epoch = 100.0, 300.0, 1
    seen.reached()
    assert seen.clips == 200 and seen.pace.rate == pytest.approx(20)
    # 300 and 100 clips are left of these, and of the third as many as they had on average.
    assert seen.left() == pytest.approx((300 + 100 + (400 + 200) / 2) / 20)
    seen.end("bone seed 0", whole=True)
    assert seen.clips == 200 and seen.over == 1
    shown = seen.look()
    assert shown.words == ["1/3", "left: 0:00:30"] and shown.more == ["20 clips/s", "1 at once"]
    assert shown.rows == ["joint seed 0: epoch 2/4"]
    assert shown.plain == "runs: 1/3; left: 0:00:30; 20 clips/s, 1 at once; joint seed 0: epoch 2/4"
    seen.end("joint seed 0", whole=False)
    assert seen.over == 1 and seen.look().rows == []


def test_a_run_is_a_row_of_a_terminal_and_as_many_rows_are_shown_as_it_has(now):
    seen = GroupProgress(16)
    for seed in range(16):
        seen.start(f"joint seed {seed}", run(loss=1.25))
    console = Talker().err
    console.size = (60, 12)
    with console.capture() as captured:
        console.print(live._Lines(seen.look()))
    lines = captured.get().splitlines()
    assert len(lines) == 11 and lines[2].strip() == "joint seed 0: epoch 1/4, loss 1.250"
    assert lines[-1].strip() == "and 8 more"
