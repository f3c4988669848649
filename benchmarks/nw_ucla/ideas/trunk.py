"""The networks whose inside the ideas know."""

from torch import nn

from pipelines.errors import TsgcError
from tsgc.network.model import TSGCNeXt
from tsgc.network.own.wrapped import Wrapped
from tsgc.network.second.model import TSGCNeXt2


def own_network(model: nn.Module, idea: str) -> TSGCNeXt | TSGCNeXt2:
    """The network itself. Raises TsgcError where it is neither TSGCNeXt nor TSGCNeXt2, as `idea` needs."""
    network = model.network if isinstance(model, Wrapped) else model
    if not isinstance(network, TSGCNeXt | TSGCNeXt2):
        raise TsgcError(f"{idea}: the network is {type(network).__name__}, expected tsgcnext or tsgcnext2")
    return network


def classifiers(network: TSGCNeXt | TSGCNeXt2) -> list[nn.Linear]:
    """The heads of a network, one of each view."""
    heads = network.heads if isinstance(network, TSGCNeXt2) else [network.head]
    return [head for head in heads if isinstance(head, nn.Linear)]
