"""Tables and lines at any width: folded between words, never within, and a row a line where nothing folds."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.terminal import on_terminal
from rich.cells import cell_len
from rich.console import Console

from tsgc.tables import fold, fold_line, layout

CLIPS = (
    ("clip", "class", "%", "next"),
    [
        ["S001C001P001R001A020", "put on a hat or cap", "93.2", "take off a hat or cap 4"],
        ["S001C001P001R001A023", "hand waving", "58.1", "put something inside a pocket 31"],
    ],
)


def shown(columns, rows, width):
    """The lines of a table on a screen; with None, as they are printed elsewhere."""
    file = io.StringIO()
    console = Console(file=file, width=width or 10_000)
    console.print(layout(columns, rows, width), crop=False, overflow="ignore")
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_table_that_fits_has_lines_and_a_wide_one_loses_them():
    assert shown(*CLIPS, 120)[0].startswith("┏━━━━")
    lean = shown(*CLIPS, 80)
    assert lean[0].split() == ["clip", "class", "%", "next"]
    assert lean[2] == "S001C001P001R001A020  put on a hat or cap  93.2          take off a hat or cap 4"


def test_cells_fold_between_words_the_widest_first():
    assert shown(*CLIPS, 64)[2:5] == [
        "S001C001P001R001A020    put on a hat or  93.2  take off a hat or",
        "                                    cap                    cap 4",
        "S001C001P001R001A023        hand waving  58.1      put something",
    ]


def test_where_the_words_do_not_fit_each_row_is_a_list():
    assert shown(*CLIPS, 40)[:4] == [
        "clip: S001C001P001R001A020",
        "  class: put on a hat or cap",
        "  %: 93.2",
        "  next: take off a hat or cap 4",
    ]


def test_elsewhere_than_on_a_screen_a_row_is_a_line_however_long():
    long = [["a " * 300, "b" * 400, "1", "2"]]
    lines = shown(CLIPS[0], long, None)
    assert len(lines) == 5 and "a " * 299 in lines[3] and "b" * 400 in lines[3]


words = st.text("ab/挥é", min_size=1, max_size=12)
cells = st.lists(words, max_size=4).map(" ".join)
tables = st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[cells] * n), min_size=1, max_size=4))
columns_wide = st.integers(1, 5).flatmap(lambda n: st.lists(st.integers(1, 40), min_size=n, max_size=n))


@given(tables, st.integers(10, 60))
def test_no_word_is_taken_apart_and_no_line_is_longer_than_the_screen_or_its_word(rows, width):
    columns = [f"column {index}" for index in range(len(rows[0]))]
    lines = shown(columns, rows, width)
    said = {word for line in lines for word in line.split()}
    assert {word for row in rows for cell in row for word in cell.split()} <= said
    for line in lines:
        assert cell_len(line) <= width or len(line.split()) == 1, line


@given(columns_wide, st.integers(1, 12), st.integers(1, 120))
def test_columns_use_the_space_that_is_there(whole, word, space):
    least = [min(word, full) for full in whole]
    widths = fold(whole, least, space)
    assert all(low <= width <= full for low, width, full in zip(least, widths, whole))
    if sum(least) <= space:
        assert sum(widths) <= space
        gave_way = sum(width < full for width, full in zip(widths, whole))
        assert not gave_way or space - sum(widths) < gave_way, "each could have a column more"


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 8, ["one two", "three"]),
        ("  in two steps", 8, ["  in two", "  steps"]),
        ("to runs/ntu60/xsub", 6, ["to", "runs/ntu60/xsub"]),
        ("挥手 挥手", 5, ["挥手", "挥手"]),
        ("", 8, [""]),
    ],
)
def test_a_line_folds_between_words(text, width, lines):
    assert fold_line(text, width) == lines


@pytest.mark.parametrize("width", [80, 40])
def test_a_terminal_gets_lines_that_it_need_not_break(width):
    name = "runs/ntu60/xsub/252/joint/seed0"
    said = on_terminal(
        f"from tsgc.console import Talker\nTalker().line('run [bold] :smile: ' * 9 + {name!r})\n"
        f"import cli; cli.app(['verify', 'nowhere'])",
        width,
    )
    lines = said.splitlines()
    assert max(map(len, lines)) <= width and any(name in line for line in lines)
    assert " ".join(lines).count("run [bold] :smile:") == 9
    error = "error: nowhere: nothing to verify; expected a prepared HDF5 or a shard set"
    assert error in " ".join(lines) and lines[-1] == "exit 1"
