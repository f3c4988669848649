"""Memory used again: never while anybody holds a batch, or a part of one."""

import threading

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.shard_sets import make_shards

from shards.buffers import BufferPool
from shards.loader import TrainLoader


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_it_is_let_go():
    pool = BufferPool()
    first = pool.take(1000)
    place = address(first)
    second = pool.take(1000)
    assert address(second) != place
    del first
    third = pool.take(2000)
    assert address(third) == place and len(third) == 2000


HOLDS = {
    "tensor": lambda t: t,
    "slice": lambda t: t[3:5],
    "view": lambda t: t.reshape(-1, 2, 5).permute(2, 0, 1)[1:],
    "numpy": lambda t: t.numpy(),
    "numpy slice": lambda t: t[2:].numpy()[3:][::2],
    "detached": lambda t: t.view(torch.int32).detach(),
    "storage": lambda t: t.untyped_storage(),
}


@given(how=st.sampled_from(sorted(HOLDS)), count=st.integers(1, 9))
def test_any_part_of_a_tensor_keeps_its_memory(how, count):
    pool = BufferPool()
    tensor = torch.from_numpy(pool.take(100))
    place = tensor.data_ptr()
    held = HOLDS[how](tensor)
    del tensor
    others = [pool.take(100) for _ in range(count)]
    assert place not in {address(other) for other in others}
    del held
    assert address(pool.take(100)) == place


def test_no_more_buffers_wait_than_asked_for():
    pool = BufferPool(most=2)
    arrays = [pool.take(10) for _ in range(5)]
    places = {address(array) for array in arrays}
    del arrays
    again = [pool.take(10) for _ in range(2)]
    assert {address(array) for array in again} <= places
    assert len(pool._free) == 0


def test_a_batch_of_nothing_is_possible():
    assert len(BufferPool().take(0)) == 0


def test_threads_never_share_memory():
    pool, failures = BufferPool(), []

    def work(number):
        for turn in range(300):
            array = pool.take(500 + turn)
            array[:] = number
            if not (array == number).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_batches_that_are_kept_stay_as_they_were(tmp_path):
    """Whole batches, and slices of batches, over two epochs of reading on."""
    loader = TrainLoader(make_shards(tmp_path), batch=7, seed=0, last_batch="spread", threads=4, prefetch=3)
    kept, copies = [], []
    for epoch in range(2):
        for step in loader.epoch(epoch):
            part = step.parts[0]
            kept.append(part.joints if step.step % 2 else part.joints[1:4])
            copies.append(kept[-1].clone())
            del part
            if step.step % 3 == 0:  # some memory does come back
                kept[-1] = copies[-1]
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_an_epoch_takes_few_buffers(tmp_path):
    loader = TrainLoader(make_shards(tmp_path), batch=4, seed=0, last_batch="spread", threads=2, prefetch=2)
    places = {step.parts[0].joints.data_ptr() for epoch in range(4) for step in loader.epoch(epoch)}
    assert len(places) <= 8  # of 76 batches
    assert np.isfinite(next(loader.epoch(0)).parts[0].joints.numpy()).all()
