"""GPUs as kernels see them: what a program may take, how many run at once, how tiles are copied.

`card_of` asks the device; `limited` puts another GPU's figures in their place, to try its cuts without it.
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch

from pipelines.errors import UsageError

KB = 1024


@dataclass(frozen=True)
class Card:
    """A GPU's figures."""

    arch: int | str
    """Compute capability (89 for 8.9), or AMD's name of the architecture (gfx942)."""
    shared: int
    """Bytes of shared memory that a program may take."""
    multiprocessors: int
    registers: int = 65536
    """Registers of a multiprocessor."""
    warp: int = 32
    """Threads of a warp."""

    @property
    def amd(self) -> bool:
        return isinstance(self.arch, str)

    @property
    def descriptors(self) -> bool:
        """Whether tiles are copied by descriptors (TMA).

        Not on compute capability 10.0, whose rungs are recorded with pointers.
        """
        return isinstance(self.arch, int) and (90 <= self.arch < 100 or self.arch >= 120)

    @property
    def multiplies(self) -> bool:
        """Whether Triton has its matrix units multiply: from compute capability 8.0 on, since Triton 3.3."""
        return isinstance(self.arch, str) or self.arch >= 80

    @property
    def capability(self) -> tuple[int, int] | None:
        """The compute capability, (8, 9) for 8.9; None: AMD's have none."""
        return None if isinstance(self.arch, str) else divmod(self.arch, 10)

    @property
    def types(self) -> tuple[torch.dtype, ...]:
        """The types that its matrix units multiply: before compute capability 8.0 bfloat16 is emulated."""
        narrow = (torch.bfloat16, torch.float16) if self.multiplies else (torch.float16,)
        return (*narrow, torch.float32)


# Shared memory of a program: CUDA programming guide, "compute capabilities", less the 1 kB that CUDA keeps;
# LDS of a workgroup on AMD. Multiprocessors: the makers' data sheets.
CARDS = {
    "t4": Card(75, 64 * KB, 40),
    "rtx 2080 ti": Card(75, 64 * KB, 68),
    "a100": Card(80, 163 * KB, 108),
    "rtx 3060": Card(86, 99 * KB, 28),
    "rtx 3090": Card(86, 99 * KB, 82),
    "a10": Card(86, 99 * KB, 72),
    "a40": Card(86, 99 * KB, 84),
    "rtx 4060": Card(89, 99 * KB, 24),
    "rtx 4090": Card(89, 99 * KB, 128),
    "l4": Card(89, 99 * KB, 58),
    "l40": Card(89, 99 * KB, 142),
    "h100": Card(90, 227 * KB, 132),
    "h200": Card(90, 227 * KB, 132),
    "b200": Card(100, 227 * KB, 148),
    "rtx 5070": Card(120, 99 * KB, 48),
    "rtx 5090": Card(120, 99 * KB, 170),
    "mi300x": Card("gfx942", 64 * KB, 304, warp=64),
}
MAKERS = ("nvidia", "geforce", "tesla", "amd", "instinct")  # words before a card's name
TUNED_FOR = CARDS["h200"]  # whose figures stand in the tables

_limit: Card | None = None


def named_card(name: str, asked: str = "") -> Card:
    """The card of this name, in any case, with spaces or without. Raises UsageError, which `asked` begins."""
    words = name.lower().replace("-", " ").split()
    plain = "".join(word for word in words if word not in MAKERS)
    names = {known.replace(" ", ""): known for known in CARDS}
    if plain in names:
        return CARDS[names[plain]]
    near = [names[one] for one in difflib.get_close_matches(plain, names)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(f"{asked}{name}: no GPU that is known here; {hint}expected one of {', '.join(CARDS)}")


def lacking(here: Card, wanted: Card) -> str:
    """What `here` lacks to run kernels cut, counted and loaded as on `wanted`; empty: nothing."""
    if wanted.shared > here.shared:
        return f"{wanted.shared // KB} kB of shared memory a program, it has {here.shared // KB} kB"
    if wanted.descriptors and not here.descriptors:
        return "kernels that load tiles by descriptors"
    if missing := set(wanted.types) - set(here.types):
        return f"{str(missing.pop()).removeprefix('torch.')} in its matrix units"
    if here.amd and not wanted.amd:
        return "NVIDIA's instructions"
    return ""


@contextmanager
def limited(to: Card) -> Iterator[None]:
    """A context in which kernels are cut, counted and copy as on `to`, whichever GPU they run on."""
    global _limit
    before, _limit = _limit, to
    try:
        yield
    finally:
        _limit = before


def card_of(device: torch.device) -> Card:
    """The figures of a device, or of `limited`; on CPUs, where kernels are interpreted, those of tables."""
    if _limit is not None:
        return _limit
    return _device_card(device) if device.type == "cuda" else TUNED_FOR


@lru_cache
def _device_card(device: torch.device) -> Card:
    from triton.runtime import driver

    index = torch.cuda.current_device() if device.index is None else device.index
    found = driver.active.utils.get_device_properties(index)
    gpu = torch.cuda.get_device_properties(index)
    arch = gpu.gcnArchName.split(":")[0] if torch.version.hip else 10 * gpu.major + gpu.minor
    return Card(
        arch,
        found["max_shared_mem"],
        found["multiprocessor_count"],
        found.get("max_num_regs", Card.registers),
        found.get("warpSize", Card.warp),
    )


def share(count: int, device: torch.device) -> int:
    """`count`, a number of programs for `TUNED_FOR`, in proportion for this device: 1 or more."""
    return max(1, count * card_of(device).multiprocessors // TUNED_FOR.multiprocessors)
