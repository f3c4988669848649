"""`tsgc info`: parameters, multiply-accumulates and activations of a network, block by block.

Counts are for one clip, from the shapes of the modules' parameters. A MAC is one multiplication and one
addition in a convolution, a linear layer or the mixing of joints. Norms, activation functions and other
additions are not counted, as is usual. Activations are the numbers that the counted operations output.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.skeleton import SKELETONS
from tsgc.checkpoint import load_model
from tsgc.config import parse_settings
from tsgc.console import Talker
from tsgc.modalities import num_channels
from tsgc.network.build import Network, build_network
from tsgc.network.cost import Part, count_parts, count_words, totals
from tsgc.network.own.code import admit
from tsgc.network.own.wrapped import Wrapped
from tsgc.networks import OURS, VARIANTS, recorded_name
from tsgc.train_config import TrainConfig
from tsgc.workspace.runs import checkpoint_path


def open_network(
    run: Path | None,
    checkpoint: str,
    *,
    network: str | None,
    settings: Sequence[str],
    variant: str,
    skeleton: str,
    frames: int | None,
    bodies: int,
    classes: int,
) -> tuple[Network, dict[str, Any], int]:
    """A network of a run, checkpoint or the options; facts about it by name; its clips' frames."""
    admit(network)
    if run is not None:
        path = checkpoint_path(run, checkpoint, ema=False)
        model, said = load_model(path)
        facts = {
            "checkpoint": str(path),
            "benchmark": said.benchmark,
            "preset": said.preset,
            "modality": said.config.modality,
            "epochs trained": said.epoch,
            **_named(said.config),
        }
        return model, facts, _checked(frames or said.config.frames, model)
    for name, value, known in (("variant", variant, VARIANTS), ("skeleton", skeleton, SKELETONS)):
        if value not in known:
            raise UsageError(f"--{name} {value}: expected one of {', '.join(known)}")
    # Every skeleton has three channels: x, y, z, or in pictures x, y and a score.
    length = frames or 256
    given = parse_settings(settings)
    for name in ("network", "variant", "frames", "bodies"):
        if name in given:
            raise UsageError(f"--set {name}: give --{name}")
    config = TrainConfig(
        **given,
        network=recorded_name(network or OURS),
        variant=variant,
        frames=length if network not in (None, OURS) else max(length, VARIANTS[variant].min_frames),
    )
    channels = num_channels(config.modality, "xyz")
    model = build_network(config, SKELETONS[skeleton], classes, bodies=bodies, channels=channels)
    facts = {
        **_named(config),
        **({"modality": config.modality} if "modality" in given else {}),
        "skeleton": skeleton,
        "bodies": bodies,
        "classes": classes,
    }
    return model, facts, _checked(length, model)


def _named(config: TrainConfig) -> dict[str, str]:
    """The network as a fact: our variant, or another one's name."""
    return {"variant": config.variant} if config.network == OURS else {"network": config.network_title}


def _checked(frames: int, model: Network) -> int:
    if isinstance(model, Wrapped) and frames != model.min_frames:
        raise UsageError(f"--frames {frames}: the run's network is made for {model.min_frames}; leave it out")
    if frames < model.min_frames:
        raise UsageError(f"--frames {frames}: the network takes {model.min_frames} or more")
    return frames


def show_info(talker: Talker, model: Network, facts: dict[str, Any], frames: int) -> None:
    """Print the table, or the same as JSON. `facts`: what the network is, by name."""
    parts = count_parts(model, frames)
    whole = totals(parts)
    columns = 1 if isinstance(model, Wrapped) else 3  # those that are counted
    rows = [
        [
            part.name,
            part.output,
            f"{part.parameters:,}",
            *_millions(part.macs, part.graph_macs, part.activations)[:columns],
        ]
        for part in [*parts, Part("all", "", **whole)]
    ]
    for name, value in {**facts, "frames": frames}.items():
        talker.line(f"{name}: {value}")
    names = ("part", "T x V x C", "parameters", "MAC", "graph", "acts")  # 80 columns hold no longer ones
    titles = ("MAC", "graph products' MAC", "activations")
    title = f"One clip, all bodies; in millions: {', '.join(titles[:columns])}"
    talker.table(title, names[: 3 + columns], rows)
    talker.line(f"{count_words(whole['parameters'])}, {_products(whole, columns == 1)}")
    talker.data({**facts, "frames": frames, "totals": whole, "parts": [asdict(part) for part in parts]})


def _products(whole: dict[str, int], together: bool) -> str:
    """The multiply-adds in words, and the activations where they are counted."""
    macs, graph_macs, numbers = whole["macs"] / 1e9, whole["graph_macs"] / 1e9, whole["activations"] / 1e6
    if together:
        return f"{macs:.3g} GMAC, all products together"
    return (
        f"{macs:.2f} GMAC without the graph products, {macs + graph_macs:.2f} with;"
        f" {numbers:.1f} M activations ({4 * numbers:.0f} MB in float32)"
    )


def _millions(*counts: int) -> list[str]:
    return [f"{count / 1e6:,.2f}" for count in counts]
