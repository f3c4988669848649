"""The settings of TSGCNeXt2 as they are meant; wrong ones are one line."""

from typing import Any

from pipelines.errors import TsgcError
from tsgc.networks import SECOND_VARIANTS, Variant


def settle_shape(variant: str, depths: Any, widths: Any) -> Variant:
    """The variant's shape with what replaces it. Raises TsgcError: not three numbers each."""
    if variant not in SECOND_VARIANTS:
        raise TsgcError(f"variant is {variant}, TSGCNeXt2 has {', '.join(SECOND_VARIANTS)}")
    shape = SECOND_VARIANTS[variant]
    return Variant(_three("depths", depths, shape.depths), _three("widths", widths, shape.widths))


def settle_stages(name: str, given: Any, shape: Variant, heads: int = 1) -> list[int]:
    """The stages, in order, that setting `name` gives a layer of `heads`.

    Raises TsgcError for what is no list of stages, and for widths that the heads do not divide.
    """
    count = len(shape.widths)
    if not isinstance(given, list | tuple) or not all(_is_whole(one) and 1 <= one <= count for one in given):
        raise TsgcError(f"{name} is {given!r}, expected a list of stages from 1 to {count}")
    for stage in sorted(given):
        if shape.widths[stage - 1] % heads:
            raise TsgcError(
                f"widths is {list(shape.widths)}: {name} takes a multiple of {heads} channels, and stage"
                f" {stage} has {shape.widths[stage - 1]}"
            )
    return sorted(set(given))


def settle_switch(name: str, given: Any) -> bool:
    """Whether setting `name` is on. Raises TsgcError for what is neither true nor false."""
    if not isinstance(given, bool):
        raise TsgcError(f"{name} is {given!r}, expected true or false")
    return given


def settle_views(channels: int, views: Any) -> int:
    """The channels of one view. Raises TsgcError where `views` do not share `channels` alike."""
    if not _is_whole(views) or views < 1 or channels % views:
        raise TsgcError(f"views is {views!r}, expected a whole number that divides the {channels} channels")
    return channels // int(views)


def refuse_one_view(views: int, **settings: Any) -> None:
    """Raises TsgcError where there is one view, and a setting that is on lets views meet."""
    for name, given in settings.items():
        if given and views == 1:
            raise TsgcError(
                f"{name} is {given!r}, and there is one view: nothing to meet; give a modality of"
                " several, such as joint+bone, or leave it out"
            )


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
