"""Comparing fused blocks with plain ones."""

import copy

import pytest
import torch
from torch import Tensor

from made.blocks import gradients, made_block
from made.slowly import slowly
from tsgc import kernels
from tsgc.kernels import block as fused
from tsgc.kernels.bottleneck import Kernels
from tsgc.kernels.library import Library

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


# In float32 the kernels of the bfloat16 road are too large for a GPU, not for the interpreter.
ROADS = [Library] if DEVICE == "cuda" else [Library, Kernels]


each_road = pytest.mark.parametrize("road", ROADS, ids=[road.__name__ for road in ROADS])

# The same with the last road alone in `make test`, where others of its tests have the library's.
mostly_kernels = pytest.mark.parametrize(
    "road", [ROADS[-1], *slowly(*ROADS[:-1])], ids=[road.__name__ for road in (ROADS[-1], *ROADS[:-1])]
)


def assert_close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    for name, exact in want.items():
        error = ((got[name] - exact).norm() / exact.norm().clamp_min(1e-30)).item()  # exactly 0 where it is 0
        assert error < tolerance, f"{name}: {error:.1e} of it"


def compare_block(
    road: fused.Road, width: int, joints: int, rows: int, frames: int, layer_scale: float | None = None,
    dropped: str | None = None,
) -> None:  # fmt: skip
    """`dropped`: D for each row that is, in a block that is told how many the others are."""
    torch.manual_seed(width + joints + frames)
    block = made_block(width, joints, layer_scale, device=DEVICE)
    x = torch.randn(rows, frames, joints, width, device=DEVICE)
    survival = torch.tensor([1.25, 0.0, 1.25], device=DEVICE).repeat(rows)[:rows]
    kept = None
    if dropped is not None:
        factors = [0.0 if row == "D" else 1 + number / 8 for number, row in enumerate(dropped)]
        survival, kept = torch.tensor(factors, device=DEVICE), rows - dropped.count("D")
    weights = torch.randn_like(x)
    twin = copy.deepcopy(block).double()
    with kernels.plain():
        want = gradients(lambda x: twin(x, survival.double()), x.double(), twin, weights)
    got = gradients(lambda x: fused.apply_block(x, survival, block, road, kept), x, block, weights)
    assert_close(got, want, 5e-6)
