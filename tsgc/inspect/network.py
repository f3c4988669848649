"""`tsgc info`: parameters, multiply-accumulates and activations of a network, block by block.

Counts are for one clip, from the shapes of the modules' parameters. A MAC is one multiplication and one
addition in a convolution, a linear layer or the mixing of joints. Norms, activation functions and other
additions are not counted, as is usual. Activations are the numbers that the counted operations output.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.skeleton import SKELETONS
from tsgc.checkpoint import load_model
from tsgc.console import Talker
from tsgc.network.cost import count_parts, totals
from tsgc.network.model import TSGCNeXt
from tsgc.variants import VARIANTS
from tsgc.workspace.runs import checkpoint_path


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
    """A network of a run, checkpoint or the options; facts about it by name; its clips' frames."""
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
    # Every skeleton has three channels: x, y, z, or in pictures x, y and a score.
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
