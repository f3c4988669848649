"""Parameters, multiply-adds and activations of a network, part by part."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from tsgc.network.layers import SUBSETS, Block, TemporalPatch
from tsgc.network.model import TSGCNeXt


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


def count_parts(model: TSGCNeXt, frames: int) -> list[Part]:
    """The parts in their order, for a clip of `frames` frames at the network's input."""
    return list(_parts(model, frames))


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


def totals(parts: list[Part]) -> dict[str, int]:
    """The sums of the columns, by name."""
    names = ("parameters", "macs", "graph_macs", "activations")
    return {name: sum(getattr(part, name) for part in parts) for name in names}
