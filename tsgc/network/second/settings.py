"""The settings of TSGCNeXt2 as they are meant; wrong ones are one line."""

from typing import Any

from pipelines.errors import TsgcError
from tsgc.network.second.clip_graph import HEADS
from tsgc.networks import SECOND_VARIANTS, Variant


def settle_shape(variant: str, depths: Any, widths: Any) -> Variant:
    """The variant's shape with what replaces it. Raises TsgcError: not three numbers each."""
    if variant not in SECOND_VARIANTS:
        raise TsgcError(f"variant is {variant}, TSGCNeXt2 has {', '.join(SECOND_VARIANTS)}")
    shape = SECOND_VARIANTS[variant]
    return Variant(_three("depths", depths, shape.depths), _three("widths", widths, shape.widths))


def settle_layers(shape: Variant, clip_graphs: Any, clip_attention: Any) -> tuple[list[int], int]:
    """Stages that begin with a `ClipGraph`, in order, and how many `ClipAttention` follow the last.

    Raises TsgcError for what is neither, and for widths that the layers' heads do not divide.
    """
    count = len(shape.widths)
    if not isinstance(clip_graphs, list | tuple) or not all(
        _is_whole(one) and 1 <= one <= count for one in clip_graphs
    ):
        raise TsgcError(f"clip_graphs is {clip_graphs!r}, expected a list of stages from 1 to {count}")
    if not _is_whole(clip_attention) or clip_attention < 0:
        raise TsgcError(f"clip_attention is {clip_attention!r}, expected a whole number of layers, 0 or more")
    for stage in sorted({*clip_graphs, *([count] if clip_attention else [])}):
        if shape.widths[stage - 1] % HEADS:
            raise TsgcError(
                f"widths is {list(shape.widths)}: clip_graphs and clip_attention take a multiple of {HEADS}"
                f" channels, and stage {stage} has {shape.widths[stage - 1]}"
            )
    return sorted(set(clip_graphs)), clip_attention


def settle_views(channels: int, views: Any) -> int:
    """The channels of one view. Raises TsgcError where `views` do not share `channels` alike."""
    if not _is_whole(views) or views < 1 or channels % views:
        raise TsgcError(f"views is {views!r}, expected a whole number that divides the {channels} channels")
    return channels // int(views)


def _three(name: str, given: Any, known: tuple[int, int, int]) -> tuple[int, int, int]:
    if given is None:
        return known
    if (
        not isinstance(given, list | tuple)
        or len(given) != 3
        or not all(_is_whole(one) and one > 0 for one in given)
    ):
        raise TsgcError(f"{name} is {given!r}, expected 3 whole numbers of 1 or more")
    first, second, third = given
    return first, second, third


def _is_whole(value: Any) -> bool:
    return type(value) is int  # which bool is not
