"""Float32 blocks that work on the rows alone that drop path keeps: the plain block's values and gradients.

On CPUs by Triton's interpreter, as in test_kernels.
"""

import dataclasses

import pytest
import torch

pytest.importorskip("triton", reason="torch comes without Triton here")

from made.blocks import made_block
from made.kernels import DEVICE, compare_block, each_road
from made.slowly import slowly

from tsgc import kernels
from tsgc.bench.inputs import Shape, make_batch, make_model, make_step
from tsgc.config import TrainConfig
from tsgc.kernels import block as fused
from tsgc.kernels import packed
from tsgc.kernels.library import Library
from tsgc.networks import VARIANTS, Variant


# Each skeleton once; primes, one row, the first and the last; frames that are no multiple of a tile's.
@pytest.mark.parametrize(
    ("joints", "frames", "dropped"),
    [(18, 2, "KKD"), *slowly((13, 3, "KDKDK"), (17, 5, "DKK"), (20, 1, "DDKDKKK"), (25, 5, "DDK"))],
)
def test_a_block_of_the_rows_that_are_kept_is_the_plain_one_of_all(joints, frames, dropped):
    compare_block(Library, 96, joints, rows=len(dropped), frames=frames, dropped=dropped)


@pytest.mark.slow
@pytest.mark.parametrize("width", [48, 192, 384])
def test_a_block_of_kept_rows_is_the_plain_one_at_every_width(width):
    compare_block(Library, width, 20, rows=2, frames=1, dropped="DK")


def test_a_block_of_kept_rows_has_its_layer_scale():
    compare_block(Library, 96, 17, rows=3, frames=2, layer_scale=0.5, dropped="KDK")


def test_products_are_of_the_kept_rows_alone(monkeypatch):
    rows, product = [], torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda b, a, w: rows.append(len(a)) or product(b, a, w))
    block, x = made_block(96, 17, device=DEVICE), torch.randn(4, 2, 17, 96, device=DEVICE)
    survival = torch.tensor([0.0, 1.0, 0.0, 0.0], device=DEVICE)
    for kept in (1, None):
        fused.apply_block(x, survival, block, Library, kept)
    assert rows == [1 * 34, 1 * 34, 4 * 34, 4 * 34]


@each_road
@pytest.mark.parametrize("dropped", ["DDD", *slowly("KKK", "DKD")])
def test_all_rows_or_none_may_be_dropped_where_their_number_is_known(dropped, road):
    compare_block(road, 96, 17, rows=3, frames=2, dropped=dropped)


@pytest.mark.slow
def test_packed_rows_reach_no_memory_that_was_not_written():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # torch.empty holds NaN under it
    try:
        compare_block(Library, 96, 25, rows=5, frames=3, dropped="DKDKK")
    finally:
        torch.use_deterministic_algorithms(before)


def test_rows_are_packed_in_order_and_added_back_in_place():
    torch.manual_seed(0)
    x, branch = torch.randn(5, 3, 25, 96, device=DEVICE), torch.randn(2, 3, 25, 96, device=DEVICE)
    survival = torch.tensor([0.0, 2.0, 0.0, 0.0, 1.5], device=DEVICE)
    order = torch.tensor([1, 4, 3, 2, 0, 2], dtype=torch.int32, device=DEVICE)
    assert torch.equal(packed.pack_rows(x, order, 2), x[[1, 4]])
    out = packed.add_packed(x, branch, survival, order)
    torch.testing.assert_close(out, x.index_add(0, order[:2], branch * survival[[1, 4], None, None, None]))
    assert torch.equal(out[[0, 2, 3]], x[[0, 2, 3]])


@pytest.mark.slow
def test_a_step_that_knows_how_many_rows_are_kept_leaves_the_same_weights(monkeypatch):
    monkeypatch.setitem(VARIANTS, "tiny", Variant((1, 1, 1), (96, 96, 96)))
    monkeypatch.setattr(kernels, "fused_dtype", lambda x, width: torch.float32)  # on CPUs too
    product, rows = torch.addmm, []
    monkeypatch.setattr(torch, "addmm", lambda b, a, w: rows.append(len(a)) or product(b, a, w))
    device = torch.device(DEVICE)
    shape = Shape(variant="tiny", skeleton="coco-17", frames=16, bodies=1, classes=5, batch=3)
    config = TrainConfig(variant="tiny", frames=16, ema_decay=0.9, precision="float32")
    known = make_batch(shape, make_model(shape, device), device, seed=12)
    assert known.kept == (3, 2, 1)
    make_step(shape, config, device, cuda_graphs=False)([known], lr=1e-3, size=3, position=0)
    rows.clear()  # a GPU's first step tries the kernels out
    ends = []
    for batch in (known, dataclasses.replace(known, alive=None)):
        step = make_step(shape, config, device, cuda_graphs=False)
        step([batch], lr=1e-3, size=3, position=0)
        ends.append([*step.model.state_dict().values(), *step.ema.module.state_dict().values()])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    # Blocks of 4, 2 and 1 frames, two products of each; with all rows in the second step.
    assert rows == [17 * n for n in (12, 12, 4, 4, 1, 1, 12, 12, 6, 6, 3, 3)]
