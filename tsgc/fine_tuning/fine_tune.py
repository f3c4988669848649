"""Starting a run from the weights of another: of other classes, another skeleton, another number of bodies.

What depends on the skeleton (the graphs, the input's norm) is carried over joint by joint; the classifier,
class by class; the input of streams of several modalities, modality by modality. All go by name. What has no
counterpart stays as it was initialised.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from pipelines.skeletons.joint_names import common_names
from shards.manifest import Manifest
from tsgc import checkpoint
from tsgc.fine_tuning.other_networks import load_fitting
from tsgc.modalities import parts
from tsgc.network.build import Network
from tsgc.network.layers import fold
from tsgc.network.model import TSGCNeXt
from tsgc.network.own.wrapped import Wrapped
from tsgc.network.released import load_released
from tsgc.networks import STEM_STRIDE
from tsgc.workspace import runs

Pairs = list[tuple[int, int]]  # (ours, theirs)


@dataclass(frozen=True)
class InitWeights:
    """Weights to start from, and what their file says of them; a released checkpoint says nothing."""

    path: Path
    weights: dict[str, Tensor]
    said: str
    skeleton: Skeleton | None = None
    class_names: Sequence[str] = ()
    axes: str = "xyz"
    modality: str = ""
    benchmark: str = ""
    holdout: bool = False
    """True where it was trained without the held-out clips of its benchmark."""
    selected_on: str = "none"

    @property
    def num_joints(self) -> int:
        return self.weights["stages.0.0.graphs"].shape[-1]

    @property
    def num_channels(self) -> int:
        return self.weights["stem.0.weight"].shape[1] // STEM_STRIDE

    @property
    def num_classes(self) -> int:
        return len(self.weights["head.bias"])


def fine_tune(
    model: Network, manifest: Manifest, path: Path, holdout: bool = False, modality: str = "joint"
) -> str:
    """Load what fits of a checkpoint (ours, or a released one) or of a run's folder (its last-ema).

    `manifest` is of the data that `model` is for, `modality` what it sees of them. Returns one line: what was
    loaded and what was not. Raises TsgcError where no block of the network fits, and for weights of the same
    benchmark that were selected on its test split or, with `holdout`, trained on its held-out clips.
    """
    if isinstance(model, Wrapped):
        return load_fitting(model, manifest, path, holdout, modality)
    source = read_init_weights(path)
    if source.benchmark == manifest.benchmark:
        checkpoint.check_unseen(source.path, source.selected_on, source.holdout, holdout)
    own = model.state_dict()
    blocks = [name for name in own if name.startswith("stages.") and name.endswith(".expand.weight")]
    if not any(name in source.weights and source.weights[name].shape == own[name].shape for name in blocks):
        raise TsgcError(f"{source.path}: no block of it fits this network; is it of another variant?")
    weights, factor_notes = settle_factors(own, source.weights)
    joints = joint_pairs(manifest.body, source)
    classes = class_pairs(manifest.class_names, source)
    channels = channel_pairs(modality, manifest.channels, source)
    loaded: dict[str, Tensor] = {}
    for name, tensor in own.items():
        found = weights.get(name)
        if found is None or (not channels and name.startswith(("stem.", "input_norm."))):
            continue
        if name.endswith(".graphs"):
            loaded |= {name: _graphs(tensor, found, joints)} if joints else {}
        elif name.startswith("input_norm.") and tensor.ndim:
            loaded |= {name: _input_norm(model, tensor, found, joints, channels, source)} if joints else {}
        elif name == "stem.0.weight":
            loaded |= {name: _stem(tensor, found, channels)} if len(found) == len(tensor) else {}
        elif name.startswith("head."):
            loaded |= {name: _rows(tensor, found, classes)} if classes else {}
        elif found.shape == tensor.shape:
            loaded[name] = found
    model.load_state_dict(loaded, strict=False)
    notes = _note_joints(manifest.body, source, joints) + _note_bodies(model, source) + factor_notes
    notes += _note_classes(len(manifest.class_names), source, classes)
    notes += _note_channels(modality, manifest.channels, source, channels)
    new = _places(name for name in own if name not in weights)
    notes += [f"new: {', '.join(new)}"] if new else []
    left = _places(name for name in weights if name not in own)
    notes += [f"not used: {', '.join(left)}"] if left else []
    said = [f"{len(loaded)} of {len(own)} tensors loaded", *(notes or ["nothing new"])]
    return f"starting from {source.path} ({source.said}): {'; '.join(said)}"


def read_init_weights(path: Path) -> InitWeights:
    """The weights that `--init` names. Raises TsgcError: not there, not whole, not a checkpoint."""
    if path.is_dir():
        path = runs.checkpoint_path(path, "last", ema=True)
    if path.suffix != ".safetensors":
        weights = load_released(path, ema=True)
        return InitWeights(path, weights, f"released, {len(weights['head.bias'])} classes, averaged")
    model, description = checkpoint.load_model(path)
    config = description.config
    if isinstance(model, Wrapped):
        raise TsgcError(f"{path}: no block of it fits this network; it is of {config.network_title}")
    return InitWeights(
        path,
        model.state_dict(),
        f"{description.benchmark} {config.modality} {config.variant}, epoch {description.epoch},"
        f" {'averaged' if description.ema else 'raw'}",
        description.body,
        description.class_names,
        description.axes,
        config.modality,
        description.benchmark,
        config.holdout,
        description.selected_on,
    )


def joint_pairs(ours: Skeleton, source: InitWeights) -> Pairs:
    """Pairs of our joints and theirs: by place where it is the same skeleton, else by name."""
    theirs = source.skeleton
    if theirs is None or theirs.joints == ours.joints:
        return [(v, v) for v in range(ours.num_joints)] if source.num_joints == ours.num_joints else []
    places = {name: joint for joint, name in enumerate(common_names(theirs.joints))}
    return [(joint, places[name]) for joint, name in enumerate(common_names(ours.joints)) if name in places]


def class_pairs(ours: Sequence[str], source: InitWeights) -> Pairs:
    """Pairs of our classes and theirs: by name; by number where the file names none."""
    if not source.class_names:
        return [(k, k) for k in range(len(ours))] if source.num_classes == len(ours) else []
    places = {name: k for k, name in enumerate(source.class_names)}
    return [(k, places[name]) for k, name in enumerate(ours) if name in places]


def channel_pairs(modality: str, axes: str, source: InitWeights) -> Pairs:
    """Pairs of our input's channels and theirs; none where the data has other `axes`.

    In order where both streams see one modality, whichever it is; else those of modalities that both see.
    """
    count, theirs = len(axes), parts(source.modality)
    if source.axes != axes:
        return []
    if len(theirs) == len(parts(modality)) == 1:
        return [(c, c) for c in range(count)]
    both = [(here, theirs.index(part)) for here, part in enumerate(parts(modality)) if part in theirs]
    return [(here * count + c, there * count + c) for here, there in both for c in range(count)]


def settle_factors(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The source's weights, with layer scale where the network has it, and a note where that changed them.

    The blocks compute what they did: where the network has none, factors are multiplied into the weights
    before them; where the source has none, they are 1, as a small start would silence what was learned.
    """
    has, had = (any(name.endswith(".scale") for name in tensors) for tensors in (own, weights))
    if has == had:
        return dict(weights), []
    settled = {name: tensor for name, tensor in weights.items() if not name.endswith(".scale")}
    for name in [name for name in settled if name.endswith(".project.bias")]:
        block = name.removesuffix("project.bias")
        if has:
            settled[f"{block}scale"] = torch.ones_like(settled[name])
        else:
            weight, scale = settled[f"{block}project.weight"], weights[f"{block}scale"]
            settled[f"{block}project.weight"], settled[name] = fold(weight, settled[name], scale)
    return settled, ["layer scale 1 (none there)" if has else "layer scale multiplied into the weights"]


def _rows(own: Tensor, found: Tensor, pairs: Pairs) -> Tensor:
    """`own` with the rows of `pairs` from `found`."""
    ours, theirs = torch.tensor(pairs).T
    rows = own.clone()
    rows[ours] = found.to(own)[theirs]
    return rows


def _graphs(own: Tensor, found: Tensor, joints: Pairs) -> Tensor:
    """Three graphs (3, V, V): the entries between two joints that both skeletons have."""
    ours, theirs = torch.tensor(joints).T
    graphs = own.clone()
    graphs[:, ours[:, None], ours] = found.to(own)[:, theirs[:, None], theirs]
    return graphs


def _input_norm(
    model: TSGCNeXt, own: Tensor, found: Tensor, joints: Pairs, channels: Pairs, source: InitWeights
) -> Tensor:
    """One vector of the input's norm, (M*V*C): the joints, bodies and channels that both have."""
    C, V, M = model.input_shape
    (ours, theirs), (here, there) = (torch.tensor(pairs).T for pairs in (joints, channels))
    known = found.to(own).view(-1, source.num_joints, source.num_channels)
    norm = own.clone().view(M, V, C)
    bodies = min(M, len(known))
    norm[:bodies, ours[:, None], here] = known[:bodies, theirs[:, None], there]
    return norm.flatten()


def _stem(own: Tensor, found: Tensor, channels: Pairs) -> Tensor:
    """The stem's weight (width, stride * C): the channels that both have."""
    here, there = torch.tensor(channels).T
    weight = own.clone().view(len(own), STEM_STRIDE, -1)
    weight[..., here] = found.to(own).view(len(own), STEM_STRIDE, -1)[..., there]
    return weight.flatten(1)


def _note_channels(modality: str, axes: str, source: InitWeights, channels: Pairs) -> list[str]:
    """A note on the input's channels, where not all are there."""
    if source.axes != axes:
        return [f"stem and input norm new (channels {source.axes} there, {axes} here)"]
    if not channels:
        return [f"stem and input norm new ({source.modality or 'one stream'} there, {modality} here)"]
    ours = parts(modality)
    new = [part for part in ours if part not in parts(source.modality)] if len(ours) > 1 else []
    return [f"of the stem and the input norm {len(channels)} channels (new: {', '.join(new)})"] if new else []


def _note_joints(ours: Skeleton, source: InitWeights, joints: Pairs) -> list[str]:
    """A note on the joints, where it is another skeleton."""
    theirs = source.skeleton
    if theirs is not None and theirs.joints == ours.joints:
        return []
    if not joints:
        there = theirs.name if theirs else f"{source.num_joints} joints"
        return [f"graphs and input norm new ({there} there, {ours.name} here: no joint of the same name)"]
    if theirs is None:
        return [f"graphs and input norm as those of {ours.name}, which its {len(joints)} joints may be"]
    matched = {joint for joint, _ in joints}
    missing = [name for joint, name in enumerate(ours.joints) if joint not in matched]
    count = f"{len(joints)} of {ours.num_joints} joints"
    new = f" (new: {', '.join(missing)})" if missing else ""
    return [f"of the graphs and the input norm {count}, by name from {theirs.name}{new}"]


def _note_bodies(model: TSGCNeXt, source: InitWeights) -> list[str]:
    M = model.input_shape[2]
    there = len(source.weights["input_norm.weight"]) // source.num_joints // source.num_channels
    return [f"of the input norm {there} of {M} bodies"] if there < M else []


def _note_classes(ours: int, source: InitWeights, classes: Pairs) -> list[str]:
    """A note on the classifier, where not all classes are there."""
    if not classes:
        return [f"classifier new ({source.num_classes} classes there, {ours} others here)"]
    return [f"of the classifier {len(classes)} of {ours} classes, by name"] if len(classes) < ours else []


def _places(names: Iterable[str]) -> list[str]:
    """Modules that tensors belong to, each once: stages.0.2, downs.1, stem."""
    places: dict[str, None] = {}
    for name in names:
        notes = name.split(".")
        places[".".join(notes[: {"stages": 3, "downs": 2}.get(notes[0], 1)])] = None
    return list(places)
