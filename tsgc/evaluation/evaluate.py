"""Logits of a whole split, exact on any number of ranks."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import nn

from pipelines.errors import UsageError
from shards.loader import EvalLoader
from shards.manifest import Manifest, load_manifest
from shards.options import Reading
from tsgc.checkpoint import Description, check_match, describe, load_model, load_weights, read_description
from tsgc.config import resolve
from tsgc.console import Count, Talker, no_count
from tsgc.distributed.process import Process
from tsgc.evaluation.predict_split import predict_split
from tsgc.evaluation.scores import (
    COLUMNS,
    Scores,
    ScoreSource,
    accuracy_rows,
    all_and_clean,
    remarks,
    write_scores,
)
from tsgc.input.pipeline import input_pipeline
from tsgc.input.tta import views
from tsgc.network.released import load_released
from tsgc.workspace.data_root import pick_shards
from tsgc.workspace.relabel import relabelled
from tsgc.workspace.runs import newest_run, open_run, scores_path


def open_checkpoint(
    path: Path, manifest: Manifest, *, variant: str | None, modality: str | None, ema: bool
) -> tuple[nn.Module, Description]:
    """A network from our .safetensors, or from a released .pth with `variant` and `modality`."""
    if path.suffix == ".safetensors":
        model, description = load_model(path)
    else:
        if variant is None or modality is None:
            raise UsageError(
                f"{path}: a released checkpoint does not say its stream; give --variant and --modality"
            )
        config = resolve(
            manifest.benchmark, recipe="reference", options={"variant": variant, "modality": modality}
        )
        description = describe(
            config,
            manifest,
            config.bodies or manifest.max_bodies,
            manifest.benchmark,
            epoch=config.epochs,
            ema=ema,
            selected_on="test",  # the published code keeps its best epoch on the test split
        )
        model = description.build()
        load_weights(model, load_released(path, ema=ema), path)
    check_match(description, manifest, path)
    return model, description


def score(
    checkpoints: Mapping[str, Path],
    shards: Manifest | Path | str,
    split: str,
    process: Process,
    *,
    variant: str | None = None,
    modality: str | None = None,
    ema: bool = False,
    advance: Count = no_count,
    reading: Reading | None = None,
    tta: str = "none",
) -> dict[str, Scores]:
    """Scores of each named checkpoint on a split; those of one run share one pass over the clips.

    `tta`: the views to average over, a key of `tta.VIEWS`.
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
        reading=reading,
    )
    pipeline = input_pipeline(config, manifest)
    logits, read = predict_split(models, loader, pipeline, process, advance, seen_as)
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
    """The logits of the clips that were `read` (N,), their names and labels, and where they come from."""
    source = ScoreSource(
        benchmark=manifest.benchmark,
        split=split,
        preset=manifest.preset,
        variant=description.config.variant,
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


def evaluate_run(
    process: Process,
    talker: Talker,
    *,
    run: Path | None,
    checkpoint: str,
    ema: bool,
    variant: str | None,
    modality: str | None,
    shards: Path | str | None,
    split: str,
    run_dir: Path | None,
    data_root: Path,
    runs_root: Path,
    reading: Reading | None = None,
    tta: str = "none",
) -> Scores:
    """`tsgc evaluate`: score one checkpoint, write the scores, print the table.

    With test-time augmentation the scores file has its name too: it takes no other's place.
    """
    file = Path(checkpoint)
    from_file = file.suffix != ""
    if from_file and run is None:
        folder = run_dir or file.resolve().parent
        name = f"{file.stem}-ema" if ema and file.suffix != ".safetensors" else file.stem
        benchmark = read_description(file).benchmark if file.suffix == ".safetensors" else None
    else:
        opened = open_run(run) if run else newest_run(runs_root)
        folder = run_dir or opened.folder
        name = file.stem if from_file else checkpoint + ("-ema" if ema else "")
        file = file if from_file else opened.checkpoint(name)
        benchmark = opened.benchmark
    if tta != "none":
        name += f"-tta-{tta}"
    where, _ = pick_shards(data_root, None if shards else benchmark, shards)
    with talker.counting(f"scoring {name}", "clips") as advance:
        scores = score(
            {name: file},
            where,
            split,
            process,
            variant=variant,
            modality=modality,
            ema=ema,
            advance=advance,
            reading=reading,
            tta=tta,
        )[name]
    path = scores_path(folder, split, name)
    if process.main:
        write_scores(path, scores)
    source = scores.source
    title = f"{source.benchmark} {source.modality} {source.variant}, {source.preset} preset, {split}"
    talker.table(title, COLUMNS, accuracy_rows(name, scores))
    for said in remarks([scores]):
        talker.line(said)
    talker.line(f"scores: {path}")
    accuracies = {part: asdict(figures) for part, figures in all_and_clean(scores).items()}
    talker.data({**asdict(source), "accuracy": accuracies, "scores": str(path)})
    return scores
