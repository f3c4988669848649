"""The ladder: for each GPU, type, width and number of joints the fastest cut of a block's kernels that runs.

Rungs are data (`tunings`); what each asks for is recorded (`asked`), so that nothing is compiled in vain. The
first rung that a GPU has room for is tried out, forward and backward, on a few rows of zeros; where it does
not compile or launch, the next one is. A choice is made once, before training starts. Where no rung is left
blocks run plain.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tsgc.kernels.asked import ASKED
from tsgc.kernels.block import BlockFunction, Way, apply_block
from tsgc.kernels.bottleneck import Kernels
from tsgc.kernels.cards import KB, Card, card_of
from tsgc.kernels.launching import KernelError, give_up
from tsgc.kernels.library import Library
from tsgc.kernels.tunings import (
    NARROW_RUNGS,
    RECOGNITION_ORDER,
    TUNINGS,
    WIDE_RUNGS,
    LibraryTuning,
    Rung,
    Tuning,
)

FAMILIES = (
    120,
    100,
    90,
    80,
    75,
)  # compute capabilities whose cuts are recorded; others take the next lower one's
TRIED_FRAMES = 16  # numbers that 16 divides, as in training: Triton compiles others anew
EPS = 1e-6


class Place(NamedTuple):
    """Where blocks run."""

    device: torch.device
    card: Card
    dtype: torch.dtype
    width: int
    joints: int
    training: bool


class Choice(NamedTuple):
    """A rung for a place."""

    rung: Rung
    width: int
    asked: int
    """Bytes of shared memory that its kernels take at most; 0: not recorded."""

    def road(self, width: int) -> Way:
        tuning = self.rung.tunings[width]
        return Library(width, tuning) if isinstance(tuning, LibraryTuning) else Kernels(width, tuning)


_chosen: dict[tuple[str, Place], Choice | None] = {}
_preferred = ""


@contextmanager
def preferring(rung: str) -> Iterator[None]:
    """A context in which a rung is taken wherever there is room for it, for tests and benchmarks."""
    global _preferred
    before, _preferred = _preferred, rung
    try:
        yield
    finally:
        _preferred = before


def rungs_of(dtype: torch.dtype, training: bool) -> Sequence[Rung]:
    """The rungs for a type, the fastest first."""
    if dtype == torch.float32:
        return WIDE_RUNGS
    if training:
        return NARROW_RUNGS
    return sorted(NARROW_RUNGS, key=lambda rung: RECOGNITION_ORDER.index(rung.name))


def family(card: Card) -> int | str:
    """The architecture whose figures in `ASKED` hold for the card; 0: none."""
    if card.amd:
        return "gfx942"
    return next((one for one in FAMILIES if int(card.arch) >= one), 0)


def fitting(card: Card, dtype: torch.dtype, width: int, joints: int, training: bool) -> list[Choice]:
    """The rungs that the card has room for, the fastest first. What is not recorded is left to a trial."""
    if dtype not in card.types:
        return []
    kind = "float32" if dtype == torch.float32 else "narrow"
    found = []
    for rung in rungs_of(dtype, training):
        tuning = rung.tunings.get(width)
        if tuning is None or joints > min(tuning.tile_rows):
            continue
        if isinstance(tuning, Tuning) and not card.multiplies:
            continue
        asked = ASKED.get((family(card), kind, rung.name, width), (0, 0))[0 if training else 1]
        if asked is not None and asked <= card.shared:
            found.append(Choice(rung, width, asked))
    return sorted(found, key=lambda choice: choice.rung.name != _preferred)


def chosen(
    device: torch.device, dtype: torch.dtype, width: int, joints: int, training: bool
) -> Choice | None:
    """The rung that blocks run on; None: plain. On a GPU it has been tried out."""
    place = Place(device, card_of(device), dtype, width, joints, training)
    key = _preferred, place
    if key not in _chosen:
        choices = fitting(*place[1:])
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return choices[0] if choices else None  # nothing is to be captured that does not belong there
        _chosen[key] = next((choice for choice in choices if runs(choice, place)), None)
    return _chosen[key]


def run_block(x: Tensor, survival: Tensor | None, module: Any, kept: int | None) -> Tensor | None:
    """`apply_block` on the rung that is chosen; None: none is left, or none runs."""
    place = x.device, x.dtype, x.shape[-1], x.shape[2], torch.is_grad_enabled()
    while choice := chosen(*place):
        left = partial(leave, choice, Place(x.device, card_of(x.device), *place[1:]))
        try:
            return apply_block(x, survival, module, choice.road, kept, left)
        except KernelError as error:  # of sizes that were not tried out
            left(error)
    return None


def leave(choice: Choice, here: Place, error: KernelError) -> None:
    """Choose the next rung that runs, in the place of one whose kernel does not."""
    warn_of(choice, error)
    key = _preferred, here
    if _chosen.get(key, choice) is choice:  # another block of the same backward pass may have left it
        choices = fitting(*here[1:])
        left = choices[choices.index(choice) + 1 :]
        _chosen[key] = next((one for one in left if runs(one, here)), None)


def warn_of(choice: Choice, error: KernelError) -> None:
    """Warn, once for each kernel, of one that does not run."""
    give_up(error.kernel, error, f"blocks leave rung {choice.rung.name!r} at {choice.width} channels")


def runs(choice: Choice, place: Place) -> bool:
    """Whether the kernels of a choice compile and launch; on a CPU, where they are interpreted, they do."""
    if place.device.type != "cuda":
        return True
    try:
        try_out(
            choice.road(place.width), place.width, place.device, place.dtype, place.joints, place.training
        )
    except KernelError as error:
        warn_of(choice, error)
        return False
    return True


def try_out(
    way: Way, width: int, device: torch.device, dtype: torch.dtype, joints: int, training: bool
) -> None:
    """Run a block of zeros, and its gradients. Raises KernelError."""
    in_program, _, programs, _ = way.tuning.temporal_backward
    rows = 16 * -(-programs // -(-joints // in_program) // 16)  # that every program has work
    shapes = (
        (3, joints, joints), (3, width), (width,), (width,), (width,),
        (4 * width, width), (4 * width,), (width, 4 * width), (width,),
    )  # fmt: skip

    def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, device=device, dtype=dtype, requires_grad=training)

    with torch.inference_mode(False), torch.set_grad_enabled(training):
        x, parameters = (
            zeros(rows, TRIED_FRAMES, joints, width, dtype=dtype),
            [zeros(*shape) for shape in shapes],
        )
        for kept in (None, rows - 1) if way.packs and training else (None,):
            survival = (torch.arange(rows, device=device) < (kept or rows)).float()
            out = BlockFunction.apply(x, survival, *parameters, EPS, way, training, kept, None)
            if training:
                torch.autograd.grad(out, [x, *parameters], torch.zeros_like(out))


def listed(device: torch.device, joints: int) -> list[str]:
    """What the ladder takes in training, a line for each type, as far as is recorded: nothing is tried."""
    card = card_of(device)
    lines = []
    for dtype in card.types:
        found = {width: fitting(card, dtype, width, joints, training=True) for width in TUNINGS}
        said = describe(card, {width: choices[0] if choices else None for width, choices in found.items()})
        lines.append(f"{str(dtype).removeprefix('torch.')} kernels {said}")
    return lines


def settle(device: torch.device, widths: Sequence[int], joints: int, training: bool) -> str:
    """Choose for a network's widths, in the type that products have here; what was chosen, in words."""
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
    choices = {width: chosen(device, dtype, width, joints, training) for width in widths}
    return describe(card_of(device), choices)


def describe(card: Card, choices: Mapping[int, Choice | None]) -> str:
    """`cut for 99 kB (tuned at 96, 384 channels; smaller at 192 channels)`."""
    by_name: dict[str, list[int]] = {}
    for width, choice in choices.items():
        by_name.setdefault(choice.rung.name if choice else "plain", []).append(width)
    if set(by_name) == {"plain"}:
        return "none, blocks run plain"
    parts = [f"{name} at {', '.join(map(str, widths))} channels" for name, widths in by_name.items()]
    return f"cut for {card.shared // KB} kB ({'; '.join(parts)})"
