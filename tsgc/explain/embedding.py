"""Test clips as points of a plane: their features before the network's last layer, by PCA or UMAP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.errors import TsgcError
from shards.manifest import Manifest
from shards.reader import ShardReader
from tsgc.console import Count, no_count
from tsgc.explain.saliency import Stream
from tsgc.network.precision import for_recognition
from tsgc.networks import OURS
from tsgc.step.forward_graphs import ForwardGraphs

BATCH = 64  # clips at once
NEIGHBOURS = 15  # of a clip, for UMAP: its default
SEED = 0  # of UMAP


@contextmanager
def head_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """A context that collects what the network's last layer is given: (N, D) of each batch.

    Of several heads (`last_layers`) a list has what each is given, one after another. Raises TsgcError where
    no linear layer gives the logits, as may be in one's own network.
    """
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().float()))
        for layer in last_layers(model)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def last_layers(model: nn.Module) -> list[nn.Module]:
    """The last linear layer whose outputs are the classes; the heads where it is one of a list of such."""
    named = [(name, one) for name, one in model.named_modules() if _gives_classes(one, model)]
    if not named:
        raise TsgcError("the network has no linear layer whose outputs are the classes")
    name, last = named[-1]
    around = model.get_submodule(name.rpartition(".")[0])
    if isinstance(around, nn.ModuleList) and all(_gives_classes(one, model) for one in around):
        return list(around)
    return [last]


def _gives_classes(layer: nn.Module, model: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and layer.out_features == model.num_classes


def split_features(
    stream: Stream,
    manifest: Manifest,
    split: str,
    wanted: np.ndarray,
    device: torch.device,
    advance: Count = no_count,
) -> np.ndarray:
    """Features (N, D) float32 of those clips of a split that are `wanted`, bool, in order.

    One pass over them. Raises TsgcError where a shard is missing or damaged.
    """
    chosen = manifest.clips[split].select(wanted)
    reader = ShardReader(manifest, split, chosen)
    found = []
    config = stream.pipeline.config
    precision = for_recognition(config.precision, device, config.network == OURS)
    forward = ForwardGraphs(precision, device, sizes=())  # a graph would call no hook
    try:
        with torch.inference_mode():
            for first in range(0, len(chosen), BATCH):
                last = min(first + BATCH, len(chosen))
                batch = reader.read(np.arange(first, last))
                x, presence = stream.pipeline.test(batch, device)
                with head_inputs(stream.model) as seen:
                    forward(stream.model, x, presence, stream.pipeline.bodies_there(batch))
                if not seen or any(one.ndim != 2 or len(one) != last - first for one in seen):
                    raise TsgcError("the network's last linear layer is not given one vector a clip")
                features = torch.cat(seen, 1)
                found.append(features.cpu().numpy())
                advance(last, len(chosen))
    finally:
        reader.close()
    return np.concatenate(found)


def pca(features: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components (N, 2) of features (N, D), and their share of the variance, 0 to 1.

    Each axis points so that its farthest point lies on its positive side.
    """
    centred = features - features.mean(0, dtype=np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred)  # (D, D), smallest first
    points = centred @ axes[:, ::-1][:, :2]
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    farthest = np.abs(points).argmax(0)
    points *= np.where(points[farthest, [0, 1]] < 0, -1, 1)
    total = variance.sum()
    return points, float(variance[::-1][:2].sum() / total) if total > 0 else 1.0


def has_umap() -> bool:
    """Whether `umap-learn` is installed."""
    return find_spec("umap") is not None


def umap(features: np.ndarray) -> np.ndarray:
    """UMAP (arXiv 1802.03426) of features (N, D), (N, 2). Raises TsgcError without `umap-learn`."""
    if not has_umap():
        raise TsgcError("umap-learn is not installed; pip install 'tsgc[umap]'")
    from umap import UMAP

    near = min(NEIGHBOURS, len(features) - 1)
    points: np.ndarray = UMAP(n_neighbors=near, random_state=SEED, n_jobs=1).fit_transform(features)
    return points


PROJECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "PCA": lambda features: pca(features)[0],
    "UMAP": umap,
}
