"""The arithmetic of the network's products: float32, TF32, bfloat16, float16, and which of them a device has.

`auto` is the fastest that is safe on the device at hand. bfloat16 where the hardware multiplies it: GPUs of
compute capability 8.0 on and AMD's, CPUs with `avx512_bf16` or `amx_bf16`, arm64 with its bf16 extension.
Elsewhere float16 on GPUs with tensor cores (7.0 on), which trains with a factor on the loss
(tsgc/step/loss_scale.py). Else float32: what emulates a type goes by way of float32, and is slower than it.
"""

import platform
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch

from tsgc.distributed.process import Process

AUTO = "auto"
PRECISIONS = ("bf16", "tf32", "float32", "float16")
SAFEST = ("float32", "float16", "bf16")
"""What `auto` may be. A device whose choice is one of them can also do those before it."""
DTYPES = {"bf16": torch.bfloat16, "float16": torch.float16}
"""Types of the precisions that autocast gives."""
BF16_CAPABILITY, TENSOR_CORES = (
    (8, 0),
    (7, 0),
)  # NVIDIA's first with bfloat16 (Ampere), with tensor cores (Volta)


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which matrix products have this precision; float32 is strict on GPUs too."""
    precision = fastest(device) if precision == AUTO else precision
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(device.type, DTYPES[precision]) if precision in DTYPES else nullcontext()


@lru_cache
def fastest(device: torch.device, ours: bool = True) -> str:
    """What `auto` is on this device, for TSGCNeXt or (`ours` False) for another network.

    On CPUs the products of TSGCNeXt are large enough to gain by bfloat16; others were slower in it.
    """
    if device.type == "cpu":
        return "bf16" if ours and cpu_has_bf16() else "float32"
    return fastest_of(None if torch.version.hip else torch.cuda.get_device_capability(device))


def fastest_of(capability: tuple[int, int] | None) -> str:
    """What `auto` is on GPUs of a compute capability; None: on AMD's."""
    if capability is None or capability >= BF16_CAPABILITY:
        return "bf16"
    return "float16" if capability >= TENSOR_CORES else "float32"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16, and oneDNN uses that.

    On x86-64 oneDNN says that it can wherever there is AVX-512, which emulates it; on arm64 it looks for the
    extension itself.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    # Whatever has amx_bf16 has avx512_bf16. Before 2.11 torch has the question elsewhere.
    where: Any = torch.cpu if hasattr(torch.cpu, "_is_avx512_bf16_supported") else torch._C._cpu
    return bool(where._is_avx512_bf16_supported())


def emulates(precision: str, device: torch.device) -> bool:
    """Whether the device computes this precision by way of float32, which is slower than float32 itself."""
    if precision == "float16":
        return device.type == "cpu"
    return precision == "bf16" and fastest(device) != "bf16"


def without_instructions(precision: str, device: torch.device) -> str:
    """`bf16, which this CPU has no instructions for`; empty where a precision is not emulated."""
    if not emulates(precision, device):
        return ""
    where = "this CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return f"{precision}, which {where} has no instructions for"


def emulation_cost(
    precision: str, device: torch.device, instead: str = "--set precision=auto", ours: bool = True
) -> str:
    """A line that warns of training in a precision that is emulated here; empty where it is not.

    `instead`: what to write for the fastest, of TSGCNeXt or (`ours` False) of another network.
    """
    said = without_instructions(precision, device)
    cost = "some 6 to 8 times as long as" if device.type == "cpu" else "longer than"
    taken = f"training takes {cost} in float32; {instead} takes {fastest(device, ours)} here"
    return said and f"precision is {said}: {taken}"


def replacement(precision: str, device: torch.device, ours: bool = True) -> str:
    """A line that tells of recognition in another precision than its run was told; empty where it is not."""
    said = without_instructions(precision, device)
    return said and f"the run's precision is {said}: {fastest(device, ours)} takes its place"


def for_recognition(precision: str, device: torch.device, ours: bool = True) -> str:
    """The precision of recognition by a network whose run asked for `precision`.

    Where it asked for `auto`, or for what this device emulates, it is the fastest of this device.
    """
    return fastest(device, ours) if precision == AUTO or emulates(precision, device) else precision


def agreed(precision: str, process: Process) -> str:
    """The safest of what the ranks have chosen, the same on all of them; what each was told to do stays."""
    chosen = process.gather(precision)
    return min(chosen, key=SAFEST.index) if len(set(chosen)) > 1 else precision
