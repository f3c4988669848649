"""The variants of TSGCNeXt; a new one is a line here. Imports no torch: commands that read settings do."""

from dataclasses import dataclass

STEM_STRIDE = 4  # frames
DOWN_STRIDE = 2  # frames


@dataclass(frozen=True)
class Variant:
    """Blocks and channels of the three stages."""

    depths: tuple[int, int, int]
    widths: tuple[int, int, int]

    @property
    def min_frames(self) -> int:
        """Frames that leave one step after the last stage."""
        return STEM_STRIDE * DOWN_STRIDE ** (len(self.depths) - 1)


VARIANTS = {
    "252": Variant((2, 5, 2), (96, 192, 384)),
    "432": Variant((4, 3, 2), (96, 192, 384)),
    "tiny": Variant((1, 1, 1), (24, 48, 96)),
    "small": Variant((2, 5, 2), (48, 96, 192)),  # a quarter of 252's parameters, for small data
}
