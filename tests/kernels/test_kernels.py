"""The fused kernels against their plain twins in float64: values and gradients.

Without a GPU Triton's interpreter runs the kernels' own code, in float32; with one they run in bfloat16 too.
"""

import copy
import dataclasses

import pytest
import torch
from made.blocks import gradients, made_block
from made.kernels import DEVICE, ROADS, assert_close, compare_block, each_road, mostly_kernels
from made.slowly import slowly
from torch import Tensor, nn

from tsgc import kernels
from tsgc.network.layers import NORM_EPS, Block, Down, Stem

pytest.importorskip("triton", reason="torch comes without Triton here")

from tsgc.kernels import block as fused
from tsgc.kernels import bottleneck, library, patch, tunings
from tsgc.kernels.bottleneck import Kernels
from tsgc.kernels.library import Library
from tsgc.kernels.operands import make_operands
from tsgc.kernels.patch import PatchNorm
from tsgc.kernels.sums import diagonal_sum, plain_sums, sums


@each_road
@pytest.mark.parametrize("joints", [25, *slowly(13, 17, 18, 20)])
def test_a_fused_block_is_the_plain_one_for_every_skeleton(joints, road):
    compare_block(road, 96, joints, rows=2, frames=3)


@mostly_kernels
@pytest.mark.parametrize("frames", [1, *slowly(2, 5)])
def test_a_fused_block_takes_any_number_of_frames(frames, road):
    compare_block(road, 96, 25, rows=3, frames=frames)


@mostly_kernels
def test_a_fused_block_has_its_layer_scale(road):
    compare_block(road, 96, 17, rows=2, frames=2, layer_scale=0.5)


@pytest.mark.slow
@each_road
def test_a_fused_block_takes_more_than_its_programs(road, monkeypatch):
    for table in (tunings.TUNINGS, tunings.LIBRARY_TUNINGS):
        few = dataclasses.replace(table[96], programs=2, temporal_backward=(2, 1, 3, 4))
        monkeypatch.setitem(table, 96, few)
    monkeypatch.setattr(bottleneck, "OUTER_PROGRAMS", 4)
    compare_block(road, 96, 25, rows=5, frames=9)


@mostly_kernels
@pytest.mark.parametrize("width", [48, 192, *slowly(32, 64, 128, 256, 384)])
def test_a_fused_block_is_the_plain_one_at_every_width(width, road):
    compare_block(road, width, 20, rows=2, frames=2)


@pytest.mark.skipif(DEVICE == "cuda", reason="kernels for bfloat16 are too large for a GPU in float32")
@pytest.mark.parametrize("width", [96, *slowly(*sorted(tunings.TUNINGS.keys() - {96}))])
def test_every_way_to_cut_a_block_gives_the_same(width, monkeypatch):
    tuning = tunings.TUNINGS[width]
    changed = dataclasses.replace(
        tuning,
        fused=not tuning.fused,
        backward=tuning.backward._replace(piece=0 if tuning.backward.piece else 32),
        widen=(64, 64, 32, 4, 2) if tuning.widen is None else None,
        narrow=(64, 128, 32, 4, 2) if tuning.narrow is None else None,
    )
    monkeypatch.setitem(tunings.TUNINGS, width, changed)
    monkeypatch.setattr(bottleneck, "OUTER_PROGRAMS", 1)
    compare_block(Kernels, width, 13, rows=2, frames=2)


@pytest.mark.parametrize("sequences", [6, 7, 1])
def test_a_weights_gradient_in_parts_over_rows_is_the_whole(monkeypatch, sequences):
    torch.manual_seed(0)
    a, b = (torch.randn(sequences * 50, n, device=DEVICE).double() for n in (12, 8))
    monkeypatch.setattr(library, "SPLIT_NUMBERS", 12 * 8 * 11)
    parts, product = [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: parts.append(len(a)) or product(a, b))
    torch.testing.assert_close(library.outer_product(a, b), a.t() @ b)
    assert parts == [10]  # of 300, 350 and 50 rows: the most under 11 that are alike


@pytest.mark.parametrize("rows", [1, 7, 1500])
def test_the_order_lists_rows_that_are_not_dropped_first(rows):
    torch.manual_seed(rows)
    survival = (torch.rand(rows, device=DEVICE) > 0.4) * 1.25
    w1, w2, adjacency = (torch.zeros(*s, device=DEVICE) for s in ((384, 96), (96, 384), (3, 25, 25)))
    order = make_operands(w1, w2, adjacency, survival, torch.float32, 64, 32).order.cpu()
    alive = survival.cpu() > 0
    assert order[-1] == alive.sum()
    assert torch.equal(order[: alive.sum()], alive.nonzero()[:, 0].int())
    assert sorted(order[alive.sum() : -1].tolist()) == (~alive).nonzero()[:, 0].tolist()


@mostly_kernels
@pytest.mark.parametrize("width", [96, *slowly(48, 192, 384)])
def test_what_is_left_unwritten_for_dropped_rows_reaches_nothing(width, road):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # torch.empty holds NaN under it
    try:
        assert torch.empty(1, device=DEVICE).isnan()
        compare_block(road, width, 25, rows=5, frames=1)  # several sequences in a tile of products
    finally:
        torch.use_deterministic_algorithms(before)


@mostly_kernels
def test_a_dropped_row_keeps_its_input_and_gives_no_gradient(road):
    block = made_block(96, 25, device=DEVICE)
    x = torch.randn(2, 4, 25, 96, device=DEVICE)
    survival = torch.tensor([0.0, 1.0], device=DEVICE)
    x.requires_grad_()
    out = fused.apply_block(x, survival, block, road)
    assert torch.equal(out[0], x[0])
    assert not torch.equal(out[1], x[1])
    found = torch.autograd.grad(out[0].sum(), [x, *block.parameters()])
    assert torch.equal(found[0][0], torch.ones_like(x[0]))
    assert all(not gradient.any() for gradient in found[1:])


def small_pass() -> tuple[Block, Tensor, Tensor]:
    """A block, x and drop path's factors for it."""
    torch.manual_seed(0)
    block, x = made_block(96, 13, device=DEVICE), torch.randn(2, 1, 13, 96, device=DEVICE, requires_grad=True)
    return block, x, torch.tensor([0.0, 1.25], device=DEVICE)


@pytest.mark.parametrize(
    "road, kept", [(ROADS[-1], None), (Library, 1), *slowly(*((road, None) for road in ROADS[:-1]))]
)
def test_a_second_backward_pass_gives_the_same_and_adds_up(road, kept):
    """Nothing saved is written over; and of gradients that are views of one tensor none adds to another's."""
    block, x, survival = small_pass()
    loss = fused.apply_block(x, survival, block, road, kept).square().sum()
    once = torch.autograd.grad(loss, [x, *block.parameters()], retain_graph=True)
    for _ in range(2):
        loss.backward(retain_graph=True)
    for parameter, grad in zip([x, *block.parameters()], once, strict=True):
        assert torch.equal(parameter.grad, 2 * grad)


@each_road
def test_gradients_of_gradients_are_refused(road):
    """Kernels leave no graph behind: they would be wrong in silence."""
    block, x, survival = small_pass()
    loss = fused.apply_block(x, survival, block, road).square().sum()
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@each_road
def test_without_gradients_a_fused_block_gives_the_same(road):
    block, x, survival = small_pass()
    kept = fused.apply_block(x, survival, block, road)
    with torch.inference_mode():
        assert torch.equal(fused.apply_block(x, survival, block, road), kept)


def test_a_fused_block_gets_autocasts_type(monkeypatch):
    taken = []
    monkeypatch.setattr(kernels, "fused_dtype", lambda x, width: torch.bfloat16)
    monkeypatch.setattr(kernels, "fused_block", lambda x, *_: taken.append(x.dtype) or x)
    Block(96, torch.eye(5).repeat(3, 1, 1))(torch.zeros(1, 2, 5, 96))
    assert taken == [torch.bfloat16]


def test_drop_path_factors_may_lie_anywhere():
    block, x, survival = small_pass()
    apart = torch.stack([survival, survival + 7], 1)[:, 0]
    with torch.no_grad():
        assert torch.equal(fused.apply_block(x, apart, block), fused.apply_block(x, survival, block))


@pytest.mark.parametrize("programs", [2, *slowly(660)])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("width", [96, *slowly(192)])
def test_the_norm_into_patches_is_norm_then_patches(stride, width, programs, monkeypatch):
    monkeypatch.setattr(patch, "PROGRAMS", programs)
    torch.manual_seed(stride)
    norm = nn.LayerNorm(width, eps=NORM_EPS).to(DEVICE)
    norm.weight.data, norm.bias.data = torch.randn_like(norm.weight), torch.randn_like(norm.bias)
    x = torch.randn(2, 7, 13, width, device=DEVICE)
    down = Down(width, 8, stride).double().to(DEVICE)
    twin = copy.deepcopy(norm).double()
    weights = torch.randn(2, 7 // stride, 13, stride * width, device=DEVICE)
    want = gradients(lambda x: down[1].patches(twin(x)), x.double(), twin, weights)
    got = gradients(lambda x: PatchNorm.apply(x, norm.weight, norm.bias, stride, norm.eps), x, norm, weights)
    assert_close(got, want, 5e-6)


def test_a_block_on_the_cpu_runs_plain():
    assert kernels.fused_dtype(torch.zeros(1, 4, 25, 96), 96) is None


def test_weights_are_prepared_as_the_kernels_read_them():
    torch.manual_seed(0)
    adjacency, w1, w2 = torch.randn(3, 25, 25), torch.randn(384, 96), torch.randn(96, 384)
    ours = make_operands(*(t.to(DEVICE) for t in (w1, w2, adjacency, torch.ones(3))), torch.float32, 64, 128)
    narrow1, narrow2, forward, backward, _ = (t.cpu() for t in ours)
    assert torch.equal(narrow1, w1)
    assert torch.equal(narrow2, w2.t())
    for blocks, rows in ((forward, 64), (backward, 128)):
        for k, matrix in enumerate([*adjacency, torch.eye(25)]):
            frames = rows // 25
            rest = torch.zeros(rows - 25 * frames, rows - 25 * frames)
            assert torch.equal(blocks[k], torch.block_diag(*[matrix] * frames, rest))
        assert torch.allclose(diagonal_sum(blocks[:3], 25), rows // 25 * adjacency)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "joints, width, count, splits", [(17, 96, 1, 1), *slowly((25, 96, 70, 5), (13, 192, 64, 2))]
)
def test_parts_are_added_up_in_one_launch(joints, width, count, splits, turned):
    torch.manual_seed(joints)
    wide, more = 4 * width, splits + 1
    shapes = (3, count, 64, 64), (splits, wide, width), (more, width, wide), (splits, wide)
    parts = [torch.randn(shape, device=DEVICE) for shape in shapes]
    if turned:
        parts[2] = parts[2].view(more, wide, width).transpose(1, 2)
    fewer = more if turned else splits
    parts[2][fewer:, :, 3 * width :] = torch.nan  # nobody has written there
    want = plain_sums(*(part.double() for part in parts), joints, fewer)
    for name, got in sums(*parts, joints, fewer)._asdict().items():
        assert_close({name: got}, {name: getattr(want, name)}, 1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="bfloat16 kernels need a GPU")
@pytest.mark.parametrize("width", sorted(tunings.TUNINGS))
@pytest.mark.parametrize("joints, frames", [(25, 16), (20, 7), (17, 5)])
def test_in_bfloat16_a_fused_block_errs_no_more_than_twice_the_plain_one(width, joints, frames):
    torch.manual_seed(width)
    block = made_block(width, joints, device=DEVICE)
    x = torch.randn(6, frames, joints, width, device="cuda").bfloat16()
    survival = torch.tensor([1.25, 0.0, 1.25], device="cuda").repeat(2)
    weights = torch.randn_like(x, dtype=torch.float32)
    twin = copy.deepcopy(block).double()
    with kernels.plain():
        want = gradients(lambda x: twin(x, survival.double()), x.double(), twin, weights)
        with torch.autocast("cuda", torch.bfloat16):
            plain = gradients(lambda x: block(x, survival), x, block, weights)
    with torch.autocast("cuda", torch.bfloat16):
        got = gradients(lambda x: block(x, survival), x, block, weights)
    for name, exact in want.items():
        error, beside = ((one[name] - exact).norm() / exact.norm() for one in (got, plain))
        assert error < max(2 * beside, 1e-2), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="bfloat16 kernels need a GPU")
def test_stem_and_down_in_bfloat16_are_the_plain_ones():
    torch.manual_seed(0)
    for module, x in (
        (Stem(3, 96, 4), torch.randn(2, 13, 25, 3)),
        (Down(96, 192, 2), torch.randn(2, 7, 25, 96)),
    ):
        module, x = module.cuda(), x.cuda()
        with torch.autocast("cuda", torch.bfloat16):
            got = module(x)
        with kernels.plain():
            want = module.double()(x.double())
        assert got.dtype == torch.bfloat16
        assert ((got - want).norm() / want.norm()).item() < 1e-2
