"""`--init` of a network other than TSGCNeXt: what has the same name and shape is loaded."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipelines.errors import TsgcError
from shards.manifest import Manifest
from tsgc import checkpoint
from tsgc.fine_tuning.views import by_views
from tsgc.modalities import parts
from tsgc.network.own.wrapped import Wrapped
from tsgc.network.second.model import TSGCNeXt2
from tsgc.networks import SECOND
from tsgc.workspace.runs import checkpoint_path


def load_fitting(
    model: Wrapped, manifest: Manifest, path: Path, holdout: bool, modality: str = "joint"
) -> str:
    """Load what fits of a checkpoint, or of a run's folder (its last-ema); its code is not run.

    The layer that gives the logits is left as it is where the classes are others. What TSGCNeXt2 has of each
    view's own goes by the views' names in `modality`. Returns one line: what was loaded and what was not.
    Raises TsgcError where nothing but graphs fits, and as `fine_tune` does.
    """
    file = checkpoint_path(path, "last", ema=True) if path.is_dir() else path
    said = checkpoint.read_weights_description(file)
    if said.benchmark == manifest.benchmark:
        checkpoint.check_unseen(file, said.selected_on, said.config.holdout, holdout)
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise TsgcError(f"{file}: not a whole safetensors file ({error}); copy it again") from None
    own: Mapping[str, Tensor] = model.state_dict()
    if isinstance(model.network, TSGCNeXt2) and said.config.network == SECOND:
        views = parts(modality)
        coordinates = model.input_shape[0] // len(views)
        found = by_views(own, found, views, parts(said.config.modality), coordinates)
    other = set() if said.class_names == list(manifest.class_names) else class_layers(model)
    fits = {
        name: found[name]
        for name, tensor in own.items()
        if name in found and found[name].shape == tensor.shape and name.rpartition(".")[0] not in other
    }
    joints = ""
    if said.body.joints != manifest.body.joints:
        joints = f", with {said.skeleton}'s joints where these clips have {manifest.skeleton}'s"
    if not any(tensor.ndim > 1 and not name.endswith("graphs") for name, tensor in fits.items()):
        raise TsgcError(
            f"{file}: no weight of it fits {model.source}; it is of {said.config.network_title}{joints}"
        )
    with torch.no_grad():
        for name, tensor in fits.items():
            own[name].copy_(tensor)
    new = [name for name in own if name not in fits]
    left = f"; new: {', '.join(new[:3])}{f' and {len(new) - 3} more' if len(new) > 3 else ''}" if new else ""
    title = f"{said.benchmark} {said.config.modality} {said.config.network_name}, epoch {said.epoch}"
    return f"starting from {file} ({title}{joints}): {len(fits)} of {len(own)} tensors loaded{left}"


def class_layers(model: Wrapped) -> set[str]:
    """Names of the linear layers with as many outputs as there are classes."""
    layers = model.network.named_modules()
    return {
        name for name, one in layers if isinstance(one, nn.Linear) and one.out_features == model.num_classes
    }
