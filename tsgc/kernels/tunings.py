"""Tile sizes, warps and stages of the kernels for each width, found by `benchmarks/tune_kernels.py`.

Those of widths 32, 48, 64, 128 and 256 are reckoned, not yet timed: they follow the nearest timed width, by
the registers and shared memory that a program takes of a multiprocessor (benchmarks/kernels.md). Numbers of
programs are those of `cards.TUNED_FOR`; others have their share (`cards.share`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


class MixTuning(NamedTuple):
    """The tuning of `mix_backward_kernel`."""

    rows: int
    hidden: int
    """BH, which divides C: a chunk is mixed by one matrix."""
    warps: int
    stages: int
    piece: int
    """0: dout W2 is made before."""


GATHER_ROWS = GATHER_PIECE = 64  # of a tile, and channels of dout and W2 that lie together


class GatherTuning(NamedTuple):
    """The tuning of `mixer_hopper.mix_gather_kernel`."""

    hidden: int
    """BH, which divides C."""
    slots: int
    """Programs in all: as many as a GPU holds."""
    registers: int = 0
    """Most registers of a thread; 0: no limit."""


@dataclass(frozen=True)
class Tuning:
    """The tuning of all kernels in narrow types; ROWS, PIECE, BH and so on are the kernels' own names.

    `registers` 0: no limit for a thread.
    """

    fused: bool
    """Forward in one kernel (`forward`); otherwise GELU(mix(p)) is written once and read once."""
    forward: tuple[int, int, int, int, int, int]
    """ROWS, PIECE, BH, warps, stages, registers of `forward_kernel`."""
    expand: tuple[int, int, int, int, int]
    """ROWS, PIECE, BH, warps, stages of `expand_kernel`."""
    contract: tuple[int, int, int, int, int]
    """BM, BN, BK, warps, stages of `contract_kernel`."""
    backward: MixTuning
    programs: int
    """Programs for each chunk of BH hidden channels in the backward pass."""
    gather: GatherTuning | None
    """Where given, that kernel takes the last one's place on a GPU that has what it asks for."""
    widen: tuple[int, int, int, int, int] | None
    """BM, BN, BK, warps, stages of `linear_kernel` for dout W2, where that is made before; None: by the
    library."""
    narrow: tuple[int, int, int, int, int] | None
    """The same for the product back to C."""
    outer: tuple[int, int, int, int, int]
    """BA, PIECE, BR, warps, stages of `outer_kernel`."""
    temporal: tuple[int, int, int]
    """Joints, warps and stages of `temporal_norm`."""
    temporal_backward: tuple[int, int, int, int]
    """Joints, warps, programs and stages of `temporal_norm_backward`."""

    @property
    def tile_rows(self) -> tuple[int, int]:
        """Rows of forward and backward tiles: a frame's joints have to fit."""
        return (self.forward if self.fused else self.expand)[0], self.backward.rows


TUNINGS = {
    32: Tuning(
        fused=True,
        forward=(64, 32, 32, 4, 2, 0),
        expand=(64, 32, 32, 4, 3),
        contract=(128, 32, 64, 4, 3),
        backward=MixTuning(64, 32, 4, 3, 32),
        programs=132,
        gather=GatherTuning(32, 396, 168),
        widen=None,
        narrow=(128, 32, 64, 4, 3),
        outer=(64, 32, 64, 4, 4),
        temporal=(8, 1, 4),
        temporal_backward=(8, 1, 1056, 4),
    ),
    48: Tuning(
        fused=True,
        forward=(64, 64, 16, 4, 3, 0),
        expand=(64, 64, 16, 4, 3),
        contract=(128, 64, 64, 4, 3),
        backward=MixTuning(64, 16, 4, 3, 64),
        programs=44,
        gather=GatherTuning(16, 396, 168),
        widen=None,
        narrow=(128, 64, 64, 4, 3),
        outer=(64, 64, 64, 4, 4),
        temporal=(4, 1, 4),
        temporal_backward=(8, 2, 792, 4),
    ),
    64: Tuning(
        fused=True,
        forward=(64, 64, 64, 4, 2, 0),
        expand=(64, 64, 64, 4, 3),
        contract=(128, 64, 64, 4, 3),
        backward=MixTuning(64, 64, 4, 3, 64),
        programs=88,
        gather=GatherTuning(64, 264),
        widen=None,
        narrow=None,
        outer=(64, 64, 64, 4, 4),
        temporal=(2, 1, 6),
        temporal_backward=(2, 1, 1584, 4),
    ),
    96: Tuning(
        fused=True,
        forward=(64, 32, 32, 4, 2, 0),
        expand=(128, 32, 32, 4, 3),
        contract=(128, 32, 64, 4, 4),
        backward=MixTuning(64, 32, 4, 3, 32),
        programs=88,
        gather=GatherTuning(32, 396, 168),
        widen=(128, 128, 32, 4, 3),
        narrow=(128, 128, 64, 8, 3),
        outer=(128, 32, 64, 4, 4),
        temporal=(4, 2, 4),
        temporal_backward=(2, 1, 1188, 4),
    ),
    128: Tuning(
        fused=True,
        forward=(64, 64, 32, 4, 2, 0),
        expand=(64, 64, 64, 4, 3),
        contract=(128, 128, 64, 4, 3),
        backward=MixTuning(64, 64, 4, 3, 0),
        programs=44,
        gather=GatherTuning(64, 264),
        widen=None,
        narrow=None,
        outer=(128, 64, 64, 4, 3),
        temporal=(2, 1, 4),
        temporal_backward=(2, 1, 1280, 4),
    ),
    192: Tuning(
        fused=True,
        forward=(128, 64, 64, 8, 2, 0),
        expand=(128, 64, 64, 8, 3),
        contract=(128, 64, 64, 4, 4),
        backward=MixTuning(64, 32, 4, 3, 64),
        programs=44,
        gather=GatherTuning(64, 264),
        widen=None,
        narrow=(128, 64, 64, 4, 4),
        outer=(128, 64, 64, 4, 4),
        temporal=(2, 1, 4),
        temporal_backward=(1, 1, 1584, 4),
    ),
    256: Tuning(
        fused=False,
        forward=(64, 64, 32, 4, 2, 0),
        expand=(64, 64, 64, 4, 3),
        contract=(128, 128, 64, 4, 3),
        backward=MixTuning(64, 64, 4, 3, 0),
        programs=22,
        gather=GatherTuning(32, 264),
        widen=None,
        narrow=None,
        outer=(128, 128, 64, 8, 3),
        temporal=(1, 1, 4),
        temporal_backward=(1, 2, 1056, 4),
    ),
    384: Tuning(
        fused=False,
        forward=(64, 64, 64, 8, 2, 0),
        expand=(128, 64, 128, 8, 3),
        contract=(128, 128, 64, 4, 3),
        backward=MixTuning(64, 64, 4, 3, 0),
        programs=44,
        gather=None,
        widen=(128, 128, 64, 4, 3),
        narrow=(128, 128, 64, 4, 3),
        outer=(128, 128, 64, 8, 3),
        temporal=(1, 1, 4),
        temporal_backward=(1, 2, 792, 4),
    ),
}


@dataclass(frozen=True)
class LibraryTuning:
    """The tuning where the library multiplies and kernels do the rest."""

    mix: tuple[int, int, int]
    """ROWS, BH, warps of `mix_kernel`."""
    backward: MixTuning
    """The tuning of `mix_backward_kernel`; its piece is 0."""
    programs: int
    """Programs for each chunk of BH hidden channels in the backward pass."""
    temporal: tuple[int, int, int]
    """Joints, warps and stages of `temporal_norm`."""
    temporal_backward: tuple[int, int, int, int]
    """Joints, warps, programs and stages of `temporal_norm_backward`."""

    @property
    def tile_rows(self) -> tuple[int, int]:
        """Rows of forward and backward tiles: a frame's joints have to fit."""
        return self.mix[0], self.backward.rows


LIBRARY_TUNINGS = {
    32: LibraryTuning((32, 32, 2), MixTuning(32, 32, 2, 3, 0), 348, (4, 1, 4), (4, 1, 1056, 4)),
    48: LibraryTuning((32, 16, 2), MixTuning(32, 16, 2, 3, 0), 116, (4, 1, 4), (4, 1, 1056, 4)),
    64: LibraryTuning((32, 32, 2), MixTuning(32, 32, 2, 3, 0), 174, (2, 1, 4), (2, 1, 1056, 4)),
    96: LibraryTuning((32, 32, 2), MixTuning(32, 32, 2, 3, 0), 116, (2, 1, 4), (2, 1, 1056, 4)),
    128: LibraryTuning((32, 64, 2), MixTuning(32, 64, 4, 3, 0), 174, (1, 1, 4), (1, 1, 1056, 4)),
    192: LibraryTuning((32, 64, 2), MixTuning(32, 64, 4, 3, 0), 116, (1, 1, 4), (1, 1, 1056, 4)),
    256: LibraryTuning((32, 64, 2), MixTuning(32, 64, 4, 3, 0), 87, (1, 2, 4), (1, 2, 528, 4)),
    384: LibraryTuning((32, 64, 2), MixTuning(32, 64, 4, 3, 0), 58, (1, 2, 4), (1, 2, 528, 4)),
}
LIBRARY_ROWS = 32


class Rung(NamedTuple):
    """A way to run blocks: a cut of each width that it has one for."""

    name: str
    tunings: Mapping[int, Tuning | LibraryTuning]


def _changed(width: int, **cut: Any) -> Tuning:
    return replace(TUNINGS[width], **cut)


# Fastest first; what each asks for is in `asked`, and `ladder` takes the first that a GPU has room for. One
# stage is no way down: loops of one end in illegal memory accesses (Triton 3.6, compute capability 9.0).
_LESS = {"narrow": (64, 64, 64, 4, 2), "outer": (64, 64, 64, 4, 2)}
NARROW_RUNGS = (
    Rung("tuned", TUNINGS),
    Rung("smaller", {192: _changed(192, forward=(64, 64, 64, 4, 2, 0))}),
    Rung("small", {192: _changed(192, forward=(64, 64, 32, 4, 2, 0), **_LESS)}),
    Rung("library", LIBRARY_TUNINGS),
)
# Without gradients small tiles are faster, as more programs run at once.
RECOGNITION_ORDER = ("tuned", "small", "library", "smaller")
WIDE_RUNGS = (Rung("library", LIBRARY_TUNINGS),)
"""The rungs of float32."""
