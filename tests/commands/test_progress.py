"""Work that goes on, as it is seen: at the bottom of a terminal of any width, in lines elsewhere."""

import io
import re
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.command import quick, tsgc
from made.terminal import on_terminal
from made.waiting import wait_until
from rich.cells import cell_len
from rich.console import Console

from tsgc import console, live
from tsgc.console import Talker
from tsgc.live import Pace, PlainWatch, Shown, clock

TRAINING = Shown(
    "epoch 12/150", 0.4, ["step 31/40", "left: epoch 0:00:05, run 1:02:11"],
    ["1,234 clips/s", "loss 2.345", "test top-1 78.20, 79.10 ema", "memory 1.2 GB"],
)  # fmt: skip


def lines(shown, width):
    """What a terminal of that width shows."""
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(live._Lines(shown))
    return file.getvalue().splitlines()


@pytest.fixture
def now(monkeypatch):
    """The time, which a test sets."""
    time = SimpleNamespace(at=100.0)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: time.at))
    return time


@pytest.fixture
def every_15_seconds(monkeypatch):
    """Plain lines as elsewhere."""
    monkeypatch.setattr(live, "PLAIN_SECONDS", 15)
    monkeypatch.setattr(PlainWatch, "over", 0.0)


@pytest.fixture
def quickly(monkeypatch):
    """Plain lines every 0.1 s."""
    monkeypatch.setattr(live, "PLAIN_SECONDS", 0.1)
    monkeypatch.setattr(PlainWatch, "over", 0.0)


@pytest.mark.parametrize(("width", "long"), [(80, 79), (120, 98)])
def test_a_training_takes_two_lines_with_all_its_figures(width, long):
    first, second = (line.rstrip() for line in lines(TRAINING, width))
    assert re.fullmatch(r"epoch 12/150 [━╸╺]+ *step 31/40  left: epoch 0:00:05, run 1:02:11", first)
    assert len(first) == long
    assert second == "  1,234 clips/s, loss 2.345, test top-1 78.20, 79.10 ema, memory 1.2 GB"


def test_where_there_is_less_room_the_bar_goes_and_then_the_last_figures():
    first, second = lines(TRAINING, 60)
    assert first == "epoch 12/150 step 31/40  left: epoch 0:00:05, run 1:02:11"
    assert second == "  1,234 clips/s, loss 2.345, test top-1 78.20, 79.10 ema"
    assert lines(TRAINING, 30) == ["epoch 12/150 step 31/40  lef…", "  1,234 clips/s, loss 2.345"]


@given(
    st.text(max_size=60),
    st.none() | st.floats(0, 1),
    st.lists(st.text(max_size=30), max_size=3),
    st.lists(st.text(max_size=30), max_size=5),
    st.integers(10, 130),
)
def test_nothing_is_ever_wider_than_the_terminal(title, share, words, more, width):
    def flat(text):
        return "".join(letter for letter in text if letter.isprintable())

    shown = Shown(flat(title), share, list(map(flat, words)), list(map(flat, more)))
    found = lines(shown, width)
    assert len(found) <= 2 and all(cell_len(line) < width for line in found)


def test_in_a_terminal_lines_are_printed_above_and_the_progress_is_gone_at_the_end():
    code = (
        "import time\nfrom tsgc.console import Talker\ntalker = Talker(quiet=False)\n"
        "with talker.doing('getting ready'):\n    time.sleep(0.3)\n"
        "with talker.progress('counting sheep', 4, 'sheep') as advance:\n"
        "    for done in range(1, 5):\n        time.sleep(0.3)\n        advance(done)\n"
        "        talker.line(f'sheep {done} ' + 'baa ' * 30)\n"
        "talker.line('slept')"
    )
    for width in (80, 120):
        said = on_terminal(code, width)
        assert all(cell_len(line) <= width for line in re.split(r"[\r\n]+", said))
        assert re.search(r"getting ready ━+ 0:00:00", said)
        assert re.search(r"counting sheep [━╸╺]+ 2/4 sheep  [\d.]+/s  0:00:\d\d left", said)
        printed = [line for line in said.split("\n") if "baa" in line]
        assert sum(line.count("baa") for line in printed) == 4 * 30 and said.endswith("slept\nexit 0")


def said_until(capsys, enough, beginning=""):
    """The lines on standard error, as soon as `enough` of them have this beginning."""
    said = []

    def look():
        said.extend(capsys.readouterr().err.splitlines())
        return sum(line.startswith(beginning) for line in said) >= enough

    wait_until(look)
    return said


def test_elsewhere_a_line_is_said_every_so_often_even_while_nothing_is_counted(quickly, capsys):
    with Talker(quiet=False).progress("counting", 9, "sheep") as advance:
        advance(3)
        said = said_until(capsys, 3, "counting: 3/9 sheep; ")  # a step that takes long
    assert all(line.startswith("counting: ") for line in said)


def test_the_time_to_the_next_line_runs_on_from_one_short_work_to_the_next(now, every_15_seconds, capsys):
    talker = Talker(quiet=False)
    for number in range(2):  # two in less than the 15 s from line to line
        with talker.doing(f"work {number}"):
            now.at += 6
        now.at += 1.5
    with talker.doing("work 2"):
        assert said_until(capsys, 1) == ["work 2: 0:00:00"]


def test_work_that_is_over_soon_says_nothing(every_15_seconds, capsys, monkeypatch):
    """However long ago the last line of other work was."""
    monkeypatch.setattr(PlainWatch, "said", time.monotonic() - 100)
    monkeypatch.setattr(PlainWatch, "over", time.monotonic() - 50)
    with Talker(quiet=False).counting("counting", "sheep") as count:
        count(1, 1)
    assert capsys.readouterr() == ("", "")


def test_of_two_works_the_inner_one_is_shown(quickly, capsys):
    talker = Talker(quiet=False)
    with talker.doing("outer"):
        with talker.counting("inner", "clips") as count:
            count(1, 2)
            inner = said_until(capsys, 3, "inner: 1/2 clips")
        outer = said_until(capsys, 3, "outer: 0:0")
    # The first of each may have been on its way before.
    assert all(line.startswith("inner: ") for line in inner[-2:])
    assert all(line.startswith("outer: ") for line in outer[-2:])


def test_work_that_begins_while_another_thread_says_a_line_is_shown_once(monkeypatch):
    """The request to stop is answered by a thread of its own, and shows again what it has cleared away."""
    events, talker = [], Talker(quiet=False)

    class Seen(live.Watch):
        def __init__(self, look):
            pass

        def __enter__(self):
            events.append("begin")
            return self

        def __exit__(self, *_):
            events.append("end")

        def resume(self):
            events.append("again")

    def work():
        with talker.watching(lambda: Shown("second")):
            leave.wait()

    second, leave = threading.Thread(target=work), threading.Event()

    def say(*_):
        second.start()
        second.join(0.2)

    monkeypatch.setattr(console, "PlainWatch", Seen)
    monkeypatch.setattr(console, "_print", say)
    talker.warn("stopping")
    leave.set()
    second.join()
    assert events == ["begin", "end"]


def test_quiet_says_nothing(quickly, capsys):
    with Talker(quiet=True).doing("work"):
        time.sleep(0.15)
    assert capsys.readouterr() == ("", "")


def test_an_error_ends_the_progress(capsys):
    talker = Talker(quiet=False)
    with pytest.raises(OSError), talker.doing("outer"), talker.doing("inner"):
        raise OSError
    assert talker._watches == []


def test_a_rate_is_that_of_the_last_half_minute(now):
    pace = Pace()
    assert pace.rate == 0
    for second in range(60):
        now.at = 100 + second
        pace.reached(second if second < 20 else 20 + (second - 20) * 5)
    assert pace.rate == pytest.approx(5)


def test_a_rate_rests_while_other_work_is_done(now):
    pace = Pace()
    for second in range(10):
        now.at = 100 + second
        pace.reached(4 * second)
    pace.rest()
    now.at = 500
    assert pace.rate == 4 and pace.resting
    pace.reached(40)
    now.at = 501
    pace.reached(48)
    assert pace.rate == 8


def test_many_small_steps_take_little_memory_and_keep_the_rate(now):
    pace = Pace()
    for step in range(20_000):
        now.at = 100 + step / 500
        pace.reached(step)
    assert pace.rate == pytest.approx(500, rel=0.01) and len(pace._reached) < 400


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05"), (86400 * 2 + 3600, "2 d 01:00:00")],
)
def test_durations_are_clocks(seconds, said):
    assert clock(seconds) == said


def slowed(told):
    """The method, and the time that two lines take after it: the second tells of it."""

    def slow(*given):
        told(*given)
        for _ in range(2):
            before = PlainWatch.said
            wait_until(lambda: PlainWatch.said != before)  # noqa: B023, called here alone

    return slow


def test_a_training_says_where_it_is_in_lines(here, made, monkeypatch):
    """Through the command, where there is no terminal; steps are slowed so that there is time to say it."""
    from tsgc.training.progress import RunProgress

    monkeypatch.setattr(live, "PLAIN_SECONDS", 0.02)
    for name in ("part", "step"):
        monkeypatch.setattr(RunProgress, name, slowed(getattr(RunProgress, name)))
    said = tsgc("train", "ntu60/xsub", "--data-root", made, *quick("micro_batch=4", "eval_every=1"))
    seen = [line for line in said.splitlines() if line.startswith("epoch ") and "step " in line]
    steps = {int(step) for step in re.findall(r"step (\d)/5", "".join(seen))}
    assert len(steps) >= 3, said  # the steps themselves, not the first and the last
    assert any("part 1/2" in line for line in seen)
    whole = [line for line in seen if line.startswith("epoch 2/2") and "left: " in line][-1]
    assert re.fullmatch(
        r"epoch 2/2: step \d/5(, part \d/2)?; left: epoch 0:00:\d\d, run 0:00:\d\d;"
        r" \d+ clips/s, loss \d\.\d+, test top-1 [\d.]+, [\d.]+ ema, memory [\d.]+ GB",
        whole,
    )
