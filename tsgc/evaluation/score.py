"""Checkpoints to scores: their networks' logits for a split, with names, labels and where they come from."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from pipelines.errors import UsageError
from shards.load_manifest import load_manifest
from shards.loader import EvalLoader
from shards.manifest import Manifest
from shards.options import LoaderOptions
from tsgc.checkpoint import Description, check_match, describe_weights, load_model, load_weights
from tsgc.config import resolve_config
from tsgc.console import Count, no_count
from tsgc.distributed.preemption import StopRequest
from tsgc.distributed.process import Process
from tsgc.evaluation.predict_split import predict_split
from tsgc.evaluation.scores import Scores, ScoreSource
from tsgc.input.pipeline import input_pipeline
from tsgc.input.tta import views
from tsgc.network.released import load_released
from tsgc.workspace.relabel import relabelled


def open_checkpoint(
    path: Path, manifest: Manifest, *, variant: str | None, modality: str | None, ema: bool
) -> tuple[nn.Module, Description]:
    """A network from our .safetensors, or from a released .pth with `variant` and `modality`.

    Raises TsgcError where it cannot be judged on the shard set of `manifest`.
    """
    if path.suffix == ".safetensors":
        model, description = load_model(path)
    else:
        if variant is None or modality is None:
            raise UsageError(
                f"{path}: a released checkpoint does not say its stream; give --variant and --modality"
            )
        config = resolve_config(
            manifest.benchmark, recipe="reference", options={"variant": variant, "modality": modality}
        )
        description = describe_weights(
            config,
            manifest,
            config.bodies or manifest.max_bodies,
            manifest.benchmark,
            epoch=config.epochs,
            ema=ema,
            selected_on="test",  # the published code keeps its best epoch on the test split
        )
        model = description.build_network(path)
        load_weights(model, load_released(path, ema=ema), path)
    check_match(description, manifest, path)
    return model, description


def score_checkpoints(
    checkpoints: Mapping[str, Path],
    shards: Manifest | Path | str,
    split: str,
    process: Process,
    *,
    variant: str | None = None,
    modality: str | None = None,
    ema: bool = False,
    advance: Count = no_count,
    loader_options: LoaderOptions | None = None,
    tta: str = "none",
    stop: StopRequest | None = None,
) -> dict[str, Scores]:
    """Scores of each named checkpoint on a split; those of one run share one pass over the clips.

    `tta`: the views to average over, a key of `tta.VIEWS`. `stop`: see `predict_split`.
    """
    seen_as = views(tta)
    manifest = shards if isinstance(shards, Manifest) else load_manifest(shards)
    opened = {
        name: open_checkpoint(path, manifest, variant=variant, modality=modality, ema=ema)
        for name, path in checkpoints.items()
    }
    config = next(iter(opened.values()))[1].config
    manifest = relabelled(manifest, config.relabel)
    models = {name: model.to(process.device) for name, (model, _) in opened.items()}
    loader = EvalLoader(
        manifest,
        split,
        batch=config.eval_batch,
        rank=process.rank,
        world=process.world,
        pin=process.device.type == "cuda",
        options=loader_options,
    )
    pipeline = input_pipeline(config, manifest)
    logits, read = predict_split(models, loader, pipeline, process, advance, seen_as, stop=stop)
    return {
        name: make_scores(logits[name], read, loader, manifest, split, name, description, tta)
        for name, (_, description) in opened.items()
    }


def make_scores(
    logits: np.ndarray,
    read: np.ndarray,
    loader: EvalLoader,
    manifest: Manifest,
    split: str,
    name: str,
    description: Description,
    tta: str = "none",
) -> Scores:
    """Scores of the clips that were `read` (N,) bool: logits, names, labels, and where they come from."""
    source = ScoreSource(
        benchmark=manifest.benchmark,
        split=split,
        preset=manifest.preset,
        variant=description.config.network_name,
        modality=description.config.modality,
        seed=description.config.seed,
        checkpoint=name,
        selected_on=description.selected_on,
        class_names=list(manifest.class_names),
        missing=int((~read).sum()),
        tta=tta,
    )
    clips = loader.clips.select(read)
    return Scores(np.asarray(clips.names), clips.labels, logits[read], clips.repeats, source)
