"""A checkpoint as text: what it is, and where it comes from."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from safetensors import SafetensorError, safe_open

from pipelines.errors import TsgcError
from tsgc.config import TrainConfig, brief
from tsgc.networks import NETWORKS, VARIANTS, WITH_VARIANTS

if TYPE_CHECKING:
    from torch import Tensor

OF_OURS = ("variant", "layer_scale", "drop_path", "decay_graphs")
"""Settings that other networks than TSGCNeXt do not look at."""
WEIGHTS, RELEASED = ".safetensors", (".pth", ".pt")
SELECTED = {
    "none": "its last epoch, chosen by nothing",
    "holdout": "the best epoch on held-out training clips",
    "test": "the best epoch on the test split; for comparison with papers only",
}


def is_checkpoint(path: Path) -> bool:
    """Whether a file is named as a checkpoint: ours, or one of the published code."""
    return path.is_file() and path.suffix in (WEIGHTS, *RELEASED)


def checkpoint_lines(path: Path) -> list[str]:
    """Lines about a checkpoint, whose tensors are read. Raises TsgcError where they do not fit together."""
    return our_lines(path) if path.suffix == WEIGHTS else released_lines(path)


def our_lines(path: Path) -> list[str]:
    """Lines about one of our checkpoints."""
    from tsgc.checkpoint import load_model, read_weights_description  # import torch, which others do not need

    said = read_weights_description(path)
    config = said.config
    if config.network in NETWORKS:
        parameters = sum(tensor.numel() for tensor in load_model(path)[0].parameters())
        size = f"{parameters / 1e6:.3f} M parameters"
    else:  # whose code may not run
        size = f"{count_numbers(path) / 1e6:.3f} M numbers (file of sha256 {said.network_digest[:12]})"
    return [
        f"{path}: {config.network_title}, {config.modality}, {'averaged' if said.ema else 'raw'} weights",
        f"of {said.benchmark}, {said.preset} preset, seed {config.seed};"
        f" epoch {said.epoch} of {config.epochs}: {SELECTED.get(said.selected_on, said.selected_on)}",
        f"takes {said.bodies} x {said.body.num_joints} joints ({said.skeleton}) of"
        f" {said.channels} channels over {config.frames} frames, gives {said.num_classes} classes",
        f"{size}, {path.stat().st_size / 1e6:.1f} MB",
        *run_origin(path),
        changed(config),
    ]


def count_numbers(path: Path) -> int:
    """The numbers in a checkpoint's tensors: parameters, and statistics. Raises TsgcError: not whole."""
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in list(file.keys())]
    except (OSError, SafetensorError) as error:
        raise TsgcError(f"{path}: not a whole safetensors file ({error}); copy it again") from None
    return sum(map(math.prod, shapes))


def run_origin(path: Path) -> list[str]:
    """A line about the run that a checkpoint comes from, by its environment.json."""
    file = path.resolve().parent.parent / "environment.json"
    try:
        facts = orjson.loads(file.read_bytes())
        found = {
            "shards": str(facts["manifest_digest"])[:12],
            "tsgc": facts["tsgc"],
            "commit": str(facts["git_commit"])[:12],
            "torch": facts["versions"]["torch"],
            "device": facts["gpu"] or facts["device"],
        }
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return [f"run: unknown, no environment.json of one at {file}"]
    return [f"run: {file.parent}; " + ", ".join(f"{name} {value}" for name, value in found.items())]


def changed(config: TrainConfig) -> str:
    """A line about the settings that differ from the published recipe."""
    recipe = TrainConfig()
    others = () if config.network in WITH_VARIANTS else OF_OURS
    differ = [
        name for name in vars(recipe) if name not in others and getattr(config, name) != getattr(recipe, name)
    ]
    words = ", ".join(f"{name}={brief(getattr(config, name))}" for name in differ)
    return f"settings that differ from the published recipe: {words or 'none'}"


def released_lines(path: Path) -> list[str]:
    """Lines about a checkpoint of the published code."""
    from tsgc.network.released import load_released

    raw = load_released(path, ema=False)
    kinds = "raw and averaged weights"
    try:
        load_released(path, ema=True)
    except TsgcError:
        kinds = "raw weights alone"
    depths = released_depths(raw)
    names = [name for name, variant in VARIANTS.items() if list(variant.depths) == depths]
    adjacency = raw["stages.0.0.graphs"]
    classes, inputs = len(raw["head.bias"]), len(raw["input_norm.weight"])
    parameters = sum(tensor.numel() for name, tensor in raw.items() if "running" not in name)
    return [
        f"{path}: a checkpoint of the published code, TSGCNeXt {names[0] if names else depths}; {kinds}",
        f"takes {inputs} numbers a frame over {adjacency.shape[-1]} joints, gives {classes} classes",
        f"{parameters / 1e6:.3f} M parameters, {path.stat().st_size / 1e6:.1f} MB",
        "its stream and data set are not in it; `tsgc evaluate` takes them as --modality and --shards",
    ]


def released_depths(weights: dict[str, "Tensor"]) -> list[int]:
    """Blocks of each stage."""
    places = [name.split(".") for name in weights if name.endswith(".graphs")]
    stages = sorted({int(stage) for _, stage, *_ in places})
    return [sum(int(place[1]) == stage for place in places) for stage in stages]
