"""A block with joints outermost, as CPUs run it, against its plain twin: values and every gradient."""

import copy

import pytest
import torch
from made.blocks import gradients, made_block
from torch import Tensor

from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.network import cpu_block
from tsgc.network.layers import Block
from tsgc.network.model import TSGCNeXt

BF16 = torch.bfloat16


def plain_gradients(block: Block, x: Tensor, survival: Tensor | None, weights: Tensor) -> dict[str, Tensor]:
    """The plain twin's, in float64."""
    twin, factors = copy.deepcopy(block).double(), None if survival is None else survival.double()
    with kernels.plain():
        return gradients(lambda x: twin(x, factors), x.double(), twin, weights.double())


def errors(got: dict[str, Tensor], want: dict[str, Tensor]) -> dict[str, float]:
    """Of each, over the size of the exact one."""
    return {name: ((got[name] - exact).norm() / exact.norm()).item() for name, exact in want.items()}


@pytest.mark.parametrize("layer_scale", [None, 0.5])
@pytest.mark.parametrize("survival", [None, [1.25, 0.0, 1.25], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("joints", [13, 17, 18, 20, 25])
def test_it_is_the_plain_block_in_float64(joints, frames, survival, layer_scale):
    torch.manual_seed(joints + frames)
    block = made_block(12, joints, layer_scale).double()
    x, weights = torch.randn(2, 3, frames, joints, 12, dtype=torch.float64)
    factors = None if survival is None else torch.tensor(survival, dtype=torch.float64)
    want = plain_gradients(block, x, factors, weights)
    got = gradients(lambda x: cpu_block.joints_first_block(x, factors, block), x, block, weights)
    for name, exact in want.items():
        torch.testing.assert_close(got[name], exact, rtol=1e-11, atol=1e-11, msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_random_shapes_in_float32(seed):
    random = torch.Generator().manual_seed(seed)
    rows, frames, joints, width = (
        int(torch.randint(low, high, (), generator=random))
        for low, high in ((1, 5), (1, 12), (2, 26), (1, 70))
    )
    torch.manual_seed(seed)
    block = made_block(width, joints)
    x, weights = torch.randn(2, rows, frames, joints, width)
    survival = (torch.rand(rows) > 0.3) / 0.7
    want = plain_gradients(block, x, survival, weights)
    got = gradients(lambda x: cpu_block.joints_first_block(x, survival, block), x, block, weights)
    assert all((got[name] - exact).norm() <= 5e-6 * (exact.norm() + 1) for name, exact in want.items())


def in_bf16(run):
    def autocast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", BF16):
            return run(x.to(BF16))

    return autocast


def test_in_bfloat16_a_block_errs_no_more_than_the_plain_one(monkeypatch):
    """Over some blocks, each kind of gradient; both against float64. Single ones vary by a half.

    A CPU without instructions for bfloat16 runs the plain one, to the bit.
    """
    monkeypatch.setattr(cpu_block, "LEAST", {BF16: 0})
    fast = cpu_block.convolves(BF16)
    ours: dict[str, float] = {}
    plain: dict[str, float] = {}
    for seed, joints in enumerate([13, 17, 18, 20, 25, 25]):
        torch.manual_seed(seed)
        block = made_block(48, joints)
        x, weights = torch.randn(2, 3, 9, joints, 48)
        survival = torch.tensor([1.25, 0.0, 1.25])
        want = plain_gradients(block, x, survival, weights)

        def as_chosen(x: Tensor, block: Block = block, survival: Tensor = survival) -> Tensor:
            assert cpu_block.supports(x) == fast
            return block(x, survival)

        def as_plain(x: Tensor, block: Block = block, survival: Tensor = survival) -> Tensor:
            with kernels.plain():
                return block(x, survival)

        both = [gradients(in_bf16(run), x, block, weights) for run in (as_chosen, as_plain)]
        for sums, found in zip((ours, plain), both, strict=True):
            assert found["out"].dtype == BF16
            for name, error in errors(found, want).items():
                sums[name] = sums.get(name, 0) + error
        assert fast or all(torch.equal(both[0][name], value) for name, value in both[1].items())
    assert all(ours[name] < 1.2 * plain[name] for name in plain), (ours, plain)
    assert sum(ours.values()) < 1.05 * sum(plain.values())


def test_blocks_hand_each_other_what_they_need_without_a_copy():
    block = made_block(8, 5)
    x = torch.randn(2, 3, 5, 8)
    out = cpu_block.joints_first_block(x, None, block)
    assert out.shape == x.shape
    assert cpu_block.joints_first(out).data_ptr() == out.data_ptr()


def test_which_blocks_run_so(monkeypatch):
    """Those of the types in the table and of its size, on CPUs, outside `kernels.plain()`."""
    monkeypatch.setattr(cpu_block, "LEAST", {BF16: 0})
    monkeypatch.setattr(cpu_block, "convolves", lambda dtype: True)
    x = torch.randn(1, 2, 5, 8)
    assert cpu_block.supports(x.to(BF16)) and not cpu_block.supports(x)
    with torch.autocast("cpu", BF16):
        assert cpu_block.supports(x)
        with kernels.plain():
            assert not cpu_block.supports(x)
    assert not cpu_block.supports(x.to(BF16).to("meta"))
    monkeypatch.setattr(cpu_block, "LEAST", {BF16: x.numel() + 1})
    assert not cpu_block.supports(x.to(BF16)) and cpu_block.supports(x.to(BF16), 2)
    monkeypatch.setattr(cpu_block, "LEAST", {BF16: x.numel()})
    assert cpu_block.supports(x.to(BF16)) and not cpu_block.supports(x.to(BF16), 0.5)
    monkeypatch.setattr(cpu_block, "convolves", lambda dtype: False)
    assert not cpu_block.supports(x.to(BF16))


def test_float32_and_bfloat16_run_so_where_the_cpu_has_instructions():
    x = torch.empty(16, 32, 20, 24)
    assert cpu_block.supports(x) and not cpu_block.supports(x.double())
    assert cpu_block.supports(x.to(BF16)) == torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize("least", [0, 24_000])
def test_a_whole_network_is_the_plain_one(monkeypatch, least):
    """Stem, downs and pooling take what blocks give; an odd T leaves frames over.

    With frames left over the later stages have fewer numbers, and may run plain after blocks that do not.
    """
    monkeypatch.setattr(cpu_block, "LEAST", {torch.float32: least})
    torch.manual_seed(0)
    network = TSGCNeXt(SKELETONS["nw-ucla-20"], 5, variant="tiny", bodies=2).eval()
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    x = torch.randn(3, 3, 37, 20, 2)
    survival = network.survival(torch.rand(3, 6))
    weights = torch.randn(3, 5)
    run = lambda x: network(x, survival)  # noqa: E731
    got = gradients(run, x, network, weights)
    with kernels.plain():
        want = gradients(run, x, network, weights)
    for name, exact in want.items():
        torch.testing.assert_close(got[name], exact, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("variant", "skeleton", "bodies", "frames", "fast"),
    [
        ("small", "nw-ucla-20", 1, 64, False),
        ("252", "nw-ucla-20", 1, 64, False),
        ("252", "ntu-25", 2, 256, True),
    ],
)
def test_a_lone_clip_runs_plain_unless_it_is_large(monkeypatch, variant, skeleton, bodies, frames, fast):
    """All of its layers alike: stem, blocks and downs."""
    asked: list[bool] = []

    def noted(x: Tensor, factor: float = 1) -> bool:
        asked.append(supports(x, factor))
        return asked[-1]

    supports = cpu_block.supports
    monkeypatch.setattr(cpu_block, "supports", noted)
    network = TSGCNeXt(SKELETONS[skeleton], 5, variant=variant, bodies=bodies).eval()
    with torch.inference_mode():
        network(torch.randn(1, 3, frames, SKELETONS[skeleton].num_joints, bodies))
    assert set(asked) == {fast}


def test_a_second_backward_pass_gives_the_same():
    """Nothing that is saved is written over."""
    block = made_block(8, 5)
    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    out = cpu_block.joints_first_block(x, None, block).square().sum()
    first, second = (torch.autograd.grad(out, [x, *block.parameters()], retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_gradients_of_gradients_are_refused():
    block = made_block(8, 5)
    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    loss = cpu_block.joints_first_block(x, None, block).square().sum()
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
