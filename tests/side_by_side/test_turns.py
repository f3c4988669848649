"""Works that take turns: their order, their ends, and random numbers of their own."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

from tsgc.side_by_side.room import MOST, OWN, Room, fitting
from tsgc.side_by_side.turns import Over, Turns

CPU = torch.device("cpu")


@dataclass
class Gate:
    ready: bool = True


def counts(name, log, turns, gate=None):
    """Notes each of its turns, its end, and that it was closed."""
    try:
        for turn in range(turns):
            log.append((name, turn))
            yield gate or Gate()
        return name * 2
    finally:
        log.append((name, "closed"))


def rounds(turns):
    return [over for _ in range(20) for over in turns.round()]


def test_each_has_a_turn_in_a_round_and_gives_what_it_returns():
    log, turns = [], Turns(CPU)
    turns.start("a", counts("a", log, 1))
    turns.start("b", counts("b", log, 2))
    assert list(turns.round()) == [] and len(turns) == 2
    assert list(turns.round()) == [Over("a", "aa")]
    assert list(turns.round()) == [Over("b", "bb")] and not len(turns)
    assert log == [("a", 0), ("b", 0), ("a", "closed"), ("b", 1), ("b", "closed")]
    assert turns.taken == 5


def test_one_that_would_wait_is_passed_over_and_the_first_in_line_waits_where_all_would():
    log, turns, gates = [], Turns(CPU), [Gate(), Gate()]
    turns.start("a", counts("a", log, 9, gates[0]))
    turns.start("b", counts("b", log, 9, gates[1]))
    list(turns.round())
    gates[0].ready = False
    list(turns.round())
    assert log == [("a", 0), ("b", 0), ("b", 1)]
    gates[1].ready = False
    for _ in range(3):
        list(turns.round())
    assert log[3:] == [("a", 1), ("b", 2), ("a", 2)]


def test_an_error_ends_one_work_and_no_other():
    def fails():
        yield Gate()
        raise ValueError("here")

    log, turns = [], Turns(CPU)
    turns.start("a", fails())
    turns.start("b", counts("b", log, 3))
    (first, second) = rounds(turns)
    assert first.key == "a" and str(first.error) == "here" and second == Over("b", "bb")


def test_a_request_to_stop_at_once_passes_and_the_rest_can_be_closed():
    def stopped():
        yield Gate()
        raise KeyboardInterrupt

    log, turns = [], Turns(CPU)
    turns.start("a", stopped())
    turns.start("b", counts("b", log, 9))
    with pytest.raises(KeyboardInterrupt):
        rounds(turns)
    turns.close()
    assert log[-1] == ("b", "closed") and not len(turns)


def test_random_numbers_are_those_of_each_by_itself():
    def draws(seed):
        torch.manual_seed(seed)
        found = []
        for _ in range(4):
            found.append(torch.rand(3))
            yield Gate()
        return torch.stack(found)

    def alone(seed):
        turns = Turns(CPU)
        turns.start(seed, draws(seed))
        return rounds(turns)[0].result

    torch.manual_seed(7)
    outside = torch.rand(2)
    torch.manual_seed(7)
    turns = Turns(CPU)
    for seed in (1, 2, 3):
        turns.start(seed, draws(seed))
    for over in rounds(turns):
        assert torch.equal(over.result, alone(over.key)), over.key
    assert torch.equal(torch.rand(2), outside)


def test_as_many_fit_as_the_free_memory_takes_and_no_more_than_one_thread_drives():
    gigabyte = 1 << 30
    assert fitting(free=70 * gigabyte, total=80 * gigabyte, held=10 * gigabyte) == 1 + 4
    assert fitting(free=gigabyte, total=80 * gigabyte, held=10 * gigabyte) == 1
    assert fitting(free=2 * gigabyte, total=2 * gigabyte, held=0) == 1 + int(1.9 * gigabyte / OWN)
    assert fitting(free=80 * gigabyte, total=80 * gigabyte, held=gigabyte) == MOST
    assert [Room(CPU, asked)(0) for asked in (None, 1, 5)] == [1, 1, 5]


def test_on_a_gpu_no_two_works_share_a_stream_and_those_of_works_that_are_over_are_used_again(monkeypatch):
    """CUDA played by stand-ins: which stream and which random numbers are current in whose turn."""
    made, current, state = [], [], ["the process's"]

    class Stream:
        device_index = 0

        def __init__(self, device):
            made.append(self)

    class Generator:
        def clone_state(self):
            return f"state {len(made)}"

        def graphsafe_get_state(self):
            return state[0]

        def graphsafe_set_state(self, other):
            state[0] = other

    @contextmanager
    def stream(one):
        current.append(one)
        try:
            yield
        finally:
            current.pop()

    for name, value in {
        "Stream": Stream, "stream": stream, "init": lambda: None, "default_generators": [Generator()],
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    seen = {}

    def work(name, count):
        for _ in range(count):
            seen.setdefault(name, set()).add((made.index(current[-1]), state[0]))
            yield Gate()

    turns = Turns(torch.device("cuda", 0))
    for name, count in (("a", 1), ("b", 4), ("c", 3)):
        turns.start(name, work(name, count))
    (over,) = (over for _ in range(2) for over in turns.round())
    turns.start("d", work("d", 2))
    rounds(turns)
    assert over.key == "a" and len(made) == 3 and state == ["the process's"] and not current
    assert seen == {
        "a": {(0, "state 1")}, "b": {(1, "state 2")}, "c": {(2, "state 3")}, "d": {(0, "state 3")},
    }  # fmt: skip
