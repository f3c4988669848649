"""Arithmetic of the network's products: float32, TF32, bfloat16."""

from contextlib import AbstractContextManager, nullcontext

import torch


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager:
    """The context of the network's matrix products; float32 stays strict on GPUs too."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
