"""How the kernels are cut, for each width: found by `benchmarks/tune_kernels.py` on a Hopper GPU."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """In bfloat16. ROWS, PIECE, BH and so on are as in the kernels; 0 `registers`: no limit for a thread."""

    fused: bool
    """Forward in one kernel (`forward`); otherwise GELU(mix(p)) is written once and read once."""
    forward: tuple[int, int, int, int, int, int]
    """ROWS, PIECE, BH, warps, stages, registers of `forward_kernel`."""
    expand: tuple[int, int, int, int, int]
    """ROWS, PIECE, BH, warps, stages of `expand_kernel`."""
    contract: tuple[int, int, int, int, int]
    """BM, BN, BK, warps, stages of `contract_kernel`."""
    backward: tuple[int, int, int, int, int]
    """ROWS, BH (which divides C), warps, stages, PIECE of `mix_backward_kernel`; PIECE 0: dout W2 is made
    before."""
    programs: int
    """Programs for each chunk of BH hidden channels in the backward pass."""
    widen: tuple[int, int, int, int, int] | None
    """BM, BN, BK, warps, stages of `linear_kernel` for dout W2, where that is made before; None: by the
    library."""
    narrow: tuple[int, int, int, int, int] | None
    """The same for the product back to C."""
    outer: tuple[int, int, int, int, int]
    """BA, PIECE, BR, warps, stages of `outer_kernel`."""
    temporal: tuple[int, int]
    """Joints and warps of `temporal_norm`."""
    temporal_backward: tuple[int, int, int]
    """Joints, warps and programs of `temporal_norm_backward`."""


TUNINGS = {
    96: Tuning(
        fused=True,
        forward=(64, 32, 32, 4, 2, 0),
        expand=(128, 32, 32, 4, 3),
        contract=(128, 32, 64, 4, 4),
        backward=(64, 32, 4, 3, 32),
        programs=88,
        widen=(128, 128, 32, 4, 3),
        narrow=(128, 128, 64, 8, 3),
        outer=(128, 32, 64, 4, 4),
        temporal=(2, 1),
        temporal_backward=(2, 1, 1056),
    ),
    192: Tuning(
        fused=True,
        forward=(128, 64, 64, 8, 2, 0),
        expand=(128, 64, 64, 8, 3),
        contract=(128, 64, 64, 4, 4),
        backward=(64, 32, 4, 3, 64),
        programs=44,
        widen=None,
        narrow=(128, 64, 64, 4, 4),
        outer=(128, 64, 64, 4, 4),
        temporal=(2, 1),
        temporal_backward=(1, 1, 1056),
    ),
    384: Tuning(
        fused=False,
        forward=(64, 64, 64, 8, 2, 0),
        expand=(128, 64, 128, 8, 3),
        contract=(128, 128, 64, 4, 3),
        backward=(64, 64, 4, 3, 0),
        programs=44,
        widen=(128, 128, 64, 4, 3),
        narrow=(128, 128, 64, 4, 3),
        outer=(128, 128, 64, 8, 3),
        temporal=(1, 2),
        temporal_backward=(1, 2, 528),
    ),
}
LEAST_ROWS = 64  # of any tile


@dataclass(frozen=True)
class LibraryTuning:
    """In float32, where the library multiplies and the kernels do the rest."""

    mix: tuple[int, int, int]
    """ROWS, BH, warps of `mix_kernel`."""
    backward: tuple[int, int, int, int, int]
    """As in `Tuning`; PIECE is 0."""
    programs: int
    """Programs for each chunk of BH hidden channels in the backward pass."""
    temporal: tuple[int, int]
    """Joints and warps of `temporal_norm`."""
    temporal_backward: tuple[int, int, int]
    """Joints, warps and programs of `temporal_norm_backward`."""


LIBRARY_TUNINGS = {
    96: LibraryTuning((32, 32, 2), (32, 32, 2, 3, 0), 116, (2, 1), (2, 1, 1056)),
    192: LibraryTuning((32, 64, 2), (32, 64, 4, 3, 0), 116, (1, 1), (1, 1, 1056)),
    384: LibraryTuning((32, 64, 2), (32, 64, 4, 3, 0), 58, (1, 2), (1, 2, 528)),
}
LIBRARY_ROWS = 32
