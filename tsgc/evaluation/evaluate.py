"""Logits of a whole split, exact on any number of ranks."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipelines.errors import TsgcError, UsageError
from shards.loader import EvalLoader
from shards.manifest import Manifest, load_manifest
from shards.options import Reading
from tsgc.checkpoint import (
    Description,
    describe,
    load_model,
    load_released,
    load_weights,
    read_description,
)
from tsgc.config import TrainConfig, resolve
from tsgc.console import Count, Talker, no_count
from tsgc.distributed.process import Process
from tsgc.evaluation.scores import (
    COLUMNS,
    Scores,
    Source,
    accuracy_rows,
    all_and_clean,
    remarks,
    write_scores,
)
from tsgc.input.pipeline import InputPipeline
from tsgc.input.tta import PLAIN, View, views
from tsgc.network.cpu_memory import keep_memory
from tsgc.workspace.data_root import pick_shards
from tsgc.workspace.relabel import relabelled
from tsgc.workspace.runs import newest_run, open_run, scores_path


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager:
    """The context of the network's matrix products; float32 stays strict on GPUs too."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def interpolates_presence(preset: str) -> bool:
    """Whether a preset's absent bodies are told to the network, not blended with those that are there."""
    return preset == "corrected"


def input_pipeline(config: TrainConfig, manifest: Manifest) -> InputPipeline:
    """How this manifest's clips become the network's input."""
    most = manifest.max_bodies
    bodies = config.bodies or most
    if most > bodies:
        raise TsgcError(
            f"{manifest.benchmark}: clips of {most} bodies, the configuration says bodies={bodies}"
        )
    present_only = interpolates_presence(manifest.preset)
    return InputPipeline(
        config, manifest.body, bodies, manifest.absent_body, present_only, channels=manifest.channels
    )


@torch.inference_mode()
def predict_split(
    models: Mapping[str, nn.Module],
    loader: EvalLoader,
    pipeline: InputPipeline,
    process: Process,
    advance: Count = no_count,
    seen_as: Sequence[View] = (PLAIN,),
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Logits (N, K) of every model for every clip of the loader's split, the same on every rank.

    With several views (`seen_as`) they are the means over these. Second: which clips could be read, (N,)
    bool; all of them unless the loader skips damaged ones.

    A rank fills in its own batches; the others' rows are 0 until the sum, which therefore changes no bit.
    """
    keep_memory(process.device)
    rows = len(loader.clips)
    logits: dict[str, torch.Tensor] = {}
    read = torch.zeros(rows, device=process.device)
    done = 0
    with arithmetic(pipeline.config.precision, process.device):
        for batch in loader:
            inputs = [pipeline.test(batch, process.device, view) for view in seen_as]
            indices = batch.indices.to(process.device)
            for name, model in models.items():
                parts = [model(x, presence=presence).float() for x, presence in inputs]
                part = torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]
                if name not in logits:
                    logits[name] = part.new_zeros(rows, part.shape[1])
                logits[name][indices] = part
            read[indices] += 1
            done += len(indices)
            advance(min(done * process.world, rows), rows)
    for name, model in models.items():  # a rank without a batch still takes part in the sum
        if name not in logits:
            head = model.get_parameter("head.bias")
            logits[name] = torch.zeros(rows, len(head), device=process.device)
        process.sum(logits[name])
    seen = process.sum(read).cpu().numpy() > 0
    if not seen.any():
        raise TsgcError(f"none of {rows} clips can be read; `tsgc verify` names what is wrong")
    return {name: part.cpu().numpy() for name, part in logits.items()}, seen


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

    `tta`: the views to average over, a key of `views.VIEWS`.
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
    source = Source(
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
