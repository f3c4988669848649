"""`tsgc info`: parameters, multiply-accumulates and activations of a network, block by block.

Counted from the shapes of the modules' parameters, for one clip. A MAC is one multiplication and one
addition in a convolution, a linear layer or a graph product; norms, activations and additions are not
counted, as the field does not. Activations are the numbers that those same operations put out.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pipelines.errors import UsageError
from pipelines.skeleton import SKELETONS
from tsgc.checkpoint import load_model
from tsgc.console import Talker
from tsgc.network.layers import GRAPHS, Block, TemporalPatch
from tsgc.network.model import TSGCNeXt
from tsgc.variants import VARIANTS
from tsgc.workspace.runs import checkpoint_path


@dataclass(frozen=True)
class Part:
    """What one part of the network takes, for one clip."""

    name: str
    output: str
    """Shape of what it puts out, for all bodies together: frames x joints x channels."""
    parameters: int
    macs: int
    """Without the graph products."""
    graph_macs: int
    activations: int


def parameters(module: nn.Module) -> int:
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
    """One block: depthwise convolution over time, expansion, graph products, projection."""
    places = bodies * frames * joints
    hidden, width = block.expand.weight.shape
    weights = (block.temporal.weight, block.expand.weight, block.project.weight)
    return Part(
        name,
        f"{frames} x {joints} x {width}",
        parameters(block),
        places * sum(weight.numel() for weight in weights),
        places * GRAPHS * joints * width,
        places * (width + hidden + GRAPHS * width + width),
    )


def totals(parts: list[Part]) -> dict[str, int]:
    """The columns added up."""
    names = ("parameters", "macs", "graph_macs", "activations")
    return {name: sum(getattr(part, name) for part in parts) for name in names}


def open_network(
    run: Path | None,
    checkpoint: str,
    *,
    variant: str,
    skeleton: str,
    frames: int | None,
    bodies: int,
    classes: int,
) -> tuple[TSGCNeXt, dict[str, Any], int]:
    """The network of a run or checkpoint, or of the options; what it is, and its clips' frames."""
    if run is not None:
        path = checkpoint_path(run, checkpoint, ema=False)
        model, said = load_model(path)
        facts = {
            "checkpoint": str(path),
            "benchmark": said.benchmark,
            "preset": said.preset,
            "modality": said.config.modality,
            "epochs trained": said.epoch,
            "variant": said.config.variant,
        }
        return model, facts, _checked(frames or said.config.frames, model)
    for name, value, known in (("variant", variant, VARIANTS), ("skeleton", skeleton, SKELETONS)):
        if value not in known:
            raise UsageError(f"--{name} {value}: expected one of {', '.join(known)}")
    # Three channels for every skeleton: data are x, y, z, or in pictures x, y and a score.
    model = TSGCNeXt(SKELETONS[skeleton], classes, variant=variant, bodies=bodies)
    facts = {"variant": variant, "skeleton": skeleton, "bodies": bodies, "classes": classes}
    return model, facts, _checked(frames or 256, model)


def _checked(frames: int, model: TSGCNeXt) -> int:
    if frames < model.min_frames:
        raise UsageError(f"--frames {frames}: the network takes {model.min_frames} or more")
    return frames


def show_info(talker: Talker, model: TSGCNeXt, facts: dict[str, Any], frames: int) -> None:
    """Print the table, or the same as JSON. `facts`: what the network is, by name."""
    parts = count_parts(model, frames)
    whole = totals(parts)
    rows = [
        [
            part.name,
            part.output,
            f"{part.parameters:,}",
            *_millions(part.macs, part.graph_macs, part.activations),
        ]
        for part in parts
    ]
    rows.append(
        [
            "all",
            "",
            f"{whole['parameters']:,}",
            *_millions(whole["macs"], whole["graph_macs"], whole["activations"]),
        ]
    )
    for name, value in {**facts, "frames": frames}.items():
        talker.line(f"{name}: {value}")
    columns = ("part", "T x V x C", "parameters", "MAC", "graph", "acts")  # 80 columns hold no longer ones
    talker.table("One clip, all bodies; in millions: MAC, graph products' MAC, activations", columns, rows)
    macs, graph_macs = whole["macs"] / 1e9, whole["graph_macs"] / 1e9
    talker.line(
        f"{whole['parameters'] / 1e6:.2f} M parameters, {macs:.2f} GMAC without the graph products,"
        f" {macs + graph_macs:.2f} with; {whole['activations'] / 1e6:.1f} M activations"
        f" ({4 * whole['activations'] / 1e6:.0f} MB in float32)"
    )
    talker.data({**facts, "frames": frames, "totals": whole, "parts": [asdict(part) for part in parts]})


def _millions(*counts: int) -> list[str]:
    return [f"{count / 1e6:,.2f}" for count in counts]
