"""The machine that a benchmark ran on, and how fast it multiplies."""

import os
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tsgc.bench.clock import seconds_a_call
from tsgc.network.precision import DTYPES, arithmetic

# Instructions that decide how fast bfloat16 is on a CPU; without those in bf16 it goes by way of float32.
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16")
PEAK_SIZE = {"cuda": 8192, "cpu": 2048}  # rows and columns of the matrices that the peak is measured with
SLOW_SIZE = 512  # where a product of PEAK_SIZE would take long: bfloat16 on a CPU without instructions for it
SLOW_SECONDS = 1.0


def machine_facts(device: torch.device) -> dict[str, Any]:
    """The device, the CPU's flags that matter here, threads and versions."""
    facts: dict[str, Any] = {"device": device.type, "torch": torch.__version__}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return facts | {
        "cpu": cpu_name(),
        "cpu_flags": cpu_flags(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    return _cpuinfo(path).get("model name") or platform.processor() or platform.machine()


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The flags of CPU_FLAGS that this CPU has."""
    there = _cpuinfo(path).get("flags", "").split()
    return [flag for flag in CPU_FLAGS if flag in there]


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's entries; none where the system has no such file."""
    if not path.is_file():
        return {}
    first = path.read_text(errors="replace").split("\n\n")[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


@lru_cache
def peak_flops(precision: str, device: torch.device) -> float:
    """FLOP/s of a large square matrix product in a precision: the peak that utilisation refers to."""
    size = PEAK_SIZE[device.type]
    if device.type == "cpu" and 2 * size**3 / product_flops(precision, device, SLOW_SIZE) > SLOW_SECONDS:
        size = SLOW_SIZE
    return product_flops(precision, device, size)


def product_flops(precision: str, device: torch.device, size: int) -> float:
    """FLOP/s of the product of two matrices of size x size."""
    dtype = DTYPES.get(precision, torch.float32)
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode(), arithmetic("tf32" if precision == "tf32" else "float32", device):
        calls = 20 if device.type == "cuda" else 3
        seconds = seconds_a_call(lambda: one @ other, device, calls, warm_up=3)
    return 2 * size**3 / seconds
