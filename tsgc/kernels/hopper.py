"""Whether the kernel written for Hopper GPUs runs here.

Gluon is a young language, whose names change from version to version. Where the kernel does not compile, the
ordinary ones run, and a warning says so.
"""

from torch import Tensor, bfloat16

from tsgc.kernels.cards import card_of
from tsgc.kernels.launching import or_twin, unless_the_gpus_own
from tsgc.kernels.operands import Operands
from tsgc.kernels.tunings import GATHER_PIECE as PIECE
from tsgc.kernels.tunings import GATHER_ROWS as ROWS
from tsgc.kernels.tunings import GatherTuning


def asked(width: int, cut: GatherTuning) -> int:
    """Bytes of shared memory: p and dout twice, the matrix, s g and u, W2, and three barriers."""
    pieces = -(-width // PIECE)
    numbers = (
        2 * ROWS * (cut.hidden + pieces * PIECE)
        + pieces * cut.hidden * PIECE
        + ROWS * (ROWS + 2 * cut.hidden)
    )
    return 2 * numbers + 3 * 8


def usable(x: Tensor, cut: GatherTuning) -> bool:
    """Whether the kernel is for this type and GPU; x (..., 4C)."""
    card = card_of(x.device)
    fits = asked(x.shape[-1] // 4, cut) <= card.shared
    return x.is_cuda and x.dtype == bfloat16 and card.arch == 90 and fits


def _not_gathered(*_: object) -> tuple[Tensor, Tensor, int] | None:
    return None


@or_twin(_not_gathered, "others take its place, in 7 % more time")
def gathered(
    p: Tensor, dout: Tensor, u: Tensor, survival: Tensor, ready: Operands, cut: GatherTuning
) -> tuple[Tensor, Tensor, int] | None:
    """`mixer_hopper.mix_gather`, or None where it does not run."""
    try:
        from tsgc.kernels.mixer_hopper import mix_gather
    except Exception as error:  # whatever a Gluon of another version raises
        raise unless_the_gpus_own(error, "mix_gather_kernel") from error
    return mix_gather(p, dout, u, survival, ready, cut)
