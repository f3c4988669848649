"""Whether the kernels written for Hopper GPUs run here.

Gluon is a young language, whose names change from version to version. Where these kernels do not compile,
the ordinary ones run, and a warning says so.
"""

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from tsgc.kernels.operands import Operands
from tsgc.kernels.tunings import GatherTuning

_given_up = False


@lru_cache
def _is_hopper(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) == (9, 0)


def usable(x: Tensor) -> bool:
    return not _given_up and x.dtype == torch.bfloat16 and _is_hopper(x.device)


def gathered(
    p: Tensor, dout: Tensor, u: Tensor, survival: Tensor, ready: Operands, cut: GatherTuning
) -> tuple[Tensor, Tensor, int] | None:
    """`mixer_hopper.mix_gather`, or None where it does not compile."""
    global _given_up
    try:
        from tsgc.kernels.mixer_hopper import mix_gather

        return mix_gather(p, dout, u, survival, ready, cut)
    except Exception as error:  # whatever a Triton of another version raises
        if isinstance(error, RuntimeError) and "CUDA" in str(error):
            raise  # the GPU's trouble, its memory's for one
        _given_up = True
        reason = " ".join(str(error).split())[-200:]
        warnings.warn(
            f"a kernel for Hopper GPUs does not run with this Triton; others do, in 7 % more time: {reason}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
