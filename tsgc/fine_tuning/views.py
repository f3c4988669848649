"""`--init` of TSGCNeXt2 from another: what is a view's own goes by the view's name."""

from collections.abc import Mapping, Sequence

from torch import Tensor

OWN = ("stems", "norms", "heads")
"""Lists of layers of which each view has one."""
Pairs = list[tuple[int, int]]  # (our view, theirs)


def by_views(
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    ours: Sequence[str],
    theirs: Sequence[str],
    coordinates: int,
) -> dict[str, Tensor]:
    """Weights `found` of a network that sees the views `theirs`, for one of weights `own` that sees `ours`.

    `coordinates`: channels of a view. Where both see one view it is the same, whichever it is. What is of
    views that only one of them sees is left out; of the input's norm, it is as in `own`.
    """
    if len(ours) == len(theirs) == 1:
        theirs = ours
    pairs = [(here, theirs.index(view)) for here, view in enumerate(ours) if view in theirs]
    settled: dict[str, Tensor] = {}
    for name, tensor in found.items():
        place, _, rest = name.partition(".")
        number, _, rest = rest.partition(".")
        if place in OWN:
            settled |= {f"{place}.{here}.{rest}": tensor for here, there in pairs if number == str(there)}
        elif place == "gate" or name.endswith(".which"):  # a row for each view
            if pairs and name in own and own[name].shape[1:] == tensor.shape[1:]:
                settled[name] = own[name].clone()
                for here, there in pairs:
                    settled[name][here] = tensor[there]
        elif place != "input_norm" or not tensor.ndim:
            settled[name] = tensor
        elif pairs and len(tensor) * len(ours) == len(own[name]) * len(theirs):  # the same bodies and joints
            norm = own[name].clone().view(-1, len(ours), coordinates)
            known = tensor.to(norm).view(-1, len(theirs), coordinates)
            for here, there in pairs:
                norm[:, here] = known[:, there]
            settled[name] = norm.flatten()
    return settled
