"""Mixing backwards with the gradient of W2 in one kernel, against the kernels that it takes the place of.

Without a Hopper GPU it is compiled for one, which needs none.
"""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from made.slowly import slowly

pytest.importorskip("triton.experimental.gluon", reason="this Triton has no Gluon")

from tsgc.kernels import cards, hopper, launching, mixer_hopper, tunings
from tsgc.kernels.bottleneck import Kernels
from tsgc.kernels.operands import make_operands
from tsgc.kernels.sums import diagonal_sum

GATHERING = {width: tuning.gather for width, tuning in tunings.TUNINGS.items() if tuning.gather}
# It makes dout W2 itself, as where mixing is gathered; made before, that is rounded once more: 0.0035 of u.
TWIN = tunings.MixTuning(64, 32, 4, 2, 64)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.bfloat16 if torch.cuda.is_available() else torch.float32  # which the interpreter has
HOPPER = torch.cuda.is_available() and cards.card_of(torch.device("cuda", 0)).arch == 90
COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon._runtime import GluonASTSource
from tsgc.kernels import mixer_hopper
from tsgc.kernels.tunings import TUNINGS

width = int(sys.argv[1])
cut = TUNINGS[width].gather
kernel = mixer_hopper.mix_gather_kernel
blocks = {"p_d": (1, 64, cut.hidden), "dout_d": (1, 64, 64), "w2_d": (cut.hidden, 64)}
kinds = {name: f"tensordesc<bf16{list(at)},{mixer_hopper.layout(*at)!r}>" for name, at in blocks.items()}
kinds |= dict.fromkeys(("survival", "adjacency_sums", "w2_sums"), "*fp32")
kinds |= {"order": "*i32", "adjacency": "*bf16", "u_out": "*bf16"}
fixed = {"C": width, "PIECES": -(-width // 64), "BH": cut.hidden}
signature = {name: kinds.get(name, "constexpr" if name in fixed else "i32") for name in kernel.arg_names}
constants = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
source = GluonASTSource(fn=kernel, signature=signature, constexprs=constants)
options = {"num_warps": 4, **({"maxnreg": cut.registers} if cut.registers else {})}
made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
print(made.metadata.shared, made.asm["ptx"].count("wgmma.mma_async"))
"""


@pytest.fixture
def unwritten_is_nan():
    """What `torch.empty` gives holds NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("width", [96, *slowly(*sorted(set(GATHERING) - {96}))])
def test_it_compiles_for_hopper_and_as_many_programs_fit_as_it_counts_on(width):
    words = [sys.executable, "-c", COMPILE, str(width)]
    alone = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(words, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr[-2000:]
    shared, products = map(int, done.stdout.split())
    cut = GATHERING[width]
    assert shared <= hopper.asked(width, cut) <= shared + 1024
    each = cut.slots // 132  # programs of a multiprocessor, which has 228 KB and 65,536 registers for them
    assert each * (shared + 1024) <= 228 * 1024
    assert each * 128 * (cut.registers or 256) <= 65536
    assert products > 0


def test_where_it_does_not_run_other_kernels_do_and_say_so(monkeypatch):
    way, dout, p, survival, ready = made(96, 5, 2, 3, DTYPE)
    want = way.mix(dout, dout, p, survival, ready) if not HOPPER else None
    monkeypatch.setattr(launching, "_given_up", set())
    monkeypatch.setattr(hopper, "usable", lambda x, cut: True)
    monkeypatch.setitem(sys.modules, "tsgc.kernels.mixer_hopper", None)  # as where Gluon has other names
    with pytest.warns(
        RuntimeWarning,
        match="mix_gather_kernel does not run on this GPU with this Triton; others take its place",
    ):
        got = way.mix(dout, dout, p, survival, ready)
    assert launching._given_up
    kept = (survival > 0).repeat_interleave(len(p) // len(survival))
    assert got.u[kept].isfinite().all()
    if want is not None:
        assert torch.equal(got.u[kept], want.u[kept])


def test_trouble_of_the_gpus_own_is_not_taken_for_an_unknown_language(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(launching, "_given_up", set())
    monkeypatch.setattr(mixer_hopper, "mix_gather", full)
    with pytest.raises(torch.OutOfMemoryError):
        hopper.gathered(*[torch.zeros(1)] * 4, None, GATHERING[96])
    assert not launching._given_up


def made(width: int, joints: int, frames: int, rows: int, dtype: torch.dtype, kinds: str = "aDbc"):
    """A way, and what it mixes backwards, with NaN where nothing may be read; `D`: a row that is dropped."""
    torch.manual_seed(joints)

    def new(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=DEVICE)

    each = {"a": 1.25, "b": 1.5, "c": 1.0, "D": 0.0}
    survival = torch.tensor([each[name] for name in kinds], device=DEVICE).repeat(rows)[:rows]
    weights = new(4 * width, width), new(width, 4 * width) * width**-0.5, new(3, joints, joints) * 0.3
    way = Kernels(width)
    ready = make_operands(*weights, survival, dtype, *way.tuning.tile_rows)
    dout = new(rows, frames, joints, width).to(dtype)
    p = (2 * new(rows, frames * joints, 4 * width)).to(dtype)
    for unread in (p, dout):
        unread[survival == 0] = torch.nan
    return way, dout, p.view(-1, 4 * width), survival, ready


SIZES = [(25, 64, 40), (25, 7, 3), (20, 9, 5), (17, 5, 2), (64, 3, 2), (25, 1, 1), (25, 1, 5)]


@pytest.mark.skipif(not HOPPER, reason="the kernel needs a Hopper GPU")
@pytest.mark.parametrize("slots", [None, 12])
@pytest.mark.parametrize("width", GATHERING)
@pytest.mark.parametrize("joints, frames, rows", SIZES)
def test_gathering_is_mixing_and_a_product(width, joints, frames, rows, slots, monkeypatch, unwritten_is_nan):
    way, dout, p, survival, ready = made(width, joints, frames, rows, torch.bfloat16)
    u = torch.empty_like(p)
    cut = GATHERING[width] if slots is None else GATHERING[width]._replace(slots=slots)
    adjacency, w2, fewer = mixer_hopper.mix_gather(p, dout, u, survival, ready, cut)
    monkeypatch.setattr(hopper, "usable", lambda x, cut: False)
    if not way.tuning.backward.piece:
        way.tuning = replace(way.tuning, backward=TWIN)
    plain = way.mix(dout, dout, p, survival, ready)
    mixed = 3 * width
    kept = survival > 0
    pairs = {
        "u": (u.view(rows, -1)[kept], plain.u.view(rows, -1)[kept]),
        "adjacency": (diagonal_sum(adjacency.sum(1), joints), diagonal_sum(plain.adjacency.sum(1), joints)),
        "w2, mixed": (w2[..., :mixed].sum(0), plain.w2.sum(0)[:, :mixed]),
        "w2, passing": (w2[:fewer, :, mixed:].sum(0), plain.w2.sum(0)[:, mixed:]),
    }
    for name, (one, other) in pairs.items():
        assert ((one - other).float().norm() / other.float().norm()).item() < 3e-3, name


@pytest.mark.skipif(not HOPPER, reason="the kernel needs a Hopper GPU")
@pytest.mark.parametrize("width", GATHERING)
def test_where_every_row_is_dropped_there_is_no_gradient(width, unwritten_is_nan):
    _, dout, p, survival, ready = made(width, 25, 4, 3, torch.bfloat16, "D")
    adjacency, w2, fewer = mixer_hopper.mix_gather(
        p, dout, torch.empty_like(p), survival, ready, GATHERING[width]
    )
    assert not adjacency.any()
    assert not w2[..., : 3 * width].any()
    assert not w2[:fewer].any()
