"""Parameters, multiply-adds and activations of a network, part by part."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tsgc import kernels
from tsgc.network.build import Network
from tsgc.network.layers import SUBSETS, Block, TemporalPatch
from tsgc.network.model import TSGCNeXt
from tsgc.network.own.wrapped import Wrapped

LISTS = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Part:
    """The cost of one part of the network, for one clip."""

    name: str
    output: str
    """Shape of its output, for all bodies together: frames x joints x channels."""
    parameters: int
    macs: int
    """Multiply-adds without the mixing of joints."""
    graph_macs: int
    """Multiply-adds of mixing joints: the products with the learned adjacency."""
    activations: int


def parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(tensor.numel() for tensor in module.parameters())


def count_parts(model: Network, frames: int) -> list[Part]:
    """The parts in their order, for a clip of `frames` frames at the network's input."""
    return list(_parts(model, frames)) if isinstance(model, TSGCNeXt) else counted_parts(model)


def counted_parts(model: Wrapped) -> list[Part]:
    """The parts of any network: its own modules, by torch's counter of FLOPs in a forward pass.

    Lists of modules are opened. What the network does between its modules is the last row. A FLOP is half a
    multiply-add; products with graphs are not told apart from others, and activations are not counted.
    """
    C, V, M = model.input_shape
    device = next(model.parameters(), torch.empty(0)).device
    x = torch.zeros(1, C, model.min_frames, V, M, device=device)
    presence = torch.ones(1, model.min_frames, M, device=device)
    outputs: dict[str, str] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, given, made: outputs.update({name: _shape(made)})

    children = dict(_opened(model.network))
    hooks = [child.register_forward_hook(note(name)) for name, child in children.items()]
    training = model.training
    counter = FlopCounterMode(display=False)
    try:
        with _in_single_products(), counter:
            model.eval()(x, presence=presence)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    counts = counter.get_flop_counts()
    own = _own_parameters(children.values())
    found = [
        Part(
            name,
            outputs.get(name, ""),
            learned,
            sum(counts.get(f"Wrapped.network.{name}", {}).values()) // 2,
            0,
            0,
        )
        for name, learned in zip(children, own)
    ]
    between = parameters(model) - sum(part.parameters for part in found)
    macs = counter.get_total_flops() // 2 - sum(part.macs for part in found)
    return [*found, Part("the rest", "", between, macs, 0, 0)] if between or macs else found


def _own_parameters(modules: Iterable[nn.Module]) -> Iterator[int]:
    """How many numbers each module learns; a weight of two modules counts for the first."""
    seen: set[int] = set()
    for module in modules:
        own = {id(tensor): tensor.numel() for tensor in module.parameters() if id(tensor) not in seen}
        seen |= own.keys()
        yield sum(own.values())


def _opened(
    network: nn.Module, lists: tuple[type[nn.Module], ...] = (nn.Sequential, *LISTS)
) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a network by name; in the place of a list of modules its members, lists in it too."""
    for name, child in network.named_children():
        if isinstance(child, lists):
            yield from ((f"{name}.{place}", one) for place, one in _opened(child, LISTS))
        else:
            yield name, child


@contextmanager
def _in_single_products() -> Iterator[None]:
    """A context in which transformers, attention, LSTMs and our blocks are products that torch can count.

    Fused, they count as nothing: transformers without gradients, LSTMs by oneDNN, attention by its kernels,
    and some of the products of our blocks on CPUs.
    """
    with warnings.catch_warnings(), torch.enable_grad(), kernels.plain():
        warnings.simplefilter("ignore")  # oneDNN's, of devices that are not there
        with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield


def _shape(made: object) -> str:
    made = made[0] if isinstance(made, tuple) else made
    return " x ".join(map(str, made.shape[1:])) if isinstance(made, torch.Tensor) else ""


def _parts(model: TSGCNeXt, frames: int) -> Iterator[Part]:
    _, V, M = model.input_shape
    yield Part(
        "input norm", f"{frames} x {V} x {model.input_shape[0]}", parameters(model.input_norm), 0, 0, 0
    )

    def patch(name: str, module: nn.Module) -> Part:
        """A strided convolution and its norm; the frames get fewer."""
        nonlocal frames
        layer = next(child for child in module.children() if isinstance(child, TemporalPatch))
        frames //= layer.stride
        width, places = layer.out_features, M * frames * V
        return Part(
            name,
            f"{frames} x {V} x {width}",
            parameters(module),
            places * layer.weight.numel(),
            0,
            places * width,
        )

    yield patch("stem", model.stem)
    for stage, blocks in enumerate(model.stages):
        assert isinstance(blocks, nn.ModuleList)
        for number, block in enumerate(blocks):
            assert isinstance(block, Block)
            yield block_part(f"stage {stage + 1} block {number + 1}", block, M, frames, V)
        if stage < len(model.downs):
            yield patch(f"down {stage + 1}", model.downs[stage])
    head = model.head
    yield Part(
        "norm and head",
        f"{head.out_features} classes",
        parameters(model.norm) + parameters(head),
        head.weight.numel(),
        0,
        head.out_features,
    )


def block_part(name: str, block: Block, bodies: int, frames: int, joints: int) -> Part:
    """The cost of a block: depthwise convolution over time, expansion, mixing of joints, projection."""
    places = bodies * frames * joints
    hidden, width = block.expand.weight.shape
    weights = (block.temporal.weight, block.expand.weight, block.project.weight)
    return Part(
        name,
        f"{frames} x {joints} x {width}",
        parameters(block),
        places * sum(weight.numel() for weight in weights),
        places * SUBSETS * joints * width,
        places * (width + hidden + SUBSETS * width + width),
    )


def count_words(parameters: int) -> str:
    """`1.07 M parameters`, and of small networks `4,320 parameters`."""
    return f"{parameters:,} parameters" if parameters < 10_000 else f"{parameters / 1e6:.2f} M parameters"


def totals(parts: list[Part]) -> dict[str, int]:
    """The sums of the columns, by name."""
    names = ("parameters", "macs", "graph_macs", "activations")
    return {name: sum(getattr(part, name) for part in parts) for name in names}
