"""Every rung of the ladder against plain blocks: values, gradients and a short training.

Without a GPU Triton's interpreter runs the rungs' own cuts, in float32; on one they run in their types, cut,
counted and copied as on smaller GPUs.
"""

import copy
import dataclasses

import pytest
import torch
from made.blocks import gradients, made_block
from made.kernels import DEVICE, compare_block
from made.slowly import slowly

pytest.importorskip("triton", reason="torch comes without Triton here")

from tsgc import kernels
from tsgc.bench.inputs import Shape, make_batch, make_model, make_step
from tsgc.config import TrainConfig
from tsgc.kernels import ladder
from tsgc.kernels.cards import CARDS, KB, TUNED_FOR, Card, limited
from tsgc.kernels.tunings import NARROW_RUNGS
from tsgc.step import loss_scale

LIMITS = {
    "99 kB": CARDS["rtx 4090"],
    "64 kB": CARDS["t4"],
    "64 kB, AMD's": CARDS["mi300x"],
    "163 kB": CARDS["a100"],
    "48 multiprocessors": CARDS["rtx 5070"],
    "99 kB with descriptors": dataclasses.replace(TUNED_FOR, shared=99 * KB),
}
on_gpus = pytest.mark.skipif(DEVICE != "cuda", reason="rungs in their own types need a GPU")


def narrow_type(card: Card) -> torch.dtype:
    return card.types[0]


@pytest.mark.skipif(DEVICE == "cuda", reason="kernels for narrow types are too large for a GPU in float32")
@pytest.mark.parametrize(
    "name, width",
    [
        ("tuned", 48),
        ("tuned", 96),
        *slowly(("small", 192), ("smaller", 192), ("library", 192)),
        *slowly(*(("tuned", width) for width in (32, 64, 128, 256, 384))),
    ],
)
def test_a_block_on_pointers_is_the_plain_one(name, width):
    """As GPUs without descriptors have it, with as few programs as a small one."""
    (rung,) = (rung for rung in NARROW_RUNGS if rung.name == name)
    with limited(CARDS["rtx 3060"]):
        compare_block(ladder.Choice(rung, width, 0).road, width, 13, rows=3, frames=2)


@on_gpus
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(
    "width, joints, frames",
    [
        (96, 25, 16), (192, 20, 7), (384, 17, 5), (192, 64, 3),
        (32, 20, 16), (48, 20, 16), (64, 20, 8), (128, 25, 7), (256, 17, 4),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rung", [rung.name for rung in NARROW_RUNGS])
def test_each_rung_errs_no_more_than_twice_the_plain_block(rung, width, joints, frames, limit):
    card = LIMITS[limit]
    dtype = narrow_type(card)
    with limited(card), ladder.preferring(rung):
        found = ladder.chosen(torch.device("cuda"), dtype, width, joints, True)
        if found is None or found.rung.name != rung:
            pytest.skip(f"no room for it, {found and found.rung.name} is chosen")
        torch.manual_seed(width)
        block = made_block(width, joints, device=DEVICE)
        x = torch.randn(6, frames, joints, width, device=DEVICE).to(dtype)
        survival = torch.tensor([1.25, 0.0, 1.25], device=DEVICE).repeat(2)
        weights = torch.randn_like(x, dtype=torch.float32)
        twin = copy.deepcopy(block).double()
        with kernels.plain():
            want = gradients(lambda x: twin(x, survival.double()), x.double(), twin, weights)
            with torch.autocast("cuda", dtype):
                plain = gradients(lambda x: block(x, survival), x, block, weights)
        with torch.autocast("cuda", dtype):
            got = gradients(lambda x: block(x, survival), x, block, weights)
            with torch.inference_mode():
                alone = block(x, survival)
    for name, exact in {**want, "alone": want["out"]}.items():
        one, beside = got.get(name, alone), plain.get(name, plain["out"])
        error, other = ((value - exact).norm() / exact.norm() for value in (one, beside))
        assert error < max(2 * other, 1e-2), name


def losses(precision: str, steps: int = 16) -> list[float]:
    """Those of a short training of the smallest network of variant 252's widths."""
    shape = Shape(variant="252", frames=32, classes=10, batch=8)
    config = TrainConfig(variant="252", frames=32, ema_decay=0.9, precision=precision)
    device = torch.device(DEVICE)
    step = make_step(shape, config, device, cuda_graphs=True)
    batch = make_batch(shape, make_model(shape, device), device, seed=3)
    found = []
    for position in range(steps):
        step.clear()
        step([batch], lr=2e-5, size=8, position=position)
        found.append(step.loss_sum.item() / 8)
    step.reset()
    return found


@on_gpus
@pytest.mark.parametrize("precision", ["narrow", "float32"])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_short_training_on_each_limit_goes_as_the_plain_one(limit, precision, monkeypatch):
    # float16 begins where no step overflows: one that is left out would move all that follow.
    monkeypatch.setattr(loss_scale, "FIRST", 128.0)
    if precision == "narrow":
        precision = "bf16" if narrow_type(LIMITS[limit]) == torch.bfloat16 else "float16"
    with kernels.plain():
        want = losses(precision)
    with limited(LIMITS[limit]):
        got = losses(precision)
    assert got[-1] < got[0]
    torch.testing.assert_close(torch.tensor(got), torch.tensor(want), rtol=0.05, atol=0.05)
