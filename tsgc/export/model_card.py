"""The model card beside an exported file: what it is, from what, how to feed it, how good, its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pipelines.channels import in_space
from pipelines.errors import TsgcError
from pipelines.prepared.store import tool_version
from tsgc.config import TrainConfig
from tsgc.evaluation.scores import all_and_clean, read_scores
from tsgc.inference.trained_stream import TrainedStream
from tsgc.modalities import needs_times
from tsgc.network.cost import count_parts, count_words, totals
from tsgc.networks import NETWORKS, network_title
from tsgc.workspace.runs import open_run, scores_path


def model_card(
    stream: TrainedStream, run: Path, *, raw_input: bool, differences: Mapping[str, float], checked_on: str
) -> str:
    """The card, in Markdown. `run`: the run's folder, or a checkpoint that has none."""
    said, config = stream.description, stream.description.config
    environment = _environment(run)
    counts = totals(count_parts(stream.model, config.frames))
    macs = (counts["macs"] + counts["graph_macs"]) / 1e9
    weights = "averaged (EMA)" if said.ema else "last step's"
    chosen = {
        "none": "the last epoch",
        "holdout": "chosen on held-out training clips",
        "test": "**chosen on the test split**: its accuracy there is for comparison with papers only",
    }[said.selected_on]
    checks = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    return f"""# {config.network_title}, {config.modality} stream, {said.benchmark}

Recognises {said.num_classes} actions from the joints of up to {said.bodies} bodies ({said.skeleton}).
{_network(config)} by tsgc {tool_version()}: {count_words(counts["parameters"])},
{macs:.2f} GMAC a clip.

## From what

- Trained on {said.benchmark}, {said.preset} preset, {said.epoch} epochs; {weights} weights, {chosen}.
- Checkpoint: `{stream.path}`; {_commit(environment)}.
- {_origin(environment, _teachers(config) + _corrected(config))}

## Accuracy

{_accuracy(run, stream)}

## Input and output

{_joints(stream) if raw_input else _network_input(stream)}

`logits` float32 (batch, {said.num_classes}): softmax gives probabilities; streams are fused by adding their
logits. Checked against PyTorch in float32 on {checked_on}; largest difference: {checks}.

## Limits

- It names one of its {said.num_classes} classes for whatever it is given, also where nobody does any of them.
- Its accuracy holds for the data set's sensor, views and kinds of performers; elsewhere expect less.
- One answer a clip; cut long recordings into windows (`tsgc predict --window`).

## Classes

{_classes(said.class_names)}
"""


def _network(config: TrainConfig) -> str:
    source = NETWORKS[config.network].source if config.network in NETWORKS else "its author's own"
    return f"{network_title(config.network)} ({source})"


def _environment(run: Path) -> dict[str, Any]:
    """The run's environment.json; empty for a checkpoint without one."""
    try:
        content = orjson.loads((run / "environment.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _commit(environment: Mapping[str, Any]) -> str:
    """The commit of the training code, where the run records it."""
    commit = environment.get("git_commit")
    return f"trained by commit {commit}" if commit else "the commit that trained it is not known"


def _origin(environment: Mapping[str, Any], more: str) -> str:
    """Where the weights come from, and whose terms hold; `more`: other facts of the training."""
    init = environment.get("init")
    if init:
        return (
            f"Trained on the data set{more}, {init}.\n"
            "  The terms of those weights hold (the published ones are CC BY-NC 4.0), and of their data."
        )
    if init is None:
        return (
            f"Trained on the data set{more}; what it started from is not recorded. If from the published\n"
            "  TSGCNeXt weights (CC BY-NC 4.0), their terms hold; those of the data set do."
        )
    return (
        f"Trained from the data set alone{more}. The published TSGCNeXt code and weights\n"
        "  (CC BY-NC 4.0) are not in it; the terms of the data set that it was trained on hold."
    )


def _teachers(config: TrainConfig) -> str:
    return f", taught by {len(config.teachers)} other streams trained on it" if config.teachers else ""


def _corrected(config: TrainConfig) -> str:
    count = sum(map(len, config.relabel.values()))
    return f", the class of {count} clips of its training split corrected (`relabel`)" if count else ""


def _accuracy(run: Path, stream: TrainedStream) -> str:
    """The run's own test scores of this checkpoint, as a table."""
    try:
        scores = read_scores(scores_path(open_run(run).folder, "test", stream.path.stem))
    except TsgcError:
        return "Not evaluated: no scores of this checkpoint beside it (`tsgc evaluate` writes them)."
    lines = ["| test clips | number | top-1 % | top-5 % | mean class % |", "|---|---|---|---|---|"]
    for part, figures in all_and_clean(scores).items():
        values = f"{figures.top1:.2f} | {figures.top5:.2f} | {figures.mean_class:.2f}"
        lines.append(f"| {part} | {figures.clips:,} | {values} |")
    if scores.repeats.any():
        lines += ["", "Clean: without the test clips whose joints equal a training clip's."]
    return "\n".join(lines)


def _joints(stream: TrainedStream) -> str:
    """How to feed the file that takes joints."""
    pipeline = stream.pipeline
    V, C, M = pipeline.skeleton.num_joints, len(pipeline.channels), pipeline.bodies
    place = (
        f"Coordinates as the sensor gives them, or centred already: joint {pipeline.skeleton.centre}"
        f" ({pipeline.skeleton.joints[pipeline.skeleton.centre]}) of the first body, where that is first"
        " seen, is subtracted inside."
        if in_space(pipeline.channels)
        else "x and y from the middle of the picture, and the score, as `tsgc prepare` stores them."
    )
    absent = "a copy of the first body" if pipeline.absent_body == "copy" else "zeros"
    frames = "frames" + (f", {pipeline.fps:g} a second" if needs_times(pipeline.config.modality) else "")
    return (
        f"`joints` float32 (batch, frames, {M}, {V}, {C}): clips of equal length, any number of {frames}.\n"
        f"{place} A body that a clip does not have is {absent}; one that is missing in a frame, zeros.\n"
        "Cleaning of tracks (`tsgc prepare`) is not inside; cropping, resizing to"
        f" {pipeline.config.frames} frames, the {pipeline.config.modality} modality and normalisation are."
    )


def _network_input(stream: TrainedStream) -> str:
    """How to feed the file that takes the network's input."""
    pipeline = stream.pipeline
    config = pipeline.config
    C, V, M = stream.model.input_shape
    least = 2 * stream.model.min_frames
    frames = (
        f"frames (trained with {config.frames}; {least} or more)" if config.frames >= least else config.frames
    )
    presence = (
        "\n`presence` float32 (batch, frames, bodies): 1 where a body is in a frame, 0 where not."
        if pipeline.present_only
        else ""
    )
    return (
        f"`x` float32 (batch, {C}, {frames}, {V}, {M}): channels, frames, joints, bodies of the\n"
        f"{config.modality} modality, cropped, resized and normalised as `tsgc evaluate` does"
        f" (`InputPipeline.test`; sampling {config.sampling}, normalise {config.normalise}).{presence}"
    )


def _classes(names: list[str]) -> str:
    return (
        "\n".join(f"{number}. {name}" for number, name in enumerate(names)) or "Not named in the checkpoint."
    )
