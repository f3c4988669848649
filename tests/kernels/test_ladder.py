"""Which cut of the kernels a GPU gets, by its figures alone; and what becomes of kernels that do not run."""

import dataclasses
import warnings
from collections.abc import Sequence

import pytest
import torch

pytest.importorskip("triton", reason="torch comes without Triton here")

from made.blocks import made_block
from made.kernels import DEVICE
from torch import nn

from pipelines.errors import UsageError
from tsgc import kernels
from tsgc.kernels import block as block_kernels
from tsgc.kernels import cards, ladder, launching, patch, tall
from tsgc.kernels.asked import ASKED
from tsgc.kernels.block import apply_block
from tsgc.kernels.cards import CARDS, KB, TUNED_FOR, limited, share
from tsgc.kernels.launching import KernelError, launch
from tsgc.kernels.library import Library
from tsgc.kernels.patch import PatchNorm
from tsgc.kernels.tunings import NARROW_RUNGS, TUNINGS, WIDE_RUNGS
from tsgc.networks import VARIANTS

CPU = torch.device("cpu")
NARROW, FLOAT32 = torch.bfloat16, torch.float32


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    """Each test begins where nothing has been chosen or given up."""
    monkeypatch.setattr(ladder, "_chosen", {})
    monkeypatch.setattr(launching, "_given_up", set())


LARGE = 96, 192, 384  # variant 252's widths
OTHERS = tuple(TUNINGS.keys() - {*LARGE})


def names(
    card: cards.Card,
    dtype: torch.dtype,
    training: bool = True,
    joints: int = 25,
    widths: Sequence[int] = LARGE,
) -> list[str]:
    """The rung that each width gets."""
    found = (ladder.fitting(card, dtype, width, joints, training) for width in widths)
    return [choices[0].rung.name if choices else "plain" for choices in found]


@pytest.mark.parametrize("card", CARDS)
def test_what_is_chosen_has_room_and_every_card_has_something(card):
    for dtype in CARDS[card].types:
        for training in (True, False):
            for width in TUNINGS:
                choices = ladder.fitting(CARDS[card], dtype, width, 25, training)
                assert choices, (dtype, width)
                assert all(choice.asked <= CARDS[card].shared for choice in choices)


@pytest.mark.parametrize(
    "card, dtype, want",
    [
        ("h200", NARROW, ["tuned"] * 3),
        ("a100", torch.float16, ["tuned"] * 3),
        ("rtx 4090", NARROW, ["tuned", "smaller", "tuned"]),
        ("b200", NARROW, ["library"] * 3),
        ("mi300x", NARROW, ["tuned", "small", "tuned"]),
        ("t4", torch.float16, ["library"] * 3),
        ("t4", NARROW, ["plain"] * 3),
        ("h200", FLOAT32, ["library"] * 3),
        ("t4", FLOAT32, ["library"] * 3),
    ],
)
def test_each_card_gets_the_first_rung_that_fits(card, dtype, want):
    assert names(CARDS[card], dtype) == want


@pytest.mark.parametrize(
    "card, dtype, training, want",
    [
        ("h200", NARROW, True, "tuned"),
        ("a100", torch.float16, True, "tuned"),
        ("rtx 4090", NARROW, True, "tuned"),
        ("rtx 5070", NARROW, False, "tuned"),
        ("b200", NARROW, True, "library"),
        ("b200", NARROW, False, "tuned"),
        ("mi300x", NARROW, True, "tuned"),
        ("t4", torch.float16, True, "library"),
        ("h200", FLOAT32, True, "library"),
    ],
)
def test_widths_of_other_networks_have_one_cut_that_every_card_has_room_for(card, dtype, training, want):
    assert set(OTHERS) == {32, 48, 64, 128, 256}
    assert names(CARDS[card], dtype, training, widths=OTHERS) == [want] * 5


def test_recognition_chooses_apart_from_training():
    assert names(CARDS["rtx 4090"], NARROW, training=False) == ["tuned", "small", "tuned"]
    assert names(CARDS["b200"], NARROW, training=False) == ["tuned"] * 3


def test_what_is_not_recorded_is_tried(monkeypatch):
    monkeypatch.setattr(ladder, "ASKED", {})
    assert names(TUNED_FOR, NARROW) == ["tuned"] * 3
    assert names(CARDS["t4"], torch.float16) == ["library"] * 3


def test_less_room_is_a_lower_rung_and_no_room_is_plain():
    def small(kilobytes: int) -> cards.Card:
        return dataclasses.replace(CARDS["rtx 3090"], shared=kilobytes * KB)

    assert names(small(163), NARROW)[1] == "tuned"
    assert names(small(48), NARROW) == ["library"] * 3
    assert names(small(8), NARROW) == ["plain"] * 3


def test_joints_that_fit_into_no_tile_run_plain():
    assert names(TUNED_FOR, NARROW, joints=64) == ["tuned"] * 3
    assert names(TUNED_FOR, NARROW, joints=65) == ["plain"] * 3
    assert names(TUNED_FOR, FLOAT32, joints=32) == ["library"] * 3
    assert names(TUNED_FOR, FLOAT32, joints=33) == ["plain"] * 3


def test_an_unknown_width_or_architecture_runs_plain():
    assert ladder.fitting(TUNED_FOR, NARROW, 24, 25, True) == []
    assert names(dataclasses.replace(TUNED_FOR, arch=70), NARROW) == ["plain"] * 3
    assert ladder.family(dataclasses.replace(TUNED_FOR, arch=89)) == 80
    assert ladder.family(dataclasses.replace(TUNED_FOR, arch=121)) == 120


def test_every_rung_is_recorded_for_every_architecture():
    for rungs, kind in ((NARROW_RUNGS, "narrow"), (WIDE_RUNGS, "float32")):
        for rung in rungs:
            for width in rung.tunings:
                for card in CARDS.values():
                    recorded = (ladder.family(card), kind, rung.name, width) in ASKED
                    assert recorded == (rung.name == "library" or card.multiplies)


def test_programs_follow_the_multiprocessors():
    assert [share(count, CPU) for count in (88, 264, 116, 1188)] == [88, 264, 116, 1188]
    with limited(CARDS["rtx 5070"]):  # which has 48
        assert [share(count, CPU) for count in (88, 264, 116, 1188)] == [32, 96, 42, 432]
        assert share(1, CPU) == 1


def test_a_card_goes_by_its_name():
    assert cards.named_card("RTX 4090") is CARDS["rtx 4090"]
    assert cards.named_card("NVIDIA GeForce RTX 4090") is CARDS["rtx 4090"]
    assert cards.named_card("rtx4090") is cards.named_card("GeForce RTX-4090") is CARDS["rtx 4090"]
    assert cards.named_card("Tesla T4") is CARDS["t4"] and cards.named_card("Instinct MI300X")
    with pytest.raises(UsageError, match=r"x1: no GPU that is known here; expected one of t4, "):
        cards.named_card("x1")
    with pytest.raises(UsageError, match=r"h201: no GPU that is known here; did you mean h200\? expected"):
        cards.named_card("h201")


def test_limits_end():
    with limited(CARDS["t4"]):
        assert cards.card_of(CPU) is CARDS["t4"]
    assert cards.card_of(CPU) is TUNED_FOR


def fails_on(monkeypatch, *rungs: str) -> None:
    """Trying out a rung of these names fails, as on a GPU."""

    def try_out(way, width, device, dtype, joints, training):
        if any(way.tuning is rung.tunings.get(width) for rung in NARROW_RUNGS if rung.name in rungs):
            raise KernelError("forward_kernel", "out of resource: shared memory")

    monkeypatch.setattr(ladder, "try_out", try_out)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)


def on_gpu(width: int = 96) -> ladder.Choice | None:
    with limited(TUNED_FOR):
        return ladder.chosen(torch.device("cuda", 0), NARROW, width, 25, True)


def test_a_rung_that_does_not_run_gives_way_to_the_next_with_one_warning(monkeypatch):
    fails_on(monkeypatch, "tuned")
    with pytest.warns(
        RuntimeWarning, match="forward_kernel does not run on this GPU.*out of resource"
    ) as said:
        assert on_gpu().rung.name == "library"
        assert on_gpu(192).rung.name == "smaller"
        assert on_gpu().rung.name == "library"
    assert len(said) == 1


def test_where_no_rung_runs_blocks_are_plain(monkeypatch):
    fails_on(monkeypatch, *(rung.name for rung in NARROW_RUNGS))
    with pytest.warns(RuntimeWarning, match="forward_kernel"):
        assert on_gpu() is None


def test_nothing_is_tried_within_a_capture(monkeypatch):
    fails_on(monkeypatch, "tuned")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert on_gpu().rung.name == "tuned"


def test_a_preferred_rung_comes_first_where_it_fits():
    with ladder.preferring("small"):
        assert names(TUNED_FOR, NARROW) == ["tuned", "small", "tuned"]
    with ladder.preferring("library"):
        assert names(TUNED_FOR, NARROW) == ["library"] * 3


def test_what_is_chosen_is_said_in_one_line():
    with limited(CARDS["rtx 4090"]):
        choices = {width: ladder.chosen(CPU, NARROW, width, 25, True) for width in LARGE}
        want = "cut for 99 kB (tuned at 96, 384 channels; smaller at 192 channels)"
        assert ladder.describe(cards.card_of(CPU), choices) == want
        assert ladder.listed(CPU, 25)[0] == (
            "bfloat16 kernels cut for 99 kB (tuned at 32, 48, 64, 96, 128, 256, 384 channels; smaller at 192"
            " channels)"
        )
        assert ladder.settle(CPU, VARIANTS["small"].widths, 20, training=True) == (
            "cut for 99 kB (library at 48, 96, 192 channels)"  # in float32: no autocast
        )
    with limited(TUNED_FOR), torch.autocast("cpu", NARROW):
        said = [ladder.settle(CPU, VARIANTS[name].widths, 20, training=True) for name in ("small", "tiny")]
    assert said == [
        "cut for 227 kB (tuned at 48, 96, 192 channels)",
        "cut for 227 kB (plain at 24 channels; tuned at 48, 96 channels)",
    ]
    assert ladder.describe(TUNED_FOR, {96: None}) == "none, blocks run plain"
    assert kernels.settle(CPU, [96], 25) == "none, blocks run plain"


def test_a_block_whose_kernel_fails_in_a_run_goes_down_the_ladder(monkeypatch):
    ran = []

    def apply_block(x, survival, module, road, kept, leave):
        ran.append(type(road(96)).__name__)
        raise KernelError("mix_kernel", "no")

    monkeypatch.setattr(ladder, "apply_block", apply_block)
    block, x = made_block(96, 13), torch.randn(2, 3, 13, 96)
    with pytest.warns(RuntimeWarning, match="mix_kernel does not run"):
        out = kernels.fused_block(x, None, block)
    assert ran == ["Library"]
    torch.testing.assert_close(out, block(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer_scale", [None, 0.5])
@pytest.mark.parametrize("kept", [None, 2])
def test_a_block_whose_kernel_fails_backwards_has_the_plain_ones_gradients(kept, layer_scale, monkeypatch):
    torch.manual_seed(0)
    block = made_block(96, 13, layer_scale, DEVICE)
    inputs = [torch.randn(3, 4, 13, 96, device=DEVICE, requires_grad=True), *block.parameters()]
    survival = torch.tensor([1.25, 0.0, 1.25], device=DEVICE)

    def temporal_norm_backward(*_):
        raise KernelError("temporal_norm_backward", "out of resource: shared memory")

    with kernels.plain():
        out = block(inputs[0], survival)
        weights = torch.randn_like(out)
        want = torch.autograd.grad((out * weights).sum(), inputs)
    monkeypatch.setattr(block_kernels, "temporal_norm_backward", temporal_norm_backward)
    with pytest.warns(RuntimeWarning, match="temporal_norm_backward does not run") as said:
        outs = [kernels.fused_block(inputs[0], survival, block, kept) for _ in range(2)]
        got = [torch.autograd.grad((out * weights).sum(), inputs) for out in outs]
    assert len(said) == 1
    for found in got:
        for one, other in zip(found, want, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert ladder.chosen(inputs[0].device, FLOAT32, 96, 13, True) is None  # float32 has one rung
    assert kernels.fused_block(inputs[0], survival, block, kept).grad_fn.name() != "BlockFunctionBackward"


def test_what_takes_a_failing_backward_passs_place_multiplies_in_the_blocks_type():
    torch.manual_seed(0)
    block, x = made_block(96, 13, device=DEVICE), torch.randn(3, 4, 13, 96, device=DEVICE).bfloat16()
    survival, dout = torch.tensor([1.25, 0.0, 1.25], device=DEVICE), torch.randn_like(x)
    got = block_kernels.Twin(block, print).gradients(x, survival, list(block.parameters()), dout)
    wide = x.double().requires_grad_()
    with kernels.plain():
        out = block.double()(wide, survival.double())
    want = torch.autograd.grad(out, [wide, *block.parameters()], dout.double())
    assert [one.dtype for one in got] == [x.dtype, *[FLOAT32] * 9]
    for one, other in zip(got, want, strict=True):
        error = (one - other).norm() / other.norm()
        assert 1e-4 < error < 2e-2  # bfloat16's, not float32's


def test_launches_leave_out_options_that_are_none():
    given = {}

    class Kernel:
        def __getitem__(self, grid):
            return lambda *args, **options: given.update(options, grid=grid, args=args)

    launch(Kernel(), 3, 1, 2, num_warps=4, maxnreg=None)
    assert given == {"grid": (3,), "args": (1, 2), "num_warps": 4}


@pytest.mark.parametrize(
    "error, own",
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("Triton Error [CUDA]: device kernel image is invalid"), False),
        (RuntimeError("PassManager::run failed"), False),
        (KeyError("Keyword argument maxnreg was specified but unrecognised"), False),
    ],
)
def test_trouble_of_the_gpus_own_is_not_a_kernels(error, own):
    class Kernel:
        __name__ = "some_kernel"

        def __getitem__(self, grid):
            def run(*_):
                raise error

            return run

    with pytest.raises(type(error) if own else KernelError) as found:
        launch(Kernel(), 1)
    assert own or str(found.value).startswith("some_kernel: ")


def test_twins_take_the_place_of_operations_whose_kernels_do_not_run(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 7, 24, device=DEVICE)
    norm, weights = nn.LayerNorm(24).to(DEVICE), torch.randn(2, 2, 7, 48, device=DEVICE)
    inputs = [x.requires_grad_(), norm.weight, norm.bias]

    def both() -> list[torch.Tensor]:
        out = PatchNorm.apply(*inputs, 2, norm.eps)
        sums = tall.column_sums(x.detach().view(-1, 24))
        return [out, sums, *torch.autograd.grad((out * weights).sum(), inputs)]

    want = both()

    def refuse(kernel, *_, **__):
        raise KernelError(kernel.__name__, "unknown to this Triton")

    for module in (patch, tall):
        monkeypatch.setattr(module, "launch", refuse)
    with pytest.warns(RuntimeWarning, match="plain PyTorch takes its place") as said:
        got = both()
    assert {str(one.message).split()[0] for one in said} == {"_forward", "_backward", "_column_sums"}
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both()


def test_the_librarys_road_takes_narrow_types():
    """Here by the interpreter, in float16, which is NumPy's too."""
    torch.manual_seed(0)
    block, x = made_block(96, 13, device=DEVICE), torch.randn(2, 2, 13, 96, device=DEVICE)
    survival = torch.tensor([1.25, 0.0], device=DEVICE)
    narrow = x.half().requires_grad_()
    for kept in (None, 1):
        out = apply_block(narrow, survival, block, Library, kept)
        found = torch.autograd.grad(out.float().square().sum(), [narrow, *block.parameters()])
        with kernels.plain():
            wide = x.double().requires_grad_()
            plain = block.double()(wide, survival.double())
            want = torch.autograd.grad(plain.square().sum(), [wide, *block.parameters()])
        block.float()
        assert out.dtype == torch.float16
        for one, other in zip([out, *found], [plain, *want], strict=True):
            assert ((one - other).norm() / other.norm()).item() < 5e-3
