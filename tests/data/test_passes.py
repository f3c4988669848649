"""The epoch that comes next: workers of a DataLoader agree on it without talking."""

import copy
import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UsageError
from tsgc.data.passes import EPOCH_BITS, MOST_WORKERS, OPEN, TAG_BITS, TIMES_BITS, Passes, Word, tag_of

SEEDS = st.sampled_from([3, 2**62 + 3, 9_000])  # few, as where people seed torch before each epoch


@st.composite
def histories(draw):
    """Passes in turn: by this process, by a DataLoader's workers in any order, or an epoch set by hand."""
    workers = draw(st.integers(1, 4))
    steps = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["own", "workers", "workers", "set"]))
        if kind == "workers":
            steps.append((kind, draw(SEEDS), draw(st.permutations(range(workers)))))
        else:
            steps.append((kind, draw(st.integers(0, 5)), []))
    return steps


@given(histories())
def test_every_pass_is_the_next_epoch_for_all_of_its_workers(history):
    passes, due = Passes(), 0
    for kind, value, workers in history:
        if kind == "set":
            passes.set(value)
            due = value
            continue
        found = {passes.begin(tag_of(value), worker) for worker in workers} or {passes.begin()}
        assert found == {due}
        due += 1


@given(st.integers(2, 4), st.data())
def test_workers_that_begin_at_once_write_the_same(workers, data):
    """Each reads the word before any has written: what they write is one word, whoever is last."""
    passes = Passes()
    passes.set(data.draw(st.integers(0, 9)))
    read = [copy.deepcopy(passes) for _ in range(workers)]
    assert len({one.begin(tag_of(5), worker) for worker, one in enumerate(read)}) == 1
    assert len({one._word for one in read}) == 1


def test_a_worker_that_goes_on_is_followed_by_the_next_epoch():
    passes = Passes()
    for worker in (1, 0):
        passes.take(7, tag_of(5), worker)
    assert {passes.begin(tag_of(6), worker) for worker in (0, 1)} == {8}
    assert {passes.begin(tag_of(6), worker) for worker in (1, 0)} == {9}  # persistent_workers: the same tag


@given(st.integers(0, 2**TIMES_BITS - 1), st.integers(0, 2**TAG_BITS - 1), st.integers(0, 2**EPOCH_BITS - 1))
def test_a_word_is_a_number_and_back(times, tag, epoch):
    word = Word(times, tag, epoch)
    assert Word.unpacked(word.packed()) == word and 0 <= word.packed() < 2**63


@given(st.integers(0, 2**64))
def test_a_tag_is_a_dataloaders(seed):
    assert 1 < tag_of(seed) < 2**TAG_BITS


def test_copies_count_for_themselves():
    passes = Passes()
    assert passes.begin() == 0
    for copied in (copy.deepcopy(passes), pickle.loads(pickle.dumps(passes))):
        assert copied._words.is_shared() and [copied.begin(), copied.begin()] == [1, 2]
    assert passes.begin() == 1 and passes._word.tag != OPEN


def test_a_process_that_was_started_with_a_count_goes_on_with_one_of_its_own(monkeypatch):
    passes = Passes()
    assert passes.begin() == 0
    shared = passes._words
    monkeypatch.setattr("tsgc.data.passes.os.getpid", lambda: 1)
    assert passes.begin() == 1 and passes._words.data_ptr() != shared.data_ptr()
    assert Word.unpacked(int(shared[0])).epoch == 0


def test_a_worker_that_could_count_with_other_ranks_is_refused(monkeypatch):
    """Its process was started with the count, and has not taken one of its own."""
    passes = Passes()
    started_by = SimpleNamespace(pid=passes._home)
    monkeypatch.setattr("tsgc.data.passes.os.getpid", lambda: 1)
    monkeypatch.setattr("tsgc.data.passes.get_worker_info", lambda: object())
    monkeypatch.setattr("tsgc.data.passes.parent_process", lambda: started_by)
    assert passes.begin(9, 0) == 0
    started_by.pid = 2
    with pytest.raises(UsageError, match=r"open the shards in that process, or ask for len\(batches\) there"):
        passes.begin(9, 0)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(UsageError, match="epoch is -1, expected 0 or more, under 16,777,216"):
        Passes().set(-1)
    with pytest.raises(UsageError, match="num_workers of 512 or less"):
        Passes().begin(9, MOST_WORKERS)
