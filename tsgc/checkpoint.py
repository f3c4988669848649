"""Weights and training state on disk; the published code's checkpoints, read safely.

Weights are safetensors with a JSON beside them that says what they are; the state that a run resumes
from is a torch file that `weights_only=True` reads.
"""

import dataclasses
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor

from pipelines.errors import TsgcError, first_line
from pipelines.files import write_atomic
from pipelines.skeleton import Skeleton
from pipelines.skeleton_definition import find_skeleton
from shards.manifest import Manifest
from tsgc.config import TrainConfig, build_config
from tsgc.modalities import num_channels
from tsgc.network.build import Network, build_network
from tsgc.network.own.code import find_code, sha256
from tsgc.networks import NETWORKS


@dataclass(frozen=True)
class Description:
    """What a checkpoint's weights are: enough to build the network and to refuse the wrong data."""

    skeleton: str
    num_classes: int
    bodies: int
    channels: int
    """Channels of the network's input: `axes` times the modalities of its stream."""
    benchmark: str
    preset: str
    epoch: int
    """Epochs trained."""
    ema: bool
    """Whether these are the averaged weights."""
    selected_on: str
    """`none` (the last epoch), `holdout` or `test`: what the epoch was chosen by."""
    config: TrainConfig
    """The run's, which also says how clips become the network's input."""
    dataset: str = ""
    """The data set whose reader prepares raw clips; empty, as all below, in checkpoints of before 0.2."""
    class_names: list[str] = field(default_factory=list)
    absent_body: str = ""
    """What stands for a body that a clip lacks: `zeros` or `copy` (of the first)."""
    fps: float = 0
    """Frames a second."""
    axes: str = "xyz"
    """What the data's channels are: `xyz`, `xyzs` or `xys`, s the detector's score."""
    reader: str = ""
    """What reads its raw clips; empty: what `dataset` names."""
    people: str = ""
    """`untracked` where raw clips give bodies in any order; empty else."""
    up: str = ""
    """The axis that points up in raw clips; empty: y."""
    alignment: str = ""
    """`spine-shoulders` where `--align` turned the clips; empty else."""
    skeleton_definition: str = ""
    """A skeleton of its own as JSON; empty for one that is named in `SKELETONS`."""
    network_digest: str = ""
    """SHA-256 of the file of one's own network; empty for one of the table."""
    network_beside: dict[str, str] = field(default_factory=dict)
    """SHA-256 of what that file imports from its own folder, by the path from there."""

    @property
    def body(self) -> Skeleton:
        """The skeleton itself."""
        return find_skeleton(self.skeleton, self.skeleton_definition)

    def build_network(self, where: Path | str = "") -> Network:
        """The network, without drop path, in eval mode, its weights not yet loaded.

        Raises TsgcError, which names the file `where`, for one's own network whose code may not run.
        """
        if self.config.network not in NETWORKS and not self.network_digest:
            raise TsgcError(f"{where}: does not say the SHA-256 of {self.config.network}; was it edited?")
        return build_network(
            self.config,
            self.body,
            self.num_classes,
            bodies=self.bodies,
            channels=self.channels,
            digest=self.network_digest,
            beside=self.network_beside,
            where=str(where),
            drop_path=0,
        ).eval()


def describe_weights(
    config: TrainConfig,
    manifest: Manifest,
    bodies: int,
    benchmark: str,
    *,
    epoch: int,
    ema: bool,
    selected_on: str,
) -> Description:
    """The description of weights after `epoch` epochs on the shards of `manifest`; `bodies` of the input."""
    return Description(
        skeleton=manifest.skeleton,
        num_classes=len(manifest.class_names),
        bodies=bodies,
        channels=num_channels(config.modality, manifest.channels),
        benchmark=benchmark,
        preset=manifest.preset,
        epoch=epoch,
        ema=ema,
        selected_on=selected_on,
        config=config,
        dataset=manifest.dataset,
        class_names=list(manifest.class_names),
        absent_body=manifest.absent_body,
        fps=manifest.fps,
        axes=manifest.channels,
        reader=manifest.reader,
        people=manifest.people,
        up=manifest.up,
        alignment=manifest.alignment,
        skeleton_definition=manifest.skeleton_definition,
        network_digest=network_digest(config),
        network_beside=network_beside(config),
    )


def network_digest(config: TrainConfig) -> str:
    """SHA-256 of the file of one's own network, whose code has been admitted; empty for one of the table."""
    return "" if config.network in NETWORKS else find_code(config.network, "", "the settings").digest


def network_beside(config: TrainConfig) -> dict[str, str]:
    """SHA-256 by path of what the file of one's own network, which has been run, imports beside it."""
    if config.network in NETWORKS:
        return {}
    beside = find_code(config.network, "", "the settings").beside
    return {path: sha256(source) for path, source in beside.items()}


def check_unseen(where: Path, selected_on: str, held_out: bool, holdout: bool) -> None:
    """Refuse weights that know the clips by which a run that starts from them is judged.

    These are the test clips, where the weights' epoch was selected on them; with `holdout` also the clips
    that the run holds out, unless the weights were trained without them (`held_out`).
    """
    if selected_on == "test":
        raise TsgcError(f"{where}: its epoch was selected on the test split; take last or last-ema")
    if holdout and not held_out:
        raise TsgcError(
            f"{where}: trained on the clips that --holdout leaves out;"
            " take weights that were trained with --holdout, too"
        )


def save_weights(path: Path, weights: Mapping[str, Tensor], description: Description) -> None:
    """Write weights to `path` (.safetensors), with their description inside and as JSON beside it."""
    said = orjson.dumps(dataclasses.asdict(description), option=orjson.OPT_INDENT_2)
    tensors: dict[str, Tensor] = {}
    stored = set()
    for name, tensor in weights.items():
        tensors[name] = tensor.detach().cpu().contiguous()
        place = tensors[name].untyped_storage().data_ptr()
        if place in stored:  # weights of two names are written twice: the format has no other way
            tensors[name] = tensors[name].clone()
        stored.add(place)
    write_atomic(path, format_safetensors(tensors, metadata={"tsgc": said.decode()}))
    write_atomic(path.with_suffix(".json"), said)


def load_model(path: Path) -> tuple[Network, Description]:
    """The network in one of our checkpoints, and its description."""
    description = read_weights_description(path)
    try:
        weights = parse_safetensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise TsgcError(
            f"{path}: not a whole safetensors file ({error}); copy it again, or take another checkpoint"
        ) from None
    model = description.build_network(path)
    load_weights(model, weights, path)
    return model, description


def load_weights(model: Network, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load all of `weights`; names or shapes that differ raise TsgcError with the first of them."""
    expected = model.state_dict()
    for name in (*expected, *weights):
        found = tuple(weights[name].shape) if name in weights else "none"
        wanted = tuple(expected[name].shape) if name in expected else "none"
        if found != wanted:
            raise TsgcError(
                f"{source}: tensor {name} is {found}, the network has {wanted};"
                " is it of another skeleton, variant or data set?"
            )
    model.load_state_dict(dict(weights))


def read_weights_description(path: Path) -> Description:
    """The description in the JSON beside a checkpoint; raises TsgcError where it is missing or wrong."""
    beside = path.with_suffix(".json")
    for needed in (path, beside):
        if not needed.is_file():
            raise TsgcError(
                f"{needed}: no such file; a checkpoint is a .safetensors file with a .json beside it"
            )
    try:
        said = orjson.loads(beside.read_bytes())
        said["config"] = build_config(said["config"], str(beside))
        description = Description(**said)
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise TsgcError(f"{beside}: does not describe a checkpoint of this version; was it edited?") from None
    try:
        find_skeleton(description.skeleton, description.skeleton_definition)
        modality = description.config.modality
        if description.channels != (expected := num_channels(modality, description.axes)):
            raise TsgcError(
                f"{description.channels} channels, {modality} of {description.axes} has {expected}"
            )
    except TsgcError as error:
        raise TsgcError(f"{beside}: {error}; was it edited?") from None
    return description


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write everything that resuming needs to one file, so that it is never half of one step."""
    buffer = io.BytesIO()  # torch reports a full disk as an error of its own; our write says it plainly
    torch.save(state, buffer)
    write_atomic(path, buffer.getbuffer())


def load_state(path: Path, device: torch.device, mmap: bool = False) -> dict[str, Any]:
    """The state that save_state wrote, with `mmap` its tensors unread; TsgcError: none, or a damaged one."""
    if not path.is_file():
        raise TsgcError(f"{path}: no such file; nothing to resume, start without --resume")
    try:
        return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TsgcError(f"{path}: not a whole training state ({first_line(error)})") from None


def check_match(description: Description, manifest: Manifest, where: Path, advice: str = "") -> None:
    """Refuse a checkpoint whose network cannot be judged on these clips; `advice`: what to do then."""
    advice = advice or f"give --shards of {description.benchmark}, or another checkpoint"
    pairs = {
        "skeleton": (description.skeleton, manifest.skeleton),
        "skeleton's definition": (description.skeleton_definition, manifest.skeleton_definition),
        "channels": (description.axes, manifest.channels),
        "classes": (description.num_classes, len(manifest.class_names)),
        "preset": (description.preset, manifest.preset),
        "alignment": (description.alignment or "none", manifest.alignment or "none"),
    }
    for what, (found, wanted) in pairs.items():
        if found != wanted:
            raise TsgcError(
                f"{where}: trained for {what} {found}, the shards of {manifest.benchmark} have {wanted};"
                f" {advice}"
            )


def dataset_name(description: Description) -> str:
    """The data set of a checkpoint; those of before 0.2 have it in their benchmark's name only."""
    return description.dataset or description.benchmark.split("/")[0].removesuffix("-corrected")


def reader_name(description: Description) -> str:
    """What reads a checkpoint's raw clips, as `tsgc prepare` calls it; older ones name their data set."""
    return description.reader or dataset_name(description)
